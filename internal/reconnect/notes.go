package reconnect

import (
	"cmp"
	"slices"
	"time"

	"github.com/smartconnect/connector/internal/events"
)

// A Note is what somebody wants remembered in the agenda. It is taken before
// the table is read, in the same decision.
type Note struct {
	Kind       NoteKind
	Connection events.ConnectionToken
	PromptID   string        // the note is void unless this prompt is open; empty for Release
	For        time.Duration // of Snooze
	Action     events.Action // of Instead
}

// A NoteKind says what a note means.
type NoteKind int

// The kinds of notes.
const (
	Acknowledge NoteKind = iota // the member knows: no more reminders
	Snooze                      // the member knows, and wants to be reminded then
	Instead                     // what the prompt asked for was tried: another action is needed
	Release                     // ask although the connection broke before we first looked
)

// noted is what became of a note.
type noted int

const (
	void  noted = iota // it speaks of what is not, or no longer
	known              // it says what was so already
	taken
)

// note takes a note. Saying twice what the member did once is no mistake: taps
// come twice, and so do requests.
func (pl *plan) note(n Note) noted {
	c, listed := pl.member.Connection(n.Connection)
	asked, prompt, isOpen := pl.asked(n.Connection)
	if n.Kind == Release {
		asked = pl.remembers(c)
		if !listed || !c.FirstSight || asked.Released || isOpen {
			return void // whoever releases many counts what was news
		}
		asked.Released = true
		pl.put(asked)
		pl.why = append(pl.why, Verdict{n.Connection, 8, reasonReleased, events.ActNone, Noted})
		return taken
	}
	if !isOpen || prompt.PromptID != n.PromptID {
		return void
	}
	reason := reasonAcknowledged
	switch n.Kind {
	case Instead:
		if asked.Instead == n.Action {
			return known
		}
		asked.Instead = n.Action
		pl.put(asked)
		pl.why = append(pl.why, Verdict{n.Connection, 10, reasonInstead, n.Action, Noted})
		return taken
	case Snooze:
		until := pl.now.Add(n.For)
		for _, most := range []time.Time{pl.now.Add(pl.policy.SnoozeMost), asked.ExpiresAt} {
			if until.After(most) {
				until = most
			}
		}
		switch {
		case !until.After(pl.now):
			return void
		case asked.SnoozedUntil.Equal(until):
			return known
		}
		// Also where no reminder was left: this one the member asked for.
		asked.AcknowledgedAt, asked.SnoozedUntil, asked.RemindAt = time.Time{}, until, until
		reason = reasonSnoozed
	default:
		if !asked.AcknowledgedAt.IsZero() {
			return known
		}
		asked.AcknowledgedAt, asked.SnoozedUntil = pl.now, time.Time{}
	}
	asked.OpeningID = openingID(pl.old, asked)
	prompt.SnoozedUntil, prompt.Notify, prompt.NotPushed, prompt.NotBefore = asked.SnoozedUntil, false, "", time.Time{}
	pl.put(asked)
	pl.replace(prompt)
	pl.tell(events.PromptAcknowledged, asked, prompt, asked.OpeningID)
	pl.why = append(pl.why, Verdict{n.Connection, 0, reason, prompt.Action, Noted})
	return taken
}

// activation is how long an activation without asking may take to show.
const activation = 2 * time.Minute

// activates reports whether the connection is one to be activated without
// asking, and until when that may take; the member is asked after.
func (pl *plan) activates(c events.MemberConnection) (until time.Time, ok bool) {
	if c.State.IntegrationType != events.DirectIAS || !slices.Contains(pl.policy.DirectAuto, c.State.Status) {
		return time.Time{}, false
	}
	asked := pl.remembers(c)
	if _, isOpen := pl.next.Open(promptID(asked)); isOpen || asked.Instead != "" || !asked.ExpiredAt.IsZero() {
		return time.Time{}, false
	}
	return cmp.Or(asked.ActivatedAt, pl.now).Add(activation), true
}
