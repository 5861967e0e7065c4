package month

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/smartconnect/connector/internal/events"
)

// The default policy, in words of its own: whoever changes it should see here
// what that does to a month.
const (
	grace     = day
	grouping  = 2 * time.Minute
	expiry    = 30 * day
	pushSpan  = 7 * day
	pushLimit = 3
)

var reminders = []time.Duration{day, 3 * day, 7 * day}

// A saying is one prompt or access event, as far as a story goes: times are
// whole seconds since it began, connections have names.
type saying struct {
	at   time.Duration
	what events.Type

	conn    string // empty for access
	number  int    // of the opening
	episode int

	action    events.Action
	reason    string
	urgency   events.Urgency
	notify    bool
	notPushed string
	status    events.Status
	kind      events.IntegrationType
	opened    time.Duration
	expires   time.Duration
	closed    time.Duration
	downtime  time.Duration // -1 for none
	reminder  int
	flaps     int
	snoozed   time.Duration
	batch     string // what was told together with it
	listed    string // access: the connections, + for restored
}

// id is what the prompt is called in the story.
func (s saying) id() string { return fmt.Sprintf("%s.%d", s.conn, s.number) }

// batch names what was told together.
func batch(ids []string) string { return strings.Join(slices.Sorted(slices.Values(ids)), "+") }

func (s saying) String() string {
	words := []string{clock(s.at), strings.TrimSuffix(strings.TrimPrefix(string(s.what), "smartconnect."), ".v1")}
	if s.conn == "" {
		return strings.Join(append(words, string(s.action), s.reason, s.listed), " ")
	}
	words = append(words, s.id(), string(s.action), s.reason, string(s.urgency), fmt.Sprintf("%q %q", s.status, s.kind),
		fmt.Sprintf("episode %d opened %s expires %s reminder %d flaps %d", s.episode, clock(s.opened), clock(s.expires), s.reminder, s.flaps))
	if s.notify {
		words = append(words, "pushed")
	}
	if s.notPushed != "" {
		words = append(words, "not pushed: "+s.notPushed)
	}
	if s.closed != 0 {
		words = append(words, "closed "+clock(s.closed))
	}
	if s.downtime >= 0 {
		words = append(words, "down for "+s.downtime.String())
	}
	if s.snoozed != 0 {
		words = append(words, "snoozed until "+clock(s.snoozed))
	}
	if s.batch != "" {
		words = append(words, "with "+s.batch)
	}
	return strings.Join(words, " ")
}

// An oracle predicts what is told of one member, and when, from what happens to
// the member. It was written from the words of the decision table and shares
// nothing with the decider but the names of things: where the two differ, one
// of them misreads the table.
//
// It looks at the member whenever something happens and whenever it expects
// something to fall due.
type oracle struct {
	conns   []*known // as the snapshot lists them: by id, then by number
	byPlace []*known
	rows    []row

	consent  events.Provision // as it was read last
	consents int              // so many were read
	permit   bool             // one of them was permit
	dated    time.Duration    // b.well's date of it
	search   string
	blind    bool

	ending   *ending
	pushes   []time.Duration
	told     []*saying
	together []*saying      // opened or reminded of at this look
	pushed   bool           // at this look
	rare     map[string]int // how often something rare happened
}

// known is what the oracle knows of one connection: what happened to it, and
// below what was asked about it.
type known struct {
	name     string
	id       string
	number   int
	kind     events.IntegrationType
	category string
	status   events.Status

	deleting, removed, confirmed, firstSight bool
	seen                                     time.Duration // when it was listed first
	connected                                time.Duration // since when, as far as we know; 0 if it is not
	broken                                   time.Duration // since when it has this broken status, 0 while it has none

	// A break lasts from leaving CONNECTED until CONNECTED has held, or until the
	// connection is removed.
	episode      int
	episodeSince time.Duration
	flaps        int

	open     *saying // the latest opening, while it is open
	due      time.Duration
	reminded int
	openings int

	// Of the episode that is asked about.
	asked   int
	pushed  bool
	acked   bool
	spent   bool          // a prompt of it has expired
	ready   time.Duration // when there was first reason to ask about what is broken now
	overdue time.Duration // when operators were told
}

// What is rare, and must not be missing from the histories.
const (
	unseen       = "came back while nobody looked"
	spent        = "asked no more in this episode"
	limited      = "no push left"
	pushedBefore = "not pushed again"
	heldReminder = "reminded when a hold ended"
	together     = "opened together"
	joined       = "joined others that waited"
)

var rarities = []string{unseen, spent, limited, pushedBefore, heldReminder, together, joined}

// An ending is an end of access that was told.
type ending struct {
	consents  int // the denial
	conns     []*known
	at        time.Duration
	permitted time.Duration // when consent was seen given again, 0: not yet
	restored  time.Duration // when that was told
}

// predict returns what is told of the member of a life until it ends, and the
// oracle in the end.
func predict(l life) *oracle {
	o := &oracle{rows: l.rows, rare: map[string]int{}}
	moments := l.moments
	now := time.Duration(0)
	for {
		next := whole
		if len(moments) > 0 {
			next = min(next, moments[0].at)
		}
		if due := o.falls(now); due != 0 {
			next = min(next, due)
		}
		if next >= whole {
			return o
		}
		now = next
		if len(moments) > 0 && moments[0].at == now {
			for _, f := range moments[0].facts {
				o.happens(f, now)
			}
			moments = moments[1:]
		}
		o.look(now)
	}
}

// --- what happens

func (o *oracle) happens(f fact, now time.Duration) {
	switch f := f.(type) {
	case began:
	case lost:
		o.blind = true
	case resumed:
		o.blind = false
	case consented:
		o.consent, o.consents, o.dated = f.to, o.consents+1, now-f.since
		o.permit = o.permit || f.to == events.Permit
		if f.to == events.None {
			o.dated = 0
		}
	case searched:
		o.search = f.status
	case listed:
		r := o.rows[f.c]
		c := &known{id: r.id, kind: r.kind, category: r.category, number: 1, seen: now}
		for _, other := range o.conns {
			if other.id == r.id {
				c.number++
			}
		}
		c.name = name(c.id, c.number)
		c.turns(r.status, r.old, now)
		o.byPlace = append(o.byPlace, c)
		o.conns = append(o.conns, c)
		slices.SortFunc(o.conns, func(a, b *known) int { return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.number, b.number)) })
	case turned:
		o.byPlace[f.c].turns(f.to, false, now)
	case confirmed:
		o.byPlace[f.c].confirmed = true
	case moved:
		o.byPlace[f.c].kind, o.byPlace[f.c].category = f.kind, f.category
	case syncing:
		o.byPlace[f.c].deleting = f.word == "DELETING"
	case replaced:
		o.byPlace[f.c].turns(f.to, false, now)
	case removed:
		c := o.byPlace[f.c]
		c.removed, c.connected, c.broken, c.confirmed = true, 0, 0, false
		c.episodeSince = 0 // over: what comes back breaks anew
	case back:
		c := o.byPlace[f.c]
		c.removed, c.firstSight = false, false
		c.turns(f.to, false, now)
	case stopped:
		o.stop(o.byPlace[f.c], now)
	case snoozed:
		o.snooze(o.byPlace[f.c], f.d, now)
	default:
		panic(fmt.Sprintf("month: the oracle does not know %T", f))
	}
}

// turns moves a connection to a status. old says that it has it since before we
// looked.
func (c *known) turns(to events.Status, old bool, now time.Duration) {
	was := c.status
	c.status = to
	switch {
	case to == events.Connected:
		if c.connected == 0 {
			c.connected = now
		}
		c.broken, c.confirmed, c.firstSight = 0, false, false
	case !to.Broken(): // it says nothing
		c.broken, c.confirmed = 0, false
	case c.broken != 0 && to == was:
	default:
		switch worked := c.connected; {
		case c.broken != 0: // another way of being broken
		case c.episodeSince == 0, worked != 0 && now-worked > flapping:
			c.episode, c.episodeSince, c.flaps = c.episode+1, now, 0
			c.firstSight = worked == 0 && old
		case worked != 0:
			c.flaps++
		}
		c.broken, c.connected, c.confirmed = now, 0, false
	}
}

// stop: who has acknowledged is not reminded any more in this episode. Saying so
// twice is saying it once.
func (o *oracle) stop(c *known, now time.Duration) {
	if c.open == nil || c.acked {
		return
	}
	c.acked, c.open.snoozed = true, 0
	o.again(c, events.PromptAcknowledged, now)
}

// snooze: the next reminder is when the member wants it, at most in two weeks
// and not after the prompt has expired.
func (o *oracle) snooze(c *known, d time.Duration, now time.Duration) {
	if c.open == nil {
		return
	}
	until := min(now+min(d, 14*day), c.open.expires)
	if until == c.open.snoozed {
		return
	}
	c.acked, c.open.snoozed, c.due = false, until, until
	o.again(c, events.PromptAcknowledged, now)
}

// --- the decision table

// inForce is the consent that counts: the one that was read, else what the
// search lets us guess; empty if nobody knows.
func (o *oracle) inForce() events.Provision {
	switch {
	case o.consents > 0:
		return o.consent
	case o.search == "rejected":
		return events.Deny
	case o.search == "ready", o.search == "in-progress":
		return events.Permit
	default:
		return ""
	}
}

// row is the first row of the table that fits.
func (o *oracle) row(c *known, now time.Duration) (row int, action events.Action) {
	consent, over := o.inForce(), c.status == events.AccessIsOver
	switch {
	case c.removed:
		return 1, events.ActNone
	case c.status == events.Connected:
		return 2, events.ActNone
	case c.kind.IAS() && consent == events.Deny, over && (consent == events.Deny || consent == events.None):
		return 3, events.ActRestoreConsent
	case over && consent == events.Permit && now < o.owed(c)+grace:
		return 4, events.ActWait
	case over && consent == events.Permit:
		return 5, events.ActWait
	case o.blind, consent == "" && (c.kind != events.PROA || over):
		return 6, events.ActWait
	case c.deleting:
		return 7, events.ActWait
	case c.status.Broken() && (!c.confirmed || c.firstSight):
		return 8, events.ActWait
	case !c.status.Broken():
		return 13, events.ActUnknown
	case c.kind == events.PROA, c.kind == events.IndirectIAS:
		return 9, events.ActOAuth
	case c.kind == events.DirectIAS:
		return 10, events.ActDirect
	case vague(c.kind) && c.category == "BASIC":
		return 11, events.ActReenter
	default:
		return 12, events.ActUnknown
	}
}

// owed is since when b.well owes a connection its access: since it was lost
// although consent is given, or since consent is given again.
func (o *oracle) owed(c *known) time.Duration {
	since := max(c.broken, o.dated)
	if o.ending != nil {
		since = max(since, o.ending.permitted)
	}
	return since
}

// importance says how much a prompt matters, and whether it is worth a push.
// The member did what was disconnected or deleted.
func importance(s events.Status) (u events.Urgency, push bool) {
	if s == events.Disconnected || s == events.Deleted {
		return events.Optional, false
	}
	return events.Required, true
}

// look is what follows from the table at one time.
func (o *oracle) look(now time.Duration) {
	if isAway(now) {
		return
	}
	o.together, o.pushed = nil, false
	o.access(now)
	var ready []*known
	for _, c := range o.conns {
		if o.one(c, now) {
			ready = append(ready, c)
		}
	}
	o.openTogether(ready, now)
	o.late(now)
	var ids []string
	for _, s := range o.together {
		ids = append(ids, s.id())
	}
	if len(ids) < 2 {
		ids = nil
	} else {
		o.rare[together]++
	}
	for _, s := range o.together {
		s.batch = batch(ids)
		for _, c := range o.conns {
			if c.name == s.conn && c.open != nil && c.open.number == s.number {
				c.open.batch = s.batch
			}
		}
	}
}

// one does what the table says of a connection, but for opening what is not
// open: it reports whether there is reason to.
func (o *oracle) one(c *known, now time.Duration) (ready bool) {
	row, action := o.row(c, now)
	o.rare[fmt.Sprintf("row %d", row)]++
	urgency, _ := importance(c.status)
	works, pointless, asks := row == 2, row == 1 || row == 3, row >= 9 && row <= 11
	if c.open != nil {
		switch {
		case works:
			o.close(c, events.PromptResolved, "connected", c.connected-cmp.Or(c.episodeSince, c.open.opened), now)
		case row == 1:
			o.close(c, events.PromptWithdrawn, "removed", -1, now)
		case row == 3:
			o.close(c, events.PromptWithdrawn, "consent_ended", -1, now)
		case c.open.episode != c.episode:
			// It came back and broke again, and nobody looked in between.
			o.rare[unseen]++
			o.close(c, events.PromptResolved, "connected", c.episodeSince-c.open.opened, now)
		}
	}
	if c.asked != c.episode {
		c.asked, c.pushed, c.acked, c.spent, c.ready, c.overdue = c.episode, false, false, false, 0, 0
	}
	switch {
	case works, pointless:
	case c.open != nil && now >= c.open.expires:
		o.close(c, events.PromptExpired, "expired", -1, now)
		c.spent = true
	case !asks:
	case c.open != nil && (c.open.action != action || c.open.urgency != urgency):
		o.close(c, events.PromptWithdrawn, "superseded", -1, now)
		o.open(c, action, now)
	case c.open != nil:
		o.remind(c, now)
	case c.spent:
		o.rare[spent]++
	default:
		return true
	}
	return false
}

// openTogether opens what there is reason to ask, all of it, once there has been
// reason to ask the first of it for as long as grouping waits.
func (o *oracle) openTogether(ready []*known, now time.Duration) {
	for _, c := range ready {
		if c.ready == 0 || c.ready < c.broken {
			c.ready = now
		}
	}
	if len(ready) == 0 || now < firstReady(ready)+grouping {
		return
	}
	for _, c := range ready {
		if c.ready != firstReady(ready) {
			o.rare[joined]++
		}
	}
	for _, c := range ready {
		_, action := o.row(c, now)
		o.open(c, action, now)
	}
}

func firstReady(ready []*known) time.Duration {
	return slices.MinFunc(ready, func(a, b *known) int { return cmp.Compare(a.ready, b.ready) }).ready
}

// open asks. Who was pushed about this episode before is not pushed again.
func (o *oracle) open(c *known, action events.Action, now time.Duration) {
	urgency, push := importance(c.status)
	c.openings++
	c.ready, c.reminded, c.due = 0, 0, now+reminders[0]
	s := &saying{
		what: events.PromptOpened, at: now, conn: c.name, number: c.openings, episode: c.episode,
		action: action, reason: reason(c.status), urgency: urgency,
		status: c.status, kind: c.kind, opened: now, expires: now + expiry, downtime: -1, flaps: c.flaps,
	}
	switch {
	case !push:
		s.notPushed = "policy"
	case c.pushed:
		s.notPushed = "pushed_before"
		o.rare[pushedBefore]++
	default:
		o.push(c, s, now)
	}
	o.told = append(o.told, s)
	o.together = append(o.together, s)
	open := *s
	c.open = &open
}

// push pushes, if there is a push left for this member. What is told in one
// moment is one push.
func (o *oracle) push(c *known, s *saying, now time.Duration) {
	o.pushes = slices.DeleteFunc(o.pushes, func(at time.Duration) bool { return now-at >= pushSpan })
	switch {
	case o.pushed:
	case len(o.pushes) >= pushLimit:
		o.rare[limited]++
		s.notify, s.notPushed = false, "weekly_cap"
		return
	default:
		o.pushes, o.pushed = append(o.pushes, now), true
	}
	s.notify, s.notPushed, c.pushed = true, "", true
}

// reminding reports whether the member is to be reminded of what is open: not
// who has acknowledged, and not of what is only listed unless they wanted it.
func (c *known) reminding() bool {
	_, push := importance(c.status)
	return c.due != 0 && !c.acked && (push || c.open.snoozed != 0)
}

func (o *oracle) remind(c *known, now time.Duration) {
	if !c.reminding() || now < c.due {
		return
	}
	if now > c.due {
		o.rare[heldReminder]++
	}
	c.reminded++
	c.due = 0
	if c.reminded < len(reminders) {
		c.due = now + reminders[c.reminded]
	}
	c.open.reminder, c.open.flaps, c.open.snoozed = c.reminded, c.flaps, 0
	c.open.reason, c.open.status = reason(c.status), c.status
	o.push(c, c.open, now)
	o.again(c, events.PromptReminded, now)
}

// reason is why a member is asked.
func reason(s events.Status) string { return strings.ToLower(string(s)) }

// again tells once more of what is open.
func (o *oracle) again(c *known, t events.Type, now time.Duration) {
	if t == events.PromptAcknowledged {
		c.open.notify, c.open.notPushed = false, ""
	}
	s := *c.open
	s.what, s.at = t, now
	o.told = append(o.told, &s)
	if t == events.PromptReminded {
		o.together = append(o.together, &s)
	}
}

func (o *oracle) close(c *known, t events.Type, reason string, downtime, now time.Duration) {
	s := *c.open
	s.what, s.at, s.closed, s.reason, s.downtime = t, now, now, reason, downtime
	s.notify, s.notPushed, s.snoozed, s.flaps = false, "", 0, max(s.flaps, c.flaps)
	o.told = append(o.told, &s)
	c.open, c.due, c.reminded = nil, 0, 0
}

// --- access

// access: the end of access is told once per denial, when it is news and there
// is something that ended; and once what came of consent that is given again.
func (o *oracle) access(now time.Duration) {
	switch o.inForce() {
	case events.Deny, events.None:
		o.ends(now)
	case events.Permit:
		o.comesBack(now)
	}
}

func (o *oracle) ends(now time.Duration) {
	if e := o.ending; e != nil && (e.consents == o.consents || e.permitted == 0 && e.restored == 0) {
		return // told before, and nobody has seen consent since
	}
	// A denial that no permit preceded is no news, and None alone is no denial; a
	// connection that has lost its access since we look is.
	news := o.permit && o.consent == events.Deny
	var listed []*known
	for _, c := range o.conns {
		if !c.kind.IAS() || c.removed {
			continue
		}
		news = news || c.status == events.AccessIsOver && (!c.firstSight || c.broken > c.seen)
		if c.status != events.Disconnected && c.status != events.Deleted {
			listed = append(listed, c)
		}
	}
	if !news || len(listed) == 0 || o.blind {
		return
	}
	o.ending = &ending{consents: o.consents, conns: listed, at: now}
	o.tellAccess(events.AccessEnded, events.ActRestoreConsent, "consent_ended", listed, now)
}

func (o *oracle) comesBack(now time.Duration) {
	e := o.ending
	if e == nil || e.restored != 0 {
		return
	}
	if e.permitted == 0 {
		e.permitted = now
	}
	if o.waits(e) && (now < e.permitted+grace || o.blind) {
		return
	}
	e.restored = now
	o.tellAccess(events.AccessRestored, events.ActNone, "consent_restored", e.conns, now)
}

// waits reports whether something that ended is still to come back.
func (o *oracle) waits(e *ending) bool {
	return slices.ContainsFunc(e.conns, func(c *known) bool { return c.status == events.AccessIsOver && !c.removed })
}

// late tells operators, once per grace, of what should be back and is not.
func (o *oracle) late(now time.Duration) {
	var late []*known
	for _, c := range o.conns {
		if row, _ := o.row(c, now); row == 5 && !o.blind && (c.overdue == 0 || c.overdue < o.owed(c)) {
			c.overdue = now
			late = append(late, c)
		}
	}
	if len(late) > 0 {
		o.tellAccess(events.AccessRestoreOverdue, events.ActNone, "restore_overdue", late, now)
	}
}

func (o *oracle) tellAccess(t events.Type, action events.Action, reason string, conns []*known, now time.Duration) {
	var listed []string
	for _, c := range conns {
		word := fmt.Sprintf("%s %q", c.id, c.kind)
		if t == events.AccessRestored && c.status == events.Connected && !c.removed {
			word += "+"
		}
		listed = append(listed, word)
	}
	o.told = append(o.told, &saying{what: t, at: now, action: action, reason: reason, downtime: -1, listed: strings.Join(listed, ", ")})
}

// --- when something falls due

// falls returns the next time after now at which something falls due although
// nothing happens, 0 for never.
func (o *oracle) falls(now time.Duration) time.Duration {
	next := time.Duration(0)
	at := func(t time.Duration) {
		if t > now && (next == 0 || t < next) {
			next = t
		}
	}
	for _, a := range away {
		if a.from <= now && now < a.to {
			return a.to // then all is looked at that fell due
		}
	}
	var ready []*known
	for _, c := range o.conns {
		row, _ := o.row(c, now)
		asks := row >= 9 && row <= 11
		switch {
		case c.open != nil:
			at(c.open.expires)
			if asks && c.reminding() {
				at(c.due)
			}
		case asks && !c.spent && c.ready != 0:
			ready = append(ready, c)
		}
		if row == 4 {
			at(o.owed(c) + grace)
		}
	}
	if len(ready) > 0 {
		at(firstReady(ready) + grouping)
	}
	if e := o.ending; e != nil && e.permitted != 0 && e.restored == 0 && o.inForce() == events.Permit && o.waits(e) {
		at(e.permitted + grace)
	}
	// What falls due while the deciders are away is looked at when they are back.
	for _, a := range away {
		if next != 0 && a.from <= next && next < a.to {
			return a.to
		}
	}
	return next
}
