package lease_test

import (
	"context"
	"testing"
	"time"

	"github.com/smartconnect/connector/internal/lease"
	"github.com/smartconnect/connector/internal/natstest"
	"github.com/smartconnect/connector/internal/topology"
)

func TestOneHoldsAtATime(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, js := natstest.Log(t)
	kv, err := js.KeyValue(ctx, topology.Leases)
	if err != nil {
		t.Fatal(err)
	}
	keep := func(l *lease.Lease, want bool) {
		t.Helper()
		held, err := l.Keep(ctx)
		if err != nil || held != want || l.Held() != want || l.Mine() != want {
			t.Errorf("held %t, %v, want %t", held, err, want)
		}
	}
	long, other := lease.New(js, kv, "long", "a", time.Minute), lease.New(js, kv, "long", "b", time.Minute)
	keep(long, true)
	keep(other, false)
	keep(long, true)
	long.Drop(ctx)
	keep(other, true)
	keep(long, false)
	other.Drop(ctx)

	short, heir := lease.New(js, kv, "short", "a", time.Second), lease.New(js, kv, "short", "b", time.Minute)
	keep(short, true)
	for held := false; !held; { // the holder is silent
		if held, err = heir.Keep(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if !short.Mine() || short.Held() {
		t.Error("the silent one must know by its own clock that it holds nothing")
	}
	if held, lapsed, err := short.Renew(ctx); held || !lapsed || err != nil {
		t.Errorf("held %t, lapsed %t, %v", held, lapsed, err)
	}
	heir.Drop(ctx)
}
