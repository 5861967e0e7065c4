package judge_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/judge"
	"github.com/smartconnect/connector/internal/natstest"
)

// A view that lags says so by not catching up, as long as it holds something;
// then it holds what is held.
func TestCatchUp(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	log, _ := natstest.Log(t)
	keys, err := events.NewTokenizer(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	view := judge.NewView(log, keys)
	follow := func() (stop func()) {
		run, cancel := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- view.Run(run) }()
		return func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	say := func(last events.Judgement, kind events.Type, data events.Data) events.Judgement {
		t.Helper()
		j, err := log.Judge(ctx, last, events.Event{Type: kind, Data: data}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return j
	}
	catchUp := func(within time.Duration) error {
		ctx, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		return view.CatchUp(ctx)
	}
	storm := func() bool { return view.Of(&events.Member{}, time.Now()).Storm }

	stop := follow()
	if err := catchUp(10 * time.Second); err != nil || storm() {
		t.Fatalf("with nothing judged: %v, storm %t", err, storm())
	}
	held := say(events.Judgement{}, events.StormHeld, &events.Storm{Reason: "many_at_once", Changed: 100, Members: 200})
	if err := view.Wait(ctx, held.Seq); err != nil || !storm() {
		t.Fatalf("%v, storm %t", err, storm())
	}
	stop() // it hears nothing more
	if err := catchUp(10 * time.Second); err != nil {
		t.Errorf("nothing was missed: %v", err)
	}
	say(held, events.StormReleased, &events.Storm{Reason: "operator", Changed: 100, Members: 200, By: "ops"})
	if err := catchUp(50 * time.Millisecond); err == nil || !storm() {
		t.Error("it lags and says that it does not")
	}
	stop = follow()
	defer stop()
	if err := catchUp(10 * time.Second); err != nil || storm() {
		t.Errorf("%v, storm %t", err, storm())
	}
}
