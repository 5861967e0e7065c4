package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// From says where a new subscription begins.
type From int

// The beginnings.
const (
	FromFirst From = iota // the oldest event that is kept
	FromNew               // what comes from now on
	FromHeads             // the last event of each subject, then what comes
)

// A Subscription is what a service wants of the stream. Handlers with Poison,
// and with Gap unless only heads are handled, are required.
type Subscription struct {
	// Durable names the consumer on the broker, which remembers what was
	// acknowledged. It is made if it is not there. Run as many replicas as you
	// like: one of them gets all events, the others stand by.
	//
	// Empty: nothing is remembered, Run begins at From every time, and an event
	// whose handler fails, or takes long, holds up its member and in the end, when
	// a few hundred others wait behind it, everybody.
	Durable string

	Handlers Handlers

	// Ledger remembers what is done; default a [MemoryLedger].
	Ledger Ledger

	From    From      // where a new durable begins, and every ordered run
	Since   time.Time // instead of From: what was stored since then
	Members []string  // tokens; empty: all members

	// MaxAge is how old a request to the member may be (prompt.opened,
	// prompt.reminded, access.ended, observation.lost): older ones go to
	// Handlers.Replayed, as do expired prompts. Default 24 h; negative: any age.
	MaxAge time.Duration

	// Projection says that the handlers push nobody but build a state: then
	// what is late or replayed reaches them too.
	Projection bool

	Workers  int                           // handlers at work at once; one member's events one after the other; default 8
	Timeout  time.Duration                 // of one call of a handler, of the ledger, and of a question to the stream; default 1 min
	Tries    int                           // of an event before it is poison; default 20, about an hour
	Delay    func(tries int) time.Duration // until the next try; default 1 s, doubled up to 5 min
	AckWait  time.Duration                 // when the broker gives up on a silent process; default 30 s; of a new durable
	Takeover time.Duration                 // when a replica that stands by takes over; default 30 s, at least 3 s to be steady; of a new durable

	// Settled hears of every delivery, for logs and metrics; err says why it
	// failed or is poison. It is called by several goroutines.
	Settled func(e Event, o Outcome, err error)
}

// group is the priority group of the durable: one replica is pinned.
const group = "consumer"

// unacknowledged is how many messages a process may have in hand.
const unacknowledged = 1000

// prepare checks s and returns the runner of it.
func (s Subscription) prepare(b broker, prefix string, now func() time.Time) (*runner, error) {
	table, only := map[Type]entry{}, true
	for _, e := range s.Handlers.table() {
		table[e.typ] = e
		only = only && (!e.set || e.typ == MemberSnapshot || e.typ == AgendaSnapshot)
	}
	if s.Handlers.Poison == nil {
		return nil, errors.New("consumer: Handlers.Poison is required: what no handler can use must not vanish")
	}
	if s.Handlers.Gap == nil && !only {
		return nil, errors.New("consumer: Handlers.Gap is required: events that were lost must not go unnoticed")
	}
	if s.Handlers.Forgotten != nil && s.Handlers.MemberSnapshot == nil && s.Handlers.AgendaSnapshot == nil {
		return nil, errors.New("consumer: Handlers.Forgotten is told on the subjects of the heads: set MemberSnapshot or AgendaSnapshot too")
	}
	for _, m := range s.Members {
		if m == "" || strings.Trim(m, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return nil, errors.New("consumer: Members are tokens, as they stand in subjects: a-z, 0-9 and -") // and says no id
		}
	}
	if s.Ledger == nil {
		s.Ledger = NewMemoryLedger()
	}
	if s.Delay == nil {
		s.Delay = func(tries int) time.Duration { return min(time.Second<<min(tries-1, 10), 5*time.Minute) }
	}
	s.MaxAge = cmp.Or(s.MaxAge, 24*time.Hour)
	s.Workers = cmp.Or(s.Workers, 8)
	s.Timeout = cmp.Or(s.Timeout, time.Minute)
	s.Tries = cmp.Or(s.Tries, 20)
	s.AckWait = cmp.Or(s.AckWait, 30*time.Second)
	s.Takeover = cmp.Or(s.Takeover, 30*time.Second)
	v, err := readEnvelope(prefix)
	if err != nil {
		return nil, err
	}
	r := &runner{Subscription: s, broker: b, envelope: v, now: now, table: table, ordered: s.Durable == ""}
	r.filters = r.subjects()
	if len(r.filters) == 0 {
		return nil, errors.New("consumer: no handler is set")
	}
	return r, nil
}

// subjects returns the subjects of the kinds for which a handler is set.
func (r *runner) subjects() []string {
	var subjects []string
	for _, e := range r.table {
		if !e.set {
			continue
		}
		kind := r.prefix + "." + e.typ.Kind()
		members := r.Members
		if len(members) == 0 {
			members = []string{"*"}
		}
		switch e.typ.Kind() {
		case "storm", "observer":
			subjects = append(subjects, kind)
		case "source", "silence":
			subjects = append(subjects, kind+".*")
		case "connection", "recommendation", "prompt":
			for _, m := range members {
				subjects = append(subjects, kind+"."+m+".*")
			}
		default:
			for _, m := range members {
				subjects = append(subjects, kind+"."+m)
			}
		}
	}
	slices.Sort(subjects)
	return slices.Compact(subjects)
}

// Run reads the stream and calls the handlers until ctx ends, finishes what is
// in hand, and returns nil. Any other error says that it cannot go on; start it
// again, nothing is lost.
func (c *Client) Run(ctx context.Context, s Subscription) error {
	if c.js == nil {
		return errors.New("consumer: a stream in memory does not run; deliver what is in it with Memory.Deliver")
	}
	r, err := s.prepare(c.broker, c.Prefix, time.Now)
	if err != nil {
		return err
	}
	open := c.openDurable
	if r.ordered {
		open = c.openOrdered
	}
	in, err := open(ctx, r)
	if ctx.Err() != nil && in == nil {
		return nil // it was stopped before it began
	}
	if err != nil {
		return err
	}
	return r.run(ctx, in)
}

func (c *Client) openOrdered(ctx context.Context, r *runner) (*reader, error) {
	config := jetstream.OrderedConsumerConfig{FilterSubjects: r.filters}
	config.DeliverPolicy, config.OptStartTime = r.start()
	consumer, err := c.js.OrderedConsumer(ctx, c.Stream, config)
	if err != nil {
		return nil, fmt.Errorf("consumer: read %s: %w", c.Stream, err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		return nil, fmt.Errorf("consumer: read %s: %w", c.Stream, err)
	}
	return &reader{runner: r, messages: messages, room: 64 * r.Workers}, nil
}

func (r *runner) start() (jetstream.DeliverPolicy, *time.Time) {
	switch {
	case !r.Since.IsZero():
		return jetstream.DeliverByStartTimePolicy, &r.Since
	case r.From == FromNew:
		return jetstream.DeliverNewPolicy, nil
	case r.From == FromHeads:
		return jetstream.DeliverLastPerSubjectPolicy, nil
	default:
		return jetstream.DeliverAllPolicy, nil
	}
}

// openDurable finds the durable, or makes it. What operators set on it stays,
// but its subjects follow the handlers, and one replica reads at a time.
func (c *Client) openDurable(ctx context.Context, r *runner) (*reader, error) {
	fail := func(err error) (*reader, error) {
		return nil, fmt.Errorf("consumer: durable %s on %s: %w", r.Durable, c.Stream, err)
	}
	consumer, err := c.js.Consumer(ctx, c.Stream, r.Durable)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		config := jetstream.ConsumerConfig{
			Durable: r.Durable, FilterSubjects: r.filters, AckPolicy: jetstream.AckExplicitPolicy, AckWait: r.AckWait,
			MaxDeliver: -1, MaxAckPending: unacknowledged,
			PriorityPolicy: jetstream.PriorityPolicyPinned, PriorityGroups: []string{group}, PinnedTTL: r.Takeover,
		}
		config.DeliverPolicy, config.OptStartTime = r.start()
		consumer, err = c.js.CreateConsumer(ctx, c.Stream, config)
	case err == nil:
		config := consumer.CachedInfo().Config
		if err := usable(config); err != nil {
			return fail(err)
		}
		have := config.FilterSubjects
		if config.FilterSubject != "" {
			have = []string{config.FilterSubject}
		}
		shared := config.PriorityPolicy == jetstream.PriorityPolicyNone
		if shared {
			config.PriorityPolicy, config.PriorityGroups, config.PinnedTTL = jetstream.PriorityPolicyPinned, []string{group}, r.Takeover
		}
		if shared || !slices.Equal(slices.Sorted(slices.Values(have)), r.filters) {
			config.FilterSubject, config.FilterSubjects = "", r.filters
			consumer, err = c.js.UpdateConsumer(ctx, c.Stream, config)
		}
	}
	if err != nil {
		return fail(err)
	}
	info := consumer.CachedInfo()
	r.AckWait = cmp.Or(info.Config.AckWait, r.AckWait)
	// All that the broker has out may lie here: a reader that waits for a worker
	// is one that the broker gives up on, for another replica.
	in := &reader{runner: r, durable: consumer, room: info.Config.MaxAckPending}
	if in.room < 1 {
		in.room = unacknowledged
	}
	if in.standing, err = standingOf(info, 0); err != nil {
		return fail(err)
	}
	options := []jetstream.PullMessagesOpt{
		jetstream.PullMaxMessages(max(64, 4*r.Workers)), jetstream.WithMessagesErrOnMissingHeartbeat(true),
		// Only a new request tells the broker that who reads is still there.
		jetstream.PullExpiry(min(max(info.Config.PinnedTTL/3, time.Second), 30*time.Second)),
	}
	if groups := info.Config.PriorityGroups; len(groups) > 0 {
		options = append(options, jetstream.PullPriorityGroup(groups[0]))
		in.release = func() {
			// Only a courtesy to whoever stands by: without it he takes over
			// after the time that the durable says. To take the turn from another
			// would bring what he has in hand to a third.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			info, err := consumer.Info(ctx)
			if err != nil || !slices.ContainsFunc(info.PriorityGroups, func(g jetstream.PriorityGroupState) bool { return g.PinnedClientID == in.pin }) {
				return
			}
			if s, err := c.js.Stream(ctx, c.Stream); err == nil {
				_ = s.UnpinConsumer(ctx, r.Durable, groups[0])
			}
		}
	}
	if in.messages, err = consumer.Messages(options...); err != nil {
		return fail(err)
	}
	return in, nil
}

// usable says why a durable that somebody else made would lose events, or bring
// them in no order.
func usable(c jetstream.ConsumerConfig) error {
	switch {
	case c.AckPolicy != jetstream.AckExplicitPolicy:
		return fmt.Errorf("its ack policy is %s: what fails could not be told from what is done; make one that has each message acknowledged (explicit)", c.AckPolicy)
	case c.MaxDeliver > 0:
		return fmt.Errorf("it drops an event after %d deliveries, told to nobody; set its max deliver to -1: after Tries an event goes to Poison", c.MaxDeliver)
	case c.HeadersOnly:
		return errors.New("it leaves out bodies (headers only)")
	case c.PriorityPolicy != jetstream.PriorityPolicyNone && c.PriorityPolicy != jetstream.PriorityPolicyPinned:
		return errors.New("its priority policy has several replicas read at a time, in no order; make it pinned, or none")
	default:
		return nil
	}
}

// run lays each message on the desk, from where the workers take it.
func (r *runner) run(ctx context.Context, in *reader) error {
	work := context.WithoutCancel(ctx) // a stop must not abort the message in hand
	k := newDesk(in.room)
	var workers sync.WaitGroup
	for range r.Workers {
		workers.Go(func() {
			k.work(func(l *lane, d delivery) func() { return r.deliver(ctx, work, l, d) })
		})
	}
	quiet := func() {}
	if !r.ordered {
		quiet = r.keep(k)
	}
	// What was not begun goes to whoever stands by. The client library takes a
	// moment to stop: what came again before that would come to nobody.
	end := sync.OnceFunc(func() {
		in.messages.Stop()
		k.close(func(d delivery) {
			if !r.ordered {
				_ = d.from.NakWithDelay(time.Second)
			}
		})
	})
	stop := context.AfterFunc(ctx, end)
	defer stop()
	var err error
	for {
		var d delivery
		if d, err = in.next(ctx); err != nil || !k.put(d) {
			break
		}
	}
	end()
	workers.Wait()
	quiet()
	if in.pin != "" && in.release != nil {
		in.release()
	}
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("consumer: read the stream: %w", err)
}

// deliver settles one delivery, and returns how the broker is told. ctx ends
// waiting, work does not end.
func (r *runner) deliver(ctx, work context.Context, l *lane, d delivery) (answer func()) {
	v := r.settle(work, l, d.message)
	for r.ordered && v.later() {
		select {
		case <-time.After(v.delay):
			v = r.settle(work, l, d.message)
		case <-ctx.Done():
			return nothing
		}
	}
	if r.ordered {
		return nothing
	}
	return func() {
		// If the broker does not hear it, it delivers again and the ledger knows.
		switch {
		case v.later():
			_ = d.from.NakWithDelay(v.delay)
		case v.outcome == Poisoned:
			_ = d.from.TermWithReason(reason(v.err))
		default:
			_ = d.from.Ack()
		}
	}
}

func nothing() {}

// keep tells the broker again and again that what lies on the desk is in hand,
// until done is called: it gives up on what it hears nothing of.
func (r *runner) keep(k *desk) (done func()) {
	ended := make(chan struct{})
	var told sync.WaitGroup
	told.Go(func() {
		tick := time.NewTicker(r.AckWait / 3)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				k.each(func(d delivery) { _ = d.from.InProgress() })
			case <-ended:
				return
			}
		}
	})
	return func() {
		close(ended)
		told.Wait()
	}
}

// reason returns why in the form that fits a line of the broker's protocol.
// What a handler says stays with the handler: it may name members.
func reason(err error) string {
	if errors.Is(err, ErrMalformed) || errors.Is(err, ErrUnknownType) {
		return strings.Join(strings.Fields(err.Error()), " ")
	}
	return "its handler failed too often"
}
