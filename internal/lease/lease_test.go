package lease_test

import (
	"context"
	"errors"
	"strings"
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
	long, other := lease.NewReplica(js, kv, "a", time.Minute).Lease("long"), lease.NewReplica(js, kv, "b", time.Minute).Lease("long")
	keep(long, true)
	keep(other, false)
	keep(long, true)
	long.Drop(ctx)
	keep(other, true)
	keep(long, false)
	other.Drop(ctx)

	short, heir := lease.NewReplica(js, kv, "a", time.Second).Lease("short"), lease.NewReplica(js, kv, "b", time.Minute).Lease("short")
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
			l := lease.NewReplica(s, free{}, "a", 10*time.Second).Lease("k")
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

func bucket(t *testing.T) (context.Context, jetstream.JetStream, jetstream.KeyValue) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	_, js := natstest.Log(t)
	kv, err := js.KeyValue(ctx, topology.Leases)
	if err != nil {
		t.Fatal(err)
	}
	return ctx, js, kv
}

// Whoever starts under the name of a process that was killed has its leases at
// once; a lease lasts for an hour here, so that nobody gets one by waiting.
func TestHeir(t *testing.T) {
	ctx, js, kv := bucket(t)
	start := func(name string) (*lease.Replica, *lease.Lease) {
		t.Helper()
		r := lease.NewReplica(js, kv, name, time.Hour)
		if ours, err := r.Announce(ctx); err != nil || !ours {
			t.Fatalf("%s: the name is ours: %t, %v", name, ours, err)
		}
		return r, r.Lease("shard.7")
	}
	keep := func(who string, l *lease.Lease, want bool) {
		t.Helper()
		if held, err := l.Keep(ctx); err != nil || held != want {
			t.Errorf("%s holds: %t, %v, want %t", who, held, err, want)
		}
	}
	killed, first := start("a")
	keep("the first", first, true)
	_, other := start("b")
	keep("another name", other, false)
	silent := lease.NewReplica(js, kv, "a", time.Hour).Lease("shard.7")
	keep("one of the name that has not taken it", silent, false)

	heir, second := start("a")
	keep("the heir", second, true)
	keep("another name", other, false)
	keep("the first, which missed that it has an heir", first, false)

	// It was not killed: two were given one name. The elder stands aside.
	for range 3 {
		if ours, err := killed.Announce(ctx); err != nil || ours {
			t.Errorf("the elder has its name: %t, %v", ours, err)
		}
		keep("the elder", first, false)
		if ours, err := heir.Announce(ctx); err != nil || !ours {
			t.Errorf("the heir has its name: %t, %v", ours, err)
		}
		keep("the heir", second, true)
	}
	second.Drop(ctx)
	heir.Leave(ctx)
	if ours, err := killed.Announce(ctx); err != nil || !ours {
		t.Errorf("the elder has its name when the other is gone: %t, %v", ours, err)
	}
	keep("the elder, alone again", first, true)
}

// A name that ran out while its process was held up is taken again.
func TestNameThatRanOut(t *testing.T) {
	ctx, js, kv := bucket(t)
	r := lease.NewReplica(js, kv, "a", time.Hour)
	for range 2 {
		if ours, err := r.Announce(ctx); err != nil || !ours {
			t.Fatalf("%t, %v", ours, err)
		}
		if err := kv.Delete(ctx, "replica.a"); err != nil { // as the broker does it
			t.Fatal(err)
		}
	}
	if ours, err := r.Announce(ctx); err != nil || !ours {
		t.Errorf("%t, %v", ours, err)
	}
}

// A lease whose acknowledgement was lost is this process's all the same, and
// nobody has to wait for its end.
func TestLostAcknowledgement(t *testing.T) {
	ctx, js, kv := bucket(t)
	l := lease.NewReplica(js, kv, "a", time.Hour).Lease("shard.7")
	if taken, err := l.Take(ctx); err != nil || !taken {
		t.Fatalf("%t, %v", taken, err)
	}
	l.Forget()
	if taken, err := l.Take(ctx); err != nil || !taken || !l.Held() {
		t.Errorf("%t, %v", taken, err)
	}
	if held, _, err := l.Renew(ctx); err != nil || !held {
		t.Errorf("%t, %v", held, err)
	}
}

// A renewed or inherited lease ends by itself, as a new one does: an update of a
// key that forgets its life would leave a dead replica's shard to nobody.
func TestEveryWriteHasALife(t *testing.T) {
	ctx, js, kv := bucket(t)
	s, err := js.Stream(ctx, "KV_"+topology.Leases)
	if err != nil {
		t.Fatal(err)
	}
	lives := func(what, key string) {
		t.Helper()
		msg, err := s.GetLastMsgForSubject(ctx, "$KV."+topology.Leases+"."+key)
		if err != nil || msg.Header.Get(jetstream.MsgTTLHeader) != "1h0m0s" {
			t.Errorf("%s: %v, %v", what, msg, err)
		}
	}
	r := lease.NewReplica(js, kv, "a", time.Hour)
	l := r.Lease("shard.7")
	for _, round := range []string{"taken", "renewed", "renewed again"} {
		if _, err := r.Announce(ctx); err != nil {
			t.Fatal(err)
		}
		if held, err := l.Keep(ctx); err != nil || !held {
			t.Fatal(held, err)
		}
		lives(round, "shard.7")
		lives("a name "+round, "replica.a")
	}
	heir := lease.NewReplica(js, kv, "a", time.Hour)
	if _, err := heir.Announce(ctx); err != nil {
		t.Fatal(err)
	}
	if held, err := heir.Lease("shard.7").Keep(ctx); err != nil || !held {
		t.Fatal(held, err)
	}
	lives("inherited", "shard.7")
	lives("an inherited name", "replica.a")
}

// refuseAll makes the bucket of leases take nothing, as a broker without storage
// does, and returns what undoes it.
func refuseAll(ctx context.Context, t *testing.T, js jetstream.JetStream) (mend func()) {
	t.Helper()
	s, err := js.Stream(ctx, "KV_"+topology.Leases)
	if err != nil {
		t.Fatal(err)
	}
	limit := func(most int32) {
		t.Helper()
		c := s.CachedInfo().Config
		c.MaxMsgSize = most
		if _, err := js.UpdateStream(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	limit(1)
	return func() { t.Helper(); limit(-1) }
}

// A broker that refuses every write is told of, and is not taken for another
// process that was first.
func TestBrokerThatRefusesWrites(t *testing.T) {
	ctx, js, kv := bucket(t)
	r := lease.NewReplica(js, kv, "a", time.Hour)
	if ours, err := r.Announce(ctx); err != nil || !ours {
		t.Fatalf("%t, %v", ours, err)
	}
	l := r.Lease("shard.7")
	if taken, err := l.Take(ctx); err != nil || !taken {
		t.Fatalf("%t, %v", taken, err)
	}
	mend := refuseAll(ctx, t, js)
	refused := func(what string, done bool, err error) {
		t.Helper()
		if api, ok := errors.AsType[*jetstream.APIError](err); done || !ok || api.ErrorCode != jetstream.JSErrCodeStreamMessageExceedsMaximum || !strings.Contains(err.Error(), " lease ") {
			t.Errorf("%s: %t, %v", what, done, err)
		}
	}
	ours, err := r.Announce(ctx)
	refused("the name", ours, err)
	held, lapsed, err := l.Renew(ctx)
	refused("a renewal", held || lapsed, err)
	taken, err := r.Lease("shard.8").Take(ctx)
	refused("what was free", taken, err)
	ours, err = lease.NewReplica(js, kv, "a", time.Hour).Announce(ctx)
	refused("the name, of an heir", ours, err)
	if !l.Held() {
		t.Error("nobody else can have the lease before its end")
	}
	mend()
	if ours, err := r.Announce(ctx); err != nil || !ours {
		t.Errorf("the name, when writes are taken: %t, %v", ours, err)
	}
	if held, lapsed, err := l.Renew(ctx); err != nil || !held || lapsed {
		t.Errorf("a renewal, when writes are taken: %t, %t, %v", held, lapsed, err)
	}
}
