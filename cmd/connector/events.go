package main

import (
	"context"
	"encoding/json"
	"fmt"
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
	Type   string        `help:"Only events of this type." placeholder:"TYPE"`
	Heads  bool          `help:"Print the heads too."`
	JSON   bool          `name:"json" help:"Print CloudEvents in JSON format, one a line."`
}

// Run prints events until it is interrupted.
func (c eventsTailCmd) Run(ctx context.Context, std streams) error {
	nc, js, log, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	return tail(ctx, js, log, c.Since, func(e events.Event) error {
		if c.Type != "" && string(e.Type) != c.Type || !c.Heads && isHead(e) {
			return nil
		}
		if c.JSON {
			return json.NewEncoder(std.out).Encode(e)
		}
		_, err := fmt.Fprintf(std.out, "%s  %-45s %s  #%d\n", e.Recorded.Local().Format("15:04:05.000"), e.Type, e.Tokens(), e.Sequence)
		return err
	})
}

func isHead(e events.Event) bool {
	return e.Type == events.MemberSnapshot || e.Type == events.AgendaSnapshot
}

// tail calls each for every event from since ago on, until ctx ends. Messages
// that are no events, timers and fired ones, are passed over.
func tail(ctx context.Context, js jetstream.JetStream, log *events.Log, since time.Duration, each func(events.Event) error) error {
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
		if kind, _, ok := subjects.Parse(msg.Subject()); !ok || kind == "timer" || kind == "due" {
			continue
		}
		e, err := events.Decode(msg.Headers(), msg.Data())
		if err != nil {
			continue
		}
		if err := each(e); err != nil {
			return err
		}
	}
}
