// Package bridge posts events to HTTPS endpoints, for teams that have no NATS:
// CloudEvents in structured mode, signed as Standard Webhooks says.
//
// Each endpoint has a durable consumer of its own on the stream, which is all
// that is remembered of what was delivered. An event is acknowledged when the
// endpoint took it, and not before; one that is not taken comes again without
// end and holds up its endpoint, and no other.
//
// Read config.go (what can be set), decide.go (what follows from an answer),
// then this file; guard.go says which addresses are posted to, post.go signs.
package bridge

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/replay"
)

const (
	// slack is how much longer than a try may take the broker waits before it
	// gives an event to another process.
	slack = 30 * time.Second

	// pauseFor is how long an endpoint that is gone is paused: until somebody
	// resumes it.
	pauseFor = 100 * 365 * 24 * time.Hour

	// look is how often an endpoint's durable is asked how much is pending.
	look = 10 * time.Second
)

// A Bridge runs the endpoints of a config.
type Bridge struct {
	js        jetstream.JetStream
	subjects  events.Subjects
	config    Config
	endpoints []*endpoint
	slack     time.Duration
	seed      maphash.Seed
	bucket    jetstream.KeyValue
}

// An endpoint is one that runs.
type endpoint struct {
	*post
	bridge  *Bridge
	durable jetstream.Consumer

	mu    sync.Mutex
	now   Health
	stats Stats
	taken map[uint64]uint64 // the last sequence that was handled here, by subject; see gaps.go
	keeps int64             // messages that the stream keeps of a subject
	since time.Time         // when the durable was made

	askAgain time.Time // when the broker may be asked about gaps again
}

// Stats are numbers of one endpoint, since this process began.
type Stats struct {
	Name                       string
	Delivered, Failed, Skipped int64
	Gaps                       int64     // times that the stream had dropped events before they were taken
	Pending                    uint64    // as of the last look
	Paused                     bool      // likewise
	FailingSince               time.Time // zero while all is well
}

// New reads secrets and certificates, the variables among them by env. It
// starts nothing.
func New(js jetstream.JetStream, subjects events.Subjects, c Config, env func(string) (string, bool)) (*Bridge, error) {
	b := &Bridge{js: js, subjects: subjects, config: c, slack: slack, seed: maphash.MakeSeed()}
	for _, e := range c.Endpoints {
		p, err := c.newPost(e, env)
		if err != nil {
			return nil, err
		}
		b.endpoints = append(b.endpoints, &endpoint{post: p, bridge: b, stats: Stats{Name: e.Name}, taken: map[uint64]uint64{}})
	}
	return b, nil
}

// Names returns the names of all endpoints, in the order of the config.
func (b *Bridge) Names() []string {
	var names []string
	for _, e := range b.endpoints {
		names = append(names, e.Name)
	}
	return names
}

// Stats returns the numbers of all endpoints, in the order of the config.
func (b *Bridge) Stats() []Stats {
	var all []Stats
	for _, e := range b.endpoints {
		e.mu.Lock()
		s := e.stats
		s.FailingSince = e.now.FailingSince
		e.mu.Unlock()
		all = append(all, s)
	}
	return all
}

// Run delivers until ctx ends, finishes what is in hand, and returns nil. It
// makes the durables that are not there. Any number of bridges may run with one
// config: they share the work and keep the order.
func (b *Bridge) Run(ctx context.Context) error {
	err := b.prepare(ctx)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	for _, e := range b.endpoints {
		done := make(chan struct{})
		all.Go(func() { e.report(ctx, b.bucket, done) })
		all.Go(func() { e.run(ctx); close(done) })
	}
	all.Wait()
	return nil
}

// prepare opens what Run needs of the broker.
func (b *Bridge) prepare(ctx context.Context) (err error) {
	if b.bucket, err = openHealth(ctx, b.js, b.config.Stream); err != nil {
		return err
	}
	for _, e := range b.endpoints {
		if e.durable, err = b.open(ctx, e.Endpoint); err != nil {
			return err
		}
		if err := e.recall(ctx, b.bucket); err != nil {
			return err
		}
		if err := e.measure(ctx); err != nil {
			return fmt.Errorf("bridge: stream %s: %w", b.config.Stream, err)
		}
		e.since = e.durable.CachedInfo().Created
	}
	return nil
}

// open finds the endpoint's durable, or makes it. What was acknowledged stays;
// what the config says of subjects and limits comes into force.
func (b *Bridge) open(ctx context.Context, e Endpoint) (jetstream.Consumer, error) {
	fail := func(err error) (jetstream.Consumer, error) {
		return nil, fmt.Errorf("bridge: endpoint %s: durable %s on %s: %w", e.Name, e.Durable(), b.config.Stream, err)
	}
	want := jetstream.ConsumerConfig{
		Durable: e.Durable(), Description: "connector bridge: posts to an endpoint",
		AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: -1, DeliverPolicy: jetstream.DeliverNewPolicy,
	}
	have, err := b.js.Consumer(ctx, b.config.Stream, e.Durable())
	switch {
	case err == nil:
		want = have.CachedInfo().Config
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		begin, err := e.begins(time.Now())
		if err != nil {
			return fail(err)
		}
		if begin.all {
			want.DeliverPolicy = jetstream.DeliverAllPolicy
		} else if !begin.at.IsZero() {
			want.DeliverPolicy, want.OptStartTime = jetstream.DeliverByStartTimePolicy, &begin.at
		}
	default:
		return fail(err)
	}
	want.FilterSubject, want.FilterSubjects = "", replay.Query{Types: e.types()}.Filters(b.subjects)
	want.AckWait = e.Timeout + b.slack
	want.MaxAckPending = e.Concurrency // one: nothing overtakes an event that is tried again, in any process
	made, err := b.js.CreateOrUpdateConsumer(ctx, b.config.Stream, want)
	if err != nil {
		return fail(err)
	}
	return made, nil
}

// run delivers until ctx ends. If reading breaks off it begins again, later
// each time.
func (e *endpoint) run(ctx context.Context) {
	log := zerolog.Ctx(ctx).With().Str("endpoint", e.Name).Logger()
	for tries := uint64(1); ; tries++ {
		err := e.read(log.WithContext(ctx), func() { tries = 0 })
		if ctx.Err() != nil {
			return
		}
		wait := delay(tries, time.Minute)
		log.Error().Err(err).Stringer("again_in", wait).Msg("endpoint not served, trying again")
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if made, err := e.bridge.open(ctx, e.Endpoint); err == nil {
			e.durable, e.since = made, made.CachedInfo().Created
		}
	}
}

// read delivers what the durable gives, by as many workers as may be at work.
func (e *endpoint) read(ctx context.Context, served func()) error {
	// While it is paused the broker forgets who waits: asking anew often means
	// that an endpoint that is resumed has not to wait for long.
	messages, err := e.durable.Messages(jetstream.PullMaxMessages(e.Concurrency), jetstream.PullExpiry(5*time.Second),
		jetstream.PullHeartbeat(time.Second), jetstream.WithMessagesErrOnMissingHeartbeat(false))
	if err != nil {
		return fmt.Errorf("bridge: read the stream: %w", err)
	}
	stop := context.AfterFunc(ctx, messages.Stop)
	defer stop()
	defer messages.Stop()
	work := context.WithoutCancel(ctx) // a stop must not abort the event in hand
	hands := make(chan jetstream.Msg)
	var workers sync.WaitGroup
	for range e.Concurrency {
		workers.Go(func() {
			for m := range hands {
				e.deliver(work, m)
			}
		})
	}
	defer workers.Wait()
	defer close(hands)
	for {
		m, err := messages.Next()
		if err != nil {
			return fmt.Errorf("bridge: read the stream: %w", err)
		}
		if ctx.Err() != nil {
			_ = m.Nak() // it has not begun; whoever runs next gets it at once
			return nil
		}
		served()
		hands <- m
	}
}

// deliver posts one event and tells the broker what became of it. If the broker
// does not hear that it was delivered, it is delivered again, and the receiver
// knows its webhook-id.
func (e *endpoint) deliver(ctx context.Context, msg jetstream.Msg) {
	log := zerolog.Ctx(ctx)
	meta, err := msg.Metadata()
	if err != nil {
		return // not from JetStream; there is nobody to tell
	}
	e.lookBehind(ctx, msg)
	taken := func() { e.take(msg.Subject(), sequence(msg.Headers())) }
	if len(msg.Data()) == 0 && e.bridge.holdsHead(msg.Subject()) {
		_ = msg.Ack() // a head of a member who was forgotten
		return
	}
	m, err := structure(msg.Headers(), msg.Data())
	if err == nil && !e.wants(m.typ) {
		taken()
		_ = msg.Ack()
		return
	}
	if err == nil {
		err = holds(m.typ, msg.Headers(), msg.Data())
	}
	if err != nil {
		log.Error().Err(err).Uint64("stream_sequence", meta.Sequence.Stream).Msg("no event, not sent")
		e.count(func(s *Stats) { s.Skipped++ })
		taken()
		_ = msg.TermWithReason(err.Error())
		return
	}
	if m.replay && !e.Replays {
		log.Info().Str("event", m.id).Msg("copy of a replay, not sent")
		e.count(func(s *Stats) { s.Skipped++ })
		taken()
		_ = msg.Ack()
		return
	}
	v, status := e.send(ctx, m, meta.NumDelivered)
	e.note(v, status, time.Now())
	if v.why == Delivered {
		log.Info().Str("event", m.id).Str("type", string(m.typ)).Uint64("tries", meta.NumDelivered).Msg("delivered")
		taken()
		_ = msg.Ack()
		return
	}
	level := zerolog.WarnLevel
	if v.pause {
		level = zerolog.ErrorLevel
		if err := e.pause(ctx); err != nil {
			log.Error().Err(err).Msg("endpoint is gone and could not be paused")
		} else {
			log.Error().Msg("endpoint is gone and is paused; resume it with: connector bridge resume")
			v.delay = 0 // nothing is delivered while it is paused, and this one first when it is resumed
		}
	}
	log.WithLevel(level).Str("event", m.id).Str("type", string(m.typ)).Str("why", string(v.why)).Int("status", status).
		Uint64("tries", meta.NumDelivered).Stringer("again_in", v.delay.Round(time.Millisecond)).Msg("not delivered, comes again")
	_ = msg.NakWithDelay(v.delay)
}

// holdsHead reports whether heads stand on a subject. Nowhere else does a message
// without a body mean anything.
func (b *Bridge) holdsHead(subject string) bool {
	kind, _, _ := b.subjects.Parse(subject)
	return kind == events.MemberSnapshot.Kind() || kind == events.AgendaSnapshot.Kind()
}

// pause has the broker give nothing more to the endpoint, whatever process asks.
func (e *endpoint) pause(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_, err := e.bridge.js.PauseConsumer(ctx, e.bridge.config.Stream, e.Durable(), time.Now().Add(pauseFor))
	if err == nil {
		e.count(func(s *Stats) { s.Paused = true })
	}
	return err
}

// Resume lets an endpoint that was paused have events again.
func Resume(ctx context.Context, js jetstream.JetStream, c Config, name string) error {
	e, err := c.Find(name)
	if err != nil {
		return err
	}
	if _, err := js.ResumeConsumer(ctx, c.Stream, e.Durable()); errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("bridge: endpoint %s was never served", name)
	} else if err != nil {
		return fmt.Errorf("bridge: resume %s: %w", name, err)
	}
	return nil
}

func (e *endpoint) count(f func(*Stats)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f(&e.stats)
}

// lookAt asks the durable how much is pending.
func (e *endpoint) lookAt(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, look)
	defer cancel()
	info, err := e.bridge.js.Consumer(ctx, e.bridge.config.Stream, e.Durable())
	if err != nil {
		return // what was seen last stands
	}
	_ = e.measure(ctx) // what was measured last stands
	i := info.CachedInfo()
	e.count(func(s *Stats) { s.Pending, s.Paused = pending(i), i.Paused })
}

// pending is how many events of the endpoint's subjects were not delivered.
func pending(i *jetstream.ConsumerInfo) uint64 {
	return i.NumPending + uint64(max(0, i.NumAckPending))
}
