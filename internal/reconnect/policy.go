package reconnect

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/smartconnect/connector/internal/events"
)

// week is the span that [Policy.MaxPushesPerWeek] counts in.
const week = 7 * 24 * time.Hour

// A Policy says when and how insistently a member may be asked. It is data:
// two policies can be compared, printed, and tried on the same history.
type Policy struct {
	// Grace is how long b.well may take to restore connections by itself after
	// consent was given again. Default 24 h: b.well restores within hours, and
	// a member who just said yes should not be asked for the same thing twice.
	Grace time.Duration

	// PromptRestoreOverdue asks the member when grace is over and the
	// connection is still without access. Default false: it is b.well's doing,
	// so operators hear of it first.
	PromptRestoreOverdue bool

	// Reminders are the waits before each reminder, the first since the
	// opening, the others since the reminder before. Default 1 d, 3 d, 7 d:
	// rarer each time, then silence. Prompts that are never pushed are never
	// reminded of.
	Reminders []time.Duration

	// Expiry is how long a prompt stays open. Default 30 d: who has not
	// answered by then is answering. The next break asks again.
	Expiry time.Duration

	// MaxPushesPerWeek is how often one member may be pushed in any seven
	// days, over all connections, reminders too. Default 3. It limits pushes
	// only: what is over it is opened all the same and listed in the app.
	// 0 pushes nobody.
	MaxPushesPerWeek int

	// Statuses says for each broken status how much its prompt matters and
	// whether the member is pushed. Default: EXPIRED, ERROR and ACCESS_ENDED
	// are required and pushed; DISCONNECTED and DELETED are optional and are
	// not, since the member did that.
	Statuses map[events.Status]StatusRule

	// UnknownTypes says what to ask, by category ("" for none), where b.well
	// names no integration type we know. Default empty: we do not send a
	// member down a road we only guess at.
	UnknownTypes map[string]events.Action

	// HoldOpen is how long CONNECTED must hold before a prompt is resolved.
	// Default 0, at once: a member who comes back from a login should see it
	// done. What flaps is damped by the episode instead, which pushes once.
	HoldOpen time.Duration
}

// A StatusRule is how to ask about connections of one status.
type StatusRule struct {
	Urgency events.Urgency
	Notify  bool // push to the member
}

// DefaultPolicy returns the policy that the comments of [Policy] describe.
func DefaultPolicy() Policy {
	const day = 24 * time.Hour
	pushed, listed := StatusRule{events.Required, true}, StatusRule{events.Optional, false}
	return Policy{
		Grace:            day,
		Reminders:        []time.Duration{day, 3 * day, 7 * day},
		Expiry:           30 * day,
		MaxPushesPerWeek: 3,
		Statuses: map[events.Status]StatusRule{
			events.Expired:      pushed,
			events.Failing:      pushed,
			events.AccessIsOver: pushed,
			events.Disconnected: listed,
			events.Deleted:      listed,
		},
	}
}

// validate says what is wrong with p. decide takes a valid policy for granted.
func (p Policy) validate() error {
	switch {
	case p.Grace < 0:
		return fmt.Errorf("reconnect: grace %s, want 0 or more", p.Grace)
	case p.Expiry <= 0:
		return fmt.Errorf("reconnect: expiry %s, want more than 0", p.Expiry)
	case p.MaxPushesPerWeek < 0:
		return fmt.Errorf("reconnect: %d pushes per week, want 0 or more", p.MaxPushesPerWeek)
	case p.HoldOpen < 0:
		return fmt.Errorf("reconnect: hold-open %s, want 0 or more", p.HoldOpen)
	}
	for i, wait := range p.Reminders {
		if wait <= 0 {
			return fmt.Errorf("reconnect: reminder %d after %s, want more than 0", i+1, wait)
		}
	}
	for _, s := range []events.Status{events.Expired, events.Disconnected, events.Deleted, events.AccessIsOver, events.Failing} {
		switch u := p.Statuses[s].Urgency; u {
		case events.Required, events.Optional:
		default:
			return fmt.Errorf("reconnect: urgency %q of %s, want %s or %s", u, s, events.Required, events.Optional)
		}
	}
	for _, category := range slices.Sorted(maps.Keys(p.UnknownTypes)) {
		switch a := p.UnknownTypes[category]; a {
		case events.ActOAuth, events.ActDirect, events.ActReenter, events.ActVerifyIdentity, events.ActReconnectInApp:
		default:
			return fmt.Errorf("reconnect: action %q for category %q is nothing a member can do", a, category)
		}
	}
	return nil
}
