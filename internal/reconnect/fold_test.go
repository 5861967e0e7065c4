package reconnect

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/smartconnect/connector/internal/events"
	replaying "github.com/smartconnect/connector/internal/replay"
)

// keeps is what a stream would keep of a world: the events, the agendas, and
// the member heads that they were decided from.
type keeps struct {
	kept   []replaying.Kept
	known  uint64 // the member head that was kept last
	agenda uint64 // how many agendas are
}

func (k *keeps) store(t testing.TB, l *turn, told []events.Event, next *events.Agenda) {
	if l.known.seq != k.known {
		k.known = l.known.seq
		k.kept = append(k.kept, replaying.Kept{Event: events.Event{ID: fmt.Sprint("member#", k.known), Type: events.MemberSnapshot, Member: "m", Data: l.known.snapshot}})
	}
	for _, e := range told {
		e.Member, e.Recorded = "m", l.now
		k.kept = append(k.kept, replaying.Kept{Event: e})
	}
	k.agenda++
	head := copied(next)
	head.Decided = fmt.Sprint("member#", k.known)
	head.Sequences["agenda"] = k.agenda
	// As they are written: lists are never null.
	head.Prompts, head.Asked, head.Pushes = append([]events.Prompt{}, head.Prompts...), append([]events.Asked{}, head.Asked...), append([]time.Time{}, head.Pushes...)
	body, err := json.Marshal(head)
	if err != nil {
		t.Fatal(err)
	}
	k.kept = append(k.kept, replaying.Kept{Event: events.Event{Type: events.AgendaSnapshot, Member: "m", Recorded: l.now, Sequence: k.agenda, Data: head}, Body: body})
}

// Whatever is decided, the events add up to the agenda: what it says and no
// event told, nobody who only reads events could know.
func TestEventsAddUpToTheAgenda(t *testing.T) {
	checks, longest, since := 0, 0, 0
	for seed := range histories() / 10 {
		w, k := newWorld(t, seed, nil), keeps{}
		w.stored = func(l *turn, told []events.Event, next *events.Agenda) {
			k.store(t, l, told, next)
			if k.agenda%7 > 0 && len(next.Prompts) > 0 {
				return
			}
			checks++
			if c := replaying.Fold("m", k.kept); len(c.Differences) > 0 {
				t.Fatalf("history %d, agenda %d: %v", seed, k.agenda, c.Differences)
			}
		}
		w.live()
		longest = max(longest, len(k.kept))
		if len(k.kept) == 0 {
			continue
		}
		// What went before may be gone: then an older head stands for it, or there
		// is too little to say.
		for cut := range k.kept {
			if c := replaying.Fold("m", k.kept[cut:]); len(c.Differences) > 0 {
				t.Fatalf("history %d without its first %d messages: %v", seed, cut, c.Differences)
			} else if c.AgendaSince > 0 {
				since++
			}
		}
		// One that says another thing than was told is found.
		last := &k.kept[len(k.kept)-1]
		head := *last.Event.Data.(*events.Agenda)
		head.Pushes = append(slices.Clone(head.Pushes), w.now)
		body, err := json.Marshal(head)
		if err != nil {
			t.Fatal(err)
		}
		last.Event.Data, last.Body = &head, body
		if c := replaying.Fold("m", k.kept); !slices.Equal(c.Differences, []string{"agenda.pushes"}) {
			t.Fatalf("history %d: a push that nobody told of: %+v", seed, c)
		}
	}
	t.Logf("%d agendas of histories of up to %d messages, %d from an older agenda on", checks, longest, since)
	if since == 0 {
		t.Error("no older agenda ever stood for what is gone")
	}
}
