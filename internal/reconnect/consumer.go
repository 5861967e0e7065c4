package reconnect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/smartconnect/connector/internal/audit"
	"github.com/smartconnect/connector/internal/events"
)

// source is the part of jetstream.Consumer a Consumer needs.
type source interface {
	Consume(jetstream.MessageHandler, ...jetstream.PullConsumeOpt) (jetstream.ConsumeContext, error)
}

// DeadLetters keeps messages that no reader could use, whole, with the reason.
type DeadLetters interface {
	Park(ctx context.Context, m jetstream.Msg, reason string) error
}

// Config is what a Consumer needs. All fields are required unless noted.
type Config struct {
	Log         *events.Log
	Source      source // a durable consumer of heads and due looks
	DeadLetters DeadLetters
	Ledger      Ledger
	Policy      Policy
	Workers     int              // messages in hand; default 64
	Timeout     time.Duration    // per message; default 20 s
	Now         func() time.Time // default time.Now

	// Held says what keeps the member's prompts back beyond the heads; nil for
	// nothing ever. Judged returns when Held knows of the judgement at a stream
	// sequence, Fresh when it knows of every one there was when it was called that
	// could let go what Held holds; nil if it always does.
	Held   func(m *events.Member, now time.Time) Held
	Judged func(ctx context.Context, seq uint64) error
	Fresh  func(ctx context.Context) error

	// Actor activates connections without asking the member. Required if the
	// policy says so for any status.
	Actor Actor
}

// A Consumer looks at a member whenever the member's head has moved or a look
// is due, and at all members when something that held prompts back has ended;
// it writes what it decides.
type Consumer struct {
	Config
	overdue        atomic.Int64
	decided, holds counts
}

// New returns a Consumer, or says what is wrong with c.
func New(c Config) (*Consumer, error) {
	if c.Log == nil || c.Source == nil || c.DeadLetters == nil || c.Ledger == nil {
		return nil, errors.New("reconnect: Log, Source, DeadLetters and Ledger are required")
	}
	if err := c.Policy.Validate(); err != nil {
		return nil, fmt.Errorf("reconnect: policy: %w", err)
	}
	if len(c.Policy.DirectAuto) > 0 && c.Actor == nil {
		return nil, errors.New("reconnect: the policy activates without asking, and Actor is missing")
	}
	if c.Held == nil {
		c.Held = func(*events.Member, time.Time) Held { return Held{} }
	}
	if c.Judged == nil {
		c.Judged = func(context.Context, uint64) error { return nil }
	}
	if c.Fresh == nil {
		c.Fresh = func(context.Context) error { return nil }
	}
	if c.Workers == 0 {
		c.Workers = 64
	}
	if c.Timeout == 0 {
		c.Timeout = 20 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Consumer{Config: c, decided: newCounts(Outcomes()), holds: newCounts(Holds())}, nil
}

// Run consumes until ctx ends, finishes the messages in hand, and returns nil. It
// begins with a look at all who may be waiting for something: the policy may be
// another than the one they were decided by.
func (c *Consumer) Run(ctx context.Context) error {
	work := context.WithoutCancel(ctx) // a stop must not abort the message in hand
	var inHand sync.WaitGroup
	slots := make(chan struct{}, c.Workers)
	sub, err := c.Source.Consume(func(m jetstream.Msg) {
		slots <- struct{}{}
		inHand.Go(func() {
			defer func() { <-slots }()
			c.onMessage(work, m)
		})
	}, jetstream.PullMaxMessages(2*c.Workers))
	if err != nil {
		return fmt.Errorf("reconnect: consume: %w", err)
	}
	inHand.Go(func() { c.first(ctx) })
	<-ctx.Done()
	sub.Drain()
	<-sub.Closed()
	inHand.Wait()
	return nil
}

func (c *Consumer) onMessage(ctx context.Context, m jetstream.Msg) {
	var delivered uint64
	err := errors.New("the message has no JetStream metadata")
	if md, mdErr := m.Metadata(); mdErr == nil {
		delivered = md.NumDelivered
		err = c.handle(ctx, m, md)
	}
	v := settle(err, delivered)
	if v.kind == drop {
		if parkErr := c.DeadLetters.Park(ctx, m, v.reason); parkErr != nil {
			v = verdict{kind: later, delay: retryDelay(delivered)}
			err = errors.Join(err, parkErr)
		}
	}
	if _, early := errors.AsType[*earlyError](err); err != nil && !early {
		zerolog.Ctx(ctx).Error().Err(err).Uint64("delivered", delivered).Msg("trigger not handled")
	}
	if err := v.tell(m); err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("broker not told, it will deliver the trigger again")
	}
}

// handle looks at the member a message is about. A head carries itself; every
// other head is read from the leader.
func (c *Consumer) handle(ctx context.Context, m jetstream.Msg, md *jetstream.MsgMetadata) error {
	kind, who, ok := c.Log.Subjects().Parse(m.Subject())
	if !ok {
		return fmt.Errorf("%w: no subject of ours", events.ErrMalformed)
	}
	if who == "" {
		return c.judged(ctx, m, md.Sequence.Stream)
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	// A look is never earlier than what asked for it, whatever our clock says.
	now := c.Now()
	if md.Timestamp.After(now) {
		now = md.Timestamp
	}
	var known events.Head[events.Member]
	if kind == "member" {
		head, err := events.HeadOf[events.Member](m.Headers(), m.Data(), md.Sequence.Stream)
		if err != nil {
			return err
		}
		known = head
	}
	_, err := c.look(ctx, who, known, now)
	return err
}

// looks is how often a look that missed is repeated before the broker delivers
// the trigger again.
const looks = 8

// look makes the member's agenda what it should be. It is safe to call for any
// reason, any number of times, by any number of replicas.
// It reports whether there was anything to write.
func (c *Consumer) look(ctx context.Context, m events.MemberToken, known events.Head[events.Member], now time.Time, notes ...Note) (wrote bool, err error) {
	for range looks {
		if known.Seq == 0 {
			if known, err = c.Log.Member(ctx, m); err != nil {
				return false, err
			}
		}
		if known.Snapshot == nil {
			return false, nil // nothing known, or forgotten
		}
		asked, err := c.Log.Agenda(ctx, m)
		if err != nil {
			return false, err
		}
		d, err := c.decideOnce(ctx, m, known, asked, now, notes)
		switch {
		case errors.Is(err, events.ErrMoved):
			known = events.Head[events.Member]{} // somebody was faster: read both anew
			continue
		case err != nil:
			return false, err
		}
		if d.Next == nil {
			return false, d.early(now)
		}
		return true, nil
	}
	return false, fmt.Errorf("look at %s: missed %d times: %w", m, looks, events.ErrMoved)
}

// decideOnce decides on two heads and stores what was decided.
func (c *Consumer) decideOnce(ctx context.Context, m events.MemberToken, known events.Head[events.Member], asked events.Head[events.Agenda], now time.Time, notes []Note) (Decision, error) {
	if asked.Snapshot != nil && asked.Snapshot.Incarnation != known.Snapshot.Incarnation {
		asked.Snapshot = nil
	}
	held, err := c.held(ctx, known.Snapshot, now)
	if err != nil {
		return Decision{}, err
	}
	d := c.Policy.decide(known.Snapshot, asked.Snapshot, held, now, notes...)
	if !d.Noted {
		return d, errVoid
	}
	// What a look does not ask is on record before its trigger is acknowledged,
	// and before anything is stored: a look that came again after that might find
	// the cause gone. Notes are no triggers, and suppress nothing.
	if len(notes) == 0 {
		if err := c.Ledger.Record(ctx, suppressions(m, known.Snapshot, asked.Snapshot, held, d.Why, now)...); err != nil {
			return d, err
		}
	}
	for _, v := range d.Why {
		if v.Outcome == HeldBack {
			c.holds.add(v.Reason)
		}
	}
	if d.Next == nil {
		return d, nil
	}
	d.Next.Decided = known.ID
	tx, err := c.Log.Subjects().Decide(m, d.Events, d.Next, asked.Seq, known.Seq, d.NextLook, now)
	if err != nil {
		return d, err
	}
	if _, err := c.Log.Commit(ctx, tx); err != nil {
		return d, err
	}
	log := zerolog.Ctx(ctx)
	for _, v := range d.Why {
		if v.Outcome == Nothing || v.Outcome == Kept {
			continue
		}
		c.decided.add(v.Outcome)
		log.Info().Str("member", string(m)).Str("connection", string(v.Connection)).
			Int("rule", v.Row).Str("reason", v.Reason).Str("why", v.Outcome).Msg("decided")
	}
	for _, conn := range d.Activate {
		// It is in the agenda that this was tried: whether it was or not, the
		// member is asked if the connection is still broken after a while.
		if err := c.activate(ctx, m, known.Snapshot, conn); err != nil {
			log.Warn().Err(err).Str("member", string(m)).Str("connection", string(conn.Token)).Msg("not activated; the member will be asked")
		}
	}
	if after, err := c.held(ctx, known.Snapshot, now); err != nil || !held.same(after) {
		// What held this back has ended, and the look for its end may have come
		// before this was stored: it knew nothing of what was noted here.
		// A note has no trigger that would come again.
		if _, err := c.lookTimely(context.WithoutCancel(ctx), m, events.Head[events.Member]{}); err != nil && len(notes) == 0 {
			return d, fmt.Errorf("look again, since a hold changed: %w", err)
		} else if err != nil {
			log.Warn().Err(err).Str("member", string(m)).Msg("not looked at again after a hold changed")
		}
	}
	return d, nil
}

// held returns what holds the member's prompts back. What is held is looked at
// again when the hold ends, and then only: so whoever holds makes sure that it
// has not ended already. If it ends after that, the look for its end finds the
// head that was decided from.
func (c *Consumer) held(ctx context.Context, m *events.Member, now time.Time) (Held, error) {
	if h := c.Held(m, now); !h.judged() {
		return h, nil
	}
	if err := c.Fresh(ctx); err != nil {
		return Held{}, err
	}
	return c.Held(m, now), nil
}

// activate activates without asking, on record, if b.well still says what was
// decided from: the head may be hours old, and the member may since have ended
// what would be turned on again. Whatever comes of it, the member is polled.
func (c *Consumer) activate(ctx context.Context, m events.MemberToken, known *events.Member, conn events.MemberConnection) error {
	now, err := c.Actor.Connection(ctx, m, conn.ConnectionID, conn.State.IntegrationType)
	if err != nil {
		return err
	}
	if !now.Found || now.State.Status != conn.State.Status || now.denies(known) {
		lookAt(ctx, c.Actor, m, conn.Token, "")
		return errors.New("it is no longer as it was decided from")
	}
	e := audit.Entry{
		Member: m, Part: string(conn.Token), Action: events.ActDirect, Episode: events.EpisodeID(conn.Token, conn.Episode), By: byPolicy,
	}
	return onRecord(ctx, c.Ledger, c.Now, e, func() (audit.What, error) {
		status, err := c.Actor.ActivateDirect(ctx, m, conn.ConnectionID)
		lookAt(ctx, c.Actor, m, conn.Token, status)
		if errors.Is(err, ErrRefused) {
			err = fmt.Errorf("%w: %w", ReconnectInApp, err)
		}
		return audit.Activated, err
	})
}

// errVoid reports a note about what is no longer so, or was noted before.
var errVoid = errors.New("reconnect: nothing to note")

// Note has notes taken about one member, all in one decision, and nothing else
// waited for. It returns a [Refusal] if one of them is void.
func (c *Consumer) Note(ctx context.Context, m events.MemberToken, notes ...Note) error {
	_, err := c.look(ctx, m, events.Head[events.Member]{}, c.Now(), notes...)
	switch _, early := errors.AsType[*earlyError](err); {
	case errors.Is(err, errVoid):
		return StalePrompt
	case early:
		return nil
	case err != nil:
		return fmt.Errorf("%w: %w", Upstream, err)
	default:
		return nil
	}
}

// early reports a look that came a moment before its time, as after a change
// of the broker's clock: its timer is spent, so the trigger must come again.
func (d Decision) early(now time.Time) error {
	if wait := d.NextLook.Sub(now); wait > 0 && wait <= earliest {
		return &earlyError{wait}
	}
	return nil
}

// earliest is how much too soon a timer may fire and still be ours.
const earliest = 5 * time.Second

type earlyError struct{ wait time.Duration }

// Error implements error.
func (e *earlyError) Error() string { return fmt.Sprintf("the look is due in %s", e.wait) }

// Letters is the dead-letter stream.
type Letters struct{ JS jetstream.JetStream }

// Park implements DeadLetters. The message goes into the body whole: stored
// batch headers may not be published again.
func (l Letters) Park(ctx context.Context, m jetstream.Msg, reason string) error {
	letter := struct {
		Subject string              `json:"subject"`
		Headers map[string][]string `json:"headers"`
		Data    []byte              `json:"data"`
		Reason  string              `json:"reason"`
	}{m.Subject(), m.Headers(), m.Data(), reason}
	body, err := json.Marshal(letter)
	if err != nil {
		return fmt.Errorf("park a message: %w", err)
	}
	if _, err := l.JS.Publish(ctx, "sc.dlq.decider", body); err != nil {
		return fmt.Errorf("park a message: %w", err)
	}
	return nil
}
