package poller

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/time/rate"

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
// is and then for every change, until ctx ends.
type Registry interface {
	Watch(ctx context.Context, changed func(m events.MemberToken, gone bool)) error
	Identity(ctx context.Context, m events.MemberToken) (memberID, incarnation string, err error)
	Tokens(m events.MemberToken) bwell.Tokens
}

// Config is what a Poller needs. All fields are required unless noted.
type Config struct {
	Log       *events.Log
	Tokenizer events.Tokenizer
	Registry  Registry
	Upstream  Upstream
	Leases    *Leases
	Rules     Rules
	Pace      Pace
	Workers   int              // polls in flight; default 32
	Rate      float64          // requests per second over all members; default 10
	Now       func() time.Time // our clock; default time.Now
}

// A Poller polls the members of the shards it holds.
type Poller struct {
	Config
	budget *rate.Limiter

	mu      sync.Mutex
	members map[events.MemberToken]*member
	queue   queue
	woken   chan struct{}

	polls, unchanged, committed, missed, failed atomic.Int64
}

// Stats counts what a Poller did since it was made.
type Stats struct{ Members, Polls, Unchanged, Committed, Missed, Failed int64 }

// A member is what the poller keeps of one member between polls: caches and
// suspicions, nothing that could not be lost.
type member struct {
	token events.MemberToken
	at    time.Time // of the next poll
	index int       // in the queue, -1 if not waiting
	busy  bool
	again bool // a look was asked for while one was in flight

	memberID, incarnation string
	epoch                 uint64 // of the lease what follows was learned under
	known                 bool   // headSeq and fingerprint speak of the head
	quiet                 bool
	fingerprint           [16]byte
	memory                memory
	standing              standing
	failingSince          time.Time
	offersAt              time.Time
	searching             bool
}

// New returns a Poller, or says what is wrong with c.
func New(c Config) (*Poller, error) {
	switch {
	case c.Log == nil, c.Registry == nil, c.Upstream == nil, c.Leases == nil:
		return nil, errors.New("poller: Log, Registry, Upstream and Leases are required")
	case c.Pace.Fast <= 0 || c.Pace.Healthy <= 0:
		return nil, errors.New("poller: the pace has an interval that is not positive")
	}
	if c.Workers == 0 {
		c.Workers = 32
	}
	if c.Rate == 0 {
		c.Rate = 10
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	p := &Poller{
		Config: c, budget: rate.NewLimiter(rate.Limit(c.Rate), max(1, int(c.Rate))),
		members: map[events.MemberToken]*member{}, woken: make(chan struct{}, 1),
	}
	c.Leases.changed = p.wake
	return p, nil
}

// Stats returns what the poller did so far.
func (p *Poller) Stats() Stats {
	p.mu.Lock()
	n := len(p.members)
	p.mu.Unlock()
	return Stats{
		Members: int64(n), Polls: p.polls.Load(), Unchanged: p.unchanged.Load(),
		Committed: p.committed.Load(), Missed: p.missed.Load(), Failed: p.failed.Load(),
	}
}

// Run polls until ctx ends, finishes the polls in flight, and returns nil.
func (p *Poller) Run(ctx context.Context) error {
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() {
		for ctx.Err() == nil {
			if err := p.Registry.Watch(ctx, p.onMember); err != nil && ctx.Err() == nil {
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
		if err := p.budget.Wait(ctx); err != nil {
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
	if _, held := p.Leases.epoch(shardOf(m)); !ok || !held {
		return false
	}
	known.standing.tapped = p.Now().Add(p.Pace.Tapped)
	p.soon(known)
	return true
}

// Acted notes what b.well answered when a connection was activated, so that a
// lagging read is not taken for news.
func (p *Poller) Acted(m events.MemberToken, c events.ConnectionToken, s events.Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	known, ok := p.members[m]
	if !ok {
		return
	}
	acted := map[events.ConnectionToken]action{c: {s, p.Now()}}
	for t, a := range known.memory.acted {
		if t != c {
			acted[t] = a
		}
	}
	known.memory.acted = acted
	known.quiet = false
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
		// New credentials, or another incarnation: what we knew may be void.
		known.memberID, known.known, known.standing.failures = "", false, 0
		p.soon(known)
	default:
		known = &member{token: m, index: -1}
		p.members[m] = known
		// A restart must not ask for everybody at once.
		p.enqueue(known, p.Now().Add(time.Duration(rand.Float64()*float64(min(p.Pace.Fast, time.Second)))))
	}
}

// soon moves a member to the front. The caller holds the lock.
func (p *Poller) soon(m *member) {
	if m.busy {
		m.again = true
		return
	}
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

// pop takes the member that is due, or says how long to wait for one. Members
// of other replicas' shards stay in the queue and come up again later.
func (p *Poller) pop() (*member, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.Now()
	for len(p.queue) > 0 {
		m := p.queue[0]
		if d := m.at.Sub(now); d > 0 {
			return nil, min(d, time.Second)
		}
		epoch, held := p.Leases.epoch(shardOf(m.token))
		if !held {
			m.at = now.Add(min(p.Pace.Fast, time.Second))
			heap.Fix(&p.queue, 0)
			continue
		}
		heap.Pop(&p.queue)
		m.busy = true
		if m.epoch != epoch {
			*m = member{token: m.token, index: -1, busy: true, epoch: epoch, standing: standing{tapped: m.standing.tapped}}
		}
		return m, 0
	}
	return nil, time.Second
}

// poll looks at one member and schedules the next look. Nobody else touches m
// but under the lock.
func (p *Poller) poll(ctx context.Context, m *member) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	p.polls.Add(1)
	log := zerolog.Ctx(ctx).With().Str("member", string(m.token)).Logger()
	err := p.look(ctx, m)
	now := p.Now()
	var at time.Time
	switch {
	case errors.Is(err, events.ErrMoved):
		p.missed.Add(1)
		m.known = false // another writer was here; ask b.well again, an old answer is never compared twice
		at = now
	case err != nil:
		p.failed.Add(1)
		m.known = false
		at = p.failure(ctx, m, err, now)
		log.Warn().Err(err).Str("class", m.standing.class.String()).Time("next", at).Msg("poll failed")
	default:
		m.standing.failures, m.failingSince = 0, time.Time{}
		at = p.Pace.next(p.stand(m, now), now, rand.Float64())
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	m.busy = false
	if p.members[m.token] != m {
		return // forgotten meanwhile
	}
	if m.again {
		m.again = false
		at = now
	}
	if !at.IsZero() {
		p.enqueue(m, at)
	}
}

// stand returns the standing after a poll that came back.
func (p *Poller) stand(m *member, now time.Time) standing {
	s := &m.standing
	if s.head == nil || !likely(s.head) {
		s.fastSince = time.Time{}
	} else if s.fastSince.IsZero() {
		s.fastSince = now
	}
	return *s
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
	case s.class == bwell.Transient && now.Sub(m.failingSince) >= p.Pace.Unreachable:
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

func (p *Poller) lost(ctx context.Context, m *member, reason string, act events.Action) error {
	if err := p.identify(ctx, m); err != nil {
		return err
	}
	head, err := p.head(ctx, m)
	if err != nil {
		return err
	}
	l := look{memberID: m.memberID, incarnation: m.incarnation, head: head.Snapshot, now: p.Now()}
	_, err = p.commit(ctx, m, lose(l, reason, act), head.Seq, l.now)
	return err
}

// look asks b.well, compares, commits.
func (p *Poller) look(ctx context.Context, m *member) error {
	if err := p.identify(ctx, m); err != nil {
		return err
	}
	tokens := p.Registry.Tokens(m.token)
	ended := m.standing.head != nil && m.standing.head.Effective() == events.Deny
	seen, err := bwell.Do(ctx, tokens, func(ctx context.Context, access secret.Value) (bwell.Observation, error) {
		return p.Upstream.Observe(ctx, access, bwell.Want{NoTasks: ended})
	})
	if err != nil {
		return err
	}
	offers := p.offers(ctx, m, tokens, seen, ended)
	fingerprint := seen.Fingerprint()
	if m.known && m.quiet && offers == nil && fingerprint == m.fingerprint {
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
		deleted, err := bwell.Do(ctx, tokens, p.Upstream.DeletedConnections)
		if err != nil {
			return err
		}
		l.deleted = &deleted
		f = p.Rules.diff(l, f.memory, p.Tokenizer)
	}
	next, err := p.commit(ctx, m, f, head.Seq, l.now)
	if err != nil {
		return err
	}
	if next == nil {
		next = head.Snapshot
	}
	m.memory, m.known, m.quiet, m.fingerprint = f.memory, true, f.quiet(), fingerprint
	if f.next != nil {
		m.quiet = false // the next look finds out whether this answer is quiet now
	}
	m.standing.head, m.standing.wake = next, f.wake
	m.standing.suspects = len(f.memory.missing) > 0 || f.memory.consent != nil
	return partial(seen)
}

// partial returns why an answer that came was not whole, so that it is asked
// for again soon.
func partial(seen bwell.Observation) error {
	return errors.Join(seen.Connections.Err, seen.Tasks.Err, seen.Consents.Err)
}

// offers reads the recommendations when a search has just ended, and daily.
// After consent ended nobody asks for them.
func (p *Poller) offers(ctx context.Context, m *member, tokens bwell.Tokens, seen bwell.Observation, ended bool) *bwell.List[bwell.Recommendation] {
	searching := false
	for _, t := range seen.Tasks.Items {
		searching = searching || t.Status.Value == "ready" || t.Status.Value == "in-progress"
	}
	completed := m.searching && !searching
	m.searching = searching
	now := p.Now()
	if ended || !completed && now.Before(m.offersAt) {
		return nil
	}
	list, err := bwell.Do(ctx, tokens, p.Upstream.Recommendations)
	if err != nil {
		m.offersAt = now.Add(p.Pace.Retry)
		return nil // they are no part of whether we see the member
	}
	m.offersAt = now.Add(p.Pace.Offers)
	return &list
}

func (p *Poller) identify(ctx context.Context, m *member) error {
	if m.memberID != "" {
		return nil
	}
	id, incarnation, err := p.Registry.Identity(ctx, m.token)
	if err != nil {
		return fmt.Errorf("identify: %w", err)
	}
	m.memberID, m.incarnation, m.known = id, incarnation, false
	return nil
}

// head reads the member's head. One of another incarnation counts as absent;
// its sequence is still the guard.
func (p *Poller) head(ctx context.Context, m *member) (events.Head[events.Member], error) {
	head, err := p.Log.Member(ctx, m.token)
	if err == nil && head.Snapshot != nil && head.Snapshot.Incarnation != m.incarnation {
		head.Snapshot = nil
	}
	return head, err
}

func (p *Poller) commit(ctx context.Context, m *member, f finding, guard uint64, now time.Time) (*events.Member, error) {
	if f.next == nil {
		p.unchanged.Add(1)
		return nil, nil
	}
	tx, err := p.Log.Subjects().Poll(m.token, f.told, f.next, guard, now)
	if err != nil {
		return nil, err
	}
	if _, err := p.Log.Commit(ctx, tx); err != nil {
		return nil, err
	}
	p.committed.Add(1)
	log := zerolog.Ctx(ctx)
	for _, e := range tx.Events() {
		log.Info().Str("member", string(m.token)).Str("event", e.ID).Str("why", string(e.Type)).Msg("told")
	}
	return f.next, nil
}

// queue is a heap of members by the time of their next poll.
type queue []*member

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
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
