package events_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/natstest"
)

// The transaction on three servers. Pollers and deciders race on few members;
// meanwhile some writers never hear what became of their transaction, the
// stream's leader steps down, and the server that leads goes and comes back.
// Afterwards every message is audited, and held to what each writer was told.
func TestThreeServers(t *testing.T) {
	rounds := 1
	if os.Getenv("CONNECTOR_TEST") == "long" {
		rounds = 20
	}
	ctx := deadline(t, time.Duration(1+rounds)*time.Minute)
	c := natstest.ThreeServers(t)
	c.Apply(1 << 30) // everything stays, so that everything is audited
	w := &writers{told: map[string]outcome{}}

	calm := c.Log(0)
	head, err := w.poll(ctx, t, calm, "calm", "first")
	if err != nil {
		t.Fatal(err)
	}
	missStale(ctx, t, calm, "calm", head)

	racing, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for n := range 3 {
		l := c.Log(n)
		for i := range 4 {
			wg.Go(func() { w.race(racing, t, l, 4*n+i) })
		}
	}
	w.progress(ctx, t, 100)
	silences(ctx, t, c, w)
	for range rounds {
		c.StepDown(events.Stream)
		w.progress(ctx, t, 100)
		leader := c.Leader(events.Stream)
		c.Stop(leader)
		w.progress(ctx, t, 100)
		c.Start(leader)
		c.AwaitCurrent()
		w.progress(ctx, t, 100)
	}
	stop()
	wg.Wait()
	c.AwaitCurrent()

	counts := map[outcome]int{}
	for o := range maps.Values(w.told) {
		counts[o]++
	}
	t.Logf("%v", counts)
	if counts[missed] == 0 {
		t.Error("nobody missed: this was no race")
	}
	heads := audit(t, c.JetStream(0), calm.Subjects())
	for id, o := range w.told {
		switch {
		case o == stored && !heads[id]:
			t.Errorf("transaction %s was acknowledged and is lost", id)
		case o == missed && heads[id]:
			t.Errorf("transaction %s missed and is stored", id)
		}
	}
	for id := range heads {
		if _, ok := w.told[id]; !ok {
			t.Errorf("head %s was written by nobody", id)
		}
	}
}

type outcome string

const (
	stored  outcome = "stored"
	missed  outcome = "missed"
	unknown outcome = "unknown"
)

// writers note what they were told of each transaction, by the id of its head.
type writers struct {
	count atomic.Int64 // stored

	mu   sync.Mutex
	told map[string]outcome
}

func (w *writers) commit(ctx context.Context, l *events.Log, tx events.Transaction) error {
	_, err := l.Commit(ctx, tx)
	o := unknown
	switch {
	case err == nil:
		o = stored
		w.count.Add(1)
	case errors.Is(err, events.ErrMoved):
		o = missed
	}
	head, _ := tx.Head()
	w.mu.Lock()
	w.told[head.ID] = o
	w.mu.Unlock()
	return err
}

// poll looks at a member, finds it changed, and returns the head it wrote.
func (w *writers) poll(ctx context.Context, t *testing.T, l *events.Log, m events.MemberToken, found events.Status) (events.Head[events.Member], error) {
	head, err := l.Member(ctx, m)
	if err != nil {
		return head, err
	}
	if err := w.commit(ctx, l, poll(t, l, m, head, found)); err != nil {
		return head, err
	}
	return l.Member(ctx, m)
}

func (w *writers) decide(ctx context.Context, t *testing.T, l *events.Log, m events.MemberToken, reason string, due time.Time) error {
	known, err := l.Member(ctx, m)
	if err != nil || known.Seq == 0 {
		return err
	}
	agenda, err := l.Agenda(ctx, m)
	if err != nil {
		return err
	}
	return w.commit(ctx, l, decide(t, l, m, agenda, known, reason, due))
}

// race looks at members until ctx ends, as pollers (even n) and deciders do:
// whatever went wrong, it looks again.
func (w *writers) race(ctx context.Context, t *testing.T, l *events.Log, n int) {
	const members = 5
	for i := 0; ctx.Err() == nil; i++ {
		m := events.MemberToken(fmt.Sprintf("m%d", rand.IntN(members)))
		look, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		what := fmt.Sprintf("%d by %d", i, n)
		switch {
		case n%2 == 0:
			_, _ = w.poll(look, t, l, m, events.Status(what))
		case i%2 == 0:
			_ = w.decide(look, t, l, m, what, time.Time{})
		default:
			_ = w.decide(look, t, l, m, what, time.Now().Add(time.Hour))
		}
		cancel()
		wait(ctx, time.Duration(rand.IntN(20))*time.Millisecond)
	}
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// progress waits until so many more transactions are stored.
func (w *writers) progress(ctx context.Context, t *testing.T, n int64) {
	t.Helper()
	for goal := w.count.Load() + n; w.count.Load() < goal; wait(ctx, 5*time.Millisecond) {
		if ctx.Err() != nil {
			t.Fatalf("%d transactions are stored, want %d", w.count.Load(), goal)
		}
	}
}

// silences are writers that are cut off between sending and hearing.
func silences(ctx context.Context, t *testing.T, c *natstest.Cluster, w *writers) {
	calm := c.Log(2)
	var wg sync.WaitGroup
	defer wg.Wait()
	writer := func(name string, story func(name events.MemberToken, l *events.Log, tr *trap, tx events.Transaction)) {
		wg.Go(func() {
			m := events.MemberToken(name)
			head, err := w.poll(ctx, t, calm, m, "before")
			if err != nil {
				t.Error(err)
				return
			}
			tr := &trap{sprung: make(chan struct{})}
			quiet := nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}) // the client's own would print
			l := c.Log(rand.IntN(3), nats.SetCustomDialer(tr), quiet)
			l.SetPatience(time.Second)
			if _, err := l.Member(ctx, m); err != nil { // its way to hear answers stands
				t.Error(err)
				return
			}
			story(m, l, tr, poll(t, l, m, head, "after"))
			if got, err := calm.Member(ctx, m); err != nil || got.Snapshot.Sequences["connection.c"] != 2 {
				t.Errorf("%s: %v, %v; want one change and no second", name, got.Snapshot.Sequences, err)
			}
		})
	}
	// stand waits until the change is stored, as others see it.
	stand := func(m events.MemberToken, tx events.Transaction) {
		for want, _ := tx.Head(); ctx.Err() == nil; wait(ctx, 5*time.Millisecond) {
			if head, err := calm.Member(ctx, m); err == nil && head.ID == want.ID {
				return
			}
		}
		t.Errorf("%s: the change is never stored", m)
	}
	recognised := func(m events.MemberToken, l *events.Log) {
		if l.Stats().Recognised != 1 {
			t.Errorf("%s: %+v; want the transaction recognised", m, l.Stats())
		}
	}

	writer("hears-nothing-and-reconnects", func(m events.MemberToken, l *events.Log, tr *trap, tx events.Transaction) {
		tr.set(deaf)
		done := make(chan error, 1)
		go func() { done <- w.commit(ctx, l, tx) }()
		<-tr.sprung
		stand(m, tx)
		tr.cut()
		if err := <-done; err != nil {
			t.Errorf("%s: %v; want the stored transaction recognised", m, err)
		}
		recognised(m, l)
	})
	writer("hears-nothing-for-long", func(m events.MemberToken, l *events.Log, tr *trap, tx events.Transaction) {
		tr.set(deaf)
		if err := w.commit(ctx, l, tx); err == nil || errors.Is(err, events.ErrMoved) {
			t.Errorf("%s: %v; want an outcome that is not known", m, err)
		}
		tr.cut()
		if err := w.commit(ctx, l, tx); err != nil { // the same look again
			t.Errorf("%s: %v; want the stored transaction recognised", m, err)
		}
		recognised(m, l)
	})
	writer("sends-into-the-void", func(m events.MemberToken, l *events.Log, tr *trap, tx events.Transaction) {
		tr.set(lost)
		if err := w.commit(ctx, l, tx); err == nil || errors.Is(err, events.ErrMoved) {
			t.Errorf("%s: %v; want an outcome that is not known", m, err)
		}
		if got, err := l.Member(ctx, m); err != nil || got.Snapshot.Sequences["connection.c"] != 1 {
			t.Errorf("%s: %v, %v; want nothing stored", m, got.Snapshot.Sequences, err)
		}
		if err := w.commit(ctx, l, tx); err != nil {
			t.Errorf("%s: %v; want it stored at the second look", m, err)
		}
		if l.Stats().Recognised != 0 {
			t.Errorf("%s: recognised what was never stored", m)
		}
	})
	writer("is-heard-before-it-looks-again", func(m events.MemberToken, l *events.Log, tr *trap, tx events.Transaction) {
		tr.set(late)
		if err := w.commit(ctx, l, tx); err == nil || errors.Is(err, events.ErrMoved) {
			t.Errorf("%s: %v; want an outcome that is not known", m, err)
		}
		tr.release()
		stand(m, tx)
		if err := w.commit(ctx, l, tx); err != nil {
			t.Errorf("%s: %v; want the stored transaction recognised", m, err)
		}
		recognised(m, l)
	})
	writer("is-heard-after-it-looked-again", func(m events.MemberToken, l *events.Log, tr *trap, tx events.Transaction) {
		tr.set(late)
		if err := w.commit(ctx, l, tx); err == nil || errors.Is(err, events.ErrMoved) {
			t.Errorf("%s: %v; want an outcome that is not known", m, err)
		}
		if err := w.commit(ctx, l, tx); err != nil {
			t.Errorf("%s: %v; want it stored at the second look", m, err)
		}
		tr.release()
	})
}

// A trap dials connections that go wrong at the first commit of a batch after
// set.
type trap struct {
	sprung chan struct{} // closed when the commit was on its way

	mu   sync.Mutex
	how  fate // zero: not armed
	conn *trapped
	held []byte
}

type fate int

const (
	deaf fate = iota + 1 // the commit is sent, and nothing is heard any more until cut
	lost                 // the commit is not sent, and the connection breaks
	late                 // the commit is sent at release; everything else goes on
)

// Dial implements nats.CustomDialer.
func (tr *trap) Dial(network, address string) (net.Conn, error) {
	conn, err := net.DialTimeout(network, address, 5*time.Second)
	if err != nil {
		return nil, err
	}
	return &trapped{Conn: conn, trap: tr}, nil
}

func (tr *trap) set(how fate) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.how = how
}

// cut breaks the connection that went wrong.
func (tr *trap) cut() {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	_ = tr.conn.Close()
}

func (tr *trap) release() {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	_, _ = tr.conn.Conn.Write(tr.held)
}

type trapped struct {
	net.Conn
	trap *trap
	deaf atomic.Bool
}

// Write springs the trap. The client writes whole messages.
func (c *trapped) Write(p []byte) (int, error) {
	tr := c.trap
	tr.mu.Lock()
	defer tr.mu.Unlock() // nothing overtakes what is released
	if tr.how == 0 || !bytes.Contains(p, []byte("Nats-Batch-Commit")) {
		return c.Conn.Write(p)
	}
	how := tr.how
	tr.how, tr.conn = 0, c
	defer close(tr.sprung)
	switch how {
	case deaf:
		c.deaf.Store(true)
		return c.Conn.Write(p)
	case late:
		tr.held = bytes.Clone(p)
		return len(p), nil
	default:
		_ = c.Close()
		return 0, net.ErrClosed
	}
}

// Read hears nothing while it is deaf.
func (c *trapped) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if err != nil || !c.deaf.Load() {
			return n, err
		}
	}
}
