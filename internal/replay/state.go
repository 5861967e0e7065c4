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
	kept, forgotten, err := history(ctx, js, s, m)
	if err != nil {
		return Check{Member: m}, fmt.Errorf("check %s: %w", m, err)
	}
	if forgotten {
		return Check{Member: m, Verdict: Forgotten}, nil
	}
	return Fold(m, kept), nil
}

// history returns the events that are kept of a member, in order, and whether
// the last of a head is a tombstone.
func history(ctx context.Context, js jetstream.JetStream, s events.Subjects, m events.MemberToken) (kept []events.Event, forgotten bool, err error) {
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
		if kind, _, _ := s.Parse(msg.Subject()); len(msg.Data()) == 0 && (kind == "member" || kind == "agenda") {
			kept, forgotten = nil, true // what came before is no more
			continue
		}
		e, err := events.Decode(msg.Headers(), msg.Data())
		if errors.Is(err, events.ErrMalformed) {
			continue // its absence shows as too short a history
		}
		if err != nil {
			return nil, false, err
		}
		if e.Type == events.MemberSnapshot {
			forgotten = false
		}
		kept = append(kept, e)
	}
	return kept, forgotten, nil
}
