package reconnect

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/smartconnect/connector/internal/events"
)

// An oracle holds a decider to its promises. It sees two sequences only, what
// happened to a member and what was told, and was written from the words of
// the decision table, not from the code: of this package it uses the values of
// a Policy and nothing that decides.
//
// Facts are told to it when they are written, a decision when it is stored. A
// decision is stored only while the facts are those it was made from, so what
// holds of the facts is judged by the latest; what holds all members back is
// not guarded, so it is judged by what held when the decision was made.
type oracle struct {
	policy Policy
	flap   time.Duration // CONNECTED for no longer is no end of an episode

	conns   map[events.ConnectionToken]*observed
	order   []events.ConnectionToken
	consent events.Provision // empty: not read
	said    int              // consents so far
	// permitted: one of them was permit.
	permitted bool
	since     time.Time // of the consent
	blind     bool      // this member cannot be seen

	holds []holding // in their order

	pushes  []time.Time
	told    bool // of the decision at hand a push was counted
	closed  map[string]bool
	settled time.Time // when all was last looked at since the consent, zero: not since

	sameEnd  bool // consent was permit in between, but perhaps nobody saw it
	endings  int  // access.ended since consent was last permit
	toldBack bool // the latest access.ended was answered
	ended    []events.ConnectionToken
}

// skew is by how much two deciders may differ about the time: one may have
// taken it, and then waited.
const skew = 30 * time.Second

type holding struct {
	tick int
	held Held
}

// observed is what the oracle knows of one connection.
type observed struct {
	id         string
	status     events.Status
	kind       events.IntegrationType
	category   string
	deleting   bool
	removed    bool
	firstSight bool
	released   bool
	confirmed  bool
	since      time.Time // of this status
	episode    int
	connected  time.Time // since when it works, for all that is known; zero: it is broken
	began      bool      // it broke since it is listed
	first      time.Time // when it was listed at first

	open *question
	// Of the episode they are numbered with; 0 for none.
	pushed, acked, expired, another, activated int
	instead                                    events.Action
}

// question is an open prompt.
type question struct {
	id        string
	action    events.Action
	urgency   events.Urgency
	opened    time.Time
	reminders int
	due       time.Time // of the next reminder, zero for none
	snoozed   bool      // the member asked for it
	episode   int
	worked    bool // it was connected since
}

// A violation is a promise that was broken.
type violation struct{ promise, how string }

func broken(promise, format string, a ...any) *violation {
	return &violation{promise, fmt.Sprintf(format, a...)}
}

// The promises.
const (
	oneOpen        = "one open prompt of a connection"
	closedOnce     = "closed exactly once"
	closedInTime   = "closed when there is nothing to ask"
	closedTruly    = "closed for a reason that is true"
	noneDenied     = "no prompt against consent"
	noneUnread     = "no prompt before consent is read"
	noneHealed     = "no prompt before a break is confirmed"
	noneBaseline   = "no prompt for what broke before we looked"
	noneHeld       = "nothing is asked or reminded while held"
	noneUnbroken   = "no prompt for what is not broken"
	noneSpent      = "no prompt after one expired"
	noneInGrace    = "no prompt before b.well had its time"
	rightAction    = "the action that helps"
	noneLost       = "whatever is due is asked"
	remindersCap   = "reminders in their number and time"
	remindersLost  = "a reminder that is due is sent"
	pushesCap      = "pushes of a week"
	pushedOnce     = "one opening of an episode is pushed"
	pushesLost     = "a push that is due is made"
	leftAlone      = "no reminder after acknowledging"
	endedOnce      = "access ends once per denial"
	endedTruly     = "access ends where there was some"
	endedTold      = "an end of access is told"
	restoredOnce   = "access is restored once per end"
	restoredTold   = "a restoration is told"
	overdueTruly   = "overdue is what is late"
	activatedOnce  = "activated once, and only if the policy says so"
	snapshotIsTrue = "the snapshot lists what is open"
	comesToRest    = "looking again changes nothing"
)

func newOracle(p Policy, flap time.Duration) *oracle {
	return &oracle{
		policy: p, flap: flap, conns: map[events.ConnectionToken]*observed{}, closed: map[string]bool{},
		holds: []holding{{}}, toldBack: true,
	}
}

// --- what happens

func (o *oracle) conn(c events.ConnectionToken) *observed {
	known, ok := o.conns[c]
	if !ok {
		known = &observed{id: "id-" + string(c)}
		o.conns[c] = known
		o.order = append(o.order, c)
	}
	return known
}

// listed tells that b.well lists the connection with a status. A connection
// that is listed broken when first seen broke before we looked.
func (o *oracle) listed(token events.ConnectionToken, s events.Status, now time.Time) {
	c := o.conn(token)
	was, gone, known := c.status, c.removed, c.episode > 0 || !c.since.IsZero()
	c.removed = false
	if known && was == s && !gone {
		return
	}
	if gone {
		if c.open != nil {
			c.open.worked = true // for all that the facts still say
		}
		c.connected, c.began, c.firstSight = time.Time{}, false, false
	}
	if !known {
		c.first = now
	}
	c.status, c.since, c.confirmed = s, now, false
	switch {
	case s == events.Connected:
		if c.connected.IsZero() {
			c.connected = now
		}
		c.firstSight = false
		if c.open != nil {
			c.open.worked = true
		}
	case s.Broken():
		// A status that says nothing, in between, is as if it had not been.
		if !c.began || !c.connected.IsZero() && now.Sub(c.connected) > o.flap {
			c.episode++
			c.began, c.firstSight = true, !known
		}
		c.connected = time.Time{}
	}
}

// polled tells that a whole answer showed nothing new.
func (o *oracle) polled(now time.Time, window func(events.Status) time.Duration) {
	for _, c := range o.conns {
		if c.status.Broken() && !c.removed && !now.Before(c.since.Add(window(c.status))) {
			c.confirmed = true
		}
	}
}

func (o *oracle) consented(p events.Provision, now time.Time) {
	if p == events.Permit && o.consent != events.Permit {
		o.endings = 0
	}
	if o.consent == events.Permit && p != events.Permit {
		o.sameEnd = o.settled.IsZero() && !o.toldBack
	}
	if (p == events.Permit) != (o.consent == events.Permit) {
		o.settled = time.Time{}
	}
	o.consent, o.since = p, now
	o.permitted = o.permitted || p == events.Permit
	o.said++
}

func (o *oracle) held(tick int, h Held) { o.holds = append(o.holds, holding{tick, h}) }

func (o *oracle) heldAt(tick int) Held {
	for _, h := range slices.Backward(o.holds) {
		if h.tick <= tick {
			return h.held
		}
	}
	return Held{}
}

// --- what the table says

func (o *oracle) notAsked(c *observed) bool {
	switch {
	case c.removed, c.status == events.Connected:
		return true
	case c.kind.IAS() && o.consent == events.Deny:
		return true
	default:
		return c.status == events.AccessIsOver && (o.consent == events.Deny || o.consent == events.None)
	}
}

// way is how a member reconnects, empty if nobody knows.
func (o *oracle) way(c *observed) events.Action {
	switch c.kind {
	case events.PROA, events.IndirectIAS:
		return "oauth"
	case events.DirectIAS:
		if c.another == c.episode && c.instead != "" {
			return c.instead
		}
		return "activate_direct"
	}
	if c.category == "BASIC" {
		return "reenter_credentials"
	}
	return o.policy.UnknownTypes[c.category]
}

// keeps returns the promise that asking about c at now would break. earliest is
// false to ask what must be asked, where the times that only a decider knows
// are over for sure.
func (o *oracle) keeps(token events.ConnectionToken, h Held, now time.Time, earliest bool) string {
	c := o.conns[token]
	proa := c.kind == events.PROA && c.status != events.AccessIsOver
	switch {
	case c.kind.IAS() && o.consent == events.Deny, c.status == events.AccessIsOver && o.consent != events.Permit && o.consent != "":
		return noneDenied
	case c.removed, !c.status.Broken():
		return noneUnbroken
	case o.consent == "" && !proa:
		return noneUnread
	case o.blind, h.Blind, h.Storm, h.Silenced, h.Degraded[token], h.Muted[token], c.deleting:
		return noneHeld
	case !c.confirmed:
		return noneHealed
	case c.firstSight && !c.released:
		return noneBaseline
	case c.expired == c.episode:
		return noneSpent
	case o.way(c) == "":
		return rightAction
	}
	if c.status == events.AccessIsOver {
		from := c.since
		if at := o.since; at.After(from) {
			from = at
		}
		if !earliest {
			if o.settled.IsZero() {
				return noneInGrace
			}
			if o.settled.After(from) {
				from = o.settled
			}
		}
		if !o.policy.PromptRestoreOverdue || now.Before(from.Add(o.policy.Grace)) {
			return noneInGrace
		}
	}
	return ""
}

// --- what is told

// stored judges a decision that was stored: made at a tick and a time.
func (o *oracle) stored(told []events.Event, activated []events.ConnectionToken, open []string, tick int, now time.Time) *violation {
	h := o.heldAt(tick)
	o.told = false
	for i, e := range told {
		var v *violation
		switch d := e.Data.(type) {
		case *events.Access:
			v = o.access(e.Type, d, h, now)
		case *events.Prompt:
			v = o.prompt(e, d, told[i+1:], h, now)
		default:
			v = broken(snapshotIsTrue, "%s is none of a decider's", e.Type)
		}
		if v != nil {
			return v
		}
	}
	for _, token := range activated {
		c := o.conns[token]
		if c.kind != events.DirectIAS || !slices.Contains(o.policy.DirectAuto, c.status) || c.activated == c.episode || o.keeps(token, h, now, true) != "" {
			return broken(activatedOnce, "%s, %s %s", token, c.kind, c.status)
		}
		c.activated = c.episode
	}
	var want []string
	for _, c := range o.conns {
		if c.open != nil {
			want = append(want, c.open.id)
		}
	}
	if slices.Sort(want); !slices.Equal(want, slices.Sorted(slices.Values(open))) {
		return broken(snapshotIsTrue, "lists %v, open are %v", open, want)
	}
	return nil
}

func (o *oracle) prompt(e events.Event, p *events.Prompt, rest []events.Event, h Held, now time.Time) *violation {
	token := events.ConnectionToken(e.Part)
	c := o.conns[token]
	if e.Type == events.PromptOpened {
		return o.opened(token, p, h, now)
	}
	switch {
	case c.open == nil, c.open.id != p.PromptID, o.closed[p.PromptID]:
		return broken(closedOnce, "%s of %s, which is not open", e.Type, p.PromptID)
	case e.Type != events.PromptReminded && (p.Notify || p.NotPushed != ""):
		return broken(pushesCap, "%s is pushed, or says why not: %q", e.Type, p.NotPushed)
	}
	switch e.Type {
	case events.PromptReminded:
		return o.reminded(token, p, h, now)
	case events.PromptAcknowledged:
		c.acked, c.open.due = c.open.episode, time.Time{}
		c.open.snoozed = false
		if !p.SnoozedUntil.IsZero() {
			c.acked, c.open.due, c.open.snoozed = 0, p.SnoozedUntil, true
		}
		return nil
	case events.PromptResolved:
		if !c.open.worked || p.Downtime == nil || *p.Downtime < 0 {
			return broken(closedTruly, "%s resolved, %s, downtime %v", p.PromptID, c.status, p.Downtime)
		}
	case events.PromptExpired:
		if now.Before(c.open.opened.Add(o.policy.Expiry)) {
			return broken(closedTruly, "%s expired after %s", p.PromptID, now.Sub(c.open.opened))
		}
		c.expired = c.open.episode
	default:
		again := slices.ContainsFunc(rest, func(r events.Event) bool {
			next, ok := r.Data.(*events.Prompt)
			return ok && r.Type == events.PromptOpened && r.Part == e.Part && (next.Action != p.Action || next.Urgency != p.Urgency)
		})
		truly := map[string]bool{
			"removed": c.removed, "superseded": again,
			"consent_ended": c.kind.IAS() && o.consent == events.Deny || c.status == events.AccessIsOver && o.consent != events.Permit,
		}
		if !truly[p.Reason] {
			return broken(closedTruly, "%s withdrawn, %s: %s, consent %s", p.PromptID, p.Reason, c.status, o.consent)
		}
	}
	o.closed[p.PromptID], c.open = true, nil
	return nil
}

func (o *oracle) opened(token events.ConnectionToken, p *events.Prompt, h Held, now time.Time) *violation {
	c := o.conns[token]
	if c.open != nil || o.closed[p.PromptID] {
		return broken(oneOpen, "%s opened, open is %v, closed before: %t", p.PromptID, c.open, o.closed[p.PromptID])
	}
	if promise := o.keeps(token, h, now, true); promise != "" {
		return broken(promise, "%s opened: %s %s since %s, consent %q", p.PromptID, c.kind, c.status, c.since, o.consent)
	}
	rule := o.policy.Statuses[c.status]
	if p.Action != o.way(c) || p.Urgency != rule.Urgency {
		return broken(rightAction, "%s asks %s, %s; want %s, %s", p.PromptID, p.Action, p.Urgency, o.way(c), rule.Urgency)
	}
	c.open = &question{id: p.PromptID, action: p.Action, urgency: p.Urgency, opened: now, episode: c.episode}
	o.nextReminder(c.open, now)
	before := c.pushed == c.episode
	if p.Notify {
		if before || !rule.Notify {
			return broken(pushedOnce, "%s, %s, pushed in episode %d of %d", p.PromptID, c.status, c.pushed, c.episode)
		}
		c.pushed = c.episode
		return o.push(now)
	}
	switch {
	case !rule.Notify && p.NotPushed == "policy", rule.Notify && before && p.NotPushed == "pushed_before":
		return nil
	default:
		return o.capped(p, now)
	}
}

// capped judges why a prompt is not pushed that would be, but for the cap.
func (o *oracle) capped(p *events.Prompt, now time.Time) *violation {
	if p.NotPushed != "weekly_cap" || o.told || o.lately(now, skew) < o.policy.MaxPushesPerWeek {
		return broken(pushesLost, "%s is not pushed, %q; pushed lately: %d", p.PromptID, p.NotPushed, o.lately(now, skew))
	}
	return nil
}

func (o *oracle) reminded(token events.ConnectionToken, p *events.Prompt, h Held, now time.Time) *violation {
	c := o.conns[token]
	if c.acked == c.open.episode {
		return broken(leftAlone, "%s", p.PromptID)
	}
	snoozed := c.open.snoozed
	if p.Reminder != c.open.reminders+1 || p.Reminder > len(o.policy.Reminders) && !snoozed || now.Before(c.open.due) || c.open.due.IsZero() {
		return broken(remindersCap, "reminder %d of %s, %d before, due %s, now %s", p.Reminder, p.PromptID, c.open.reminders, c.open.due, now)
	}
	if promise := o.keeps(token, h, now, true); promise != "" {
		return broken(promise, "%s reminded: %s %s, consent %q", p.PromptID, c.kind, c.status, o.consent)
	}
	if !o.policy.Statuses[c.status].Notify && !snoozed {
		return broken(remindersCap, "%s is only listed: %s", p.PromptID, c.status)
	}
	c.open.reminders++
	o.nextReminder(c.open, now)
	if !p.Notify {
		return o.capped(p, now)
	}
	c.pushed = c.episode
	return o.push(now)
}

func (o *oracle) nextReminder(a *question, now time.Time) {
	a.due, a.snoozed = time.Time{}, false
	if a.reminders < len(o.policy.Reminders) {
		a.due = now.Add(o.policy.Reminders[a.reminders])
	}
}

func (o *oracle) push(now time.Time) *violation {
	if o.told { // with others, in one message
		return nil
	}
	o.told = true
	o.pushes = append(o.pushes, now)
	if n := o.lately(now, -skew); n > o.policy.MaxPushesPerWeek {
		return broken(pushesCap, "%d in seven days", n)
	}
	return nil
}

// lately counts the pushes of seven days and a bit.
func (o *oracle) lately(now time.Time, bit time.Duration) (n int) {
	for _, at := range o.pushes {
		if now.Sub(at) < 7*24*time.Hour+bit {
			n++
		}
	}
	return n
}

// lostAccess reports whether a connection lost its access since we look.
func (o *oracle) lostAccess() bool {
	for _, c := range o.conns {
		if c.kind.IAS() && c.status == events.AccessIsOver && (!c.firstSight || !c.since.Equal(c.first)) && !c.removed {
			return true
		}
	}
	return false
}

// governed lists what a denial ends.
func (o *oracle) governed() (tokens []events.ConnectionToken, ids []string) {
	for _, token := range o.order {
		c := o.conns[token]
		if c.kind.IAS() && !c.removed && c.status != events.Disconnected && c.status != events.Deleted {
			tokens, ids = append(tokens, token), append(ids, c.id)
		}
	}
	return tokens, ids
}

func (o *oracle) access(t events.Type, a *events.Access, h Held, now time.Time) *violation {
	var listed []string
	for _, c := range a.Connections {
		listed = append(listed, c.ConnectionID)
	}
	switch t {
	case events.AccessEnded:
		tokens, ids := o.governed()
		switch {
		case o.consent != events.Deny && o.consent != events.None, len(ids) == 0, !slices.Equal(ids, listed):
			return broken(endedOnce, "consent %q, lists %v, want %v", o.consent, listed, ids)
		case o.endings > 0:
			return broken(endedOnce, "told before")
		case !o.lostAccess() && (o.consent != events.Deny || !o.permitted):
			return broken(endedTruly, "consent %q, permitted before: %t", o.consent, o.permitted)
		case o.blind, h.Blind, h.Storm, h.Silenced:
			return broken(noneHeld, "access ended")
		}
		o.endings, o.toldBack, o.ended = o.endings+1, false, tokens
	case events.AccessRestored:
		if o.toldBack || o.consent != events.Permit {
			return broken(restoredOnce, "answered before: %t, consent %s", o.toldBack, o.consent)
		}
		o.toldBack = true
	default:
		for _, c := range o.conns {
			if slices.Contains(listed, c.id) && (c.status != events.AccessIsOver || o.consent != events.Permit || now.Before(c.since.Add(o.policy.Grace))) {
				return broken(overdueTruly, "%s, consent %s", c.status, o.consent)
			}
		}
	}
	return nil
}

// --- when nothing is under way, and time enough has passed

// quiet judges what must be so when everybody has looked who had reason to,
// and short waits are over.
func (o *oracle) quiet(now time.Time) *violation {
	h := o.holds[len(o.holds)-1].held
	for _, token := range slices.Sorted(maps.Keys(o.conns)) {
		c := o.conns[token]
		ask := o.keeps(token, h, now, false) == ""
		held := c.status == events.Connected && !c.removed && now.Before(c.connected.Add(o.policy.HoldOpen))
		switch {
		case c.open != nil && o.notAsked(c) && !held:
			return broken(closedInTime, "%s is open, removed %t, %s, consent %s", c.open.id, c.removed, c.status, o.consent)
		case c.open != nil && !now.Before(c.open.opened.Add(o.policy.Expiry)):
			return broken(closedInTime, "%s is open since %s", c.open.id, c.open.opened)
		case ask && c.open == nil:
			return broken(noneLost, "%s is %s, %s since %s, and not asked about at %s", token, c.kind, c.status, c.since, now)
		case ask && (c.open.action != o.way(c) || c.open.urgency != o.policy.Statuses[c.status].Urgency):
			return broken(rightAction, "%s asks %s, %s, want %s", c.open.id, c.open.action, c.open.urgency, o.way(c))
		case ask && c.acked != c.open.episode && !c.open.due.IsZero() && !now.Before(c.open.due) && (o.policy.Statuses[c.status].Notify || c.open.snoozed):
			return broken(remindersLost, "%s was due at %s, it is %s", c.open.id, c.open.due, now)
		}
	}
	if v := o.quietAccess(h, now); v != nil {
		return v
	}
	if o.settled.IsZero() {
		o.settled = now
	}
	return nil
}

func (o *oracle) quietAccess(h Held, now time.Time) *violation {
	tokens, _ := o.governed()
	free := !o.blind && !h.Blind && !h.Storm && !h.Silenced
	if o.consent == events.Deny && o.permitted && len(tokens) > 0 && free && o.endings == 0 && !o.sameEnd {
		return broken(endedTold, "%v", tokens)
	}
	if o.consent != events.Permit || o.toldBack {
		return nil
	}
	waiting := slices.ContainsFunc(o.ended, func(token events.ConnectionToken) bool {
		c := o.conns[token]
		return c.status == events.AccessIsOver && !c.removed
	})
	over := !o.settled.IsZero() && !now.Before(o.settled.Add(o.policy.Grace)) && !o.blind && !h.Blind
	if !waiting || over {
		return broken(restoredTold, "%v", o.ended)
	}
	return nil
}
