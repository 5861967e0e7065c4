package reconnect

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/smartconnect/connector/internal/audit"
	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/natstest"
	"github.com/smartconnect/connector/internal/topology"
)

// What a storm holds back opens by itself when it is released, for everybody
// and once; an overdue look is found.
func TestReleasedByASweep(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	l, js := natstest.Log(t)
	durable, err := js.Consumer(ctx, topology.Events, topology.Decider)
	if err != nil {
		t.Fatal(err)
	}
	var storm atomic.Bool
	storm.Store(true)
	var judged atomic.Uint64
	c, err := New(Config{
		Log: l, Source: durable, DeadLetters: Letters{js}, Ledger: audit.NewLedger(js), Policy: atOnce(),
		Held:   func(*events.Member, time.Time) Held { return Held{Storm: storm.Load()} },
		Judged: func(_ context.Context, seq uint64) error { judged.Store(seq); storm.Store(false); return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	run, stop := context.WithCancel(ctx)
	stopped := make(chan error, 1)
	go func() { stopped <- c.Run(run) }()
	const members = 30
	name := func(i int) events.MemberToken { return events.MemberToken(fmt.Sprintf("m%d", i)) }
	for i := range members {
		fact(ctx, t, l, name(i), events.Expired, time.Now())
	}
	quiet := func() {
		t.Helper()
		for ctx.Err() == nil {
			info, err := durable.Info(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if info.NumPending == 0 && info.NumAckPending == 0 {
				return
			}
		}
		t.Fatal("the decider never came to rest")
	}
	open := func() (n int) {
		t.Helper()
		if err := l.Agendas(ctx, func(_ events.MemberToken, head events.Head[events.Agenda]) error {
			n += len(head.Snapshot.Prompts)
			if head.Snapshot.Sequences["prompt.c"] > 1 {
				t.Errorf("%d prompt events", head.Snapshot.Sequences["prompt.c"])
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	quiet()
	if n := open(); n != 0 {
		t.Fatalf("%d prompts opened in a storm", n)
	}
	held, err := l.Judge(ctx, events.Judgement{}, events.Event{Type: events.StormHeld, Data: &events.Storm{Reason: "many_at_once"}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	quiet()
	if judged.Load() != 0 {
		t.Error("a storm that begins wakes nobody")
	}
	released, err := l.Judge(ctx, held, events.Event{Type: events.StormReleased, Data: &events.Storm{Reason: "operator", By: "ann"}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for open() != members && ctx.Err() == nil {
	}
	quiet()
	if n := open(); n != members || judged.Load() != released.Seq {
		t.Errorf("%d open prompts, want %d; waited for %d, want %d", n, members, judged.Load(), released.Seq)
	}
	stop()
	if err := <-stopped; err != nil {
		t.Error(err)
	}

	// Nobody consumes, and two days pass: every first reminder is overdue.
	c.Now = func() time.Time { return time.Now().Add(48 * time.Hour) }
	for range 2 {
		if err := c.Overdue(ctx); err != nil {
			t.Fatal(err)
		}
		if n := c.OverdueLooks(); n != members {
			t.Errorf("%d overdue looks, want %d", n, members)
		}
	}
}

// A decider that starts looks at who waits for what its policy does not hold back
// any more.
func TestAnotherPolicyReachesWhoWaits(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	l, js := natstest.Log(t)
	durable, err := js.Consumer(ctx, topology.Events, topology.Decider)
	if err != nil {
		t.Fatal(err)
	}
	unmapped := events.Member{Book: events.NewBook("i"), MemberID: "m"}
	unmapped.Connections = []events.MemberConnection{{
		Token: "c", ConnectionID: "id", Number: 1, Episode: 1, EpisodeSince: time.Now(), BrokenSince: time.Now(), ConfirmedAt: time.Now(),
		State: events.ConnectionState{Status: events.Expired, Category: "HAPI"},
	}}
	unmapped.Consent = events.MemberConsent{Read: true, Provision: events.Permit}
	change := events.Event{Type: events.ConnectionStatusChanged, Part: "c", Data: &events.Connection{MemberID: "m", ConnectionID: "id", Current: &unmapped.Connections[0].State}}
	tx, err := l.Subjects().Poll("m", []events.Event{change}, &unmapped, 0, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Commit(ctx, tx); err != nil {
		t.Fatal(err)
	}
	// decided runs a decider until yes.
	decided := func(p Policy, what string, yes func() bool) {
		t.Helper()
		c, err := New(Config{Log: l, Source: durable, DeadLetters: Letters{js}, Ledger: audit.NewLedger(js), Policy: p})
		if err != nil {
			t.Fatal(err)
		}
		run, stop := context.WithCancel(ctx)
		stopped := make(chan error, 1)
		go func() { stopped <- c.Run(run) }()
		for !yes() {
			if ctx.Err() != nil {
				t.Fatalf("never %s", what)
			}
		}
		stop()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	}
	open := func() int {
		head, err := l.Agenda(ctx, "m")
		if err != nil || head.Snapshot == nil {
			return 0
		}
		return len(head.Snapshot.Prompts)
	}
	p := atOnce()
	decided(p, "at rest", func() bool {
		info, err := durable.Info(ctx)
		return err == nil && info.NumPending == 0 && info.NumAckPending == 0
	})
	if open() != 0 {
		t.Fatal("asked, and nobody knows what for")
	}
	p.UnknownTypes = map[string]events.Action{"HAPI": events.ActOAuth}
	decided(p, "asked", func() bool { return open() == 1 })
}
