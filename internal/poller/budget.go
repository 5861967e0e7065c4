package poller

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/smartconnect/connector/internal/bwell"
)

// The budget's numbers. b.well publishes no limits, so they follow the usual
// practice: halve when told to slow down, and grow back slowly.
const (
	cutBy     = 2               // what a refusal divides the rate by
	cutEvery  = time.Second     // refusals of requests that were in flight together count once
	regrow    = time.Minute     // from nothing back to the ceiling, if there is an answer each second
	credit    = time.Second     // a single answer says nothing about the time when nobody asked
	floor     = 100             // the rate never falls below this part of the ceiling
	pauseMost = 5 * time.Minute // for everybody; the member that was refused waits for as long as it was told
)

// An aimd is how many requests per second b.well seems to bear: additive
// increase, multiplicative decrease, below a ceiling.
type aimd struct {
	ceiling float64 // requests per second
	now     float64
	at      time.Time // of the last change
	cutAt   time.Time
}

// passed returns a after a request that b.well answered.
func (a aimd) passed(now time.Time) aimd {
	if a.now < a.ceiling {
		a.now = min(a.ceiling, a.now+a.ceiling*float64(min(now.Sub(a.at), credit))/float64(regrow))
	}
	a.at = now
	return a
}

// refused returns a after a request that was told to slow down.
func (a aimd) refused(now time.Time) aimd {
	a.at = now
	if now.Sub(a.cutAt) < cutEvery {
		return a
	}
	a.now, a.cutAt = max(a.now/cutBy, a.ceiling/floor), now
	return a
}

// A budget is shared by all polls of a process. It is safe for concurrent use.
type budget struct {
	limiter *rate.Limiter

	mu     sync.Mutex
	aimd   aimd
	paused time.Time // until then nobody asks
}

func newBudget(perSecond float64) *budget {
	now := time.Now()
	return &budget{
		limiter: rate.NewLimiter(rate.Limit(perSecond), max(1, int(perSecond/10))),
		aimd:    aimd{ceiling: perSecond, now: perSecond, at: now},
	}
}

// wait returns when the next request may be sent, or with an error if ctx ends
// first.
func (b *budget) wait(ctx context.Context) error {
	for {
		b.mu.Lock()
		d := time.Until(b.paused)
		b.mu.Unlock()
		if d <= 0 {
			return b.limiter.Wait(ctx)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(d):
		}
	}
}

// learn adapts the rate to what came of a request.
func (b *budget) learn(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	was := b.aimd.now
	if wait, slow := bwell.SlowDown(err); slow {
		b.aimd = b.aimd.refused(time.Now())
		if until := time.Now().Add(min(wait, pauseMost)); until.After(b.paused) {
			b.paused = until
		}
	} else {
		b.aimd = b.aimd.passed(time.Now())
	}
	if b.aimd.now != was {
		b.limiter.SetLimit(rate.Limit(b.aimd.now))
	}
}

// perSecond returns the rate in force.
func (b *budget) perSecond() float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.aimd.now
}

// pulseSpan is over how long the share of failing polls is counted.
const pulseSpan = time.Minute

// A pulse counts how many of the polls of the last minute failed. It is safe
// for concurrent use.
type pulse struct {
	mu    sync.Mutex
	parts [6]struct {
		since         time.Time
		polls, failed int
	}
}

func (p *pulse) count(failed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	part := pulseSpan / time.Duration(len(p.parts))
	since := time.Now().Truncate(part)
	slot := &p.parts[since.UnixNano()/int64(part)%int64(len(p.parts))]
	if !slot.since.Equal(since) {
		slot.since, slot.polls, slot.failed = since, 0, 0
	}
	slot.polls++
	if failed {
		slot.failed++
	}
}

func (p *pulse) read() (polls, failed int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	oldest := time.Now().Add(-pulseSpan)
	for _, part := range p.parts {
		if part.since.After(oldest) {
			polls, failed = polls+part.polls, failed+part.failed
		}
	}
	return polls, failed
}
