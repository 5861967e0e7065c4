package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// A Clock is this machine's clock corrected by how much the broker's was last
// found to differ. Messages are stamped and timers fire by the broker's clock,
// so a "now" of ours that goes into one must be the broker's too. It is safe
// for concurrent use.
type Clock struct {
	log    *Log
	base   func() time.Time
	offset atomic.Int64
}

// NewClock returns a Clock that says what base says, nil for the machine's
// clock, until [Clock.Measure] has found out better.
func NewClock(log *Log, base func() time.Time) *Clock {
	if base == nil {
		base = time.Now
	}
	return &Clock{log: log, base: base}
}

// Now returns the broker's time as far as we know it.
func (c *Clock) Now() time.Time { return c.base().Add(c.Offset()) }

// Offset returns by how much the broker's clock was last ahead of ours.
func (c *Clock) Offset() time.Duration { return time.Duration(c.offset.Load()) }

// samples is how often a measurement asks. The answer that came soonest counts,
// since half of its way is the error.
const samples = 3

// Measure asks the leader of the stream for its time. If it fails, what was
// measured before stands.
func (c *Clock) Measure(ctx context.Context) error {
	best := time.Duration(-1)
	var offset time.Duration
	for range samples {
		asked := c.base()
		there, err := c.log.brokerTime(ctx)
		if err != nil {
			return err
		}
		way := c.base().Sub(asked)
		if best < 0 || way < best {
			best, offset = way, there.Sub(asked.Add(way/2))
		}
	}
	c.offset.Store(int64(offset))
	return nil
}

func (l *Log) brokerTime(ctx context.Context) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	reply, err := l.nc.RequestWithContext(ctx, l.apiPrefix+".STREAM.INFO."+l.stream, nil)
	if err != nil {
		return time.Time{}, fmt.Errorf("read the broker's clock: %w", err)
	}
	var answer struct {
		Time time.Time `json:"ts"`
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil || answer.Time.IsZero() {
		return time.Time{}, errors.New("read the broker's clock: the answer tells no time; is the stream there?")
	}
	return answer.Time, nil
}
