package test

import (
	"context"
	"maps"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/smartconnect/connector/internal/topology"
)

// kills counts kills. One counts if the process had told an event since it was
// started: then it was killed at work, and not while it looked for its broker.
type kills struct{ all, atWork, want int }

func (k *kills) kill(p *process) {
	p.kill()
	k.all++
	if p.tells("told") > 0 {
		k.atWork++
	}
}

// more reports whether more kills are wanted; it fails if there is no time left
// for them.
func (k *kills) more(ctx context.Context, t *testing.T) bool {
	t.Helper()
	if k.atWork >= k.want {
		t.Logf("%d kills, %d of them at work", k.all, k.atWork)
		return false
	}
	if ctx.Err() != nil {
		t.Fatalf("%d kills, only %d of them at work, want %d", k.all, k.atWork, k.want)
	}
	return true
}

// A connector is killed again and again while b.well changes under it. What is
// left equals the truth: nothing lost, nothing twice.
func TestKill(t *testing.T) {
	t.Parallel()
	count := kills{want: 5}
	if long() {
		count.want = 50
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	w := newWorld(t, 8)
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	early := kills{}
	for !w.met(ctx) { // the first look at everybody
		p := w.start("only")
		wait(ctx, time.Duration(rng.IntN(1500))*time.Millisecond)
		early.kill(p)
	}
	first := w.start("only")
	w.settle(ctx)
	early.kill(first)
	t.Logf("%d kills before all were known, %d of them at work", early.all, early.atWork)
	for count.more(ctx, t) {
		p := w.start("only")
		if rng.IntN(5) > 0 { // else it is killed somewhere on its way to the first poll
			w.stirUntil(ctx, rng, func() bool { return p.gone() || p.tells("told") > 0 })
		}
		for range rng.IntN(8) {
			w.stir(rng)
			wait(ctx, time.Duration(rng.IntN(60))*time.Millisecond)
		}
		wait(ctx, time.Duration(rng.IntN(600))*time.Millisecond)
		count.kill(p)
	}
	w.start("only")
	w.settle(ctx)
	w.audit(ctx)
}

// Two replicas share the members; one is stopped for longer than its leases,
// and then goes on believing what it believed.
func TestKillPausedReplica(t *testing.T) {
	t.Parallel()
	rounds := 1
	if long() {
		rounds = 6
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	w := newWorld(t, 16)
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 2))
	a, b := w.start("a"), w.start("b")
	w.settle(ctx)
	until := func(what string, ok func() bool) {
		t.Helper()
		if w.stirUntil(ctx, rng, ok); ctx.Err() != nil {
			t.Fatalf("never %s; log:\n%s", what, lastLines(w.journals.String(), 30))
		}
	}
	for range rounds {
		until("shared", func() bool { h := w.holders(ctx); return h["a"] > 0 && h["b"] > 0 })
		before := a.toldOf()
		until("told by a", func() bool { return !maps.Equal(before, a.toldOf()) })
		lost := a.tells("lease lost")
		if err := a.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		until("taken over by b", func() bool { return w.holders(ctx)["b"] == 32 })
		others := b.toldOf()
		until("told by b of those whom a had", func() bool {
			now := b.toldOf()
			for m, n := range a.toldOf() {
				if n > before[m] && now[m] > others[m] {
					return true
				}
			}
			return false
		})
		if err := a.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		until("noticed by a", func() bool { return a.tells("lease lost") > lost })
	}
	w.settle(ctx)
	w.audit(ctx)
}

// holders returns how many shards each replica holds, by its name.
func (w *world) holders(ctx context.Context) map[string]int {
	w.t.Helper()
	kv, err := w.js.KeyValue(ctx, topology.Leases)
	if err != nil {
		w.t.Fatal(err)
	}
	n := map[string]int{}
	keys, err := kv.ListKeysFiltered(ctx, "shard.*")
	if err != nil {
		w.t.Fatal(err)
	}
	for key := range keys.Keys() {
		if e, err := kv.Get(ctx, key); err == nil {
			name, _, _ := strings.Cut(string(e.Value()), " ")
			n[name]++
		}
	}
	return n
}

// Two replicas on three servers: both are killed again and again while leaders
// step down, and the server that leads goes and comes back.
func TestKillOnThreeServers(t *testing.T) {
	t.Parallel()
	count := kills{want: 3}
	if long() {
		count.want = 24
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	w, c := newWorldOnThree(t, 16)
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 3))
	replicas := map[string]*process{"a": w.start("a"), "b": w.start("b")}
	w.settle(ctx)
	// again kills a replica at work and starts it anew.
	again := func(name string) {
		p := replicas[name]
		w.stirUntil(ctx, rng, func() bool { return p.gone() || p.tells("told") > 0 })
		wait(ctx, time.Duration(rng.IntN(600))*time.Millisecond)
		count.kill(p)
		replicas[name] = w.start(name)
	}
	live := func() {
		for range 4 {
			w.stir(rng)
			wait(ctx, time.Duration(rng.IntN(200))*time.Millisecond)
		}
	}
	for count.more(ctx, t) {
		live()
		c.StepDown(topology.Events)
		again("a")
		live()
		c.StepDown(topology.Events, topology.Decider)
		again("b")
		live()
		leader := c.Leader(topology.Events)
		c.Stop(leader)
		again([]string{"a", "b"}[rng.IntN(2)])
		live()
		c.Start(leader)
		c.AwaitCurrent()
	}
	for name, p := range replicas {
		p.kill() // one that could not start while nobody led has gone
		w.start(name)
	}
	w.settle(ctx)
	c.AwaitCurrent()
	w.audit(ctx)
}
