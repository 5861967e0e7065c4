package replay

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/smartconnect/connector/internal/events"
)

// CheckMember reads what is kept of a member and folds it.
func CheckMember(ctx context.Context, js jetstream.JetStream, s events.Subjects, m events.MemberToken) (Check, error) {
	kept, forgotten, err := read(ctx, js, s, m)
	if err != nil {
		return Check{Member: m}, fmt.Errorf("check %s: %w", m, err)
	}
	if forgotten {
		return Check{Member: m, Verdict: Forgotten}, nil
	}
	return Fold(m, kept), nil
}

// read returns what is kept of a member, in order, and whether the last of a
// head is a tombstone.
func read(ctx context.Context, js jetstream.JetStream, s events.Subjects, m events.MemberToken) (kept []Kept, forgotten bool, err error) {
	consumer, err := js.OrderedConsumer(ctx, events.Stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: Query{Member: m}.Filters(s),
	})
	if err != nil {
		return nil, false, err
	}
	left := consumer.CachedInfo().NumPending
	if left == 0 {
		return nil, false, nil
	}
	messages, err := consumer.Messages()
	if err != nil {
		return nil, false, err
	}
	defer messages.Stop()
	for ; left > 0; left-- {
		msg, err := next(ctx, messages)
		if err != nil {
			return nil, false, err
		}
		kind, _, _ := s.Parse(msg.Subject())
		head := kind == events.MemberSnapshot.Kind() || kind == events.AgendaSnapshot.Kind()
		if head && len(msg.Data()) == 0 {
			kept, forgotten = nil, true // what came before is no more
			continue
		}
		e, err := events.Decode(msg.Headers(), msg.Data())
		if err == nil && s.Of(e) != msg.Subject() {
			err = fmt.Errorf("%w: it is not where it belongs", events.ErrMalformed)
		}
		switch {
		case errors.Is(err, events.ErrMalformed) && head:
			kept, forgotten = append(kept, Kept{Broken: kind}), false
		case errors.Is(err, events.ErrMalformed): // its absence shows as too short a history
		case err != nil:
			return nil, false, err
		default:
			forgotten = forgotten && e.Type != events.MemberSnapshot
			kept = append(kept, Kept{Event: e, Body: msg.Data()})
		}
	}
	return kept, forgotten, nil
}
