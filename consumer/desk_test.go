package consumer_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/smartconnect/connector/consumer"
	"github.com/smartconnect/connector/internal/natstest"
)

// gated is a subscription whose handler of one event waits until gate is closed.
func gated(l log, id string, gate <-chan struct{}) consumer.Subscription {
	s := l.subscription("notify")
	s.Takeover = 3 * time.Second
	told := s.Handlers.PromptReminded
	s.Handlers.PromptReminded = func(ctx context.Context, e consumer.Event, p consumer.Prompt) error {
		if e.ID == id {
			l.lines <- "begin " + id
			<-gate
		}
		return told(ctx, e, p)
	}
	return s
}

// A handler that takes longer than the broker's patience, and longer than a
// replica that stands by waits, holds up its own member. Nobody else hears of it,
// nothing comes twice, and nobody takes over.
func TestASlowHandlerHoldsUpItsMemberOnly(t *testing.T) {
	t.Parallel()
	_, js := natstest.Log(t)
	l, standby, gate := newLog(), newLog(), make(chan struct{})
	s := gated(l, "a-1", gate)
	var again atomic.Int64
	s.Settled = func(_ consumer.Event, o consumer.Outcome, _ error) {
		if o != consumer.Handled {
			again.Add(1)
		}
	}
	open := sync.OnceFunc(func() { close(gate) })
	defer start(t, js, s)()
	defer open()
	put(t, js, "a", 1)
	l.want(t, "begin a-1")
	defer start(t, js, standby.subscription("notify"))()

	// More members than workers, and of the slow one more than waits for it.
	put(t, js, "a", 2)
	put(t, js, "a", 3)
	others := func(n int) (ids []string) {
		for i := range 20 {
			part := fmt.Sprintf("b%d", i)
			put(t, js, part, n)
			ids = append(ids, fmt.Sprintf("%s-%d", part, n))
		}
		return ids
	}
	l.wantInAnyOrder(t, others(1)...)
	<-time.After(s.AckWait + s.Takeover)
	l.wantInAnyOrder(t, others(2)...)
	open()
	l.want(t, "a-1", "a-2", "a-3")
	if n := again.Load(); n > 0 {
		t.Errorf("%d deliveries came to nothing", n)
	}
	if n := len(standby.lines); n > 0 {
		t.Errorf("the other replica was told %d lines", n)
	}
}

// A run that ends finishes what it has begun, and leaves what it has not to
// whoever stands by, at once.
func TestAStopLeavesWhatWasNotBegun(t *testing.T) {
	t.Parallel()
	_, js := natstest.Log(t)
	l, standby, gate := newLog(), newLog(), make(chan struct{})
	ledger, err := consumer.NewKVLedger(t.Context(), js, "LEDGER", "notify", 1)
	if err != nil {
		t.Fatal(err)
	}
	patient := func(s consumer.Subscription) consumer.Subscription {
		s.AckWait, s.Workers, s.Ledger = 5*time.Second, 1, ledger // what is on its way to the desk comes after that
		return s
	}
	stop := start(t, js, patient(gated(l, "a-1", gate)))
	for n := range 3 {
		put(t, js, "a", n+1)
		put(t, js, "b", n+1)
	}
	l.want(t, "begin a-1")
	defer start(t, js, patient(standby.subscription("notify")))()
	var stopped sync.WaitGroup
	stopped.Go(stop)
	<-time.After(100 * time.Millisecond) // it is told to stop while it is in the middle
	close(gate)
	stopped.Wait()
	l.want(t, "a-1")
	if n := len(l.lines); n > 0 {
		t.Errorf("it began %d more", n)
	}
	// The order of members is nobody's promise, that of each is.
	var of [2][]string
	for range 5 {
		select {
		case line := <-standby.lines:
			of[line[0]-'a'] = append(of[line[0]-'a'], line)
		case <-time.After(20 * time.Second):
			t.Fatalf("the other replica was told only %q", of)
		}
	}
	if !slices.Equal(of[0], []string{"a-2", "a-3"}) || !slices.Equal(of[1], []string{"b-1", "b-2", "b-3"}) {
		t.Errorf("the other replica was told %q", of)
	}
}
