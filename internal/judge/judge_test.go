package judge_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/judge"
	"github.com/smartconnect/connector/internal/lease"
	"github.com/smartconnect/connector/internal/natstest"
	"github.com/smartconnect/connector/internal/topology"
)

// Two replicas judge what members' heads say: each thing is told once, by
// whichever holds the lease; operators end what is to be ended by hand.
func TestJudgingOnARealStream(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	log, js := natstest.Log(t)
	keys, err := events.NewTokenizer(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(ctx, topology.Leases)
	if err != nil {
		t.Fatal(err)
	}
	var failing, sweeps atomic.Int64
	start := func(name string) (*judge.View, func()) {
		ctx, cancel := context.WithCancel(ctx)
		view := judge.NewView(log, keys)
		j, err := judge.New(judge.Config{
			Log: log, Keys: keys, View: view, Rules: judge.DefaultRules(), Every: 20 * time.Millisecond,
			Lease: lease.NewReplica(js, kv, name, time.Second).Lease("judge"),
			Pulse: func() (polls, failed int) { return 100, int(failing.Load()) },
			Sweep: func(context.Context) error { sweeps.Add(1); return nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 2)
		go func() { done <- view.Run(ctx) }()
		go func() { done <- j.Run(ctx) }()
		return view, func() {
			cancel()
			for range 2 {
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
		}
	}
	_, stopA := start("a")
	view, stopB := start("b")
	defer stopB()
	until := func(what string, is func() bool) {
		t.Helper()
		for !is() {
			select {
			case <-ctx.Done():
				t.Fatalf("never: %s", what)
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
	storm := func() bool { return view.Of(&events.Member{}, time.Now()).Storm }

	for i := range 100 {
		next := events.Member{Book: events.NewBook("inc"), MemberID: fmt.Sprint("member-", i), Connections: []events.MemberConnection{{
			Token: "c", ConnectionID: "clinic", BrokenSince: time.Now(), State: events.ConnectionState{Status: events.Failing},
		}}}
		tx, err := log.Subjects().Poll(keys.Member(next.MemberID), nil, &next, 0, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := log.Commit(ctx, tx); err != nil {
			t.Fatal(err)
		}
	}
	until("a storm is held", storm)
	one := &events.Member{MemberID: "member-1", Connections: []events.MemberConnection{{Token: "c", ConnectionID: "clinic"}}}
	until("the source is degraded", func() bool { return view.Of(one, time.Now()).Degraded["c"] })
	failing.Store(60)
	until("b.well cannot be seen", view.Blind)
	stopA() // whoever judged, b judges on
	failing.Store(0)
	until("b.well can be seen again", func() bool { return !view.Blind() })

	if err := judge.ReleaseStorm(ctx, log, "", time.Now()); err == nil {
		t.Error("released by nobody")
	}
	if err := judge.ReleaseStorm(ctx, log, "ann", time.Now()); err != nil {
		t.Fatal(err)
	}
	until("the storm is released", func() bool { return !storm() })
	if err := judge.ReleaseStorm(ctx, log, "ann", time.Now()); !errors.Is(err, judge.ErrNothing) {
		t.Errorf("released twice: %v", err)
	}

	s := events.Silence{Scope: map[string]string{judge.ScopeSource: string(keys.Source("clinic"))}, By: "ann", Reason: "maintenance"}
	s.Until = time.Now().Add(-time.Second)
	if judge.Silence(ctx, log, "s1", s, time.Now()) == nil {
		t.Error("a silence that is past")
	}
	s.Until = time.Now().Add(300 * time.Millisecond)
	if err := judge.Silence(ctx, log, "s1", s, time.Now()); err != nil {
		t.Fatal(err)
	}
	until("the silence holds", func() bool { return len(view.Silences(time.Now())) == 1 })
	if len(view.Silences(s.Until)) > 0 {
		t.Error("in force beyond its end")
	}
	until("its end is told", func() bool {
		last, err := log.Judgement(ctx, events.SilenceEnded, "s1")
		return err == nil && last.Event.Type == events.SilenceEnded
	})
	s.Until = time.Now().Add(time.Hour)
	if err := judge.Silence(ctx, log, "s1", s, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := judge.EndSilence(ctx, log, "s1", "ann", time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := judge.EndSilence(ctx, log, "s1", "ann", time.Now()); !errors.Is(err, judge.ErrNothing) {
		t.Errorf("ended twice: %v", err)
	}
	for kind, want := range map[events.Type]uint64{events.StormHeld: 2, events.ObserverLost: 2, events.SilenceSet: 4} {
		part := ""
		if kind == events.SilenceSet {
			part = "s1"
		}
		last, err := log.Judgement(ctx, kind, part)
		if err != nil || last.Event.Sequence != want {
			t.Errorf("%s: %d events, want %d: %v", kind, last.Event.Sequence, want, err)
		}
	}
	if sweeps.Load() == 0 {
		t.Error("nobody swept overdue looks")
	}
}
