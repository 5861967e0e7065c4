package reconnect

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/smartconnect/connector/internal/events"
)

// A Timer is something that falls due by itself. A confirmation that is over
// waits for a poll.
type Timer struct {
	Timer string    `json:"timer"`
	At    time.Time `json:"at"`
	Means string    `json:"means"`
}

// The timers.
const (
	timerConfirm  = "confirmation"
	timerGroup    = "grouping"
	timerActivate = "activation"
	timerGrace    = "grace"
	timerHoldOpen = "hold_open"
	timerEpisode  = "episode"
	timerReminder = "reminder"
	timerSnooze   = "snooze"
	timerExpiry   = "expiry"
)

// A Change is something that would change a verdict, and what the verdict
// would be then. It was tried: what changes nothing is not told.
type Change struct {
	Kind    string        `json:"kind"`
	What    string        `json:"what"`
	At      time.Time     `json:"at,omitzero"`      // when it comes by itself; of poll, not before
	Status  events.Status `json:"status,omitempty"` // what b.well would have to say
	Command string        `json:"command,omitempty"`
	Then    Verdict       `json:"then"`
}

// The kinds of changes, by what has to happen.
const (
	changeTime      = "time"      // nothing
	changePoll      = "poll"      // a poll finds it
	changeStatus    = "status"    // b.well says another status
	changeSync      = "sync"      // another sync status
	changeType      = "type"      // another integration type
	changeEpisode   = "episode"   // it works for a while, and breaks again
	changeConsent   = "consent"   // the member gives consent, or ends it
	changeSight     = "sight"     // we see again what we do not see now
	changeJudgement = "judgement" // what is judged over all members changes
	changeCommand   = "command"   // an operator gives a command
	changePolicy    = "policy"    // the policy file says otherwise
)

// timers lists what is pending for a connection, the earliest first.
func (x *explainer) timers(c events.MemberConnection) []Timer {
	list := []Timer{}
	if x.Held.Forgotten || c.Removed() {
		return list
	}
	add := func(timer string, at time.Time, format string, a ...any) {
		list = append(list, Timer{timer, at, fmt.Sprintf(format, a...)})
	}
	status := c.State.Status
	asked, _, isOpen := x.plan.asked(c.Token)
	if status.Broken() && c.ConfirmedAt.IsZero() {
		add(timerConfirm, x.confirmation(c), "from then on a poll that still shows %s confirms the break", status)
	}
	switch verdictOn(x.settled, c.Token).Reason {
	case reasonGrouping:
		add(timerGroup, x.groupEnds(), "the prompt opens, together with others that are ready")
	case reasonActivating:
		add(timerActivate, asked.ActivatedAt.Add(activation), "the member is asked, if it was not activated")
	}
	if ends := x.plan.graceEnds(c); status == events.AccessIsOver && x.Member.Effective() == events.Permit && x.Now.Before(ends) {
		add(timerGrace, ends, "the grace ends, in which b.well restores access by itself")
	}
	if until := c.ConnectedSince.Add(x.policy.HoldOpen); status == events.Connected && isOpen && x.Now.Before(until) {
		add(timerHoldOpen, until, "CONNECTED has held for long enough, and the prompt is resolved")
	}
	if until := c.ConnectedSince.Add(x.Flap); status == events.Connected && c.Episode > 0 && x.Now.Before(until) {
		add(timerEpisode, until, "until then a break continues episode %d", c.Episode)
	}
	if isOpen && x.plan.mayRemind(asked, c) {
		if asked.SnoozedUntil.IsZero() {
			add(timerReminder, asked.RemindAt, "reminder %d of %d is due", asked.Reminders+1, len(x.policy.Reminders))
		} else {
			add(timerSnooze, asked.RemindAt, "the snooze ends, and reminder %d is due", asked.Reminders+1)
		}
	}
	if isOpen && status != events.Connected {
		add(timerExpiry, asked.ExpiresAt, "the prompt expires, and asking ends for this episode")
	}
	slices.SortStableFunc(list, func(a, b Timer) int { return a.At.Compare(b.At) })
	return list
}

// confirmation is when a break has stood for its window.
func (x *explainer) confirmation(c events.MemberConnection) time.Time {
	return c.BrokenSince.Add(x.Confirm[c.State.Status])
}

// groupEnds is when the first of what is ready has waited for long enough.
func (x *explainer) groupEnds() time.Time {
	first := x.Now
	for _, v := range x.settled {
		if asked, _, _ := x.plan.asked(v.Connection); v.Reason == reasonGrouping && asked.ReadyAt.Before(first) {
			first = asked.ReadyAt
		}
	}
	return first.Add(x.policy.Group)
}

// A trial is a standing in which one thing may be changed.
type trial struct {
	policy Policy
	member *events.Member
	c      *events.MemberConnection // of member; nil if it is about all of it
	agenda *events.Agenda
	held   Held
	now    time.Time
	notes  []Note
}

// trial returns one in which nothing is changed. Its member and what it holds
// may be written to, but for what is deeper than a connection.
func (x *explainer) trial(c events.ConnectionToken) *trial {
	member := *x.Member
	member.Sequences = maps.Clone(member.Sequences)
	member.Connections = slices.Clone(member.Connections)
	t := &trial{policy: x.policy, member: &member, agenda: x.next, held: x.Held, now: x.Now}
	t.held.Degraded, t.held.Muted = maps.Clone(t.held.Degraded), maps.Clone(t.held.Muted)
	if i := slices.IndexFunc(member.Connections, func(k events.MemberConnection) bool { return k.Token == c }); i >= 0 {
		t.c = &member.Connections[i]
	}
	return t
}

func (t *trial) decide() Decision {
	return t.policy.decide(t.member, t.agenda, t.held, t.now, t.notes...)
}

// becomes gives the connection another status, as a poll does. A break that
// does not go on with an episode begins one.
func (t *trial) becomes(s events.Status, flap time.Duration) {
	c := t.c
	worked := cmp.Or(c.ConnectedSince, c.WasConnectedSince)
	if s.Broken() && c.BrokenSince.IsZero() && c.BreaksAnew(t.now, flap) {
		c.Episode, c.EpisodeSince, c.FlapCount = c.Episode+1, t.now, 0
	}
	c.State.Status, c.State.StatusRaw, c.RemovedAt = s, "", time.Time{}
	c.ConnectedSince, c.WasConnectedSince, c.BrokenSince, c.ConfirmedAt = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	switch {
	case s == events.Connected:
		c.ConnectedSince, c.FirstSight = cmp.Or(worked, t.now), false
	case s.Broken():
		c.BrokenSince = t.now
	}
}

// changes lists what would change the verdict on a connection: what it waits
// for, what the member and b.well may do, what comes by itself.
func (x *explainer) changes(c events.MemberConnection) []Change {
	list := []Change{}
	try := func(change Change, alter func(*trial)) {
		t, same := x.trial(c.Token), x.trial(c.Token)
		alter(t)
		same.now = t.now // what comes by then anyway is not because of it
		was, why := verdictOn(same.decide().Why, c.Token), t.decide().Why
		for _, v := range []Verdict{verdictOn(why, c.Token), verdictOnNote(why, c.Token)} {
			if v.Outcome != "" && v != was {
				change.Then = v
				list = append(list, change)
				return
			}
		}
	}
	becomes := func(s events.Status) func(*trial) { return func(t *trial) { t.becomes(s, x.Flap) } }
	aBreak := Change{Kind: changeStatus, What: "b.well says EXPIRED, or another break", Status: events.Expired}

	v, s := verdictOn(x.settled, c.Token), c.State
	x.unhold(c, v.Reason, try)
	switch v.Reason {
	case reasonForgotten:
		try(Change{Kind: changeCommand, What: "the member is enrolled anew", Command: "connector members enrol"}, func(t *trial) { t.held.Forgotten = false })
	case reasonRemoved:
		try(Change{Kind: changePoll, What: "b.well lists it again"}, becomes(s.Status))
	case reasonConnected:
		try(aBreak, becomes(events.Expired))
	case reasonOverdue:
		try(Change{Kind: changePolicy, What: "the policy asks the member nevertheless (promptRestoreOverdue)"}, func(t *trial) { t.policy.PromptRestoreOverdue = true })
	case reasonDeleting:
		try(Change{Kind: changeSync, What: "b.well says another sync status than DELETING"}, func(t *trial) { t.c.State.SyncStatus = "" })
	case reasonUnconfirmed:
		x.confirm(c, try)
	case reasonFirstSight:
		try(Change{Kind: changeCommand, What: "an operator has members asked about what broke before we first looked", Command: "connector prompts open --baseline"},
			func(t *trial) { t.notes = []Note{{Kind: Release, Connection: c.Token}} })
	case reasonUnknownType:
		if v.Action == events.ActUnknown {
			try(Change{Kind: changeType, What: "b.well names an integration type that we know, such as PROA"}, func(t *trial) { t.c.State.IntegrationType = events.PROA })
			try(Change{Kind: changePolicy, What: "the policy names an action for the category (unknownTypes)"}, func(t *trial) {
				t.policy.UnknownTypes = map[string]events.Action{s.Category: events.ActOAuth}
			})
		}
	case reasonUnknownStatus:
		try(aBreak, becomes(events.Expired))
	}
	if v.Outcome == Spent {
		what := fmt.Sprintf("a new episode: CONNECTED for longer than %s (flapHoldOpen), then a confirmed break", x.Flap)
		try(Change{Kind: changeEpisode, What: what}, func(t *trial) {
			t.becomes(events.Connected, x.Flap)
			t.c.ConnectedSince = t.now.Add(-x.Flap - 1)
			t.becomes(s.Status, x.Flap)
			t.c.ConfirmedAt = t.now
		})
	}

	asked, prompt, isOpen := x.plan.asked(c.Token)
	if s.Status != events.Connected && !c.Removed() {
		what := "b.well says CONNECTED"
		if isOpen && x.policy.HoldOpen > 0 {
			what += fmt.Sprintf(" for %s (resolveHoldOpen)", x.policy.HoldOpen)
		}
		try(Change{Kind: changeStatus, What: what, Status: events.Connected}, func(t *trial) {
			t.becomes(events.Connected, x.Flap)
			t.now = t.now.Add(x.policy.HoldOpen)
		})
	}
	x.askConsent(try)
	if isOpen {
		try(Change{Kind: changePoll, What: "b.well lists it no more"}, func(t *trial) { t.c.RemovedAt = t.now })
	}
	if isOpen && x.plan.mayRemind(asked, c) {
		try(Change{Kind: changeCommand, What: "it is acknowledged: no more reminders", Command: "connector prompts ack " + prompt.PromptID},
			func(t *trial) { t.notes = []Note{{Kind: Acknowledge, Connection: c.Token, PromptID: prompt.PromptID}} })
	}
	return append(list, x.inTime(c)...)
}

// verdictOnNote returns what became of a note, nothing if there was none.
func verdictOnNote(all []Verdict, c events.ConnectionToken) Verdict {
	i := slices.IndexFunc(all, func(v Verdict) bool { return v.Connection == c && v.Outcome == Noted })
	if i < 0 {
		return Verdict{}
	}
	return all[i]
}

// confirm tries a poll after the window.
func (x *explainer) confirm(c events.MemberConnection, try func(Change, func(*trial))) {
	change := Change{Kind: changePoll, Status: c.State.Status}
	at := x.confirmation(c)
	if at.After(x.Now) {
		change.What = fmt.Sprintf("the first poll after %s that still shows %s confirms the break", x.clock(at), c.State.Status)
		change.At = at
	} else {
		change.What = fmt.Sprintf("the next poll that still shows %s confirms the break", c.State.Status)
		at = x.Now
	}
	try(change, func(t *trial) {
		t.now = at.Add(time.Millisecond)
		t.c.ConfirmedAt = t.now
	})
}

// askConsent tries the member's other answer.
func (x *explainer) askConsent(try func(Change, func(*trial))) {
	switch x.Member.Effective() {
	case events.Permit:
		try(Change{Kind: changeConsent, What: "the member ends consent (deny)"}, func(t *trial) { t.consents(events.Deny) })
	case events.Deny, events.None:
		try(Change{Kind: changeConsent, What: "the member gives consent (permit)"}, func(t *trial) { t.consents(events.Permit) })
	}
}

func (t *trial) consents(p events.Provision) {
	t.member.Consent = events.MemberConsent{Read: true, ConsentID: "another", Provision: p, DateTime: t.now}.After(t.member.Consent)
	t.member.Sequences["consent"]++
}

// unhold tries what ends a hold of c, or of the member as a whole where c is
// none.
func (x *explainer) unhold(c events.MemberConnection, reason string, try func(Change, func(*trial))) {
	switch reason {
	case reasonBlind:
		var what []string
		if x.Held.Blind {
			what = append(what, "polls succeed again (observer.resumed, judged by itself)")
		}
		switch o := x.Member.Observation; {
		case !o.Blind():
		case o.Reason == "reauthenticate", o.Reason == "identity_mismatch":
			what = append(what, "the member signs in to the app, which enrols them again")
		default:
			what = append(what, "a poll of the member comes back whole")
		}
		unread := x.unread(c)
		if unread {
			what = append(what, "the consent is read, and is permit")
		}
		try(Change{Kind: changeSight, What: strings.Join(what, ", and ")}, func(t *trial) {
			t.held.Blind, t.member.Observation.LostSince = false, time.Time{}
			if unread {
				t.consents(events.Permit)
			}
		})
	case reasonDegraded:
		try(Change{Kind: changeJudgement, What: "its source works again for most members (source.restored, judged by itself)"},
			func(t *trial) { delete(t.held.Degraded, c.Token) })
	case reasonStorm:
		try(Change{Kind: changeCommand, What: "an operator releases the storm", Command: "connector storm release"}, func(t *trial) { t.held.Storm = false })
	case reasonSilenced:
		x.unsilence(c.Token, try)
	}
}

// unsilence tries the end of all silences that cover c.
func (x *explainer) unsilence(c events.ConnectionToken, try func(Change, func(*trial))) {
	var ids, commands []string
	var last time.Time
	for _, s := range x.silences(c) {
		ids, commands = append(ids, s.ID), append(commands, "connector silence expire "+s.ID)
		if s.Until.After(last) {
			last = s.Until
		}
	}
	what, ends := "silence "+strings.Join(ids, " and "), "ends"
	if len(ids) > 1 {
		what, ends = "silences "+strings.Join(ids, " and "), "end, the last"
	}
	// They may cover other connections of the member too.
	end := func(t *trial) {
		t.held.Silenced = x.silenced("", ids, t.now)
		for token := range x.Held.Muted {
			t.held.Muted[token] = x.silenced(token, ids, t.now)
		}
	}
	if last.After(x.Now) {
		try(Change{Kind: changeTime, What: fmt.Sprintf("%s %s at %s", what, ends, x.clock(last)), At: last}, func(t *trial) {
			t.now = last
			end(t)
		})
	}
	try(Change{Kind: changeCommand, What: "an operator ends " + strings.TrimSpace(what), Command: strings.Join(commands, " && ")}, end)
}

// silenced reports whether c is, at a time, by others than ended.
func (x *explainer) silenced(c events.ConnectionToken, ended []string, at time.Time) bool {
	return slices.ContainsFunc(x.silences(c), func(s Silence) bool { return s.Until.After(at) && !slices.Contains(ended, s.ID) })
}

func (x *explainer) due(t Timer) Change {
	return Change{Kind: changeTime, What: fmt.Sprintf("at %s %s", x.clock(t.At), t.Means), At: t.At}
}

// inTime lists the timers of a connection that change something, in their
// order: what is decided at one comes of what was decided at those before.
func (x *explainer) inTime(c events.MemberConnection) []Change {
	var list []Change
	t, was := x.trial(c.Token), verdictOn(x.settled, c.Token)
	for _, timer := range x.timers(c) {
		if !timer.At.After(t.now) {
			continue
		}
		t.now = timer.At
		d := t.decide()
		change := x.due(timer)
		if change.Then = verdictOn(d.Why, c.Token); change.Then == was {
			continue
		}
		list = append(list, change)
		if d.Next != nil {
			t.agenda = d.Next
		}
		was = verdictOn(t.decide().Why, c.Token)
	}
	return list
}
