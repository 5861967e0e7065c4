package judge

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/smartconnect/connector/internal/events"
)

// Lease lets one replica judge at a time. It is thrift, not safety: two judges
// write on guards, and one of them misses.
type Lease interface {
	// Keep takes or renews the lease and reports whether it is held until the
	// next call, which comes within a third of its life.
	Keep(ctx context.Context) (held bool, err error)
	// Life is how long a lease lasts that nobody renews.
	Life() time.Duration
}

// Config is what a Judge needs. All fields are required unless noted.
type Config struct {
	Log   *events.Log
	Keys  events.Tokenizer
	View  *View
	Lease Lease
	Rules Rules
	Every time.Duration    // between two looks; default 5 s
	Now   func() time.Time // default time.Now

	// Pulse returns how many polls this replica made in the last minute, and how
	// many failed. The members of a replica are a fair sample of all.
	Pulse func() (polls, failed int)

	// Sweep finds members whose next look is overdue and looks at them. It is
	// called by the holder of the lease, every SweepEvery (default 1 h).
	Sweep      func(ctx context.Context) error
	SweepEvery time.Duration
}

// A Judge judges while it holds the lease.
type Judge struct {
	Config

	mu    sync.Mutex
	tally *tally
	ready bool
}

// New returns a Judge, or says what is wrong with c.
func New(c Config) (*Judge, error) {
	if c.Log == nil || c.View == nil || c.Lease == nil || c.Pulse == nil || c.Sweep == nil {
		return nil, errors.New("judge: Log, View, Lease, Pulse and Sweep are required")
	}
	if c.Every == 0 {
		c.Every = 5 * time.Second
	}
	if c.SweepEvery == 0 {
		c.SweepEvery = time.Hour
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Judge{Config: c}, nil
}

// Run judges whenever the lease is held, until ctx ends, and returns nil then.
func (j *Judge) Run(ctx context.Context) error {
	if err := j.View.Wait(ctx, 0); err != nil {
		return nil // asked to stop
	}
	for ctx.Err() == nil {
		held, err := j.Lease.Keep(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			zerolog.Ctx(ctx).Warn().Err(err).Msg("judge's lease not kept, next try on schedule")
		case held:
			if err := j.reign(ctx); err != nil && ctx.Err() == nil {
				zerolog.Ctx(ctx).Warn().Err(err).Msg("not judged, next try on schedule")
			}
		}
		pause(ctx, j.Lease.Life()/3)
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// reign counts all members and judges until the lease is lost or ctx ends.
func (j *Judge) reign(ctx context.Context) error {
	ctx, abdicate := context.WithCancel(ctx)
	var work sync.WaitGroup
	defer work.Wait()
	defer abdicate()
	j.mu.Lock()
	j.tally, j.ready = newTally(), false
	j.mu.Unlock()
	failed := make(chan error, 2)
	work.Go(func() {
		err := j.Log.Follow(ctx, []string{j.Log.Subjects().Members()}, j.count, func() {
			j.mu.Lock()
			j.ready = true
			j.mu.Unlock()
		})
		if err != nil {
			failed <- err
		}
	})
	work.Go(func() {
		for ctx.Err() == nil {
			if err := j.Sweep(ctx); err != nil && ctx.Err() == nil {
				zerolog.Ctx(ctx).Warn().Err(err).Msg("overdue looks not swept, next try on schedule")
			}
			pause(ctx, j.SweepEvery)
		}
	})
	judge, keep := time.NewTicker(j.Every), time.NewTicker(j.Lease.Life()/3)
	defer judge.Stop()
	defer keep.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case <-keep.C:
			if held, err := j.Lease.Keep(ctx); err != nil || !held {
				return err
			}
		case <-judge.C:
			if err := j.judge(ctx); err != nil {
				return err
			}
		}
	}
}

// count takes a member's head into the tally.
func (j *Judge) count(subject string, h nats.Header, body []byte, seq uint64) error {
	_, m, ok := j.Log.Subjects().Parse(subject)
	head, err := events.HeadOf[events.Member](h, body, seq)
	if !ok || err != nil {
		return nil // the decider's dead letters tell of it
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.tally.see(m, head.Snapshot, j.Keys)
	return nil
}

func (j *Judge) judge(ctx context.Context) error {
	polls, failed := j.Pulse()
	now := j.Now()
	was, last := j.View.snapshot()
	j.mu.Lock()
	if !j.ready {
		j.mu.Unlock()
		return nil
	}
	rulings := j.tally.judge(j.Rules, was, polls, failed, now)
	j.mu.Unlock()
	for _, e := range rulings {
		written, err := j.Log.Judge(ctx, last[j.Log.Subjects().Of(e)], e, now)
		if errors.Is(err, events.ErrMoved) {
			continue // another judged meanwhile, or an operator spoke: the view will show it
		}
		if err != nil {
			return fmt.Errorf("write %s: %w", e.Type, err)
		}
		zerolog.Ctx(ctx).Warn().Str("event", written.Event.ID).Str("why", string(e.Type)).Msg("judged")
		// What is written must be seen before the next look, or it is written again.
		if err := j.View.Wait(ctx, written.Seq); err != nil {
			return nil // asked to stop
		}
	}
	return nil
}

// Silence sets, under an id, what prompts are to be held until when; a later
// one under the same id takes its place.
func Silence(ctx context.Context, log *events.Log, id string, s events.Silence, now time.Time) error {
	if err := CheckSilence(id, s, now); err != nil {
		return err
	}
	return speak(ctx, log, events.SilenceSet, id, now, func(events.Judgement) (events.Data, error) { return &s, nil })
}

// ErrNothing reports that there is nothing to end.
var ErrNothing = errors.New("judge: there is nothing to end")

// EndSilence ends a silence before its time. It returns ErrNothing if there is
// none of that id.
func EndSilence(ctx context.Context, log *events.Log, id, by string, now time.Time) error {
	if !isSilenceID(id) {
		return ErrNothing
	}
	return speak(ctx, log, events.SilenceEnded, id, now, func(last events.Judgement) (events.Data, error) {
		s, ok := last.Event.Data.(*events.Silence)
		if last.Event.Type != events.SilenceSet || !ok {
			return nil, ErrNothing
		}
		ended := *s
		ended.By = by
		return &ended, nil
	})
}

// ReleaseStorm lets the prompts go that a storm holds. It returns ErrNothing if
// no storm is held.
func ReleaseStorm(ctx context.Context, log *events.Log, by string, now time.Time) error {
	if by == "" {
		return errors.New("release the storm: say who does")
	}
	return speak(ctx, log, events.StormReleased, "", now, func(last events.Judgement) (events.Data, error) {
		s, ok := last.Event.Data.(*events.Storm)
		if last.Event.Type != events.StormHeld || !ok {
			return nil, ErrNothing
		}
		return &events.Storm{Reason: "operator", Changed: s.Changed, Members: s.Members, By: by}, nil
	})
}

// speak writes what follows the last judgement of a subject, again if another
// was faster.
func speak(ctx context.Context, log *events.Log, t events.Type, part string, now time.Time, data func(last events.Judgement) (events.Data, error)) error {
	for {
		last, err := log.Judgement(ctx, t, part)
		if err != nil {
			return err
		}
		d, err := data(last)
		if err != nil {
			return err
		}
		if _, err = log.Judge(ctx, last, events.Event{Type: t, Part: part, Data: d}, now); !errors.Is(err, events.ErrMoved) {
			return err
		}
	}
}
