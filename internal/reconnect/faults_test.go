package reconnect

import (
	"slices"
	"testing"
	"time"

	"github.com/smartconnect/connector/internal/events"
)

// A fault is a small mistake in a decider, or in how it writes what it decided.
// nil is none.
type fault struct {
	name   string
	caught string                      // the promise that is seen to be broken
	told   func(q *inputs)             // what it decides from
	wrong  func(q inputs, d *Decision) // what it makes of it
	writes writing
}

// writing is what is wrong with how decisions are stored.
type writing int

const (
	unguarded  writing = iota + 1 // over whatever agenda stands
	unasserted                    // though the member's head has moved
	untimed                       // without a timer
)

func (f *fault) is(w writing) bool { return f != nil && f.writes == w }

// inputs is all that a decision is made from.
type inputs struct {
	policy Policy
	member *events.Member
	agenda *events.Agenda
	held   Held
	now    time.Time
	notes  []Note
}

func (f *fault) decide(q inputs) Decision {
	if f != nil && f.told != nil {
		if q.agenda != nil {
			q.agenda = copied(q.agenda)
		}
		member := *q.member
		member.Connections = slices.Clone(member.Connections)
		q.member = &member
		f.told(&q)
	}
	d := q.policy.decide(q.member, q.agenda, q.held, q.now, q.notes...)
	if f != nil && f.wrong != nil && d.Next != nil {
		f.wrong(q, &d)
	}
	return d
}

// each changes every entry of what was asked.
func (q *inputs) each(change func(a *events.Asked)) {
	if q.agenda != nil {
		for i := range q.agenda.Asked {
			change(&q.agenda.Asked[i])
		}
	}
}

func without(d *Decision, drop func(e events.Event) bool) {
	d.Events = slices.DeleteFunc(d.Events, drop)
	if len(d.Events) == 0 && d.NextLook.IsZero() {
		d.Next = nil
	}
}

func faults() []fault {
	return []fault{
		{name: "writes over whatever agenda stands", writes: unguarded, caught: oneOpen},
		{name: "does not mind that the facts have moved", writes: unasserted, caught: noneDenied},
		{name: "sets no timers", writes: untimed, caught: noneLost},
		{
			name: "forgets what it asked", caught: oneOpen,
			told: func(q *inputs) { q.agenda = nil },
		},
		{
			name: "forgets its pushes", caught: pushesCap,
			told: func(q *inputs) {
				if q.agenda != nil {
					q.agenda.Pushes = nil
				}
			},
		},
		{
			name: "forgets that it pushed in this episode", caught: pushedOnce,
			told: func(q *inputs) { q.each(func(a *events.Asked) { a.PushedAt = time.Time{} }) },
		},
		{
			name: "does not ask for consent", caught: noneDenied,
			told: func(q *inputs) { q.member.Consent.Read, q.member.Consent.Provision = true, events.Permit },
		},
		{
			name: "waits for no confirmation", caught: noneHealed,
			told: func(q *inputs) {
				for i := range q.member.Connections {
					q.member.Connections[i].ConfirmedAt = q.now
				}
			},
		},
		{
			name: "asks about what broke before we looked", caught: noneBaseline,
			told: func(q *inputs) { q.held.Released = true },
		},
		{
			name: "is held by nothing", caught: noneHeld,
			told: func(q *inputs) { q.held = Held{} },
		},
		{
			name: "does not hear acknowledgements", caught: leftAlone,
			told: func(q *inputs) { q.each(func(a *events.Asked) { a.AcknowledgedAt = time.Time{} }) },
		},
		{
			name: "asks again after a prompt expired", caught: noneSpent,
			told: func(q *inputs) { q.each(func(a *events.Asked) { a.ExpiredAt = time.Time{} }) },
		},
		{
			name: "does not see that a connection is gone", caught: closedInTime,
			told: func(q *inputs) {
				for i := range q.member.Connections {
					q.member.Connections[i].RemovedAt = time.Time{}
				}
			},
		},
		{
			name: "has forgotten the end of access", caught: endedOnce,
			told: func(q *inputs) {
				if q.agenda != nil {
					q.agenda.Access = nil
				}
			},
		},
		{
			name: "gives b.well no time to restore", caught: noneInGrace,
			told: func(q *inputs) { q.policy.Grace = 0 },
		},
		{
			name: "reminds a moment too early", caught: remindersCap,
			told: func(q *inputs) {
				q.each(func(a *events.Asked) {
					if !a.RemindAt.IsZero() {
						a.RemindAt = a.RemindAt.Add(-time.Hour)
					}
				})
			},
		},
		{
			name: "reminds for ever", caught: remindersCap,
			told: func(q *inputs) { q.policy.Reminders = append(slices.Clone(q.policy.Reminders), day) },
		},
		{
			name: "tells a reminder twice", caught: remindersCap,
			wrong: func(_ inputs, d *Decision) {
				i := slices.IndexFunc(d.Events, func(e events.Event) bool { return e.Type == events.PromptReminded })
				if i >= 0 {
					d.Events = append(d.Events, d.Events[i])
				}
			},
		},
		{
			name: "closes without a word", caught: closedInTime,
			wrong: func(_ inputs, d *Decision) {
				without(d, func(e events.Event) bool { return e.Type == events.PromptResolved })
			},
		},
		{
			name: "loses what a storm holds", caught: noneLost,
			wrong: func(q inputs, d *Decision) {
				for i := range d.Next.Asked {
					if q.held.Storm {
						d.Next.Asked[i].ExpiredAt = q.now
					}
				}
			},
		},
		{
			name: "sends everybody to a login", caught: rightAction,
			wrong: func(_ inputs, d *Decision) {
				for _, e := range d.Events {
					if p, ok := e.Data.(*events.Prompt); ok {
						p.Action = events.ActOAuth
					}
				}
			},
		},
		{
			name: "keeps the end of access to itself", caught: endedTold,
			wrong: func(_ inputs, d *Decision) {
				without(d, func(e events.Event) bool { return e.Type == events.AccessEnded })
			},
		},
		{
			name: "keeps restorations to itself", caught: restoredTold,
			wrong: func(_ inputs, d *Decision) {
				without(d, func(e events.Event) bool { return e.Type == events.AccessRestored })
			},
		},
		{
			name: "tells a restoration twice", caught: restoredOnce,
			wrong: func(_ inputs, d *Decision) {
				i := slices.IndexFunc(d.Events, func(e events.Event) bool { return e.Type == events.AccessRestored })
				if i >= 0 {
					d.Events = append(d.Events, d.Events[i])
				}
			},
		},
		{
			name: "gives up a day early", caught: closedTruly,
			told: func(q *inputs) {
				q.each(func(a *events.Asked) {
					if !a.ExpiresAt.IsZero() {
						a.ExpiresAt = a.ExpiresAt.Add(-day)
					}
				})
			},
		},
		{
			name: "forgets that it activated", caught: activatedOnce,
			told: func(q *inputs) { q.each(func(a *events.Asked) { a.ActivatedAt = time.Time{} }) },
		},
	}
}

// A model that catches no mistake is worth nothing. Each of these breaks the
// promise that it should; the same histories break none without it.
func TestModelCatchesFaults(t *testing.T) {
	for _, f := range faults() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			for seed := uint64(1); seed <= 2000; seed++ {
				if w := live(t, seed, &f, false); w.broke != nil && w.broke.promise == f.caught {
					t.Logf("history %d: %s: %s", seed, w.broke.promise, w.broke.how)
					return
				}
			}
			t.Errorf("no history breaks %q", f.caught)
		})
	}
}
