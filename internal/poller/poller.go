package poller

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/smartconnect/connector/internal/bwell"
	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/members"
	"github.com/smartconnect/connector/internal/secret"
)

// Upstream is the part of b.well's API that polling needs. An error on a list
// leaves the list not whole; an error of a call says that nothing came.
type Upstream interface {
	Observe(ctx context.Context, access secret.Value, want bwell.Want) (bwell.Observation, error)
	DeletedConnections(ctx context.Context, access secret.Value) (bwell.List[bwell.Connection], error)
	Recommendations(ctx context.Context, access secret.Value) (bwell.List[bwell.Recommendation], error)
}

// Registry knows who is enrolled. Watch calls changed for every member there
// is, then with no member, then for every change, until ctx ends.
type Registry interface {
	Watch(ctx context.Context, changed func(m events.MemberToken, gone bool)) error
	Identity(ctx context.Context, m events.MemberToken) (memberID, incarnation string, err error)
	Tokens(m events.MemberToken) bwell.Tokens
}

// Heads keeps the member heads: an [events.Log].
type Heads interface {
	Subjects() events.Subjects
	Member(ctx context.Context, m events.MemberToken) (events.Head[events.Member], error)
	Commit(ctx context.Context, t events.Transaction) (events.Stored, error)
}

// Shards says which members are this replica's to poll: [Leases]. The epoch
// changes whenever another replica may have polled the member in between.
// Notify has gained called whenever members may have come to this replica.
type Shards interface {
	Holds(m events.MemberToken) (epoch uint64, ok bool)
	Notify(gained func())
}

// Config is what a Poller needs. All fields are required unless noted.
type Config struct {
	Log       Heads
	Tokenizer events.Tokenizer
	Registry  Registry
	Upstream  Upstream
	Leases    Shards
	Rules     Rules
	Pace      Pace
	Workers   int              // polls in flight; default 256: those that wait to be committed together count
	Rate      float64          // ceiling of requests per second over all members; default 10
	Now       func() time.Time // our clock; default time.Now

	// Blind reports whether b.well cannot be seen at all: then nobody is told
	// so of single members. May be nil.
	Blind func() bool
}

// A Poller polls the members of the shards it holds.
type Poller struct {
	Config
	budget *budget
	pulse  pulse

	mu      sync.Mutex
	members map[events.MemberToken]*member
	queue   queue
	woken   chan struct{}

	polls, unchanged, committed, missed, failed atomic.Int64
}

// Stats counts what a Poller did since it was made.
type Stats struct {
	Members, Polls, Unchanged, Committed, Missed, Failed int64

	Rate float64 // requests per second allowed right now
}

// A member is what the poller keeps of one member between polls: caches and
// suspicions, nothing that could not be lost.
type member struct {
	token  events.MemberToken
	at     time.Time // of the next poll
	index  int       // in the queue, -1 if not waiting
	urgent bool      // somebody waits for it: before all others
	busy   bool
	again  bool // a look was asked for while one was in flight
	news   news // for the next poll

	// What follows is touched by the poll in flight only.
	memberID, incarnation string
	epoch                 uint64       // of the lease what follows was learned under
	quiet                 bool         // the answer below, come again before standing.wake, is no news
	digest                bwell.Digest // of its bytes, 0 for unknown
	fingerprint           [16]byte     // of its meaning

	// The head as it was before b.well was asked last: an answer is compared with
	// nothing that may be newer. It is kept where the next change is likely, else
	// nil and read again when there is news.
	known bool
	seq   uint64
	head  *events.Head[events.Member]

	memory       memory
	standing     standing
	failingSince time.Time
	offersAt     time.Time
	searching    bool
}

// news is what others tell of a member while a poll may be in flight.
type news struct {
	tapped  time.Time // until when the fast tier is to be kept
	acted   map[events.ConnectionToken]action
	renewed bool // new credentials, or another incarnation: what we knew may be void
}

// begin readies m for a poll under a lease.
func (m *member) begin(epoch uint64) {
	if m.epoch != epoch {
		// Another may have written meanwhile: what is known is read again.
		*m = member{token: m.token, index: -1, news: m.news, epoch: epoch, standing: standing{tapped: m.standing.tapped}}
	}
	n := m.news
	m.news = news{}
	m.busy, m.urgent = true, false
	if !n.tapped.IsZero() {
		m.standing.tapped = n.tapped
	}
	if n.renewed {
		m.forget()
		m.standing.failures = 0
	}
	if n.acted != nil {
		acted := maps.Clone(m.memory.acted)
		if acted == nil {
			acted = n.acted
		} else {
			maps.Copy(acted, n.acted)
		}
		m.memory.acted, m.quiet = acted, false
	}
}

// forget drops what is known of the head, and of whose it is.
func (m *member) forget() { m.quiet, m.known, m.head, m.memberID = false, false, nil, "" }

// quietAt reports whether the answer that was seen last, come again now, is no
// news.
func (m *member) quietAt(now time.Time) bool {
	wake := m.standing.wake
	return m.quiet && (wake.IsZero() || now.Before(wake))
}

// offersDue reports whether it is time to read the recommendations. After
// consent ended it never is.
func (m *member) offersDue(now time.Time) bool { return !m.standing.denied && !now.Before(m.offersAt) }

// searches reports whether a network search runs, as far as is known.
func (m *member) searches(seen bwell.Observation) bool {
	if !seen.Tasks.Whole {
		return m.searching
	}
	return slices.ContainsFunc(seen.Tasks.Items, func(t bwell.Task) bool {
		return t.Status.Value == "ready" || t.Status.Value == "in-progress"
	})
}

// New returns a Poller, or says what is wrong with c.
func New(c Config) (*Poller, error) {
	switch {
	case c.Log == nil, c.Registry == nil, c.Upstream == nil, c.Leases == nil:
		return nil, errors.New("poller: Log, Registry, Upstream and Leases are required")
	case c.Pace.Fast <= 0 || c.Pace.Healthy <= 0:
		return nil, errors.New("poller: the pace has an interval that is not positive")
	}
	if err := c.Rules.Validate(); err != nil {
		return nil, fmt.Errorf("poller: %w", err)
	}
	if c.Workers == 0 {
		c.Workers = 256
	}
	if c.Rate == 0 {
		c.Rate = 10
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	p := &Poller{
		Config: c, budget: newBudget(c.Rate),
		members: map[events.MemberToken]*member{}, woken: make(chan struct{}, 1),
	}
	c.Leases.Notify(p.gained)
	return p, nil
}

// Stats returns what the poller did so far.
func (p *Poller) Stats() Stats {
	p.mu.Lock()
	n := len(p.members)
	p.mu.Unlock()
	return Stats{
		Members: int64(n), Polls: p.polls.Load(), Unchanged: p.unchanged.Load(),
		Committed: p.committed.Load(), Missed: p.missed.Load(), Failed: p.failed.Load(), Rate: p.budget.perSecond(),
	}
}

// Pulse returns how many polls of the last minute there were, and how many of
// them failed for reasons that lie with b.well or the way there.
func (p *Poller) Pulse() (polls, failed int) { return p.pulse.read() }

// Run polls until ctx ends, finishes the polls in flight, and returns nil.
func (p *Poller) Run(ctx context.Context) error {
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() {
		changed := func(m events.MemberToken, gone bool) {
			if m == "" {
				p.sweep(ctx)
				return
			}
			p.onMember(m, gone)
		}
		for ctx.Err() == nil {
			if err := p.Registry.Watch(ctx, changed); err != nil && ctx.Err() == nil {
				zerolog.Ctx(ctx).Error().Err(err).Msg("enrolments not watched, trying again")
				wait(ctx, time.Second)
			}
		}
	})
	slots := make(chan struct{}, p.Workers)
	for {
		m, delay := p.pop()
		if m == nil {
			select {
			case <-ctx.Done():
				return nil
			case <-p.woken:
			case <-time.After(delay):
			}
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case slots <- struct{}{}:
		}
		if err := p.budget.wait(ctx); err != nil {
			return nil // asked to stop
		}
		work.Go(func() {
			defer func() { <-slots }()
			p.poll(context.WithoutCancel(ctx), m)
		})
	}
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// Look asks for a poll of m at once and keeps the fast tier for a while. It
// reports whether this replica is the one that polls m.
func (p *Poller) Look(m events.MemberToken) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	known, ok := p.members[m]
	if _, held := p.Leases.Holds(m); !ok || !held {
		return false
	}
	known.news.tapped = p.Now().Add(p.Pace.Tapped)
	p.soon(known)
	return true
}

// Acted notes what b.well answered when a connection was activated, so that a
// lagging read is not taken for news.
func (p *Poller) Acted(m events.MemberToken, c events.ConnectionToken, s events.Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if known, ok := p.members[m]; ok {
		if known.news.acted == nil {
			known.news.acted = map[events.ConnectionToken]action{}
		}
		known.news.acted[c] = action{s, p.Now()}
	}
}

func (p *Poller) onMember(m events.MemberToken, gone bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	known, ok := p.members[m]
	switch {
	case gone && ok:
		if known.index >= 0 {
			heap.Remove(&p.queue, known.index)
		}
		delete(p.members, m)
	case gone:
	case ok:
		known.news.renewed = true
		p.soon(known)
	default:
		known = &member{token: m, index: -1}
		p.members[m] = known
		if _, held := p.Leases.Holds(m); held {
			p.first(known)
		}
	}
}

// first has a member polled for the first time since a start or since its shard
// was gained, which must not be for everybody at once. The caller holds the
// lock.
func (p *Poller) first(m *member) {
	now, spread := p.Now(), min(p.Pace.Fast, time.Second)
	switch {
	case m.busy:
		m.again = true
	case m.index < 0, m.at.After(now.Add(spread)):
		p.enqueue(m, now.Add(time.Duration(rand.Float64()*float64(spread))))
	}
}

// gained begins with the members of shards that came to this replica. What was
// planned for them before is void: another may have seen since that they break.
func (p *Poller) gained() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.members {
		if epoch, held := p.Leases.Holds(m.token); held && epoch != m.epoch {
			p.first(m)
		}
	}
}

// sweep tells how long asking for everybody once takes.
func (p *Poller) sweep(ctx context.Context) {
	p.mu.Lock()
	all, here := len(p.members), 0
	for m := range p.members {
		if _, ok := p.Leases.Holds(m); ok {
			here++
		}
	}
	p.mu.Unlock()
	takes := time.Duration(float64(here) / p.Rate * float64(time.Second))
	zerolog.Ctx(ctx).Info().Int("members", all).Int("here", here).Float64("ceiling", p.Rate).
		Stringer("sweep", takes.Round(time.Millisecond)).Stringer("healthyEvery", p.Pace.Healthy).
		Msg("polling; asking for everybody once takes as long as a sweep")
}

// soon moves a member to the front. The caller holds the lock.
func (p *Poller) soon(m *member) {
	if m.busy {
		m.again = true
		return
	}
	m.urgent = true
	p.enqueue(m, p.Now())
}

// enqueue sets a member's next poll. The caller holds the lock.
func (p *Poller) enqueue(m *member, at time.Time) {
	m.at = at
	if m.index >= 0 {
		heap.Fix(&p.queue, m.index)
	} else {
		heap.Push(&p.queue, m)
	}
	p.wake()
}

func (p *Poller) wake() {
	select {
	case p.woken <- struct{}{}:
	default:
	}
}

// idle bounds how long the scheduler sleeps: the clock may be set meanwhile.
const idle = time.Minute

// pop takes the member that is due, or says how long to wait for one. Members
// of other replicas' shards leave the queue until their shard is gained.
func (p *Poller) pop() (*member, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.Now()
	for len(p.queue) > 0 {
		m := p.queue[0]
		if d := m.at.Sub(now); d > 0 {
			return nil, min(d, idle)
		}
		heap.Pop(&p.queue)
		epoch, held := p.Leases.Holds(m.token)
		if !held {
			m.urgent = false
			continue
		}
		m.begin(epoch)
		return m, 0
	}
	return nil, idle
}

// poll looks at one member and schedules the next look. Nobody else touches m
// but under the lock.
func (p *Poller) poll(ctx context.Context, m *member) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	p.polls.Add(1)
	err := p.look(ctx, m)
	now := p.Now()
	var at time.Time
	switch {
	case errors.Is(err, events.ErrMoved):
		p.missed.Add(1)
		at = now // another writer was here; ask b.well again, an old answer is never compared twice
	case err != nil:
		p.failed.Add(1)
		m.quiet, m.head = false, nil
		at = p.failure(ctx, m, err, now)
		zerolog.Ctx(ctx).Warn().Err(err).Str("member", string(m.token)).
			Str("class", m.standing.class.String()).Str("next", inWords(at)).Msg("poll failed")
	default:
		m.standing.failures, m.failingSince = 0, time.Time{}
		m.standing.fast(now)
		at = p.Pace.next(m.standing, now, rand.Float64())
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	m.busy = false
	if p.members[m.token] != m {
		return // forgotten meanwhile
	}
	if m.again { // somebody waits
		m.again, m.urgent = false, true
		at = now
	}
	if !at.IsZero() {
		p.enqueue(m, at)
	}
}

// inWords is when a poll comes, for people: Pace.next says never by no time.
func inWords(at time.Time) string {
	if at.IsZero() {
		return "when other credentials come"
	}
	return at.Format(time.RFC3339)
}

// failure counts a failed poll and tells when the member can no longer be seen.
func (p *Poller) failure(ctx context.Context, m *member, err error, now time.Time) time.Time {
	s := &m.standing
	s.failures++
	s.class, s.retry = bwell.ClassOf(err), 0
	if e, ok := errors.AsType[*bwell.Error](err); ok {
		s.retry = e.RetryAfter
	}
	if m.failingSince.IsZero() {
		m.failingSince = now
	}
	reason, act := "", events.ActNone
	switch {
	case errors.Is(err, members.ErrIdentityMismatch):
		s.class, reason, act = bwell.Auth, "identity_mismatch", events.ActSignIn
	case errors.Is(err, members.ErrReauthenticate), s.class == bwell.Auth:
		s.class, reason, act = bwell.Auth, "reauthenticate", events.ActSignIn
	case s.class == bwell.Forbidden:
		reason = "forbidden"
	case s.class == bwell.Transient && now.Sub(m.failingSince) >= p.Pace.Unreachable && !p.blind():
		reason = "unreachable"
	}
	if reason != "" {
		if err := p.lost(ctx, m, reason, act); err != nil {
			zerolog.Ctx(ctx).Warn().Err(err).Str("member", string(m.token)).Msg("loss of sight not told, next try on schedule")
			return now.Add(p.Pace.Retry)
		}
	}
	return p.Pace.next(*s, now, rand.Float64())
}

func (p *Poller) blind() bool { return p.Blind != nil && p.Blind() }

func (p *Poller) lost(ctx context.Context, m *member, reason string, act events.Action) error {
	if err := p.know(ctx, m); err != nil {
		return err
	}
	head, err := p.head(ctx, m)
	if err != nil {
		return err
	}
	l := look{memberID: m.memberID, incarnation: m.incarnation, head: head.Snapshot, now: p.Now()}
	_, err = p.commit(ctx, m, lose(l, reason, act), head, l.now)
	return err
}

// look asks b.well, compares, commits.
func (p *Poller) look(ctx context.Context, m *member) error {
	if err := p.know(ctx, m); err != nil {
		return err
	}
	tokens := p.Registry.Tokens(m.token)
	want := bwell.Want{NoTasks: m.standing.denied}
	if m.quietAt(p.Now()) && !m.offersDue(p.Now()) {
		want.Seen = m.digest
	}
	seen, err := bwell.Do(ctx, tokens, func(ctx context.Context, access secret.Value) (bwell.Observation, error) {
		return p.Upstream.Observe(ctx, access, want)
	})
	p.learn(errors.Join(err, partial(seen)))
	switch {
	case err != nil:
		return err
	case seen.Same:
		p.unchanged.Add(1)
		return nil
	}
	searching := m.searches(seen)
	due := partial(seen) == nil && (m.offersDue(p.Now()) || m.searching && !searching)
	var offers *bwell.List[bwell.Recommendation]
	if due {
		offers = p.offers(ctx, m, tokens)
	}
	fingerprint := seen.Fingerprint()
	if m.quietAt(p.Now()) && offers == nil && fingerprint == m.fingerprint {
		m.digest = seen.Digest
		p.unchanged.Add(1)
		return partial(seen)
	}
	head, err := p.head(ctx, m)
	if err != nil {
		return err
	}
	l := look{memberID: m.memberID, incarnation: m.incarnation, head: head.Snapshot, seen: seen, offers: offers, now: p.Now()}
	f := p.Rules.diff(l, m.memory, p.Tokenizer)
	if f.askDeleted {
		deleted, err := extra(ctx, p, tokens, p.Upstream.DeletedConnections)
		if err != nil { // the rows stay missing; what else there is, is told
			zerolog.Ctx(ctx).Warn().Err(err).Str("member", string(m.token)).Msg("deleted connections not read, next try on schedule")
		} else {
			l.deleted = &deleted
			f = p.Rules.diff(l, m.memory, p.Tokenizer)
		}
	}
	if head, err = p.commit(ctx, m, f, head, l.now); err != nil {
		return err
	}
	// The look after a change finds out whether the same answer is quiet now.
	m.memory, m.quiet, m.digest, m.fingerprint = f.memory, f.quiet(), seen.Digest, fingerprint
	m.standing.learn(head.Snapshot)
	if slices.ContainsFunc(f.told, func(e events.Event) bool { return e.Type == events.ConsentGranted }) {
		m.standing.tapped = l.now.Add(p.Pace.Tapped) // a search will start
	}
	if partial(seen) == nil { // otherwise the end of the search is still to be acted upon
		m.searching = searching
	}
	if offers != nil {
		m.offersAt = p.Now().Add(p.Pace.Offers)
	}
	m.head = nil
	if m.standing.likely {
		m.head = &head
	}
	m.standing.wake = f.wake
	m.standing.suspects = len(f.memory.missing) > 0 || f.memory.consent != nil
	return partial(seen)
}

// learn takes what came of a request into account for all that follow. One that
// did not bring everything has failed.
func (p *Poller) learn(err error) {
	p.budget.learn(err)
	p.pulse.count(bwell.ClassOf(err) == bwell.Transient)
}

// extra makes a request beside the one that each poll has a budget for.
func extra[T any](ctx context.Context, p *Poller, tokens bwell.Tokens, ask func(context.Context, secret.Value) (T, error)) (T, error) {
	if err := p.budget.wait(ctx); err != nil {
		var none T
		return none, err
	}
	got, err := bwell.Do(ctx, tokens, ask)
	p.budget.learn(err)
	return got, err
}

// partial returns why an answer that came was not whole, so that it is asked
// for again soon.
func partial(seen bwell.Observation) error {
	return errors.Join(seen.Connections.Err, seen.Tasks.Err, seen.Consents.Err)
}

// offers reads the recommendations, which is to be done when a search has just
// ended, and daily. It returns nil if they did not come: they are no part of
// whether we see the member.
func (p *Poller) offers(ctx context.Context, m *member, tokens bwell.Tokens) *bwell.List[bwell.Recommendation] {
	list, err := extra(ctx, p, tokens, p.Upstream.Recommendations)
	if err != nil || !list.Whole {
		m.offersAt = p.Now().Add(p.Pace.Retry)
		return nil
	}
	return &list
}

// know finds out who the member is and reads the head, once under a lease: it
// says what b.well may be asked for at all.
func (p *Poller) know(ctx context.Context, m *member) error {
	if m.known {
		return nil
	}
	id, incarnation, err := p.Registry.Identity(ctx, m.token)
	if err != nil {
		return fmt.Errorf("identify: %w", err)
	}
	m.memberID, m.incarnation, m.quiet = id, incarnation, false
	head, err := p.read(ctx, m)
	if err != nil {
		return err
	}
	m.known, m.seq, m.head = true, head.Seq, &head
	m.standing.learn(head.Snapshot)
	return nil
}

// head returns the member's head as it was before b.well was asked.
func (p *Poller) head(ctx context.Context, m *member) (events.Head[events.Member], error) {
	if m.head != nil {
		return *m.head, nil
	}
	head, err := p.read(ctx, m)
	if err == nil && head.Seq != m.seq {
		m.forget()
		return head, events.ErrMoved
	}
	return head, err
}

// read reads the member's head. One of another incarnation counts as absent;
// its sequence is still the guard.
func (p *Poller) read(ctx context.Context, m *member) (events.Head[events.Member], error) {
	head, err := p.Log.Member(ctx, m.token)
	if err == nil && head.Snapshot != nil && head.Snapshot.Incarnation != m.incarnation {
		head.Snapshot = nil
	}
	return head, err
}

// commit writes what was found and returns the head that is now.
func (p *Poller) commit(ctx context.Context, m *member, f finding, head events.Head[events.Member], now time.Time) (events.Head[events.Member], error) {
	if f.next == nil {
		p.unchanged.Add(1)
		return head, nil
	}
	tx, err := p.Log.Subjects().Poll(m.token, f.told, f.next, head.Seq, now)
	if err != nil {
		return head, err
	}
	stored, err := p.Log.Commit(ctx, tx)
	if err != nil {
		m.forget() // moved, or nobody knows
		return head, err
	}
	p.committed.Add(1)
	m.known, m.seq = stored.HeadSeq != 0, stored.HeadSeq
	log := zerolog.Ctx(ctx)
	for _, e := range tx.Events() {
		log.Info().Str("member", string(m.token)).Str("event", e.ID).Str("why", string(e.Type)).Msg("told")
	}
	return events.Head[events.Member]{Seq: stored.HeadSeq, Snapshot: f.next}, nil
}

// queue is a heap of members by the time of their next poll.
type queue []*member

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	if q[i].urgent != q[j].urgent {
		return q[i].urgent
	}
	return q[i].at.Before(q[j].at)
}

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push implements [heap.Interface].
func (q *queue) Push(x any) {
	m := x.(*member)
	m.index = len(*q)
	*q = append(*q, m)
}

// Pop implements [heap.Interface].
func (q *queue) Pop() any {
	old := *q
	m := old[len(old)-1]
	old[len(old)-1], m.index = nil, -1
	*q = old[:len(old)-1]
	return m
}
