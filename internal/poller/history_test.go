package poller

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/smartconnect/connector/internal/bwell"
	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/replay"
)

// Whatever b.well answers, the events that are told add up to the head: nothing
// in it is known from anywhere else.
func TestEventsAddUpToTheHead(t *testing.T) {
	tokens := tokenizer(t)
	subjects, err := events.NewSubjects("")
	if err != nil {
		t.Fatal(err)
	}
	statuses := []string{"CONNECTED", "CONNECTED", "CONNECTED", "EXPIRED", "EXPIRED", "DISCONNECTED", "ACCESS_ENDED", "ERROR", "", "UNKNOWN"}
	rapid.Check(t, func(t *rapid.T) {
		rules, now := DefaultRules(), t0
		rules.Vanish = rapid.IntRange(1, 2).Draw(t, "vanish")
		rules.Validity = map[string]time.Duration{"c-0": 30 * 24 * time.Hour}
		var head *events.Member
		var mem memory
		var kept []replay.Kept
		for range rapid.IntRange(1, 20).Draw(t, "polls") {
			now = now.Add(rapid.SampledFrom([]time.Duration{time.Second, time.Minute, 11 * time.Minute, time.Hour, 25 * time.Hour}).Draw(t, "later"))
			o := answer()
			for i := range rapid.IntRange(0, 3).Draw(t, "rows") {
				c := conn(fmt.Sprintf("c-%d", i), rapid.SampledFrom([]string{"PROA", "PROA", "DIRECT_IAS", ""}).Draw(t, "type"), rapid.SampledFrom(statuses).Draw(t, "status"))
				c.StatusUpdated.Time = now.Add(-rapid.SampledFrom([]time.Duration{time.Millisecond, time.Minute, time.Hour, 1000 * time.Hour}).Draw(t, "updated"))
				if rapid.IntRange(0, 4).Draw(t, "dated") == 0 {
					c.StatusUpdated = bwell.Time{}
				}
				o.Connections.Items = append(o.Connections.Items, c)
			}
			o.Consents.Items[0].Provision.Value = rapid.SampledFrom([]string{"permit", "deny"}).Draw(t, "consent")
			o.Consents.Items[0].DateTime.Time = now.Add(-rapid.SampledFrom([]time.Duration{time.Millisecond, 24 * time.Hour}).Draw(t, "dated"))
			o.Consents.Whole = rapid.IntRange(0, 9).Draw(t, "whole") > 0
			l := look{memberID: "m-1", incarnation: "inc", head: head, seen: o, now: now}
			f := rules.diff(l, mem, tokens)
			if f.askDeleted {
				l.deleted = &bwell.List[bwell.Connection]{Whole: true}
				f = rules.diff(l, mem, tokens)
			}
			mem = f.memory
			if f.next == nil {
				continue
			}
			tx, err := subjects.Poll("m", f.told, f.next, 0, now)
			if err != nil {
				t.Fatal(err)
			}
			head = f.next
			written, _ := tx.Head()
			body, err := json.Marshal(written.Data)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range tx.Events() {
				kept = append(kept, replay.Kept{Event: e})
			}
			kept = append(kept, replay.Kept{Event: written, Body: body})
			if check := replay.Fold("m", kept); check.Verdict != replay.Same {
				t.Fatalf("%+v", check)
			}
		}
	})
}
