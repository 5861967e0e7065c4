package reconnect

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/smartconnect/connector/internal/events"
)

// judged looks at all members whose prompts may have been held back by what a
// judgement ends. The message is acknowledged when all were looked at: if this
// replica dies before, another begins anew, and a look too many is only a look.
func (c *Consumer) judged(ctx context.Context, m jetstream.Msg, seq uint64) error {
	j, err := events.JudgementOf(m.Headers(), m.Data(), seq)
	if err != nil {
		return err
	}
	switch j.Event.Type {
	case events.SourceRestored, events.ObserverResumed, events.StormReleased, events.SilenceEnded, events.SilenceSet:
		// A silence that is set anew may be a shorter one.
	default:
		return nil // it holds back, and leaves what is open
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	waited, stop := context.WithTimeout(ctx, c.Timeout)
	defer stop()
	if err := c.Judged(waited, seq); err != nil {
		return fmt.Errorf("wait for what was judged: %w", err)
	}
	go func() { // or the broker thinks that we have died
		for ctx.Err() == nil {
			pause(ctx, inProgress)
			_ = m.InProgress()
		}
	}()
	looked, err := c.sweep(ctx)
	zerolog.Ctx(ctx).Info().Str("why", string(j.Event.Type)).Int("looks", looked).AnErr("error", err).Msg("looked at all who may have waited")
	return err
}

// inProgress is well within the consumer's AckWait.
const inProgress = 10 * time.Second

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// sweep looks at every member with something that could be asked or told. One
// who cannot be looked at does not keep the others waiting.
func (c *Consumer) sweep(ctx context.Context) (looks int, err error) {
	var g errgroup.Group
	g.SetLimit(sweepers)
	err = c.Log.Members(ctx, func(m events.MemberToken, head events.Head[events.Member]) error {
		if mayWait(head.Snapshot) {
			looks++
			g.Go(func() error {
				_, err := c.lookTimely(ctx, m, head)
				return c.pass(ctx, m, err)
			})
		}
		return nil
	})
	if err = errors.Join(err, g.Wait()); err != nil {
		return looks, fmt.Errorf("sweep: %w", err)
	}
	return looks, nil
}

// first looks at all who may wait, until it succeeds or ctx ends.
func (c *Consumer) first(ctx context.Context) {
	for ctx.Err() == nil {
		looks, err := c.sweep(ctx)
		if ctx.Err() != nil {
			return
		}
		zerolog.Ctx(ctx).Info().Int("looks", looks).AnErr("error", err).Msg("looked at all who may have waited for another policy")
		if err == nil {
			return
		}
		pause(ctx, again)
	}
}

// again is how long after a sweep that failed the next one begins.
const again = 30 * time.Second

// sweepers is how many members a sweep looks at at once.
const sweepers = 16

func (c *Consumer) lookTimely(ctx context.Context, m events.MemberToken, head events.Head[events.Member]) (wrote bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	wrote, err = c.look(ctx, m, head, c.Now())
	if _, early := errors.AsType[*earlyError](err); early {
		err = nil // its timer is still to come
	}
	return wrote, err
}

// pass returns an error that another sweep may not meet. What no reader can use
// is told and passed over.
func (c *Consumer) pass(ctx context.Context, m events.MemberToken, err error) error {
	if err != nil && errors.Is(err, events.ErrMalformed) {
		zerolog.Ctx(ctx).Error().Err(err).Str("member", string(m)).Msg("member not looked at")
		return nil
	}
	return err
}

// mayWait reports whether something may have been held back: a break, or an
// end of access.
func mayWait(m *events.Member) bool {
	if m.Effective() != events.Permit {
		return true
	}
	for _, c := range m.Connections {
		if c.State.Status.Broken() && !c.Removed() {
			return true
		}
	}
	return false
}

// late is from when on a look that did not come is overdue. The broker's timers
// are exact; this is for a decider that is behind.
const late = 5 * time.Minute

// Overdue looks at every member whose next look is overdue, and counts those
// for whom there was something to do. There should be none: each is a timer that
// was lost, or a decider that is minutes behind.
func (c *Consumer) Overdue(ctx context.Context) error {
	var g errgroup.Group
	g.SetLimit(sweepers)
	err := c.Log.Agendas(ctx, func(m events.MemberToken, head events.Head[events.Agenda]) error {
		if at := head.Snapshot.NextLook; at.IsZero() || c.Now().Sub(at) < late {
			return nil
		}
		g.Go(func() error {
			wrote, err := c.lookTimely(ctx, m, events.Head[events.Member]{})
			if wrote {
				c.overdue.Add(1)
				zerolog.Ctx(ctx).Warn().Str("member", string(m)).Time("due", head.Snapshot.NextLook).Msg("a look was overdue")
			}
			return c.pass(ctx, m, err)
		})
		return nil
	})
	if err = errors.Join(err, g.Wait()); err != nil {
		return fmt.Errorf("sweep overdue looks: %w", err)
	}
	return nil
}

// OverdueLooks returns how many overdue looks were found so far.
func (c *Consumer) OverdueLooks() int64 { return c.overdue.Load() }
