package reconnect

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/smartconnect/connector/internal/audit"
	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/natstest"
	"github.com/smartconnect/connector/internal/topology"
)

// fact writes a member whose one connection has a status, as a poller does.
func fact(ctx context.Context, t *testing.T, l *events.Log, m events.MemberToken, s events.Status, since time.Time) {
	t.Helper()
	head, err := l.Member(ctx, m)
	if err != nil {
		t.Fatal(err)
	}
	next := events.Member{Book: events.NewBook("inc"), MemberID: "member one", Consent: events.MemberConsent{Read: true, Provision: events.Permit}}
	if head.Snapshot != nil {
		next = *head.Snapshot
	}
	c := events.MemberConnection{
		Token: "c", ConnectionID: "clinic-1", Number: 1, Episode: 1, EpisodeSince: since,
		State: events.ConnectionState{Status: s, IntegrationType: events.PROA},
	}
	if s.Broken() {
		c.BrokenSince, c.ConfirmedAt = since, since
	} else {
		c.ConnectedSince = since
	}
	next.Connections = []events.MemberConnection{c}
	told := []events.Event{{Type: events.ConnectionStatusChanged, Part: "c", Data: &events.Connection{ConnectionID: "clinic-1", Current: &c.State}}}
	tx, err := l.Subjects().Poll(m, told, &next, head.Seq, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Commit(ctx, tx); err != nil {
		t.Fatal(err)
	}
}

// Two deciders share one durable: each break opens one prompt, each recovery
// closes it, and rubbish goes to the dead letters without stopping anything.
func TestDecidersOnARealStream(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ctx = zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel).WithContext(ctx)
	l, js := natstest.Log(t)
	durable, err := js.Consumer(ctx, topology.Events, topology.Decider)
	if err != nil {
		t.Fatal(err)
	}
	run, stop := context.WithCancel(ctx)
	stopped := make(chan error, 2)
	for range 2 {
		c, err := New(Config{Log: l, Source: durable, DeadLetters: Letters{js}, Ledger: audit.NewLedger(js), Policy: atOnce()})
		if err != nil {
			t.Fatal(err)
		}
		go func() { stopped <- c.Run(run) }()
	}
	if _, err := js.Publish(ctx, l.Subjects().Member("rubbish"), []byte("not an event")); err != nil {
		t.Fatal(err)
	}
	const members = 20
	for i := range members {
		fact(ctx, t, l, events.MemberToken(fmt.Sprintf("m%d", i)), events.Expired, time.Now())
	}
	agenda := func(i int, open int) events.Agenda {
		for ctx.Err() == nil {
			head, err := l.Agenda(ctx, events.MemberToken(fmt.Sprintf("m%d", i)))
			if err != nil {
				t.Fatal(err)
			}
			if head.Snapshot != nil && len(head.Snapshot.Prompts) == open {
				return *head.Snapshot
			}
		}
		t.Fatalf("member %d never had %d open prompts", i, open)
		return events.Agenda{}
	}
	for i := range members {
		p := agenda(i, 1).Prompts[0]
		if p.Action != events.ActOAuth || p.Reason != "expired" || p.PromptID != "c.1" || !p.Notify {
			t.Errorf("prompt %+v", p)
		}
		fact(ctx, t, l, events.MemberToken(fmt.Sprintf("m%d", i)), events.Connected, time.Now())
	}
	for i := range members {
		if a := agenda(i, 0); a.Sequences["prompt.c"] != 2 {
			t.Errorf("member %d: %d prompt events, want opened and resolved", i, a.Sequences["prompt.c"])
		}
	}
	for ctx.Err() == nil {
		info, err := durable.Info(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if info.NumPending == 0 && info.NumAckPending == 0 {
			break
		}
	}
	stop()
	for range 2 {
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	}
	dlq, err := js.Stream(ctx, topology.DLQ)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := dlq.Info(ctx); err != nil || info.State.Msgs != 1 {
		t.Errorf("%d dead letters, want 1: %v", info.State.Msgs, err)
	}
	if s, err := js.Stream(ctx, topology.Events); err == nil {
		if _, err := s.GetLastMsgForSubject(ctx, l.Subjects().Agenda("rubbish")); !errors.Is(err, jetstream.ErrMsgNotFound) {
			t.Errorf("an agenda came of rubbish: %v", err)
		}
	}
}

func TestSettle(t *testing.T) {
	for _, tt := range []struct {
		err   error
		kind  verdictKind
		delay time.Duration
	}{
		{nil, done, 0},
		{fmt.Errorf("x: %w", events.ErrMalformed), drop, 0},
		{fmt.Errorf("x: %w", &earlyError{3 * time.Second}), later, 3 * time.Second},
		{context.DeadlineExceeded, later, 4 * time.Second},
		{errors.New("store is down"), later, 4 * time.Second},
	} {
		if got := settle(tt.err, 3); got.kind != tt.kind || got.delay != tt.delay {
			t.Errorf("settle(%v) = %v after %s, want %v after %s", tt.err, got.kind, got.delay, tt.kind, tt.delay)
		}
	}
}

func TestRetryDelayNeverExceedsCap(t *testing.T) {
	for n := range uint64(200) {
		if d := retryDelay(n); d <= 0 || d > 5*time.Minute {
			t.Fatalf("retryDelay(%d) = %s", n, d)
		}
	}
}

// What was noted while a hold ended is looked at once more: the look for the
// end of the hold may have come before the note was stored.
func TestNoteWhileAHoldEnds(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	l, js := natstest.Log(t)
	durable, err := js.Consumer(ctx, topology.Events, topology.Decider)
	if err != nil {
		t.Fatal(err)
	}
	var held []Held // the next answers; then nothing is held
	c, err := New(Config{Log: l, Source: durable, DeadLetters: Letters{js}, Ledger: audit.NewLedger(js), Policy: atOnce(), Held: func(*events.Member, time.Time) Held {
		if len(held) == 0 {
			return Held{}
		}
		next := held[0]
		held = held[1:]
		return next
	}})
	if err != nil {
		t.Fatal(err)
	}
	fact(ctx, t, l, "m", events.Expired, time.Now())
	if wrote, err := c.lookTimely(ctx, "m", events.Head[events.Member]{}); err != nil || !wrote {
		t.Fatalf("wrote %t, %v", wrote, err)
	}
	held = []Held{{Storm: true}, {Storm: true}} // and then none: it ended while this was decided
	if err := c.Note(ctx, "m", Note{Kind: Snooze, Connection: "c", PromptID: "c.1", For: 2 * day}); err != nil {
		t.Fatal(err)
	}
	asked, err := l.Agenda(ctx, "m")
	if err != nil {
		t.Fatal(err)
	}
	if a := asked.Snapshot; !a.NextLook.Equal(a.Prompts[0].SnoozedUntil) {
		t.Errorf("snoozed until %s, next look at %s", a.Prompts[0].SnoozedUntil, a.NextLook)
	}
}

// A replica that has not yet heard of a release holds nobody for good: before it
// settles that a member waits, it makes sure of what is judged.
func TestAReleaseThatIsHeardLate(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	l, js := natstest.Log(t)
	durable, err := js.Consumer(ctx, topology.Events, topology.Decider)
	if err != nil {
		t.Fatal(err)
	}
	heard, reachable := false, false
	c, err := New(Config{
		Log: l, Source: durable, DeadLetters: Letters{js}, Ledger: audit.NewLedger(js), Policy: atOnce(),
		Held: func(*events.Member, time.Time) Held { return Held{Storm: !heard} },
		Fresh: func(context.Context) error {
			if !reachable {
				return errors.New("no leader")
			}
			heard = true
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	fact(ctx, t, l, "m", events.Expired, time.Now())
	if wrote, err := c.lookTimely(ctx, "m", events.Head[events.Member]{}); err == nil || wrote {
		t.Errorf("settled without being sure: wrote %t, %v", wrote, err)
	}
	reachable = true
	if wrote, err := c.lookTimely(ctx, "m", events.Head[events.Member]{}); err != nil || !wrote {
		t.Errorf("wrote %t, %v", wrote, err)
	}
}

// Of a member whose head is a tombstone nothing is asked, whatever is due, and
// nobody takes the tombstone for poison.
func TestForgottenMembersAreLeftAlone(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	l, js := natstest.Log(t)
	fact(ctx, t, l, "m", events.Expired, time.Now())
	tombstone := nats.NewMsg(l.Subjects().Member("m"))
	tombstone.Header.Set("Nats-Rollup", "sub")
	if _, err := js.PublishMsg(ctx, tombstone); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(ctx, l.Subjects().Due("m"), nil); err != nil {
		t.Fatal(err)
	}
	durable, err := js.Consumer(ctx, topology.Events, topology.Decider)
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(Config{Log: l, Source: durable, DeadLetters: Letters{js}, Ledger: audit.NewLedger(js), Policy: atOnce()})
	if err != nil {
		t.Fatal(err)
	}
	run, stop := context.WithCancel(ctx)
	stopped := make(chan error, 1)
	go func() { stopped <- c.Run(run) }()
	for {
		info, err := durable.Info(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if info.NumPending == 0 && info.NumAckPending == 0 && info.Delivered.Consumer > 0 {
			break
		}
	}
	stop()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	for stream, want := range map[string]uint64{topology.DLQ: 0, topology.Audit: 0} {
		s, err := js.Stream(ctx, stream)
		if err != nil {
			t.Fatal(err)
		}
		if n := s.CachedInfo().State.Msgs; n != want {
			t.Errorf("%s has %d messages", stream, n)
		}
	}
	if asked, err := l.Agenda(ctx, "m"); err != nil || asked.Seq != 0 {
		t.Errorf("an agenda: %+v, %v", asked, err)
	}
}
