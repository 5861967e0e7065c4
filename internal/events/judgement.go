package events

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A Judgement is the last event of a subject that speaks of all members: a
// source, the storm, the observer, a silence. It is its own head: the next is
// guarded by its stream sequence. The zero Judgement means that there is none
// yet.
type Judgement struct {
	Seq   uint64
	Event Event
}

// JudgementOf reads a judgement from a message.
func JudgementOf(header nats.Header, body []byte, seq uint64) (Judgement, error) {
	e, err := Decode(header, body)
	if err != nil {
		return Judgement{}, err
	}
	if member, _, ok := about(e.Type.Kind()); !ok || member {
		return Judgement{}, fmt.Errorf("%w: %s is no judgement", ErrMalformed, e.Type)
	}
	return Judgement{seq, e}, nil
}

// Judgement reads the last judgement of a kind from the leader: part is the
// token of a source or a silence, empty for the others.
func (l *Log) Judgement(ctx context.Context, t Type, part string) (Judgement, error) {
	msg, err := l.last(ctx, l.subjects.Of(Event{Type: t, Part: part}))
	if err != nil || msg == nil || len(msg.Data) == 0 {
		return Judgement{}, err
	}
	return JudgementOf(msg.Header, msg.Data, msg.Sequence)
}

// LastJudged returns the stream sequence of the last judgement that a filter of
// [Subjects.Judgements] matches, as the leader has it; 0 if there is none.
func (l *Log) LastJudged(ctx context.Context, filter string) (uint64, error) {
	msg, err := l.last(ctx, filter)
	if err != nil || msg == nil {
		return 0, err
	}
	return msg.Sequence, nil
}

// Judge writes what follows last on its subject and returns it, numbered. It
// returns ErrMoved if last is no longer the last; any other error says that the
// outcome is not known.
func (l *Log) Judge(ctx context.Context, last Judgement, e Event, now time.Time) (Judgement, error) {
	subject := l.subjects.Of(e)
	e.Sequence = last.Event.Sequence + 1
	e.Recorded = now
	if e.Time.IsZero() {
		e.Time = now
	}
	e.CausationID = last.Event.ID
	if err := e.stamp("", subject); err != nil {
		return Judgement{}, err
	}
	h, body, err := encode(e, l.source)
	if err != nil {
		return Judgement{}, err
	}
	h[hdrExpect] = []string{strconv.FormatUint(last.Seq, 10)}
	seq, err := l.sendPatiently(ctx, []*nats.Msg{{Subject: subject, Header: h, Data: body}})
	if err == nil {
		return Judgement{seq, e}, nil
	}
	// As with heads: an acknowledgement may have been lost.
	if now, readErr := l.Judgement(ctx, e.Type, e.Part); readErr == nil && now.Event.ID == e.ID {
		return now, nil
	}
	if refused, ok := errors.AsType[*batchError](err); ok && refused.missed() {
		return Judgement{}, fmt.Errorf("judge: %w", ErrMoved)
	}
	return Judgement{}, fmt.Errorf("judge: %w", err)
}

// Follow calls f for the last message of every subject that the filters match,
// then caughtUp once, then f for every message that comes, until ctx ends or f
// returns an error. It heals over lost connections; a subject may come twice.
func (l *Log) Follow(ctx context.Context, filters []string, f func(subject string, h nats.Header, body []byte, seq uint64) error, caughtUp func()) error {
	c, err := l.js.OrderedConsumer(ctx, l.stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: filters, DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy,
	})
	if err != nil {
		return fmt.Errorf("follow: %w", err)
	}
	behind := true
	arrived := func() {
		if behind {
			behind = false
			caughtUp()
		}
	}
	if info := c.CachedInfo(); info == nil || info.NumPending == 0 {
		arrived()
	}
	it, err := c.Messages()
	if err != nil {
		return fmt.Errorf("follow: %w", err)
	}
	stop := context.AfterFunc(ctx, it.Stop)
	defer stop()
	defer it.Stop()
	for {
		msg, err := it.Next()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("follow: %w", err)
		}
		md, err := msg.Metadata()
		if err != nil {
			return fmt.Errorf("follow: %w", err)
		}
		if err := f(msg.Subject(), msg.Headers(), msg.Data(), md.Sequence.Stream); err != nil {
			return err
		}
		if md.NumPending == 0 {
			arrived()
		}
	}
}

// Members calls f for every member head there is, in the order they were last
// written. What cannot be read is passed over: whoever is woken by it says so.
func (l *Log) Members(ctx context.Context, f func(m MemberToken, head Head[Member]) error) error {
	return l.EveryMember(ctx, readable(f))
}

// Agendas does the same for agendas.
func (l *Log) Agendas(ctx context.Context, f func(m MemberToken, head Head[Agenda]) error) error {
	return l.EveryAgenda(ctx, readable(f))
}

// EveryMember does what Members does and passes over nothing: broken, if there,
// wraps ErrMalformed and says why a head cannot be read.
func (l *Log) EveryMember(ctx context.Context, f func(m MemberToken, head Head[Member], broken error) error) error {
	return eachHead(ctx, l, l.subjects.Members(), f)
}

// EveryAgenda does the same for agendas.
func (l *Log) EveryAgenda(ctx context.Context, f func(m MemberToken, head Head[Agenda], broken error) error) error {
	return eachHead(ctx, l, l.subjects.Agendas(), f)
}

func readable[T any](f func(MemberToken, Head[T]) error) func(MemberToken, Head[T], error) error {
	return func(m MemberToken, head Head[T], broken error) error {
		if broken != nil {
			return nil
		}
		return f(m, head)
	}
}

func eachHead[T any](ctx context.Context, l *Log, filter string, f func(m MemberToken, head Head[T], broken error) error) error {
	all, cancel := context.WithCancel(ctx)
	defer cancel()
	err := l.Follow(all, []string{filter}, func(subject string, h nats.Header, body []byte, seq uint64) error {
		_, m, ok := l.subjects.Parse(subject)
		head, err := HeadOf[T](h, body, seq)
		if !ok || err == nil && head.Snapshot == nil {
			return nil // nobody's, or a tombstone
		}
		return f(m, head, err)
	}, cancel)
	return errors.Join(err, context.Cause(ctx))
}
