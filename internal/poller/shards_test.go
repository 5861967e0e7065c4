package poller

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/smartconnect/connector/internal/natstest"
	"github.com/smartconnect/connector/internal/topology"
)

// replicas starts replicas whose leases last for an hour, so that no test passes
// by waiting for their end.
func replicas(t *testing.T) (ctx context.Context, start func(name string) *Leases, log *bytes.Buffer, kv jetstream.KeyValue) {
	t.Helper()
	log = &bytes.Buffer{}
	ctx, cancel := context.WithTimeout(zerolog.New(log).WithContext(t.Context()), 30*time.Second)
	t.Cleanup(cancel)
	_, js := natstest.Log(t)
	kv, err := js.KeyValue(ctx, topology.Leases)
	if err != nil {
		t.Fatal(err)
	}
	return ctx, func(name string) *Leases { return NewLeases(js, kv, name, time.Hour) }, log, kv
}

func round(ctx context.Context, t *testing.T, l *Leases, want int) {
	t.Helper()
	if err := l.round(ctx); err != nil {
		t.Fatal(err)
	}
	if got := l.Held(); got != want {
		t.Errorf("%s holds %d shards, want %d", l.name, got, want)
	}
}

func TestShardsAreShared(t *testing.T) {
	ctx, start, _, _ := replicas(t)
	a, b := start("a"), start("b")
	round(ctx, t, a, shards)
	round(ctx, t, b, 0)
	round(ctx, t, a, shards/2)
	round(ctx, t, b, shards/2)
	for range 3 {
		round(ctx, t, a, shards/2)
		round(ctx, t, b, shards/2)
	}
	a.release()
	round(ctx, t, b, shards)
}

// A replica that was killed and is started again polls at once what it polled,
// and no more than its share.
func TestRestartedReplicaPollsAtOnce(t *testing.T) {
	ctx, start, log, _ := replicas(t)
	round(ctx, t, start("a"), shards)
	again := start("a")
	gained := 0
	again.Notify(func() { gained++ })
	round(ctx, t, again, shards)
	if gained != shards {
		t.Errorf("%d gains are told, want %d: what was cached may be old", gained, shards)
	}
	b := start("b")
	round(ctx, t, b, 0)
	round(ctx, t, again, shards/2)
	round(ctx, t, b, shards/2)
	round(ctx, t, start("b"), shards/2)
	round(ctx, t, again, shards/2)
	if strings.Contains(log.String(), "error") {
		t.Errorf("log: %s", log)
	}
}

// Two replicas that were given one name do not take the shards from each other
// for ever: the elder stands aside, says so once, and comes back when the other
// is gone.
func TestTwoReplicasOfOneName(t *testing.T) {
	ctx, start, log, kv := replicas(t)
	elder := start("a")
	round(ctx, t, elder, shards)
	younger := start("a")
	round(ctx, t, younger, shards)
	round(ctx, t, elder, 0)
	last := func() uint64 {
		t.Helper()
		status, err := kv.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return status.(*jetstream.KeyValueBucketStatus).StreamInfo().State.LastSeq
	}
	at := last()
	for range 5 {
		round(ctx, t, elder, 0)
	}
	if now := last(); now != at {
		t.Errorf("the elder wrote %d times into the leases", now-at)
	}
	round(ctx, t, younger, shards)
	if n := strings.Count(log.String(), "under the name of this replica"); n != 1 || !strings.Contains(log.String(), `"level":"error"`) {
		t.Errorf("said %d times, want once, as an error: %s", n, log)
	}
	younger.release()
	round(ctx, t, elder, shards)

	// The elder's end takes nothing from the younger.
	third := start("a")
	round(ctx, t, third, shards)
	elder.release()
	round(ctx, t, third, shards)
}
