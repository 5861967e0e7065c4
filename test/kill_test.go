package test

import (
	"context"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/smartconnect/connector/internal/topology"
)

// A connector is killed again and again while b.well changes under it. What is
// left equals the truth: nothing lost, nothing twice.
func TestKill(t *testing.T) {
	kills := 6
	if long() {
		kills = 60
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	w := newWorld(t, 8)
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	for range kills {
		cmd := w.start("only")
		for range 4 + rng.IntN(5) {
			w.stir(rng)
			wait(ctx, time.Duration(rng.IntN(400))*time.Millisecond)
		}
		kill(cmd)
	}
	w.start("only")
	w.settle(ctx)
	w.audit(ctx)
}

// Two replicas share the members; one is stopped for longer than its leases,
// and then goes on believing what it believed.
func TestKillPausedReplica(t *testing.T) {
	rounds := 1
	if long() {
		rounds = 4
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	w := newWorld(t, 8)
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 2))
	a := w.start("a")
	w.start("b")
	for range rounds {
		for range 10 {
			w.stir(rng)
			wait(ctx, 200*time.Millisecond)
		}
		if err := a.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		for range 24 { // longer than a lease lives
			w.stir(rng)
			wait(ctx, 500*time.Millisecond)
		}
		if err := a.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
	w.settle(ctx)
	w.audit(ctx)
}

// Two replicas on three servers: both are killed again and again while leaders
// step down, and the server that leads goes and comes back.
func TestKillOnThreeServers(t *testing.T) {
	rounds := 1
	if long() {
		rounds = 8
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	w, c := newWorldOnThree(t, 8)
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 3))
	replicas := map[string]func(){}
	// again kills a replica, if it runs, and starts it anew.
	again := func(name string) {
		if stop := replicas[name]; stop != nil {
			stop()
		}
		cmd := w.start(name)
		replicas[name] = func() { kill(cmd) }
	}
	live := func() {
		for range 4 {
			w.stir(rng)
			wait(ctx, time.Duration(rng.IntN(400))*time.Millisecond)
		}
	}
	again("a")
	again("b")
	for range rounds {
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
	again("a") // one that could not start while nobody led has gone
	again("b")
	w.settle(ctx)
	c.AwaitCurrent()
	w.audit(ctx)
}
