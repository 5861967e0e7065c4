package poller

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/smartconnect/connector/internal/bwell"
	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/replay"
)

// They do so too where lists fail, offers come and go, tasks and words are new,
// and the member is lost from sight.
func TestEventsAddUpWhateverFails(t *testing.T) {
	subjects, err := events.NewSubjects("")
	if err != nil {
		t.Fatal(err)
	}
	types := map[events.Type]int{}
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 7))
		rules := DefaultRules()
		rules.Validity = map[string]time.Duration{"c-1": 20 * 24 * time.Hour}
		var kept []replay.Kept
		var head *events.Member
		var before memory
		now := t0
		for range 40 {
			now = now.Add(oneOf(rng, time.Minute, 11*time.Minute, time.Hour, 26*time.Hour))
			l := look{memberID: "m-1", incarnation: "inc", head: head, seen: anyAnswer(rng, now), now: now}
			if rng.IntN(3) == 0 {
				l.offers = &bwell.List[bwell.Recommendation]{Whole: rng.IntN(4) > 0}
				for _, alias := range []string{"o-1", "c-1", "c-2"} {
					if rng.IntN(2) == 0 {
						l.offers.Items = append(l.offers.Items, bwell.Recommendation{Alias: alias})
					}
				}
			}
			f := rules.diff(l, before, tokenizer(t))
			if f.askDeleted {
				l.deleted = &bwell.List[bwell.Connection]{Whole: true, Items: anyAnswer(rng, now).Connections.Items}
				f = rules.diff(l, before, tokenizer(t))
			}
			if rng.IntN(15) == 0 {
				f = lose(l, oneOf(rng, "unreachable", "forbidden"), events.ActNone)
			} else {
				before = f.memory
			}
			if f.next == nil {
				continue
			}
			tx, err := subjects.Poll("m", f.told, f.next, 0, now)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range tx.Events() {
				types[e.Type]++
				kept = append(kept, replay.Kept{Event: e})
			}
			written, _ := tx.Head()
			body, err := json.Marshal(written.Data)
			if err != nil {
				t.Fatal(err)
			}
			head = f.next
			kept = append(kept, replay.Kept{Event: written, Body: body})
			if c := replay.Fold("m", kept); c.Verdict != replay.Same {
				t.Fatalf("history %d: %+v\nhead %s", seed, c, body)
			}
		}
	}
	if len(types) < 16 {
		t.Errorf("too little happens: %v", types)
	}
}

func oneOf[T any](rng *rand.Rand, of ...T) T { return of[rng.IntN(len(of))] }

// anyAnswer is one that b.well might give: rows come and go, words are missing
// or new, lists fail.
func anyAnswer(rng *rand.Rand, now time.Time) bwell.Observation {
	var rows []bwell.Connection
	for i := range 3 {
		for _, integration := range []string{"PROA", "DIRECT_IAS", ""} {
			if rng.IntN(3) > 0 || integration != "PROA" && rng.IntN(3) > 0 {
				continue
			}
			rows = append(rows, conn(fmt.Sprint("c-", i), integration, oneOf(rng, "CONNECTED", "CONNECTED", "EXPIRED", "ERROR", "ACCESS_ENDED", ""), func(c *bwell.Connection) {
				c.StatusUpdated = bwell.Time{Time: oneOf(rng, time.Time{}, now.Add(-time.Minute), t0.Add(-time.Hour))}
				c.Created = bwell.Time{Time: oneOf(rng, time.Time{}, t0.Add(-48*time.Hour), t0.Add(-47*time.Hour))}
				c.LastSynced = bwell.Time{Time: now}
				c.SyncErrors = oneOf(rng, nil, nil, []string{"a", "b"})
				c.Category = oneOf(rng, bwell.Word{Value: "OAUTH"}, bwell.Word{Value: bwell.Unknown, Raw: "NEW"})
			}))
		}
	}
	o := answer(rows...)
	o.Consents.Items = []bwell.Consent{{
		ID: oneOf(rng, "k-1", "k-2"), Category: bwell.CategoryIAS, Status: bwell.Word{Value: "active"},
		Provision: bwell.Word{Value: oneOf(rng, "permit", "permit", "deny")}, DateTime: bwell.Time{Time: oneOf(rng, time.Time{}, now.Add(-time.Second))},
	}}
	o.Tasks.Items = []bwell.Task{{ID: oneOf(rng, "t-1", "t-2"), Status: oneOf(rng, bwell.Word{Value: "ready"}, bwell.Word{Value: bwell.Unknown, Raw: "odd"}), Updated: bwell.Time{Time: oneOf(rng, time.Time{}, now.Add(-time.Second))}}}
	failed := errors.New("failed")
	if rng.IntN(8) == 0 {
		o.Connections = bwell.List[bwell.Connection]{Err: failed}
	}
	if rng.IntN(8) == 0 {
		o.Consents = bwell.List[bwell.Consent]{Err: failed}
	}
	if rng.IntN(8) == 0 {
		o.Tasks = bwell.List[bwell.Task]{Err: failed}
	}
	return o
}
