package main

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/smartconnect/connector/internal/events"
)

const (
	// watchEvery is how often the broker is asked for its time and for how far
	// the decider is behind.
	watchEvery = 15 * time.Second

	// clockOff is from what difference on operators hear of it. We correct for
	// any; other programs on this machine, or the servers among themselves, may
	// not.
	clockOff = 5 * time.Second
)

// A watch keeps an eye on the broker: on its clock, and on how far the decider
// and the record are behind.
type watch struct {
	clock            *events.Clock
	decider, auditor jetstream.Consumer

	pending, unacknowledged, redelivered atomic.Int64 // of the decider
	unrecorded                           atomic.Int64 // of the auditor
	off                                  bool         // said that the clock is off
}

// Run watches until ctx ends.
func (w *watch) Run(ctx context.Context) error {
	for {
		w.once(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchEvery):
		}
	}
}

func (w *watch) once(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, watchEvery)
	defer cancel()
	log := zerolog.Ctx(ctx)
	if err := w.measure(ctx); err != nil && ctx.Err() == nil {
		log.Warn().Err(err).Msg("clock not measured, the last offset stands")
	}
	decider, err := w.decider.Info(ctx)
	if err == nil {
		w.pending.Store(waiting(decider))
		w.unacknowledged.Store(int64(decider.NumAckPending))
		w.redelivered.Store(int64(decider.NumRedelivered))
	}
	auditor, auditErr := w.auditor.Info(ctx)
	if auditErr == nil {
		w.unrecorded.Store(waiting(auditor) + int64(auditor.NumAckPending))
	}
	if err = errors.Join(err, auditErr); err != nil && ctx.Err() == nil {
		log.Warn().Err(err).Msg("durable consumers not read")
	}
}

func waiting(c *jetstream.ConsumerInfo) int64 { return int64(min(c.NumPending, 1<<62)) }

// measure measures the clock and says when it goes wrong, and when it is right
// again, once each.
func (w *watch) measure(ctx context.Context) error {
	if err := w.clock.Measure(ctx); err != nil {
		return err
	}
	off := w.clock.Offset().Abs() > clockOff
	switch log := zerolog.Ctx(ctx); {
	case off && !w.off:
		log.Warn().Dur("offset", w.clock.Offset()).
			Msg("clock differs from the broker's; it is corrected here, but should be mended on the machine that is wrong")
	case w.off && !off:
		log.Info().Dur("offset", w.clock.Offset()).Msg("clock agrees with the broker's again")
	}
	w.off = off
	return nil
}
