package replay_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/smartconnect/connector/consumer"
	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/natstest"
	"github.com/smartconnect/connector/internal/replay"
)

// fill commits decisions about members m0, m1, …: per round and member a prompt
// is opened, with the agenda and a timer.
func fill(t testing.TB, log *events.Log, members, rounds int) {
	t.Helper()
	ctx := t.Context()
	for i := range members {
		m := events.MemberToken("m" + strconv.Itoa(i))
		known := events.Member{Book: events.NewBook("inc"), MemberID: "member-" + strconv.Itoa(i)}
		tx, err := log.Subjects().Poll(m, nil, &known, 0, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		from, err := log.Commit(ctx, tx)
		if err != nil {
			t.Fatal(err)
		}
		agenda, guard := events.Agenda{Book: events.NewBook("inc"), MemberID: known.MemberID}, uint64(0)
		for n := range rounds {
			told := []events.Event{{Type: events.PromptOpened, Part: "c", Data: &events.Prompt{
				MemberID: known.MemberID, ConnectionID: "clinic", PromptID: "c." + strconv.Itoa(n), Action: events.ActOAuth,
				Urgency: events.Required, Notify: true, ConnectionStatus: events.Expired, OpenedAt: time.Now(),
			}}}
			tx, err := log.Subjects().Decide(m, told, &agenda, guard, from.HeadSeq, time.Now().Add(24*time.Hour), time.Now())
			if err != nil {
				t.Fatal(err)
			}
			stored, err := log.Commit(ctx, tx)
			if err != nil {
				t.Fatal(err)
			}
			guard = stored.HeadSeq
		}
	}
}

func target(t *testing.T, js jetstream.JetStream) jetstream.Stream {
	t.Helper()
	s, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "AGAIN", Subjects: []string{"again.>"}, Storage: jetstream.MemoryStorage})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func messages(t *testing.T, js jetstream.JetStream, stream string) []*jetstream.RawStreamMsg {
	t.Helper()
	s, err := js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	var all []*jetstream.RawStreamMsg
	for seq := uint64(1); seq <= s.CachedInfo().State.LastSeq; seq++ {
		m, err := s.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	return all
}

func TestCopiesAreTheEventsMarked(t *testing.T) {
	log, js := natstest.Log(t)
	fill(t, log, 3, 4)
	target(t, js)
	before := messages(t, js, events.Stream)
	res, err := replay.Replay{JS: js, Subjects: log.Subjects(), Query: replay.Query{FromSeq: 1}, To: "again", Name: "monday"}.Run(t.Context())
	if err != nil || !res.Ended || res.Keeping != "AGAIN" {
		t.Fatalf("%+v, %v", res, err)
	}
	copies := messages(t, js, "AGAIN")
	i := 0
	for _, m := range before {
		e, err := events.Decode(m.Header, m.Data)
		if err != nil {
			continue // a timer
		}
		c := copies[i]
		i++
		again, err := events.Decode(c.Header, c.Data)
		if err != nil || again.Replay != "monday" || e.Replay != "" || again.ID != e.ID || again.Sequence != e.Sequence || string(c.Data) != string(m.Data) {
			t.Fatalf("copy %d: %v", i, err)
		}
		if c.Subject != "again"+strings.TrimPrefix(m.Subject, "sc.v1") || c.Header.Get(replay.Mark) != "monday" {
			t.Errorf("copy on %s with %v", c.Subject, c.Header)
		}
		for name := range c.Header {
			if strings.HasPrefix(strings.ToLower(name), "nats-") && name != "Nats-Msg-Id" {
				t.Errorf("the copy carries %s", name)
			}
		}
	}
	if i != len(copies) || uint64(i) != res.Copied || i != 3*(1+4*2) {
		t.Errorf("%d events, %d copies, %+v", i, len(copies), res)
	}
	if after := messages(t, js, events.Stream); len(after) != len(before) {
		t.Errorf("the stream grew by %d", len(after)-len(before))
	}
}

// A kit that reads the copies pushes nobody.
func TestNobodyIsPromptedByCopies(t *testing.T) {
	log, js := natstest.Log(t)
	fill(t, log, 2, 2)
	target(t, js)
	if _, err := (replay.Replay{JS: js, Subjects: log.Subjects(), Query: replay.Query{FromSeq: 1}, To: "again", Name: "n"}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	replayed := 0
	err := consumer.New(js, consumer.Config{Prefix: "again", Stream: "AGAIN"}).Run(ctx, consumer.Subscription{Workers: 1, Handlers: consumer.Handlers{
		PromptOpened: func(context.Context, consumer.Event, consumer.Prompt) error { t.Error("pushed"); return nil },
		Replayed: func(_ context.Context, e consumer.Event) error {
			if replayed++; replayed == 4 {
				cancel()
			}
			return nil
		},
		Gap:    func(_ context.Context, g consumer.GapError) error { t.Error(g); return nil },
		Poison: func(_ context.Context, p consumer.Poison) error { t.Error(p); return nil },
	}})
	if err != nil || replayed != 4 {
		t.Errorf("%d replayed, %v", replayed, err)
	}
}

// What is acknowledged is passed while the rest is still to be copied, however
// slow the replay is.
func TestWhatIsAcknowledgedIsPassedAtOnce(t *testing.T) {
	log, js := natstest.Log(t)
	fill(t, log, 4, 20)
	target(t, js)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	passed := uint64(0)
	r := replay.Replay{JS: js, Subjects: log.Subjects(), Query: replay.Query{FromSeq: 1}, To: "again", Name: "n", Rate: 200, Passed: func(next uint64) {
		if passed = next; passed > 10 {
			cancel()
		}
	}}
	res, err := r.Run(ctx)
	if err != nil || res.Ended || res.Copied == 4*(1+20*2) || res.Next != passed {
		t.Errorf("%+v, %v, passed %d", res, err, passed)
	}
}

func TestAnInterruptedReplayGoesOn(t *testing.T) {
	log, js := natstest.Log(t)
	fill(t, log, 4, 20)
	target(t, js)
	r := replay.Replay{JS: js, Subjects: log.Subjects(), Query: replay.Query{FromSeq: 1}, To: "again", Name: "n", Rate: 200}
	for runs, ended := 0, false; !ended; runs++ {
		ctx, cancel := context.WithCancel(t.Context())
		r.Passed = nil
		if runs < 3 {
			passed := 0
			r.Passed = func(uint64) {
				if passed++; passed == 10 {
					cancel()
				}
			}
		}
		res, err := r.Run(ctx)
		cancel()
		if err != nil || runs == 0 && res.Ended {
			t.Fatalf("run %d: %+v, %v", runs, res, err)
		}
		ended = res.Ended
		r.Query.FromSeq = max(1, res.Next-5) // a little is done twice
	}
	var got []string
	for _, m := range messages(t, js, "AGAIN") {
		got = append(got, m.Header["ce-id"][0])
	}
	if len(got) != 4*(1+20*2) {
		t.Errorf("%d copies", len(got))
	}
	slices.Sort(got)
	if n := len(got); len(slices.Compact(got)) != n {
		t.Error("an event was copied twice")
	}
}

func TestAStopSaysWhereToGoOn(t *testing.T) {
	log, js := natstest.Log(t)
	fill(t, log, 2, 20)
	target(t, js)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	res, err := replay.Replay{JS: js, Subjects: log.Subjects(), Query: replay.Query{FromSeq: 1}, To: "again", Name: "n", Rate: 20}.Run(ctx)
	if err != nil || res.Ended || res.Copied == 0 || res.Next < 2 {
		t.Fatalf("%+v, %v", res, err)
	}
	if n := len(messages(t, js, "AGAIN")); uint64(n) != res.Copied {
		t.Errorf("%d copies stored, %d told", n, res.Copied)
	}
}

func TestWhatIsAskedForIsCopied(t *testing.T) {
	log, js := natstest.Log(t)
	fill(t, log, 3, 3)
	for name, c := range map[string]struct {
		query replay.Query
		want  uint64
	}{
		"all":             {replay.Query{FromSeq: 1}, 3 * 7},
		"a type":          {replay.Query{FromSeq: 1, Types: []events.Type{events.PromptOpened}}, 9},
		"another":         {replay.Query{FromSeq: 1, Types: []events.Type{events.PromptResolved}}, 0},
		"a member":        {replay.Query{FromSeq: 1, Member: "m1"}, 7},
		"nobody":          {replay.Query{FromSeq: 1, Member: "m9"}, 0},
		"both":            {replay.Query{FromSeq: 1, Member: "m1", Types: []events.Type{events.AgendaSnapshot, events.MemberSnapshot}}, 4},
		"until":           {replay.Query{FromSeq: 1, UntilSeq: 1}, 1},
		"from the future": {replay.Query{From: time.Now().Add(time.Hour)}, 0},
		"from the past":   {replay.Query{From: time.Now().Add(-time.Hour)}, 3 * 7},
		"until the past":  {replay.Query{From: time.Now().Add(-2 * time.Hour), Until: time.Now().Add(-time.Hour)}, 0},
		"past the end":    {replay.Query{FromSeq: 10_000}, 0},
	} {
		res, err := replay.Replay{JS: js, Subjects: log.Subjects(), Query: c.query}.Run(t.Context())
		if err != nil || res.Copied != c.want || !res.Ended {
			t.Errorf("%s: %+v, %v; want %d", name, res, err, c.want)
		}
	}
}

func TestWithoutAStreamWhoListensHears(t *testing.T) {
	log, js := natstest.Log(t)
	fill(t, log, 1, 2)
	sub, err := js.Conn().SubscribeSync("elsewhere.>")
	if err != nil {
		t.Fatal(err)
	}
	res, err := replay.Replay{JS: js, Subjects: log.Subjects(), Query: replay.Query{FromSeq: 1}, To: "elsewhere", Name: "n"}.Run(t.Context())
	if err != nil || res.Keeping != "" {
		t.Fatalf("%+v, %v", res, err)
	}
	for range res.Copied {
		if _, err := sub.NextMsg(5 * time.Second); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNeverIntoWhatIsLive(t *testing.T) {
	log, js := natstest.Log(t)
	fill(t, log, 1, 1)
	for _, to := range []string{"sc.v1", "sc", "sc.v1.prompt", "sc.svc", "sc.dlq", "$KV.SC_MEMBERS", "$JS.API", "_INBOX.x", "a.*", "a.>", "a..b", " ", "sc.v1.again", "test.sc.v1", "test", "test.sc.v1.prompt"} {
		res, err := replay.Replay{JS: js, Subjects: log.Subjects(), Query: replay.Query{FromSeq: 1}, To: to, Name: "n"}.Run(t.Context())
		if err == nil || res.Copied != 0 {
			t.Errorf("copies below %q: %+v", to, res)
		}
	}
	s, err := js.Stream(t.Context(), events.Stream)
	if err != nil {
		t.Fatal(err)
	}
	if n := s.CachedInfo().State.LastSeq; n != 4 {
		t.Errorf("the stream holds %d messages", n)
	}
	// Somebody let the stream have more subjects: then these are live too.
	config := s.CachedInfo().Config
	config.Subjects = append(config.Subjects, "more.>")
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if _, err := (replay.Replay{JS: js, Subjects: log.Subjects(), Query: replay.Query{FromSeq: 1}, To: "more", Name: "n"}).Run(t.Context()); err == nil {
		t.Error("copies went into our stream by another subject")
	}
	for _, to := range []string{"again", "replays.monday", "scv1", "test.again"} {
		if err := replay.Refuse(to, replay.Live(log.Subjects())); err != nil {
			t.Errorf("%s: %v", to, err)
		}
	}
}

func TestQueriesThatMakeNoSense(t *testing.T) {
	now := time.Now()
	for want, q := range map[string]replay.Query{
		"where to begin":         {},
		"not at both":            {FromSeq: 1, From: now},
		"ends before it begins":  {FromSeq: 5, UntilSeq: 4},
		"ends before it begins ": {From: now, Until: now.Add(-1)},
		"is no event type":       {FromSeq: 1, Types: []events.Type{"prompt.opened"}},
		"is no token":            {FromSeq: 1, Member: "member 4711"},
	} {
		if err := q.Check(); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(want)) {
			t.Errorf("%+v: %v, want %s", q, err, want)
		}
	}
}

func TestPosition(t *testing.T) {
	log, js := natstest.Log(t)
	fill(t, log, 2, 3)
	ctx := t.Context()
	read := func(name string) int {
		t.Helper()
		c, err := js.Consumer(ctx, events.Stream, name)
		if err != nil {
			t.Fatal(err)
		}
		batch, err := c.FetchNoWait(100)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for m := range batch.Messages() {
			if err := m.DoubleAck(ctx); err != nil {
				t.Fatal(err)
			}
			n++
		}
		return n
	}
	from := replay.Query{FromSeq: 1}
	pending, err := replay.Position(ctx, js, log.Subjects(), from, replay.Target{Name: "team", Mark: "n"})
	if err != nil || pending != 14 {
		t.Fatalf("pending %d, %v", pending, err)
	}
	if n := read("team"); n != 14 {
		t.Errorf("read %d", n)
	}
	if _, err := replay.Position(ctx, js, log.Subjects(), from, replay.Target{Name: "team", Mark: "n"}); err == nil || !strings.Contains(err.Error(), "--move") {
		t.Errorf("moved unasked: %v", err)
	}
	if n := read("team"); n != 0 {
		t.Errorf("read %d again", n)
	}
	if pending, err = replay.Position(ctx, js, log.Subjects(), from, replay.Target{Name: "team", Mark: "n", Move: true}); err != nil || pending != 14 || read("team") != 14 {
		t.Errorf("moved: pending %d, %v", pending, err)
	}
	if _, err := replay.Position(ctx, js, log.Subjects(), from, replay.Target{Name: "decider", Mark: "n", Move: true}); err == nil {
		t.Error("the decider was moved")
	}
	if _, err := replay.Position(ctx, js, log.Subjects(), replay.Query{FromSeq: 1, UntilSeq: 2}, replay.Target{Name: "x", Mark: "n"}); err == nil {
		t.Error("a durable with an end")
	}
	if _, err := js.Consumer(ctx, events.Stream, "x"); !errors.Is(err, jetstream.ErrConsumerNotFound) {
		t.Errorf("x: %v", err)
	}
	one := replay.Query{FromSeq: 1, Member: "m1", Types: []events.Type{events.PromptOpened}}
	if pending, err = replay.Position(ctx, js, log.Subjects(), one, replay.Target{Name: "narrow", Mark: "n"}); err != nil || pending != 3 {
		t.Errorf("narrow: pending %d, %v", pending, err)
	}
}

// service is a consumer of the kit that pushes; it tells of each event as a
// line.
type service struct {
	subscription consumer.Subscription
	lines        chan string
}

func newService(durable string, ledger consumer.Ledger) service {
	s := service{lines: make(chan string, 1000)}
	s.subscription = consumer.Subscription{Durable: durable, Ledger: ledger, Workers: 1, Handlers: consumer.Handlers{
		PromptOpened: func(_ context.Context, e consumer.Event, p consumer.Prompt) error {
			s.lines <- "push " + p.PromptID + " of " + p.MemberID
			return nil
		},
		Replayed: func(_ context.Context, e consumer.Event) error {
			s.lines <- "replayed " + e.Replay
			return nil
		},
		Gap:    func(_ context.Context, g consumer.GapError) error { s.lines <- g.Error(); return nil },
		Poison: func(_ context.Context, p consumer.Poison) error { s.lines <- p.Error(); return nil },
	}}
	return s
}

// run runs the service until stop is called.
func (s service) run(t *testing.T, js jetstream.JetStream) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- consumer.New(js, consumer.Config{}).Run(ctx, s.subscription) }()
	return func() {
		t.Helper()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	}
}

// want takes as many lines as it wants, and wants them.
func (s service) want(t *testing.T, want map[string]int) {
	t.Helper()
	got := map[string]int{}
	for range sum(want) {
		select {
		case line := <-s.lines:
			got[line]++
		case <-time.After(20 * time.Second):
			t.Fatalf("told only %v of %v", got, want)
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("told %v, want %v", got, want)
	}
}

func sum(counts map[string]int) int {
	n := 0
	for _, c := range counts {
		n += c
	}
	return n
}

// acknowledged waits until the durable has nothing in hand: acknowledgements
// have no answer.
func acknowledged(t *testing.T, js jetstream.JetStream, durable string) {
	t.Helper()
	c, err := js.Consumer(t.Context(), events.Stream, durable)
	if err != nil {
		t.Fatal(err)
	}
	for tick := time.Tick(5 * time.Millisecond); ; <-tick {
		info, err := c.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if info.NumAckPending == 0 && info.NumPending == 0 {
			return
		}
	}
}

// open tells of one more prompt of a member that fill made.
func open(t *testing.T, log *events.Log, m events.MemberToken, promptID string) {
	t.Helper()
	known, err := log.Member(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	asked, err := log.Agenda(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	told := []events.Event{{Type: events.PromptOpened, Part: "c", Data: &events.Prompt{
		MemberID: known.Snapshot.MemberID, ConnectionID: "clinic", PromptID: promptID, Action: events.ActOAuth,
		Urgency: events.Required, Notify: true, ConnectionStatus: events.Expired, OpenedAt: time.Now(),
	}}}
	tx, err := log.Subjects().Decide(m, told, asked.Snapshot, asked.Seq, known.Seq, time.Time{}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.Commit(t.Context(), tx); err != nil {
		t.Fatal(err)
	}
}

// A durable that is set back reads again, and nobody is pushed again: whatever
// the service remembers, whether it runs meanwhile, and where its durable began.
func TestADurableThatIsMovedPushesNobody(t *testing.T) {
	for name, c := range map[string]struct {
		bucket, running bool
		policy          jetstream.DeliverPolicy
	}{
		"remembers nothing":          {},
		"remembers in a bucket":      {bucket: true},
		"runs":                       {running: true},
		"runs, with a bucket":        {running: true, bucket: true},
		"began at the newest":        {policy: jetstream.DeliverNewPolicy},
		"began there, with a bucket": {policy: jetstream.DeliverNewPolicy, bucket: true},
	} {
		t.Run(name, func(t *testing.T) {
			log, js := natstest.Log(t)
			config := jetstream.ConsumerConfig{Durable: "team", AckPolicy: jetstream.AckExplicitPolicy, DeliverPolicy: c.policy}
			if _, err := js.CreateConsumer(t.Context(), events.Stream, config); err != nil {
				t.Fatal(err)
			}
			var ledger consumer.Ledger
			if c.bucket {
				var err error
				if ledger, err = consumer.NewKVLedger(t.Context(), js, "LEDGER", "team", 1); err != nil {
					t.Fatal(err)
				}
			}
			team := newService("team", ledger)
			fill(t, log, 2, 2)
			stop := team.run(t, js)
			team.want(t, map[string]int{"push c.0 of member-0": 1, "push c.1 of member-0": 1, "push c.0 of member-1": 1, "push c.1 of member-1": 1})
			acknowledged(t, js, "team")
			if !c.running {
				stop()
				open(t, log, "m0", "c.2") // nobody was told of it yet
			}
			from := replay.Query{From: time.Now().Add(-time.Hour)}
			if _, err := replay.Position(t.Context(), js, log.Subjects(), from, replay.Target{Name: "team", Mark: "monday", Move: true}); err != nil {
				t.Fatal(err)
			}
			if c.running {
				open(t, log, "m0", "c.2")
			} else {
				stop = team.run(t, js)
			}
			team.want(t, map[string]int{"replayed monday": 4, "push c.2 of member-0": 1})
			acknowledged(t, js, "team")
			stop()
			if n := len(team.lines); n != 0 {
				t.Errorf("%d lines more: %s", n, <-team.lines)
			}
		})
	}
}

// While an event is tried again the broker does not tell what of the later ones is
// acknowledged: who moves the durable says how these count, or waits.
func TestADurableThatHasEventsInHandIsMovedAsTold(t *testing.T) {
	for name, c := range map[string]struct {
		unsettled replay.Unsettled
		want      map[string]int
	}{
		"as news":     {replay.AsNews, map[string]int{"replayed monday": 1, "push c.1 of member-0": 1, "push c.2 of member-0": 1, "push c.3 of member-0": 1}},
		"as replayed": {replay.AsReplayed, map[string]int{"replayed monday": 4}},
	} {
		t.Run(name, func(t *testing.T) {
			log, js := natstest.Log(t)
			fill(t, log, 1, 4)
			config := jetstream.ConsumerConfig{Durable: "team", AckPolicy: jetstream.AckExplicitPolicy, FilterSubjects: []string{"sc.v1.prompt.*.*"}}
			team, err := js.CreateConsumer(t.Context(), events.Stream, config)
			if err != nil {
				t.Fatal(err)
			}
			batch, err := team.Fetch(4)
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for m := range batch.Messages() {
				if n++; n == 2 {
					continue // this one is tried again
				}
				if err := m.DoubleAck(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			move := replay.Target{Name: "team", Mark: "monday", Move: true}
			_, err = replay.Position(t.Context(), js, log.Subjects(), replay.Query{FromSeq: 1}, move)
			if err == nil {
				t.Fatal("moved, and nobody knows what is read again")
			}
			for _, word := range []string{"1 events are in hand", "--unsettled news", "--unsettled replayed", "wait"} {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%v: want %q", err, word)
				}
			}
			info, err := team.Info(t.Context())
			if err != nil || info.NumAckPending != 1 || info.NumPending != 0 || info.Config.Metadata["smartconnect.replay"] != "" {
				t.Fatalf("refused, and yet: %+v, %v", info, err)
			}
			move.Unsettled = c.unsettled
			if pending, err := replay.Position(t.Context(), js, log.Subjects(), replay.Query{FromSeq: 1}, move); err != nil || pending != 4 {
				t.Fatalf("%d pending, %v", pending, err)
			}
			service := newService("team", nil)
			stop := service.run(t, js)
			service.want(t, c.want)
			acknowledged(t, js, "team")
			stop()
			// Now that nothing is in hand nobody is asked.
			move.Unsettled = ""
			if _, err := replay.Position(t.Context(), js, log.Subjects(), replay.Query{FromSeq: 1}, move); err != nil {
				t.Errorf("with nothing in hand: %v", err)
			}
			defer service.run(t, js)()
			service.want(t, map[string]int{"replayed monday": 4})
		})
	}
}

// A durable that is made for a replay begins with events that are no news, and
// goes on with what is.
func TestANewDurableIsMarked(t *testing.T) {
	log, js := natstest.Log(t)
	fill(t, log, 1, 3)
	if _, err := replay.Position(t.Context(), js, log.Subjects(), replay.Query{FromSeq: 1}, replay.Target{Name: "team", Mark: "monday"}); err != nil {
		t.Fatal(err)
	}
	open(t, log, "m0", "c.9")
	// Moved before anybody read it, it still says what is no news.
	if _, err := replay.Position(t.Context(), js, log.Subjects(), replay.Query{FromSeq: 1}, replay.Target{Name: "team", Mark: "tuesday", Move: true}); err != nil {
		t.Fatal(err)
	}
	team := newService("team", nil)
	defer team.run(t, js)()
	team.want(t, map[string]int{"replayed tuesday": 3, "push c.9 of member-0": 1})

	// Whoever builds a state wants it all, in order.
	states := newService("states", nil)
	states.subscription.Projection = true
	if _, err := replay.Position(t.Context(), js, log.Subjects(), replay.Query{FromSeq: 1}, replay.Target{Name: "states", Mark: "monday"}); err != nil {
		t.Fatal(err)
	}
	defer states.run(t, js)()
	for _, prompt := range []string{"c.0", "c.1", "c.2", "c.9"} {
		states.want(t, map[string]int{"push " + prompt + " of member-0": 1})
	}
}

// A durable that began at the first event can be set back as it is, so that
// clients that insist on their own configuration find it.
func TestAMovedDurableKeepsItsConfiguration(t *testing.T) {
	log, js := natstest.Log(t)
	fill(t, log, 1, 3)
	config := jetstream.ConsumerConfig{Durable: "team", AckPolicy: jetstream.AckExplicitPolicy, FilterSubjects: []string{"sc.v1.prompt.*.*"}, MaxAckPending: 1}
	if _, err := js.CreateConsumer(t.Context(), events.Stream, config); err != nil {
		t.Fatal(err)
	}
	if pending, err := replay.Position(t.Context(), js, log.Subjects(), replay.Query{FromSeq: 4}, replay.Target{Name: "team", Mark: "monday", Move: true}); err != nil || pending != 2 {
		t.Fatalf("%d pending, %v", pending, err)
	}
	c, err := js.CreateOrUpdateConsumer(t.Context(), events.Stream, config)
	if err != nil {
		t.Fatalf("its client does not start: %v", err)
	}
	m, err := c.Next(jetstream.FetchMaxWait(10 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if meta, err := m.Metadata(); err != nil || meta.Sequence.Stream < 4 {
		t.Errorf("it reads %+v, %v", meta, err)
	}
}

func publishMany(b *testing.B, js jetstream.JetStream, n int) {
	b.Helper()
	const subjects = 50_000
	at := time.Now().UTC().Format(time.RFC3339Nano)
	data := []byte(`{"memberId":"member-4711","connectionId":"harbor_hospital","promptId":"kq7l63bufjyblrjxhabs7fghfu.1","action":"activate_direct","reason":"expired","urgency":"required","notify":true,"connectionStatus":"EXPIRED","integrationType":"DIRECT_IAS","openedAt":"2026-03-01T08:15:30Z","reminder":0,"flapCount":0,"batch":"kq7l63bufjyblrjxhabs7fghfu.1"}`)
	for i := range n {
		subject := fmt.Sprintf("m%d.c", i%subjects)
		_, err := js.PublishMsgAsync(&nats.Msg{Subject: "sc.v1.prompt." + subject, Data: data, Header: nats.Header{
			"ce-specversion": {"1.0"}, "ce-id": {"id" + strconv.Itoa(i)}, "ce-source": {"urn:smartconnect:connector"},
			"ce-type": {string(events.PromptOpened)}, "ce-subject": {subject}, "ce-time": {at}, "ce-recordedtime": {at},
			"ce-sequence": {strconv.Itoa(i/subjects + 1)}, "ce-partitionkey": {"m"}, "ce-datacontenttype": {"application/json"}, "content-type": {"application/json"},
			"ce-dataschema": {"urn:smartconnect:schema:smartconnect.prompt.opened.v1.json"}, "ce-dataclassification": {"restricted"}, "ce-dataregulation": {"HIPAA"},
		}})
		if err != nil {
			b.Fatal(err)
		}
		if i%2000 == 1999 {
			<-js.PublishAsyncComplete()
		}
	}
	<-js.PublishAsyncComplete()
}

// BenchmarkPlainOrderedConsumer reads b.N events with an ordered consumer of
// the client library and does nothing with them: the measure for the others.
func BenchmarkPlainOrderedConsumer(b *testing.B) {
	_, js := natstest.Log(b)
	publishMany(b, js, b.N)
	c, err := js.OrderedConsumer(b.Context(), events.Stream, jetstream.OrderedConsumerConfig{FilterSubjects: []string{"sc.v1.prompt.*.*"}})
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	messages, err := c.Messages()
	if err != nil {
		b.Fatal(err)
	}
	defer messages.Stop()
	for range b.N {
		if _, err := messages.Next(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkReplayToConsumer reads b.N events with the consumer kit: envelope
// and data decoded and checked, gaps looked for, a handler called.
func BenchmarkReplayToConsumer(b *testing.B) {
	_, js := natstest.Log(b)
	publishMany(b, js, b.N)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	done := make(chan struct{}, 1024)
	go func() {
		for range b.N {
			<-done
		}
		cancel()
	}()
	b.ResetTimer()
	err := consumer.New(js, consumer.Config{}).Run(ctx, consumer.Subscription{Projection: true, Handlers: consumer.Handlers{
		PromptOpened: func(context.Context, consumer.Event, consumer.Prompt) error { done <- struct{}{}; return nil },
		Gap:          func(_ context.Context, g consumer.GapError) error { b.Error(g); return nil },
		Poison:       func(_ context.Context, p consumer.Poison) error { b.Error(p); return nil },
	}})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkReplay copies b.N events to a stream of their own.
func BenchmarkReplay(b *testing.B) {
	log, js := natstest.Log(b)
	publishMany(b, js, b.N)
	if _, err := js.CreateStream(b.Context(), jetstream.StreamConfig{Name: "AGAIN", Subjects: []string{"again.>"}}); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	res, err := replay.Replay{JS: js, Subjects: log.Subjects(), Query: replay.Query{FromSeq: 1}, To: "again", Name: "n"}.Run(b.Context())
	if err != nil || res.Copied != uint64(b.N) {
		b.Fatalf("%+v, %v", res, err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
