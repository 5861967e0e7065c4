package month

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/smartconnect/connector/internal/events"
)

const (
	day = 24 * time.Hour

	// The story is of thirty days, and of half a day more, in which expires what
	// was asked at its beginning and never answered.
	whole = 30*day + 12*time.Hour + quiet
)

// A life is all that happens to one member, in order. It follows from a seed, and
// nothing in it knows what the connector makes of it.
type life struct {
	number  int
	rows    []row // the connections, in the order in which b.well first lists them
	moments []moment
}

// A row is a connection as b.well lists it first.
type row struct {
	id       string // of the source: may stand twice, with two types
	kind     events.IntegrationType
	category string
	status   events.Status
	old      bool // its status is from before we looked
}

// A moment is one look of the poller's that found something, or something that
// the member said.
type moment struct {
	at    time.Duration
	facts []fact
}

// A fact is one thing that happens. Those of a moment are told in one
// transaction.
type fact interface{ fmt.Stringer }

// The facts. c is the place of a connection in a life's rows.
type (
	began  struct{}        // the first whole answer; what it lists comes with it
	listed struct{ c int } // a row that was not there
	turned struct {        // another status
		c  int
		to events.Status
	}
	confirmed struct{ c int } // the break still stands
	moved     struct {        // another type, or category
		c        int
		kind     events.IntegrationType
		category string
	}
	syncing struct {
		c    int
		word string
	}
	replaced struct { // created anew
		c  int
		to events.Status
	}
	removed struct{ c int }
	back    struct { // what was removed is listed again
		c  int
		to events.Status
	}
	consented struct {
		to    events.Provision
		since time.Duration // b.well's date of it lies so far back
	}
	searched struct{ status string } // the network search, from which a consent can be guessed
	lost     struct{}                // we cannot see the member
	resumed  struct{}
	stopped  struct{ c int } // the member has seen the prompt: no more reminders
	snoozed  struct {        // the member says: later
		c int
		d time.Duration
	}
)

func (began) String() string       { return "looked at" }
func (f listed) String() string    { return fmt.Sprintf("%d listed", f.c) }
func (f turned) String() string    { return fmt.Sprintf("%d is %q", f.c, f.to) }
func (f confirmed) String() string { return fmt.Sprintf("%d confirmed", f.c) }
func (f moved) String() string     { return fmt.Sprintf("%d type %q category %q", f.c, f.kind, f.category) }
func (f syncing) String() string   { return fmt.Sprintf("%d sync %q", f.c, f.word) }
func (f replaced) String() string  { return fmt.Sprintf("%d replaced, %q", f.c, f.to) }
func (f removed) String() string   { return fmt.Sprintf("%d removed", f.c) }
func (f back) String() string      { return fmt.Sprintf("%d back, %q", f.c, f.to) }
func (f consented) String() string { return fmt.Sprintf("consent %s since %s", f.to, f.since) }
func (f searched) String() string  { return "search " + f.status }
func (lost) String() string        { return "blind" }
func (resumed) String() string     { return "seen again" }
func (f stopped) String() string   { return fmt.Sprintf("%d acknowledged", f.c) }
func (f snoozed) String() string   { return fmt.Sprintf("%d snoozed for %s", f.c, f.d) }

// said returns the connection of what a member said, if m is that.
func (m moment) said() (c int, ok bool) {
	switch f := m.facts[0].(type) {
	case stopped:
		return f.c, true
	case snoozed:
		return f.c, true
	default:
		return 0, false
	}
}

func (l life) String() string {
	var b strings.Builder
	for i, r := range l.rows {
		fmt.Fprintf(&b, "  %d: %s %q category %q, at first %q, old %t\n", i, r.id, r.kind, r.category, r.status, r.old)
	}
	for _, m := range l.moments {
		fmt.Fprintf(&b, "  %s %v\n", clock(m.at), m.facts)
	}
	return b.String()
}

// clock writes a time as the day of the story and the time of that day.
func clock(d time.Duration) string {
	if d == 0 {
		return "never"
	}
	return fmt.Sprintf("%02d-%02d:%02d:%02d", d/day, d%day/time.Hour, d%time.Hour/time.Minute, d%time.Minute/time.Second)
}

// Things happen at instants that many members share, since a commit costs the
// same whatever its size: five in a round, and the next round a little more than
// two hours later. In a round a break can be confirmed, others can join it or it
// can heal within the grouping window, and what came back can break again as a
// flap.
//
// All waits of the policy are whole numbers of two minutes. So what happens to a
// member never meets what falls due if it happens at a second of the two minutes
// at which nothing else happened to this member: there is never a doubt which of
// two came first. The last five of these seconds are quiet: they are for what is
// done to the deciders.
const (
	round   = 2*time.Hour + time.Second
	grid    = 2 * time.Minute
	seconds = int(grid/time.Second) - 5
	quiet   = time.Duration(seconds) * time.Second
)

var inRound = []time.Duration{0, 67 * time.Second, 11 * time.Minute, 11*time.Minute + 67*time.Second, 50*time.Minute + 31*time.Second}

func instant(i int) time.Duration {
	return time.Minute + time.Duration(i/len(inRound))*round + inRound[i%len(inRound)]
}

// The deciders are away twice, both of them: what happens meanwhile is seen only
// in the end.
var away = []struct{ from, to time.Duration }{
	{8*day + 3*time.Hour + quiet, 8*day + 21*time.Hour + quiet + 3*time.Second},
	{19*day + 20*time.Hour + quiet, 21*day + 2*time.Hour + quiet + 4*time.Second},
}

func isAway(at time.Duration) bool {
	for _, a := range away {
		if a.from <= at && at < a.to {
			return true
		}
	}
	return false
}

// A fate makes up a life.
type fate struct {
	*rand.Rand
	life
	rate  float64 // rounds between two things that happen
	heals int     // of a hundred breaks, when something happens to one
	rooms int     // so many connections at most
	taken [seconds]bool

	conns   []*state
	consent events.Provision // empty: not read
	search  string
	blind   bool
	near    bool // what just happened has consequences
	spreads bool // and what just broke will not be the only one
	touched map[int]bool
}

// state is what b.well says of a connection now.
type state struct {
	row
	sync      string
	since     time.Duration // of the status
	removed   bool
	confirmed bool
}

// Of a hundred members, those before firstDay have something that breaks on the
// first day, and to those from restless on more happens than the stream keeps.
const (
	firstDay = 30
	restless = 99
)

// imagine makes up the life of a member.
func imagine(seed uint64, number int) life {
	f := &fate{Rand: rand.New(rand.NewPCG(seed, uint64(number)+1)), rooms: 5}
	f.number = number
	first := 0
	switch n := number % 100; {
	case n < firstDay: // answers nothing for weeks
		f.rate, f.heals, first = 120, 10, f.IntN(3*len(inRound))
	case n < 95:
		f.rate, f.heals, first = 95, 55, f.IntN(40*len(inRound))
	case n < restless:
		f.rate, f.heals, first = 7, 65, f.IntN(20*len(inRound))
	default: // all of it to one connection
		f.rate, f.heals, f.rooms = 1, 75, 1
	}
	i := f.free(first)
	f.begin(instant(i))
	if number%100 < firstDay { // something breaks at once, so that its prompt can expire in the story
		i = f.free(i + 1)
		if to := pick(f, events.Expired, events.Failing, events.Disconnected); to != f.conns[0].status {
			f.enter(instant(i), []fact{turned{0, f.turn(f.conns[0], instant(i), to)}})
		}
	}
	// Things happen until the last day, and on that day once more to everybody:
	// some of what was asked first has expired by then.
	last := len(inRound)*int((30*day+6*time.Hour)/round) + f.IntN(len(inRound))
	for i < last {
		i = min(f.next(i), last)
		if len(f.moments) == most {
			i = last
		}
		if i = f.free(i); instant(i) < whole {
			f.happen(instant(i))
		}
	}
	return f.life
}

// most is how often something happens to a member, or there would be no second
// left for more.
const most = 90

// free returns the next instant at whose second nothing happened yet.
func (f *fate) free(i int) int {
	for second(instant(i)) >= seconds || f.taken[second(instant(i))] {
		i++
	}
	return i
}

func second(at time.Duration) int { return int(at % grid / time.Second) }

func (f *fate) chance(percent int) bool { return f.IntN(100) < percent }

func pick[T any](f *fate, of ...T) T { return of[f.IntN(len(of))] }

// next returns the instant of the next thing to happen.
func (f *fate) next(i int) int {
	soon := i + 1 + f.IntN(3*len(inRound))
	if f.spreads && f.chance(70) || f.chance(5) {
		return i + 1
	}
	// What may be confirmed mostly is, and as soon as it can.
	if at, ok := f.believed(); ok && f.chance(80) {
		for i++; instant(i) <= at; {
			i++
		}
		return i
	}
	if f.near && f.chance(70) || isAway(instant(i)) && f.chance(90) {
		return soon
	}
	later := i + 1 + int(f.ExpFloat64()*f.rate*float64(len(inRound)))
	if first := later - later%len(inRound); first > i && f.chance(60) {
		return first // of a round
	}
	return later
}

// believed returns when the next break has stood long enough to be believed.
func (f *fate) believed() (at time.Duration, ok bool) {
	for _, c := range f.conns {
		if t, broken := c.believed(); broken && !f.blind && (!ok || t < at) {
			at, ok = t, true
		}
	}
	return at, ok
}

// believed returns from when on the break of a connection may be confirmed, if
// it was not.
func (c *state) believed() (at time.Duration, ok bool) {
	if !c.status.Broken() || c.removed || c.confirmed {
		return 0, false
	}
	if c.status == events.Failing {
		return c.since + day, true
	}
	return c.since + 10*time.Minute, true
}

// begin makes up the first answer.
func (f *fate) begin(at time.Duration) {
	facts := []fact{began{}}
	f.consent = pick(f, events.Permit, events.Permit, events.Permit, events.Permit, events.Permit, events.Deny, events.None, "")
	if f.consent != "" {
		facts = append(facts, f.says(f.consent))
	}
	if f.consent == "" && f.chance(60) || f.chance(20) {
		f.search = pick(f, "ready", "in-progress", "completed", "rejected")
		facts = append(facts, searched{f.search})
	}
	for range min(1+f.IntN(3), f.rooms) {
		facts = append(facts, f.discover(at, true))
	}
	f.enter(at, facts)
}

func (f *fate) enter(at time.Duration, facts []fact) {
	f.taken[second(at)] = true
	f.moments = append(f.moments, moment{at, facts})
}

func (f *fate) says(p events.Provision) fact {
	return consented{p, time.Duration(1+f.IntN(3)) * grid}
}

// discover makes up a connection that was not there.
func (f *fate) discover(at time.Duration, first bool) fact {
	r := row{
		id:     pick(f, "alder", "birch", "cedar", "elm", "fir", "hazel", "lime", "maple", "oak"),
		kind:   pick(f, events.PROA, events.PROA, events.DirectIAS, events.DirectIAS, events.IndirectIAS, events.IndirectIAS, "", events.Unknown, "IAL2"),
		status: events.Connected,
		old:    first,
	}
	if vague(r.kind) || r.kind == "IAL2" {
		r.category = pick(f, "", "BASIC", "BASIC", "HAPI")
	}
	// One source may stand twice, with two types that are known.
	for _, c := range f.conns {
		if c.id == r.id && (vague(c.kind) || vague(r.kind) || c.kind == r.kind) {
			r.id = fmt.Sprintf("%s-%d", r.id, len(f.conns))
			break
		}
	}
	if f.chance(15) {
		r.status = pick(f, events.Expired, events.Expired, events.Disconnected, events.Deleted, events.Failing, events.AccessIsOver, "", events.Unknown)
	}
	if !first && f.chance(30) {
		r.old = true
	}
	f.rows = append(f.rows, r)
	f.conns = append(f.conns, &state{row: r, since: at})
	return listed{len(f.rows) - 1}
}

func vague(t events.IntegrationType) bool { return t == "" || t == events.Unknown }

// happen makes up what happens at a time.
func (f *fate) happen(at time.Duration) {
	spreads := f.spreads
	f.near, f.spreads, f.touched = false, false, map[int]bool{}
	if c, ok := f.asked(); ok && !isAway(at) && f.chance(10) {
		if f.chance(50) {
			f.enter(at, []fact{stopped{c}})
		} else {
			f.enter(at, []fact{snoozed{c, pick(f, 4*time.Hour, 2*day, 5*day, 20*day)}})
		}
		return
	}
	if !f.blind && !spreads && f.chance(4) {
		f.blind, f.near = true, true
		f.enter(at, []fact{lost{}})
		return
	}
	var facts []fact
	if f.blind && f.chance(75) {
		f.blind = false
		facts = append(facts, resumed{})
	}
	n := pick(f, 1, 1, 1, 1, 1, 2, 2, 3)
	if t, ok := f.believed(); ok && at > t && f.chance(75) || len(facts) > 0 && f.chance(40) {
		n = 0 // nothing else happens
	}
	for range n {
		if x := f.something(at); x != nil {
			facts = append(facts, x)
		}
	}
	for i, c := range f.conns {
		if t, broken := c.believed(); broken && at > t && !f.touched[i] && !f.blind {
			c.confirmed = true // a whole answer confirms what it does not change
			facts = append(facts, confirmed{i})
		}
		if spreads && c.status == events.Connected && !c.removed && !f.touched[i] {
			spreads, f.touched[i] = false, true
			facts = append(facts, turned{i, f.turn(c, at, events.Expired)})
		}
	}
	if len(facts) > 0 {
		f.enter(at, facts)
	}
}

// asked picks a connection about which the member may have been asked.
func (f *fate) asked() (c int, ok bool) {
	for _, i := range f.Perm(len(f.conns)) {
		if f.conns[i].confirmed && !f.conns[i].removed {
			return i, true
		}
	}
	return 0, false
}

// something makes up one thing, nil for nothing.
func (f *fate) something(at time.Duration) fact {
	switch n := f.IntN(100); {
	case n < 14 && !f.touched[-1]:
		f.touched[-1], f.near = true, true
		was := f.consent
		switch was {
		case events.Permit:
			f.consent = pick(f, events.Deny, events.Deny, events.Deny, events.None)
		case events.Deny:
			f.consent = pick(f, events.Permit, events.Permit, events.Permit, events.None)
		default:
			f.consent = pick(f, events.Permit, events.Permit, events.Deny)
		}
		return f.says(f.consent)
	case n < 16 && !f.touched[-2] && f.search == "":
		f.touched[-2] = true
		f.search = pick(f, "ready", "in-progress", "completed", "rejected")
		return searched{f.search}
	case n < 21 && len(f.conns) < f.rooms:
		x := f.discover(at, false)
		f.touched[len(f.conns)-1] = true
		return x
	}
	i := f.IntN(len(f.conns))
	if f.touched[i] {
		return nil
	}
	f.touched[i] = true
	return f.change(i, f.conns[i], at)
}

// change makes up what happens to a connection.
func (f *fate) change(i int, c *state, at time.Duration) fact {
	denied := f.consent == events.Deny || f.consent == events.None
	broken := func() events.Status {
		return pick(f, events.Expired, events.Expired, events.Expired, events.Expired, events.Disconnected, events.Deleted, events.Failing, events.AccessIsOver)
	}
	if c.removed {
		if f.chance(60) {
			return nil
		}
		return back{i, f.turn(c, at, pick(f, events.Connected, events.Connected, broken(), events.Unknown))}
	}
	switch n := f.IntN(100); {
	case n < 4:
		c.removed, c.confirmed = true, false
		return removed{i}
	case n < 8:
		return replaced{i, f.turn(c, at, pick(f, c.status, c.status, events.Connected))}
	case n < 12:
		c.sync = map[string]string{"": "DELETING", "DELETING": ""}[c.sync]
		f.near = c.sync != ""
		return syncing{i, c.sync}
	case n < 20 && !f.twice(c):
		kind := pick(f, events.PROA, events.DirectIAS, events.IndirectIAS)
		if !vague(c.kind) {
			kind = pick(f, events.IntegrationType(""), events.Unknown)
		}
		c.kind, c.category = kind, pick(f, "", "BASIC", "BASIC", "HAPI")
		return moved{i, c.kind, c.category}
	}
	var to events.Status
	switch {
	case c.status == events.Connected && c.kind.IAS() && denied && f.chance(60):
		to = events.AccessIsOver
	case c.status == events.Connected && f.chance(8):
		to = pick(f, events.Status(""), events.Unknown)
	case c.status == events.Connected:
		to = broken()
	case c.status == events.AccessIsOver && denied && f.chance(80):
		return nil
	case c.status == events.AccessIsOver && f.consent == events.Permit && f.chance(60), f.chance(f.heals):
		to = events.Connected
	case c.status.Broken() && f.chance(10):
		to = pick(f, events.Status(""), events.Unknown)
	default:
		to = broken()
	}
	if to == c.status {
		return nil
	}
	f.near = to == events.Connected && f.chance(30) || to == ""
	f.spreads = to.Broken() && f.chance(55)
	return turned{i, f.turn(c, at, to)}
}

// twice reports whether another connection has the same source: then the type
// is what tells them apart.
func (f *fate) twice(c *state) bool {
	return slices.ContainsFunc(f.conns, func(o *state) bool { return o != c && o.id == c.id })
}

func (f *fate) turn(c *state, at time.Duration, to events.Status) events.Status {
	if c.status != to || c.removed {
		c.status, c.since, c.confirmed = to, at, false
	}
	c.removed = false
	return to
}
