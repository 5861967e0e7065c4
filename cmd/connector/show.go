package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/schollz/progressbar/v3"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/replay"
)

// showWindow is how many messages are looked at at once.
const showWindow = 4096

type eventsShowCmd struct {
	broker  `embed:""`
	ID      string `arg:"" help:"The event's id, as in ce-id."`
	Subject string `help:"Look on these subjects only; * and > are understood." placeholder:"SUBJECT"`
}

// Run finds the event, the newest messages first, and prints it.
func (c eventsShowCmd) Run(ctx context.Context, std streams) error {
	nc, js, log, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	filter := c.Subject
	if filter == "" {
		filter = log.Subjects().All()
	}
	msg, err := findEvent(ctx, js, filter, c.ID, showWindow, progressOn(std.err))
	if err != nil {
		return err
	}
	e, err := events.Decode(msg.Header, msg.Data)
	if err != nil {
		return fmt.Errorf("show event: it stands at stream sequence %d and cannot be read: %w", msg.Sequence, err)
	}
	fmt.Fprintf(std.err, "%s, stream sequence %d, stored %s\n", msg.Subject, msg.Sequence, msg.Time.Local().Format("2006-01-02 15:04:05.000"))
	enc := json.NewEncoder(std.out)
	enc.SetIndent("", "  ")
	return enc.Encode(e)
}

// findEvent returns the newest message of an event. The stream has no index of
// ids, so windows of it are read from its end to its beginning, headers only.
func findEvent(ctx context.Context, js jetstream.JetStream, filter, id string, window uint64, progress func(done, all uint64)) (*jetstream.RawStreamMsg, error) {
	stream, err := js.Stream(ctx, events.Stream)
	if err != nil {
		return nil, fmt.Errorf("read the stream: %w; create it with: connector topology apply", err)
	}
	state := stream.CachedInfo().State
	if state.Msgs == 0 {
		return nil, errors.New("show event: the stream is empty")
	}
	all := state.LastSeq - state.FirstSeq + 1
	// Where one cannot be removed, as for want of leave, no other is tried: each
	// try would wait for an answer.
	kept := false
	forget := func(c jetstream.Consumer) { kept = kept || replay.Forget(ctx, stream, c) != nil }
	for end := state.LastSeq; end >= state.FirstSeq; {
		begin := state.FirstSeq
		if end-begin >= window {
			begin = end - window + 1
		}
		found, err := findInWindow(ctx, stream, filter, id, begin, end, forget)
		if err != nil {
			return nil, err
		}
		if found != 0 {
			progress(all, all)
			msg, err := stream.GetMsg(ctx, found)
			if err != nil {
				return nil, fmt.Errorf("read the stream: %w", err)
			}
			return msg, nil
		}
		progress(state.LastSeq-begin+1, all)
		end = begin - 1
		if begin == state.FirstSeq {
			break
		}
	}
	return nil, errors.New("show event: the stream has none of this id; old events of a subject go when new ones come")
}

// findInWindow returns the last stream sequence from begin to end that has the
// event, 0 for none. forget is called with what it made to read with.
func findInWindow(ctx context.Context, stream jetstream.Stream, filter, id string, begin, end uint64, forget func(jetstream.Consumer)) (uint64, error) {
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{filter}, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: begin, HeadersOnly: true,
	})
	if err != nil {
		return 0, fmt.Errorf("read the stream: %w", err)
	}
	defer forget(consumer)
	if consumer.CachedInfo().NumPending == 0 {
		return 0, nil
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(showWindow))
	if err != nil {
		return 0, fmt.Errorf("read the stream: %w", err)
	}
	defer messages.Stop()
	defer context.AfterFunc(ctx, messages.Stop)()
	var found uint64
	for {
		msg, err := messages.Next()
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		if err != nil {
			return 0, fmt.Errorf("read the stream: %w", err)
		}
		at, err := msg.Metadata()
		if err != nil {
			return 0, fmt.Errorf("read the stream: %w", err)
		}
		if at.Sequence.Stream > end {
			return found, nil
		}
		if v := msg.Headers()["ce-id"]; len(v) > 0 && v[0] == id {
			found = at.Sequence.Stream
		}
		if at.Sequence.Stream == end || at.NumPending == 0 {
			return found, nil
		}
	}
}

// progressOn returns what tells how far long work is, on a terminal only.
func progressOn(w io.Writer) func(done, all uint64) {
	if !watched(w) {
		return func(uint64, uint64) {}
	}
	bar := progressbar.NewOptions64(0, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription("looking"),
		progressbar.OptionShowCount(), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
	return func(done, all uint64) {
		bar.ChangeMax64(int64(min(all, 1<<62)))
		_ = bar.Set64(int64(min(done, 1<<62))) // a bar that cannot be drawn is no reason to stop
	}
}
