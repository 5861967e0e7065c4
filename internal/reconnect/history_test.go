package reconnect

import (
	"cmp"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/smartconnect/connector/internal/events"
)

// A history is a member whose head changes as a poller would change it.
type history struct {
	member  *events.Member
	confirm time.Duration
	flap    time.Duration
}

func newHistory() *history {
	return &history{
		member:  &events.Member{Book: events.NewBook("i"), MemberID: "m"},
		confirm: 10 * time.Minute, flap: 15 * time.Minute,
	}
}

func (h *history) find(c events.ConnectionToken) *events.MemberConnection {
	for i := range h.member.Connections {
		if h.member.Connections[i].Token == c {
			return &h.member.Connections[i]
		}
	}
	h.member.Connections = append(h.member.Connections, events.MemberConnection{Token: c, ConnectionID: "id-" + string(c)})
	return &h.member.Connections[len(h.member.Connections)-1]
}

func (h *history) fact(key string) {
	h.member.Sequences[key]++
	h.member.Latest[key] = fmt.Sprintf("%s#%d", key, h.member.Sequences[key])
}

// status changes the status of a connection, which counts breaks.
func (h *history) status(c events.ConnectionToken, s events.Status, now time.Time) {
	known := h.find(c)
	first := known.FirstSeen.IsZero()
	if first {
		known.FirstSeen = now
	}
	h.fact("connection." + string(c))
	relist(known, s, h.flap, first, now)
}

// relist changes a connection's status as a poller does: a break after it worked
// for longer than flap is a new episode, and what was broken at first sight is so
// until it works. A status that says nothing ends nothing.
func relist(c *events.MemberConnection, s events.Status, flap time.Duration, first bool, now time.Time) {
	if c.Removed() {
		c.RemovedAt, c.EpisodeSince, c.FirstSight = time.Time{}, time.Time{}, false
		c.BrokenSince, c.ConnectedSince, c.WasConnectedSince, c.ConfirmedAt = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	} else if c.State.Status == s && !first {
		return
	}
	c.State.Status, c.State.StatusUpdated, c.ConfirmedAt = s, now, time.Time{}
	worked := cmp.Or(c.ConnectedSince, c.WasConnectedSince)
	switch {
	case s == events.Connected:
		c.ConnectedSince, c.WasConnectedSince, c.BrokenSince, c.FirstSight = cmp.Or(worked, now), time.Time{}, time.Time{}, false
	case !s.Broken():
		c.ConnectedSince, c.WasConnectedSince, c.BrokenSince = time.Time{}, worked, time.Time{}
	default:
		switch {
		case c.EpisodeSince.IsZero(), !worked.IsZero() && now.Sub(worked) > flap:
			c.Episode, c.EpisodeSince, c.FlapCount, c.FirstSight = c.Episode+1, now, 0, first
		case !worked.IsZero():
			c.FlapCount++
		}
		c.ConnectedSince, c.WasConnectedSince, c.BrokenSince = time.Time{}, time.Time{}, now
	}
}

// confirmed confirms what has been broken for long enough.
func (h *history) confirmed(now time.Time) {
	for i := range h.member.Connections {
		c := &h.member.Connections[i]
		if c.State.Status.Broken() && c.ConfirmedAt.IsZero() && now.Sub(c.BrokenSince) >= h.confirm {
			c.ConfirmedAt = now
			h.fact("connection." + string(c.Token))
		}
	}
}

func (h *history) consent(p events.Provision, now time.Time) {
	h.fact("consent")
	h.member.Consent = events.MemberConsent{
		Read: true, ConsentID: fmt.Sprintf("k%d", h.member.Sequences["consent"]), Provision: p, DateTime: now,
		Permitted: h.member.Consent.Permitted || p == events.Permit,
	}
}

// Whatever happens to a member, in whatever order, with whatever kept back,
// looked at whenever.
func TestHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		policy := atOnce()
		policy.PromptRestoreOverdue = rapid.Bool().Draw(t, "prompt when overdue")
		policy.MaxPushesPerWeek = rapid.IntRange(0, 4).Draw(t, "pushes per week")
		policy.HoldOpen = rapid.SampledFrom([]time.Duration{0, time.Minute}).Draw(t, "hold-open")
		tokens := []events.ConnectionToken{"c1", "c2", "c3"}
		statuses := []events.Status{
			events.Connected, events.Connected, events.Connected, events.Expired, events.Expired, events.Disconnected,
			events.Deleted, events.AccessIsOver, events.Failing, "", events.Unknown,
		}
		types := []events.IntegrationType{events.PROA, events.DirectIAS, events.IndirectIAS, "", events.Unknown}

		h, w, now := newHistory(), newWitness(policy), t0
		for _, c := range tokens {
			h.find(c).State.IntegrationType = rapid.SampledFrom(types).Draw(t, "type")
			h.status(c, rapid.SampledFrom(statuses).Draw(t, "first status"), now)
		}
		var agenda *events.Agenda
		var held Held
		see := func() {
			told, next, _ := look(asTB(t), policy, h.member, agenda, held, now)
			agenda = next
			w.see(t, h.member, agenda, told, now)
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.SampledFrom([]int{0, 1, 9, 10, 11, 60, 600, 1440, 4320, 10080, 50000}).Draw(t, "minutes")) * time.Minute)
			c := rapid.SampledFrom(tokens).Draw(t, "connection")
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0, 1, 2, 3:
				h.status(c, rapid.SampledFrom(statuses).Draw(t, "status"), now)
			case 4:
				h.consent(rapid.SampledFrom([]events.Provision{events.Permit, events.Deny, events.None}).Draw(t, "consent"), now)
			case 5:
				h.find(c).State.IntegrationType = rapid.SampledFrom(types).Draw(t, "type")
			case 6:
				h.find(c).RemovedAt = now
			case 7:
				held = Held{
					Blind: rapid.Bool().Draw(t, "blind"), Storm: rapid.Bool().Draw(t, "storm"),
					Silenced: rapid.Bool().Draw(t, "silenced"), Released: rapid.Bool().Draw(t, "released"),
				}
			case 8:
				h.find(c).State.SyncStatus = rapid.SampledFrom([]string{"", "DELETING"}).Draw(t, "sync")
			case 9:
				h.confirmed(now)
			}
			if rapid.IntRange(0, 3).Draw(t, "looked") > 0 {
				see()
			}
		}
		// In the end all is well, and nothing is open.
		held = Held{}
		for _, c := range tokens {
			h.status(c, events.Connected, now)
		}
		now = now.Add(policy.HoldOpen)
		see()
		w.allClosed(t, agenda)
	})
}

// A witness reads only what was told, and holds it to the promises.
type witness struct {
	policy Policy
	open   map[string]string // connection to its open prompt
	closed map[string]bool
	pushes []time.Time
	ended  int // ends of access not yet answered by a restoration
	pushed map[string]int

	snoozed map[string]int // reminders that the member asked for, by prompt
}

func newWitness(p Policy) *witness {
	return &witness{policy: p, open: map[string]string{}, closed: map[string]bool{}, pushed: map[string]int{}, snoozed: map[string]int{}}
}

func (w *witness) see(t *rapid.T, m *events.Member, a *events.Agenda, told []events.Event, now time.Time) {
	pushed := false // in this moment: one message tells of all
	for _, e := range told {
		if access, ok := e.Data.(*events.Access); ok {
			w.seeAccess(t, e.Type, access)
			continue
		}
		p := e.Data.(*events.Prompt)
		if p.Notify && !pushed {
			w.push(t, now)
			pushed = true
		}
		switch e.Type {
		case events.PromptOpened:
			if other, ok := w.open[e.Part]; ok || w.closed[p.PromptID] {
				t.Fatalf("%s opened while %q is open (closed before: %t)", p.PromptID, other, w.closed[p.PromptID])
			}
			if p.IntegrationType.IAS() && m.Effective() == events.Deny {
				t.Fatalf("%s asks about %s while consent is denied", p.PromptID, p.IntegrationType)
			}
			if p.Notify {
				if w.pushed[e.CorrelationID]++; w.pushed[e.CorrelationID] > 1 {
					t.Fatalf("a second opening is pushed in episode %s", e.CorrelationID)
				}
			}
			w.open[e.Part] = p.PromptID
		case events.PromptReminded:
			if w.open[e.Part] != p.PromptID || p.Reminder < 1 || p.Reminder > len(w.policy.Reminders)+w.snoozed[p.PromptID] {
				t.Fatalf("reminder %d of %s", p.Reminder, p.PromptID)
			}
		case events.PromptAcknowledged:
			if w.open[e.Part] != p.PromptID {
				t.Fatalf("%s is acknowledged, open is %q", p.PromptID, w.open[e.Part])
			}
			w.snoozed[p.PromptID]++
		default:
			if w.open[e.Part] != p.PromptID || w.closed[p.PromptID] {
				t.Fatalf("%s %s, open is %q", e.Type, p.PromptID, w.open[e.Part])
			}
			if e.Type == events.PromptResolved && (p.Downtime == nil || *p.Downtime < 0) {
				t.Fatalf("%s resolved without downtime", p.PromptID)
			}
			if e.CausationID == "" {
				t.Fatalf("%s %s names no opening", e.Type, p.PromptID)
			}
			delete(w.open, e.Part)
			w.closed[p.PromptID] = true
		}
	}
	if a == nil {
		return
	}
	if len(a.Prompts) != len(w.open) {
		t.Fatalf("the agenda has %d open prompts, the stream %d", len(a.Prompts), len(w.open))
	}
	for c, id := range w.open {
		if _, ok := a.Open(id); !ok {
			t.Fatalf("%s is open and not in the agenda", id)
		}
		known, _ := m.Connection(events.ConnectionToken(c))
		if known.State.IntegrationType.IAS() && m.Effective() == events.Deny {
			t.Fatalf("%s is open while consent is denied", id)
		}
	}
}

func (w *witness) push(t *rapid.T, now time.Time) {
	w.pushes = append(w.pushes, now)
	n := 0
	for _, at := range w.pushes {
		n += btoi(now.Sub(at) < week)
	}
	if n > w.policy.MaxPushesPerWeek {
		t.Fatalf("%d pushes in seven days, at most %d", n, w.policy.MaxPushesPerWeek)
	}
}

func (w *witness) seeAccess(t *rapid.T, kind events.Type, access *events.Access) {
	if len(access.Connections) == 0 && kind == events.AccessEnded {
		t.Fatal("access ended for nothing")
	}
	switch kind {
	case events.AccessEnded:
		w.ended = 1 // a denial after an unanswered re-permit starts anew
	case events.AccessRestored:
		if w.ended--; w.ended < 0 {
			t.Fatal("access restored that had not ended")
		}
	default:
	}
}

func (w *witness) allClosed(t *rapid.T, a *events.Agenda) {
	if len(w.open) > 0 || a != nil && len(a.Prompts) > 0 {
		t.Fatalf("all is connected and still open: %v", w.open)
	}
}

// asTB lends a rapid.T to helpers that fail a test.
func asTB(t *rapid.T) testing.TB { return tb{TB: nil, t: t} }

type tb struct {
	testing.TB
	t *rapid.T
}

func (b tb) Helper()                        { b.t.Helper() }
func (b tb) Fatal(a ...any)                 { b.t.Fatal(a...) }
func (b tb) Fatalf(format string, a ...any) { b.t.Fatalf(format, a...) }
