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

	// Group is how long a prompt that may open waits for others of the same
	// member, so that one push can speak of all. Default 2 min: connections that
	// break together are confirmed within a few polls of the fast tier.
	Group time.Duration

	// SnoozeMost is how far away a member can have the next reminder put.
	// Default 14 d: longer than that is forgetting.
	SnoozeMost time.Duration

	// Quiet are the hours in which pushes should wait. It is only a hint,
	// notBefore, for the service that pushes: it may know the member's own time.
	// Default none.
	Quiet Quiet

	// DirectAuto lists the statuses in which a DIRECT_IAS connection is activated
	// without asking; the member is asked if that comes to nothing. Default none:
	// acting for a member who did not tap is a decision of the app's owner.
	DirectAuto []events.Status
}

// Quiet are hours of the day. The zero Quiet has none.
type Quiet struct {
	From, To time.Duration  // since midnight; To may be earlier than From
	Zone     *time.Location // of the hours; nil is UTC
}

// end returns when the quiet hours end that now falls into, zero if it does
// not.
func (q Quiet) end(now time.Time) time.Time {
	if q.From == q.To {
		return time.Time{}
	}
	zone := q.Zone
	if zone == nil {
		zone = time.UTC
	}
	local := now.In(zone)
	at := func(dayOffset int, d time.Duration) time.Time {
		return time.Date(local.Year(), local.Month(), local.Day()+dayOffset, 0, int(d/time.Minute), 0, 0, zone)
	}
	// The hours that began yesterday, and those that begin today.
	for _, offset := range []int{-1, 0} {
		from, to := at(offset, q.From), at(offset, q.To)
		if q.To < q.From {
			to = at(offset+1, q.To)
		}
		if !now.Before(from) && now.Before(to) {
			return to.UTC()
		}
	}
	return time.Time{}
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
		Group:            2 * time.Minute,
		SnoozeMost:       14 * day,
		Statuses: map[events.Status]StatusRule{
			events.Expired:      pushed,
			events.Failing:      pushed,
			events.AccessIsOver: pushed,
			events.Disconnected: listed,
			events.Deleted:      listed,
		},
	}
}

// Validate says what is wrong with p; decide takes a valid policy for granted.
// Each error begins with the key of a policy file.
func (p Policy) Validate() error {
	switch {
	case p.Grace < 0:
		return fmt.Errorf("grace: %s, want 0 or more", p.Grace)
	case p.Expiry <= 0:
		return fmt.Errorf("expiry: %s, want more than 0", p.Expiry)
	case p.MaxPushesPerWeek < 0:
		return fmt.Errorf("maxPushesPerWeek: %d, want 0 or more", p.MaxPushesPerWeek)
	case p.HoldOpen < 0:
		return fmt.Errorf("resolveHoldOpen: %s, want 0 or more", p.HoldOpen)
	case p.Group < 0:
		return fmt.Errorf("group: %s, want 0 or more", p.Group)
	case p.Group >= p.Expiry:
		return fmt.Errorf("group: %s, want less than the expiry, %s", p.Group, p.Expiry)
	case p.SnoozeMost < 0:
		return fmt.Errorf("snoozeMost: %s, want 0 or more", p.SnoozeMost)
	case p.Quiet.From < 0, p.Quiet.To < 0, p.Quiet.From >= 24*time.Hour, p.Quiet.To >= 24*time.Hour:
		return fmt.Errorf("quiet: from %s to %s, want times of a day", p.Quiet.From, p.Quiet.To)
	}
	for i, s := range p.DirectAuto {
		if !s.Broken() || s == events.AccessIsOver || s == events.Deleted {
			return fmt.Errorf("directAuto[%d]: %.40q is no status to activate in without asking; EXPIRED, DISCONNECTED and ERROR are", i, s)
		}
	}
	for i, wait := range p.Reminders {
		if wait <= 0 {
			return fmt.Errorf("reminders[%d]: %s, want more than 0", i, wait)
		}
	}
	for _, s := range []events.Status{events.Expired, events.Disconnected, events.Deleted, events.AccessIsOver, events.Failing} {
		switch u := p.Statuses[s].Urgency; u {
		case events.Required, events.Optional:
		default:
			return fmt.Errorf("statuses.%s.urgency: %.40q, want %s or %s", s, u, events.Required, events.Optional)
		}
	}
	for _, category := range slices.Sorted(maps.Keys(p.UnknownTypes)) {
		switch a := p.UnknownTypes[category]; a {
		case events.ActOAuth, events.ActDirect, events.ActReenter, events.ActVerifyIdentity, events.ActReconnectInApp:
		default:
			return fmt.Errorf("unknownTypes.%s: %.40q is nothing a member can do; want %s, %s, %s, %s or %s", category, a,
				events.ActOAuth, events.ActDirect, events.ActReenter, events.ActVerifyIdentity, events.ActReconnectInApp)
		}
	}
	return nil
}
