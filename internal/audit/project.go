package audit

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/smartconnect/connector/internal/events"
)

// source is the part of jetstream.Consumer that a Projector needs.
type source interface {
	Messages(opts ...jetstream.PullMessagesOpt) (jetstream.MessagesContext, error)
}

// A Projector records what the stream of events tells of prompts, access and
// what holds for all. Replicas share one durable consumer: an event is
// acknowledged when its entry is stored.
type Projector struct {
	source source
	ledger *Ledger
}

// NewProjector returns a Projector that reads a durable consumer of the events
// to be recorded.
func NewProjector(s source, l *Ledger) *Projector { return &Projector{s, l} }

const (
	inHand = 64 // messages asked for ahead
	again  = 5 * time.Second
)

// Run records until ctx ends, and returns nil then. It goes on after errors: an
// event that was not recorded comes again.
func (p *Projector) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := p.follow(ctx); err != nil && ctx.Err() == nil {
			zerolog.Ctx(ctx).Warn().Err(err).Msg("audit: events not read, trying again")
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}
	return nil
}

func (p *Projector) follow(ctx context.Context) error {
	messages, err := p.source.Messages(jetstream.PullMaxMessages(inHand))
	if err != nil {
		return err
	}
	defer messages.Stop()
	defer context.AfterFunc(ctx, messages.Drain)() // what was handed over is recorded first
	work := context.WithoutCancel(ctx)
	hopeless := false // asked to stop, and nothing can be recorded: the rest is for others
	for {
		m, err := messages.Next()
		if errors.Is(err, jetstream.ErrMsgIteratorClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		if hopeless {
			_ = m.NakWithDelay(again)
			continue
		}
		if err := p.take(work, m); err != nil {
			zerolog.Ctx(ctx).Warn().Err(err).Msg("audit: not recorded, comes again")
			_ = m.NakWithDelay(again)
			hopeless = ctx.Err() != nil
			continue
		}
		_ = m.Ack() // if it is lost the event comes again, and its entry is a double
	}
}

// take records one message. What is no event is recorded as that: nothing in
// the stream goes by unseen, and the entry says where it stands.
func (p *Projector) take(ctx context.Context, m jetstream.Msg) error {
	md, err := m.Metadata()
	if err != nil {
		return fmt.Errorf("read the message's metadata: %w", err)
	}
	e, err := events.Decode(m.Headers(), m.Data())
	if err != nil {
		seq := strconv.FormatUint(md.Sequence.Stream, 10)
		return p.ledger.Record(ctx, Entry{At: md.Timestamp.UTC(), What: Unreadable, Stream: md.Sequence.Stream}.Identify(seq))
	}
	return p.ledger.Record(ctx, Of(e, md.Sequence.Stream))
}
