package events

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	hdrTTL = "Nats-TTL"

	// probeLife is how long what a probe wrote outlives it, should the probe
	// not get to sweep it up itself.
	probeLife = time.Minute

	// probes is how often a probe is made anew, on other subjects, that missed
	// where it should not: three servers that are busy, or change leaders, may
	// refuse one and take the next. The old server refuses them all.
	probes = 3
)

// Probe commits transactions of the real shape, so that a server that takes the
// stream's configuration and then refuses its batches is found out before
// anything depends on it: an event that asserts one head, a timer, and another
// head with its guard; the same again on the heads that are there now; and two
// that must miss. An error says what to do.
//
// What a probe writes is no event and stands on subjects of its own, below
// "probe", which nobody reads: no member comes of it and nobody is woken. It is
// purged at the end, and runs out by itself if that fails.
func (l *Log) Probe(ctx context.Context) error {
	var err error
	for range probes {
		p := probe{l, l.subjects.probe(strings.ToLower(rand.Text()))}
		err = p.run(ctx)
		p.sweep(ctx)
		if refused, ok := errors.AsType[*batchError](err); !ok || !refused.missed() {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("probe the stream: %w; compare it with: connector topology plan; "+
			"every server of the cluster must be able to take atomic batches with guards and timers", err)
	}
	return nil
}

func (s Subjects) probe(id string) string { return s.prefix + ".probe." + id }

type probe struct {
	log  *Log
	root string
}

func (p probe) run(ctx context.Context) error {
	known, err := p.commit(ctx, p.poll(0))
	if err != nil {
		return fmt.Errorf("first transaction of a poll: %w", err)
	}
	asked, err := p.commit(ctx, p.decide(0, known, 1))
	if err != nil {
		return fmt.Errorf("first transaction of a decision: %w", err)
	}
	moved, err := p.commit(ctx, p.poll(known))
	if err != nil {
		return fmt.Errorf("second transaction of a poll: %w", err)
	}
	if asked, err = p.commit(ctx, p.decide(asked, moved, 2)); err != nil {
		return fmt.Errorf("second transaction of a decision: %w", err)
	}
	if err := p.miss(ctx, p.poll(known)); err != nil {
		return fmt.Errorf("stale guard: %w", err)
	}
	if err := p.miss(ctx, p.decide(asked, known, 3)); err != nil {
		return fmt.Errorf("stale assertion: %w", err)
	}
	return nil
}

// miss commits what must be refused because a head has moved.
func (p probe) miss(ctx context.Context, msgs []*nats.Msg) error {
	_, err := p.commit(ctx, msgs)
	if refused, ok := errors.AsType[*batchError](err); ok && refused.missed() {
		return nil
	}
	return errors.Join(errors.New("the server does not refuse it"), err)
}

func (p probe) commit(ctx context.Context, msgs []*nats.Msg) (uint64, error) {
	return p.log.sendPatiently(ctx, msgs)
}

// poll is shaped like the transaction of a poll.
func (p probe) poll(guard uint64) []*nats.Msg {
	return []*nats.Msg{
		p.message("event", nil),
		p.message("member", nats.Header{hdrExpect: {strconv.FormatUint(guard, 10)}}),
	}
}

// decide is shaped like the transaction of a decision. Its timer is for a time
// that it does not live to see.
func (p probe) decide(guard, assert uint64, n int) []*nats.Msg {
	return []*nats.Msg{
		p.message("event", nats.Header{hdrExpect: {strconv.FormatUint(assert, 10)}, hdrExpectSubject: {p.root + ".member"}}),
		p.message("timer."+strconv.Itoa(n), nats.Header{
			hdrSchedule: {"@at " + time.Now().Add(24*time.Hour).UTC().Format(time.RFC3339Nano)},
			hdrTarget:   {p.root + ".due"},
		}),
		p.message("agenda", nats.Header{hdrExpect: {strconv.FormatUint(guard, 10)}}),
	}
}

func (p probe) message(name string, h nats.Header) *nats.Msg {
	if h == nil {
		h = nats.Header{}
	}
	h[hdrTTL] = []string{probeLife.String()}
	return &nats.Msg{Subject: p.root + "." + name, Header: h, Data: []byte("probe")}
}

// sweep purges what the probe wrote. It may lack the permission, or the time;
// then the messages' own end takes care of it.
func (p probe) sweep(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	req, err := json.Marshal(map[string]string{"filter": p.root + ".>"})
	if err == nil {
		_, _ = p.log.nc.RequestWithContext(ctx, p.log.apiPrefix+".STREAM.PURGE."+p.log.stream, req)
	}
}
