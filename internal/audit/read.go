package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// patience is how long nothing may come before there is nothing more.
const patience = 5 * time.Second

// Read calls each for every entry of the record that is there now, in its
// order, doubles dropped. subjects are filters as of [OfMember], none for all;
// since is when to begin, zero for the beginning.
func Read(ctx context.Context, js jetstream.JetStream, subjects []string, since time.Time, each func(Entry) error) error {
	config := jetstream.OrderedConsumerConfig{FilterSubjects: subjects}
	if !since.IsZero() {
		config.DeliverPolicy, config.OptStartTime = jetstream.DeliverByStartTimePolicy, &since
	}
	consumer, err := js.OrderedConsumer(ctx, Stream, config)
	if err != nil {
		return fmt.Errorf("read the record: %w; create it with: connector topology apply", err)
	}
	if consumer.CachedInfo().NumPending == 0 {
		return nil
	}
	messages, err := consumer.Messages()
	if err != nil {
		return fmt.Errorf("read the record: %w", err)
	}
	defer messages.Stop()
	defer context.AfterFunc(ctx, messages.Stop)()
	seen := map[string]bool{}
	for {
		m, err := messages.Next(jetstream.NextMaxWait(patience))
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(err, nats.ErrTimeout) {
			return nil // the last ones have run out meanwhile
		}
		if err != nil {
			return fmt.Errorf("read the record: %w", err)
		}
		md, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("read the record: %w", err)
		}
		var e Entry
		if err := json.Unmarshal(m.Data(), &e); err != nil || e.ID == "" {
			return errors.New("read the record: something in it is no entry; who else publishes on " + All + "?")
		}
		if !seen[e.ID] {
			seen[e.ID] = true
			if err := each(e); err != nil {
				return err
			}
		}
		if md.NumPending == 0 {
			return nil
		}
	}
}
