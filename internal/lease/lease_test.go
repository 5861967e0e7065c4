package lease_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

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

// slow is a broker that grants everything, after a while.
type slow struct {
	jetstream.JetStream
	takes time.Duration
}

type free struct{ jetstream.KeyValue }

func (free) Bucket() string { return "b" }

func (free) Create(context.Context, string, []byte, ...jetstream.KVCreateOpt) (uint64, error) {
	return 1, nil
}

func (s *slow) PublishMsg(context.Context, *nats.Msg, ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	time.Sleep(s.takes)
	return &jetstream.PubAck{Sequence: 2}, nil
}

// Whoever asks while a renewal is under way and the old life runs out is told
// that nothing is held. The renewal must say so, too.
func TestRenewalThatComesLateHasLapsed(t *testing.T) {
	for _, tt := range []struct {
		takes  time.Duration
		lapsed bool
	}{{time.Second, false}, {3 * time.Second, true}} {
		synctest.Test(t, func(t *testing.T) {
			s := &slow{takes: tt.takes}
			l := lease.New(s, free{}, "k", "a", 10*time.Second)
			if taken, err := l.Take(t.Context()); !taken || err != nil {
				t.Fatal(taken, err)
			}
			time.Sleep(8 * time.Second)
			held, lapsed, err := l.Renew(t.Context())
			if !held || lapsed != tt.lapsed || err != nil || !l.Held() {
				t.Errorf("after %s: held %t, lapsed %t, %v; want lapsed %t", tt.takes, held, lapsed, err, tt.lapsed)
			}
		})
	}
}
