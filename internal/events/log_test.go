package events_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/natstest"
	"github.com/smartconnect/connector/internal/topology"
)

func deadline(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// poll changes the status of member m's one connection on top of head.
func poll(t *testing.T, l *events.Log, m events.MemberToken, head events.Head[events.Member], s events.Status) events.Transaction {
	t.Helper()
	next := events.Member{Book: events.NewBook("inc-1"), MemberID: "id of " + string(m)}
	if head.Snapshot != nil {
		next = *head.Snapshot
	}
	told := []events.Event{{
		Type: events.ConnectionStatusChanged, Part: "c", Time: time.Unix(1, 0),
		Data: &events.Connection{MemberID: next.MemberID, ConnectionID: "clinic-1", Current: &events.ConnectionState{Status: s}},
	}}
	tx, err := l.Subjects().Poll(m, told, &next, head.Seq, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return tx
}

// decide opens a prompt for that connection, from what is known and for a
// reason.
func decide(t *testing.T, l *events.Log, m events.MemberToken, agenda events.Head[events.Agenda], known events.Head[events.Member], reason string, due time.Time) events.Transaction {
	t.Helper()
	next := events.Agenda{Book: events.NewBook("inc-1")}
	if agenda.Snapshot != nil {
		next = *agenda.Snapshot
	}
	next.Decided = known.ID
	told := []events.Event{{Type: events.PromptOpened, Part: "c", Data: &events.Prompt{Action: events.ActOAuth, Reason: reason}}}
	tx, err := l.Subjects().Decide(m, told, &next, agenda.Seq, known.Seq, due, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return tx
}

func TestCommitStoresAllOrNothing(t *testing.T) {
	ctx := deadline(t, 20*time.Second)
	l, js := natstest.Log(t)
	first, err := l.Commit(ctx, poll(t, l, "m", events.Head[events.Member]{}, events.Connected))
	if err != nil {
		t.Fatal(err)
	}
	head, err := l.Member(ctx, "m")
	if err != nil || head.Seq != first.HeadSeq || head.Snapshot == nil {
		t.Fatalf("head %+v, %v; want sequence %d", head, err, first.HeadSeq)
	}
	if got := head.Snapshot.Sequences; got["connection.c"] != 1 || got["member"] != 1 {
		t.Errorf("book %v", got)
	}
	missStale(ctx, t, l, "m", head)
	info, err := mustStream(t, js).Info(ctx)
	if err != nil || info.State.Msgs != 2 {
		t.Errorf("%d messages are stored, %v; want only the two of the first transaction", info.State.Msgs, err)
	}
}

// missStale commits every kind of transaction of m on a head that it does not
// have: head is the one it has, and it has no agenda. Nothing may be stored.
func missStale(ctx context.Context, t *testing.T, l *events.Log, m events.MemberToken, head events.Head[events.Member]) {
	t.Helper()
	stale := head
	stale.Seq--
	none, soon := events.Head[events.Agenda]{}, time.Now().Add(time.Hour)
	for name, tx := range map[string]events.Transaction{
		"poll on a head that moved":           poll(t, l, m, stale, events.Expired),
		"poll that believes there is no head": poll(t, l, m, events.Head[events.Member]{}, events.Expired),
		"decision from a head that moved":     decide(t, l, m, none, stale, "stale", time.Time{}),
		"timer from a head that moved":        decide(t, l, m, none, stale, "stale", soon),
		"decision on an agenda that moved":    decide(t, l, m, events.Head[events.Agenda]{Seq: 7}, head, "stale", time.Time{}),
		"timer on an agenda that moved":       decide(t, l, m, events.Head[events.Agenda]{Seq: 7}, head, "stale", soon),
	} {
		if _, err := l.Commit(ctx, tx); !errors.Is(err, events.ErrMoved) {
			t.Errorf("%s: %v, want ErrMoved", name, err)
		}
	}
}

func mustStream(t *testing.T, js jetstream.JetStream) jetstream.Stream {
	t.Helper()
	s, err := js.Stream(t.Context(), events.Stream)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTimerFires(t *testing.T) {
	ctx := deadline(t, 20*time.Second)
	l, js := natstest.Log(t)
	stored, err := l.Commit(ctx, poll(t, l, "m", events.Head[events.Member]{}, events.Expired))
	if err != nil {
		t.Fatal(err)
	}
	cons, err := js.OrderedConsumer(ctx, events.Stream, jetstream.OrderedConsumerConfig{FilterSubjects: []string{l.Subjects().Dues()}})
	if err != nil {
		t.Fatal(err)
	}
	due := time.Now().Add(300 * time.Millisecond)
	if _, err := l.Commit(ctx, decide(t, l, "m", events.Head[events.Agenda]{}, events.Head[events.Member]{Seq: stored.HeadSeq}, "", due)); err != nil {
		t.Fatal(err)
	}
	msg, err := cons.Next(jetstream.FetchMaxWait(10 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if kind, m, ok := l.Subjects().Parse(msg.Subject()); kind != "due" || m != "m" || !ok {
		t.Errorf("fired on %s", msg.Subject())
	}
	if md, err := msg.Metadata(); err != nil || md.Timestamp.Before(due) {
		t.Errorf("fired at %v, want %v or later: %v", md.Timestamp, due, err)
	}
}

func TestProbe(t *testing.T) {
	ctx := deadline(t, 20*time.Second)
	l, js := natstest.Log(t)
	s := mustStream(t, js)
	decider, err := s.Consumer(ctx, "decider")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := l.Probe(ctx); err != nil {
			t.Fatal(err)
		}
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(">"))
	if err != nil || info.State.Msgs != 0 || len(info.State.Subjects) != 0 {
		t.Errorf("a probe left %v, %v", info.State.Subjects, err)
	}
	if info.State.LastSeq == 0 {
		t.Error("a probe wrote nothing")
	}
	if d, err := decider.Info(ctx); err != nil || d.NumPending != 0 || d.Delivered.Consumer != 0 {
		t.Errorf("the decider was woken: %+v, %v", d, err)
	}
}

// What a probe writes runs out by itself if it is cut short, and nobody takes it
// for an event.
func TestProbeIsNoEvent(t *testing.T) {
	ctx := deadline(t, 20*time.Second)
	l, js := natstest.Log(t)
	sub, err := js.Conn().SubscribeSync(l.Subjects().All())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Probe(ctx); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for range 16 {
		msg, err := sub.NextMsg(200 * time.Millisecond)
		if err != nil {
			break
		}
		seen++
		if ttl := msg.Header.Get("Nats-TTL"); ttl != "1m0s" {
			t.Errorf("%s lives %q", msg.Subject, ttl)
		}
		if kind, m, ok := l.Subjects().Parse(msg.Subject); ok {
			t.Errorf("%s is read as a %s of %s", msg.Subject, kind, m)
		}
		if _, err := events.Decode(msg.Header, msg.Data); !errors.Is(err, events.ErrMalformed) {
			t.Errorf("%s is read as an event: %v", msg.Subject, err)
		}
	}
	if seen < 10 {
		t.Errorf("saw %d messages of a probe", seen)
	}
}

func TestProbeSaysWhatIsWrong(t *testing.T) {
	ctx := deadline(t, 60*time.Second)
	for name, spoil := range map[string]func(*jetstream.StreamConfig){
		"no atomic publishing":   func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false },
		"no message schedules":   func(c *jetstream.StreamConfig) { c.AllowMsgSchedules = false },
		"no time to live":        func(c *jetstream.StreamConfig) { c.AllowMsgTTL, c.AllowMsgSchedules = false, false },
		"another prefix":         func(c *jetstream.StreamConfig) { c.Subjects = []string{"elsewhere.>"} },
		"messages may not be so": func(c *jetstream.StreamConfig) { c.MaxMsgSize = 8 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			js := natstest.JetStream(t)
			subjects, err := events.NewSubjects("")
			if err != nil {
				t.Fatal(err)
			}
			config := topology.Desired(topology.Config{Prefix: subjects.Prefix()})[0].Config
			spoil(&config)
			if _, err := js.CreateStream(ctx, config); err != nil {
				t.Fatal(err)
			}
			err = events.NewLog(js, subjects, "").Probe(ctx)
			if err == nil {
				t.Fatal("the probe passes")
			}
			t.Log(err)
			if !strings.Contains(err.Error(), "connector topology plan") {
				t.Errorf("it does not say what to do: %v", err)
			}
		})
	}
}

// Many writers race on few members, each retrying what missed. Afterwards every
// message of the stream is audited.
func TestRacingWriters(t *testing.T) {
	ctx := deadline(t, 60*time.Second)
	l, js := natstest.Log(t)
	const members, writers, looks = 3, 6, 40
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range looks {
				m := events.MemberToken(fmt.Sprintf("m%d", (w+i)%members))
				if w%2 == 0 {
					head, err := l.Member(ctx, m)
					if err == nil {
						_, err = l.Commit(ctx, poll(t, l, m, head, events.Status(fmt.Sprint(w, i))))
					}
					if err != nil && !errors.Is(err, events.ErrMoved) {
						t.Error(err)
					}
					continue
				}
				head, err := l.Member(ctx, m)
				if err != nil || head.Seq == 0 {
					continue
				}
				agenda, err := l.Agenda(ctx, m)
				if err == nil {
					_, err = l.Commit(ctx, decide(t, l, m, agenda, head, "", time.Time{}))
				}
				if err != nil && !errors.Is(err, events.ErrMoved) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	stats := l.Stats()
	t.Logf("%+v", stats)
	if stats.Transactions == 0 || stats.Missed == 0 {
		t.Error("nothing was stored, or nobody missed: this was no race")
	}
	// Two deciders that see the same come to the same decision under the same
	// id: the one who misses recognises it as his own.
	if got := int64(len(audit(t, js, l.Subjects()))); got != stats.Transactions-stats.Recognised {
		t.Errorf("%d heads are stored, %d transactions were acknowledged, %d of them twice", got, stats.Transactions, stats.Recognised)
	}
}

// One head that cannot be read does not hide the others, and who wants to know
// hears of it.
func TestABrokenHeadHidesNoOther(t *testing.T) {
	ctx := deadline(t, 20*time.Second)
	l, js := natstest.Log(t)
	for _, m := range []events.MemberToken{"a", "z"} {
		if _, err := l.Commit(ctx, poll(t, l, m, events.Head[events.Member]{}, events.Connected)); err != nil {
			t.Fatal(err)
		}
		for _, subject := range []string{"sc.v1.member.broken", "sc.v1.member.gone"} {
			body := strings.TrimPrefix(subject, "sc.v1.member.gone")
			if _, err := js.Publish(ctx, subject, []byte(body)); err != nil {
				t.Fatal(err)
			}
		}
	}
	var seen, every []string
	if err := l.Members(ctx, func(m events.MemberToken, _ events.Head[events.Member]) error {
		seen = append(seen, string(m))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := l.EveryMember(ctx, func(m events.MemberToken, _ events.Head[events.Member], broken error) error {
		if (m == "broken") != errors.Is(broken, events.ErrMalformed) {
			t.Errorf("%s: %v", m, broken)
		}
		every = append(every, string(m))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(seen) != "[a z]" || fmt.Sprint(every) != "[a z broken]" {
		t.Errorf("seen %v, every %v", seen, every)
	}
}
