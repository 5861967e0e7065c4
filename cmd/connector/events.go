package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/smartconnect/connector/internal/events"
)

type eventsCmd struct {
	Tail   eventsTailCmd   `cmd:"" help:"Print events as they are published."`
	Show   eventsShowCmd   `cmd:"" help:"Find an event by its id and print it."`
	Replay eventsReplayCmd `cmd:"" help:"Have events read again: copy them elsewhere, or move a durable back."`
	Emit   eventsEmitCmd   `cmd:"" help:"Publish a made-up event, on a test environment only."`
}

type eventsTailCmd struct {
	broker `embed:""`
	Since  time.Duration `help:"Also print events of this long ago." placeholder:"DURATION"`
	Type   string        `help:"Only events of this type; prompt.opened will do." placeholder:"TYPE"`
	Heads  bool          `help:"Print the heads too; with the type of a head they are."`
	JSON   bool          `name:"json" help:"Print CloudEvents in JSON format, one a line."`
}

// Validate is called before the command runs.
func (c eventsTailCmd) Validate() error {
	if c.Type != "" && !slices.Contains(events.Types(), events.Type(fullType(c.Type))) {
		return fmt.Errorf("--type: there is no event type %.80q; see: connector schema list", c.Type)
	}
	return c.broker.Validate()
}

// Run prints events until it is interrupted.
func (c eventsTailCmd) Run(ctx context.Context, std streams) error {
	nc, js, log, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	only := events.Type(fullType(c.Type))
	return tail(ctx, js, log, c.Since, func(e events.Event) error {
		if only != "" && e.Type != only || only == "" && !c.Heads && isHead(e) {
			return nil
		}
		if c.JSON {
			return json.NewEncoder(std.out).Encode(e)
		}
		_, err := fmt.Fprintf(std.out, "%s  %-45s %s  #%d\n", e.Recorded.Local().Format("15:04:05.000"), e.Type, e.Tokens(), e.Sequence)
		return err
	}, func(m jetstream.Msg, seq uint64, why error) error {
		typ := events.Type(firstHeader(m.Headers(), "ce-type"))
		if only != "" && typ != "" && typ != only {
			return nil
		}
		_, err := fmt.Fprintf(std.err, "%s  #%d  cannot be read: %s\n", m.Subject(), seq, why)
		return err
	})
}

func isHead(e events.Event) bool {
	return e.Type == events.MemberSnapshot || e.Type == events.AgendaSnapshot
}

// tail calls each for every event from since ago on, until ctx ends, and unread
// for every message that should be one and cannot be read, with its sequence in
// the stream.
func tail(ctx context.Context, js jetstream.JetStream, log *events.Log, since time.Duration, each func(events.Event) error, unread func(m jetstream.Msg, seq uint64, why error) error) error {
	subjects := log.Subjects()
	config := jetstream.OrderedConsumerConfig{FilterSubjects: []string{subjects.All()}, DeliverPolicy: jetstream.DeliverNewPolicy}
	if since > 0 {
		clock := events.NewClock(log, nil)
		if err := clock.Measure(ctx); err != nil {
			return err
		}
		config.DeliverPolicy, config.OptStartTime = jetstream.DeliverByStartTimePolicy, new(clock.Now().Add(-since))
	}
	consumer, err := js.OrderedConsumer(ctx, events.Stream, config)
	if err != nil {
		return fmt.Errorf("read the stream: %w; create it with: connector topology apply", err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		return fmt.Errorf("read the stream: %w", err)
	}
	stop := context.AfterFunc(ctx, messages.Stop)
	defer stop()
	for {
		msg, err := messages.Next()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the stream: %w", err)
		}
		if noEvent(subjects, msg) {
			continue
		}
		e, err := events.Decode(msg.Headers(), msg.Data())
		if err == nil {
			err = each(e)
		} else if at, metaErr := msg.Metadata(); metaErr == nil {
			err = unread(msg, at.Sequence.Stream, err)
		}
		if err != nil {
			return err
		}
	}
}

// noEvent reports what stands in the stream and is not meant to be an event: the
// connector's alarm clock, what its probe leaves for a moment, and the heads of
// who was forgotten.
func noEvent(s events.Subjects, m jetstream.Msg) bool {
	kind, _, _ := strings.Cut(strings.TrimPrefix(m.Subject(), s.Prefix()+"."), ".")
	switch kind {
	case "timer", "due", "probe":
		return true
	default:
		return len(m.Data()) == 0 && (kind == events.MemberSnapshot.Kind() || kind == events.AgendaSnapshot.Kind())
	}
}
