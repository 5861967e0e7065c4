package reconnect

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/smartconnect/connector/internal/events"
)

// A world is one member, one poller, a store that refuses what was decided
// from what has moved, and two deciders in each other's way. Everything in it
// follows from a seed.
type world struct {
	t      testing.TB
	rng    *rand.Rand
	policy Policy
	fault  *fault
	oracle *oracle
	broke  *violation // the first promise that was broken
	trace  []string   // nil: nobody reads it
	traced bool

	now  time.Time
	tick int

	tokens []events.ConnectionToken
	member *events.Member // as the poller has it
	heads  []version[events.Member]
	agenda version[events.Agenda]
	seq    uint64
	held   Held

	timers  []time.Time
	waiting []trigger // delivered in any order
	inHand  []*turn
	loses   bool // the broker loses timers, and a sweep finds what is overdue
	timely  bool // what is due is looked at when it is due

	commits, misses, told int

	stored func(l *turn, told []events.Event, next *events.Agenda) // hears of every commit; nil: nobody
}

// version is a snapshot at a stream sequence. Nobody writes to it again.
type version[T any] struct {
	seq      uint64
	snapshot *T
}

// A trigger is a message for the decider: a head that carries itself, or a look
// that is due, or a request that something be noted.
type trigger struct {
	known version[events.Member]
	notes []Note
}

// A turn is one decider at work on one trigger.
type turn struct {
	trigger
	phase    int // read, decide, commit
	tries    int
	asked    version[events.Agenda]
	now      time.Time
	held     Held
	decision Decision
	tick     int // when it was decided
}

// deciders are as many turns as may be in hand at once.
const deciders = 3

func newWorld(t testing.TB, seed uint64, f *fault) *world {
	rng := rand.New(rand.NewPCG(seed, 1))
	p := DefaultPolicy()
	p.Group = pick(rng, 0, 0, 2*time.Minute)
	p.HoldOpen = pick(rng, 0, 0, time.Minute)
	p.PromptRestoreOverdue = rng.IntN(2) == 0
	p.MaxPushesPerWeek = pick(rng, 0, 1, 2, 3, 3, 20)
	p.Expiry = pick(rng, 30*day, 30*day, 5*day)
	if rng.IntN(4) == 0 {
		p.Reminders = nil
	}
	if rng.IntN(3) == 0 {
		p.DirectAuto = []events.Status{events.Expired}
	}
	if rng.IntN(3) == 0 {
		p.UnknownTypes = map[string]events.Action{"": events.ActOAuth}
	}
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, rng: rng, policy: p, fault: f, now: t0, loses: rng.IntN(4) == 0,
		member: &events.Member{Book: events.NewBook("i"), MemberID: "m"},
	}
	w.oracle = newOracle(p, holdOpen)
	for i := range 1 + rng.IntN(4) {
		w.tokens = append(w.tokens, events.ConnectionToken(fmt.Sprintf("c%d", i+1)))
	}
	return w
}

func pick[T any](rng *rand.Rand, of ...T) T { return of[rng.IntN(len(of))] }

func (w *world) logf(format string, a ...any) {
	if w.traced {
		w.trace = append(w.trace, fmt.Sprintf("%12s %s", hours(w.now.Sub(t0)), fmt.Sprintf(format, a...)))
	}
}

// --- the poller

const holdOpen = time.Hour

func window(s events.Status) time.Duration {
	if s == events.Failing {
		return 24 * time.Hour
	}
	return 10 * time.Minute
}

// write commits the poller's head, which triggers the decider.
func (w *world) write(keys ...string) {
	for _, key := range keys {
		w.member.Sequences[key]++
		w.member.Latest[key] = fmt.Sprintf("%s#%d", key, w.member.Sequences[key])
	}
	snapshot := *w.member
	snapshot.Sequences, snapshot.Latest = maps.Clone(w.member.Sequences), maps.Clone(w.member.Latest)
	snapshot.Connections = slices.Clone(w.member.Connections)
	w.seq++
	w.heads = append(w.heads, version[events.Member]{w.seq, &snapshot})
	w.waiting = append(w.waiting, trigger{known: w.head()})
}

func (w *world) head() version[events.Member] { return w.heads[len(w.heads)-1] }

func (w *world) find(token events.ConnectionToken) *events.MemberConnection {
	for i := range w.member.Connections {
		if w.member.Connections[i].Token == token {
			return &w.member.Connections[i]
		}
	}
	w.member.Connections = append(w.member.Connections, events.MemberConnection{
		Token: token, ConnectionID: "id-" + string(token), FirstSeen: w.now,
	})
	return &w.member.Connections[len(w.member.Connections)-1]
}

// list writes what b.well says of a connection's status.
func (w *world) list(token events.ConnectionToken, s events.Status) {
	c := w.find(token)
	was, first, gone := c.State.Status, c.State.StatusUpdated.IsZero(), c.Removed()
	w.logf("%s is %q", token, s)
	w.oracle.listed(token, s, w.now)
	if !first && was == s && !gone {
		return
	}
	relist(c, s, holdOpen, first, w.now)
	w.write("connection." + string(token))
}

// poll is a whole answer with nothing new in it.
func (w *world) poll() {
	var confirmed []string
	for i := range w.member.Connections {
		c := &w.member.Connections[i]
		if c.State.Status.Broken() && !c.Removed() && c.ConfirmedAt.IsZero() && !w.now.Before(c.BrokenSince.Add(window(c.State.Status))) {
			c.ConfirmedAt = w.now
			confirmed = append(confirmed, "connection."+string(c.Token))
		}
	}
	w.oracle.polled(w.now, window)
	if len(confirmed) > 0 {
		w.logf("confirmed %v", confirmed)
		w.write(confirmed...)
	}
}

// --- what happens

func (w *world) statuses() events.Status {
	return pick(w.rng,
		events.Connected, events.Connected, events.Connected, events.Connected, events.Expired, events.Expired, events.Expired,
		events.Disconnected, events.Deleted, events.AccessIsOver, events.AccessIsOver, events.Failing, events.Failing, "", events.Unknown)
}

func (w *world) kinds() events.IntegrationType {
	return pick(w.rng, events.PROA, events.PROA, events.DirectIAS, events.DirectIAS, events.IndirectIAS, "", events.Unknown)
}

// begin is what the first complete answers say.
func (w *world) begin() {
	if w.rng.IntN(5) > 0 {
		w.consent(pick(w.rng, events.Permit, events.Permit, events.Permit, events.Deny, events.None))
	}
	for _, c := range w.tokens {
		w.kind(c, w.kinds(), pick(w.rng, "", "", "BASIC", "HAPI"))
		w.list(c, pick(w.rng, events.Connected, events.Connected, events.Connected, w.statuses()))
	}
}

func (w *world) kind(token events.ConnectionToken, t events.IntegrationType, category string) {
	c := w.find(token)
	c.State.IntegrationType, c.State.Category = t, category
	o := w.oracle.conn(token)
	o.kind, o.category = t, category
	w.logf("%s type %q category %q", token, t, category)
}

func (w *world) consent(p events.Provision) {
	w.logf("consent %s", p)
	w.oracle.consented(p, w.now)
	w.member.Consent = events.MemberConsent{Read: true, ConsentID: fmt.Sprintf("k%d", w.oracle.said), Provision: p, DateTime: w.now, Permitted: w.oracle.permitted}
	w.write("consent")
}

// hold changes what keeps prompts back; when something ends, all who may have
// waited are looked at.
func (w *world) hold(change func(h *Held)) {
	h := w.held
	change(&h)
	ends := w.held.Storm && !h.Storm || w.held.Silenced && !h.Silenced || w.held.Blind && !h.Blind ||
		len(w.held.Degraded) > len(h.Degraded) || len(w.held.Muted) > len(h.Muted)
	w.held = h
	w.oracle.held(w.tick, h)
	w.logf("held: %+v", h)
	if ends && mayWait(w.head().snapshot) {
		w.waiting = append(w.waiting, trigger{})
	}
}

// toggle returns a copy of m with token in it if it was not, and without it if
// it was.
func toggle(m map[events.ConnectionToken]bool, token events.ConnectionToken) map[events.ConnectionToken]bool {
	next := map[events.ConnectionToken]bool{}
	maps.Copy(next, m)
	if next[token] {
		delete(next, token)
	} else {
		next[token] = true
	}
	return next
}

func (w *world) note() {
	token := pick(w.rng, w.tokens...)
	n := Note{
		Connection: token, Kind: pick(w.rng, Acknowledge, Acknowledge, Snooze, Snooze, Instead, Release),
		For: pick(w.rng, time.Hour, 2*day, 40*day), Action: pick(w.rng, events.ActVerifyIdentity, events.ActReconnectInApp),
	}
	if c := w.oracle.conns[token]; c.open != nil {
		n.PromptID = c.open.id
		if n.Kind == Instead && c.open.action != events.ActDirect && c.open.action != events.ActReconnectInApp {
			return
		}
	}
	w.logf("note %+v", n)
	w.waiting = append(w.waiting, trigger{notes: []Note{n}})
}

func (w *world) happen() {
	token := pick(w.rng, w.tokens...)
	switch n := w.rng.IntN(100); {
	case n < 22:
		w.list(token, w.statuses())
	case n < 38: // breaks, and stays broken
		w.list(token, pick(w.rng, events.Expired, events.Expired, events.Failing, events.AccessIsOver, events.Disconnected))
		w.pass(pick(w.rng, 11*time.Minute, 25*time.Hour))
		w.poll()
	case n < 41: // heals too soon to be asked about
		w.list(token, events.Expired)
		w.pass(time.Duration(w.rng.IntN(10)) * time.Minute)
		w.list(token, events.Connected)
	case n < 49:
		w.consent(pick(w.rng, events.Permit, events.Permit, events.Deny, events.Deny, events.None))
	case n < 52:
		w.kind(token, w.kinds(), w.find(token).State.Category)
		w.write("connection." + string(token))
	case n < 55:
		if c := w.find(token); !c.Removed() {
			w.logf("%s removed", token)
			c.RemovedAt, c.BrokenSince, c.ConfirmedAt, c.ConnectedSince = w.now, time.Time{}, time.Time{}, time.Time{}
			w.oracle.conn(token).removed = true
			w.write("connection." + string(token))
		}
	case n < 58:
		c := w.find(token)
		c.State.SyncStatus = pick(w.rng, "DELETING", "SYNCED", "SYNCED")
		w.oracle.conn(token).deleting = c.State.SyncStatus == "DELETING"
		w.logf("%s sync %s", token, c.State.SyncStatus)
		w.write("connection." + string(token))
	case n < 64:
		w.poll()
	case n < 66:
		o := &w.member.Observation
		if o.Blind() {
			o.LostSince = time.Time{}
		} else {
			o.LostSince = w.now
		}
		w.oracle.blind = o.Blind()
		w.logf("member not seen: %t", o.Blind())
		w.write("observation")
	case n < 76:
		w.hold(func(h *Held) {
			switch w.rng.IntN(5) {
			case 0:
				h.Blind = !h.Blind
			case 1:
				h.Storm = !h.Storm
			case 2:
				h.Silenced = !h.Silenced
			case 3:
				h.Degraded = toggle(h.Degraded, token)
			default:
				h.Muted = toggle(h.Muted, token)
			}
		})
	case n < 78:
		w.hold(func(h *Held) { *h = Held{} })
	case n < 86:
		w.note()
	case n < 89:
		w.crash()
	case n < 91: // delivered once more, long after
		w.waiting = append(w.waiting, trigger{known: pick(w.rng, w.heads...)})
	case n < 95:
		w.settle()
	default:
		w.pass(pick(w.rng, time.Minute, 6*time.Hour, day, 3*day, 8*day, 40*day))
	}
}

// --- the deciders

// move lets one of the deciders do one thing.
func (w *world) move() {
	w.tick++
	if len(w.waiting) > 0 && (len(w.inHand) == 0 || len(w.inHand) < deciders && w.rng.IntN(2) == 0) {
		i := w.rng.IntN(len(w.waiting))
		w.inHand = append(w.inHand, &turn{trigger: w.waiting[i], now: w.now})
		w.waiting = slices.Delete(w.waiting, i, i+1)
		return
	}
	if len(w.inHand) == 0 {
		return
	}
	i := w.rng.IntN(len(w.inHand))
	if w.step(w.inHand[i]) {
		w.inHand = slices.Delete(w.inHand, i, i+1)
	}
}

// step does the next thing of a turn and reports whether it was the last.
func (w *world) step(l *turn) (done bool) {
	switch l.phase {
	case 0:
		if l.known.seq == 0 {
			l.known = w.head()
		}
		l.asked = w.agenda
	case 1:
		q := inputs{policy: w.policy, member: l.known.snapshot, agenda: l.asked.snapshot, held: w.held, now: l.now, notes: l.notes}
		l.decision, l.held, l.tick = w.fault.decide(q), w.held, w.tick
		if !l.decision.Noted {
			return true // whoever asked is told
		}
		if l.decision.Next == nil {
			if early := l.decision.early(l.now); early != nil {
				w.timers = append(w.timers, l.decision.NextLook)
			}
			return true
		}
	default:
		return w.commit(l)
	}
	l.phase++
	return false
}

func (w *world) commit(l *turn) (done bool) {
	moved := w.agenda.seq != l.asked.seq && !w.fault.is(unguarded) || w.head().seq != l.known.seq && !w.fault.is(unasserted)
	if moved {
		w.misses++
		l.phase, l.known = 0, version[events.Member]{} // read both anew
		if l.tries++; l.tries == looks {
			w.waiting = append(w.waiting, trigger{notes: l.notes})
			return true
		}
		return false
	}
	told, next := written(w.t, l.decision)
	w.seq++
	w.agenda = version[events.Agenda]{w.seq, next}
	w.commits++
	w.told += len(told)
	if w.stored != nil {
		w.stored(l, told, next)
	}
	if !l.decision.NextLook.IsZero() && !w.fault.is(untimed) {
		if !w.loses || w.rng.IntN(10) > 0 {
			w.timers = append(w.timers, l.decision.NextLook)
		}
	}
	for _, e := range told {
		w.logf("  = %s (at %s)", describe(e), hours(l.now.Sub(t0)))
	}
	for _, n := range l.notes {
		if n.Kind == Release {
			w.oracle.conn(n.Connection).released = true
		}
		if n.Kind == Instead {
			c := w.oracle.conn(n.Connection)
			if c.open != nil { // it is, unless a planted fault lost it
				c.another, c.instead = c.open.episode, n.Action
			}
		}
	}
	var open []string
	for _, p := range next.Prompts {
		open = append(open, p.PromptID)
	}
	var activated []events.ConnectionToken
	for _, c := range l.decision.Activate {
		activated = append(activated, c.Token)
	}
	w.judge(w.oracle.stored(told, activated, open, l.tick, l.now))
	if !l.held.same(w.held) { // as a Consumer does
		w.waiting = append(w.waiting, trigger{})
	}
	if len(l.notes) == 0 && w.rng.IntN(20) == 0 { // stored, and the broker never hears that it is done
		w.waiting = append(w.waiting, trigger{known: l.known})
	}
	return true
}

func (w *world) judge(v *violation) {
	if v != nil && w.broke == nil {
		w.broke = v
		w.logf("BROKEN: %s: %s", v.promise, v.how)
	}
}

// crash takes what is in hand from the deciders. They remember nothing, and
// the broker delivers it again; whoever asked for a note asks again or not.
func (w *world) crash() {
	w.logf("crash")
	for _, l := range w.inHand {
		if len(l.notes) == 0 || w.rng.IntN(2) == 0 {
			w.waiting = append(w.waiting, l.trigger)
		}
	}
	w.inHand = nil
}

// drain lets the deciders do all there is to do.
func (w *world) drain() {
	for range 5000 {
		if len(w.waiting) == 0 && len(w.inHand) == 0 || w.broke != nil {
			return
		}
		w.move()
	}
	w.judge(broken(comesToRest, "%d wait, %d in hand", len(w.waiting), len(w.inHand)))
}

// pass lets time pass. What falls due meanwhile is looked at, mostly at once.
func (w *world) pass(d time.Duration) {
	if d > skew/2 {
		if w.rng.IntN(4) == 0 {
			w.crash()
		}
		w.drain()
	}
	until := w.now.Add(d)
	for w.broke == nil {
		i := w.nextTimer()
		if i < 0 || w.timers[i].After(until) {
			break
		}
		if w.timers[i].After(w.now) {
			w.now = w.timers[i]
		}
		w.timers = slices.Delete(w.timers, i, i+1)
		w.waiting = append(w.waiting, trigger{})
		if w.timely || w.rng.IntN(5) > 0 {
			w.drain()
		}
	}
	w.now = until
}

func (w *world) nextTimer() int {
	next := -1
	for i, at := range w.timers {
		if next < 0 || at.Before(w.timers[next]) {
			next = i
		}
	}
	return next
}

// settle lets everybody look who has reason to, the short waits of the policy
// pass, and what is overdue be found; then all that is promised must be so.
func (w *world) settle() {
	w.timely = true
	defer func() { w.timely = false }()
	w.drain()
	w.pass(w.policy.Group + activation + w.policy.HoldOpen + time.Second)
	w.drain()
	if w.loses {
		for range 3 { // what was lost may have led to what is lost
			w.pass(late + skew)
			if a := w.agenda.snapshot; a != nil && !a.NextLook.IsZero() && w.now.Sub(a.NextLook) >= late {
				w.waiting = append(w.waiting, trigger{})
			}
			w.drain()
		}
	}
	if w.broke != nil {
		return
	}
	w.logf("all is quiet")
	w.judge(w.oracle.quiet(w.now))
	told := w.told
	w.waiting = append(w.waiting, trigger{}, trigger{known: w.head()})
	w.drain()
	if w.told != told {
		w.judge(broken(comesToRest, "%d more told", w.told-told))
	}
}

// live runs the history of a seed. It returns the promise that was broken, nil
// if none was.
func live(t testing.TB, seed uint64, f *fault, traced bool) *world {
	w := newWorld(t, seed, f)
	w.traced = traced
	w.live()
	return w
}

func (w *world) live() {
	w.begin()
	for range 6 + w.rng.IntN(26) {
		if w.broke != nil {
			return
		}
		w.tick++
		w.happen()
		for range w.rng.IntN(8) {
			w.move()
		}
		w.pass(pick(w.rng, 0, time.Second, 5*time.Second, 11*time.Minute, time.Hour))
	}
	w.end()
}

// end lets all holds end, and everything that is still broken be confirmed;
// then all must be asked about that is due, and when all is connected, nothing.
func (w *world) end() {
	w.tick++
	if w.member.Observation.Blind() {
		w.member.Observation.LostSince, w.oracle.blind = time.Time{}, false
		w.write("observation")
	}
	w.hold(func(h *Held) { *h = Held{} })
	w.pass(25 * time.Hour)
	w.poll()
	w.settle()
	for _, c := range w.tokens {
		w.list(c, events.Connected)
	}
	w.settle()
	if w.broke == nil && w.agenda.snapshot != nil && len(w.agenda.snapshot.Prompts) > 0 {
		w.judge(broken(closedInTime, "all is connected, %v", w.agenda.snapshot.Prompts))
	}
}

// histories are as many as a test of seconds allows under the race detector.
// CONNECTOR_TEST=long is for `make long`.
func histories() uint64 {
	if os.Getenv("CONNECTOR_TEST") == "long" {
		return 120_000
	}
	return 3_000
}

// Whatever happens to a member, whoever looks when, the promises are kept.
func TestModel(t *testing.T) {
	n := histories()
	var next, commits, misses, told atomic.Uint64
	t.Run("histories", func(t *testing.T) {
		for i := range runtime.GOMAXPROCS(0) {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				for seed := next.Add(1); seed <= n && !t.Failed(); seed = next.Add(1) {
					w := live(t, seed, nil, false)
					if w.broke != nil {
						t.Errorf("history %d: %s: %s\n%s", seed, w.broke.promise, w.broke.how, strings.Join(live(t, seed, nil, true).trace, "\n"))
					}
					commits.Add(uint64(w.commits))
					misses.Add(uint64(w.misses))
					told.Add(uint64(w.told))
				}
			})
		}
	})
	t.Logf("%d histories: %d decisions stored, %d refused, %d events", n, commits.Load(), misses.Load(), told.Load())
	if misses.Load() == 0 || told.Load() < n {
		t.Error("nobody was in anybody's way, or little was told: the histories are too tame")
	}
}
