package consumer_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"github.com/smartconnect/connector/consumer"
	"github.com/smartconnect/connector/internal/embednats"
	"github.com/smartconnect/connector/internal/natstest"
	"github.com/smartconnect/connector/internal/topology"
)

// put stores the n-th prompt event of a connection, under an id of its own if
// one is given.
func put(t *testing.T, js jetstream.JetStream, part string, n int, id ...string) uint64 {
	t.Helper()
	id = append(id, part+"-"+strconv.Itoa(n))
	now := time.Now().UTC().Format(time.RFC3339Nano)
	subject := "sc.v1.prompt.m" + part + "." + part
	ack, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: subject, Data: []byte(body), Header: header(map[string]string{
		"ce-id": id[0], "ce-sequence": strconv.Itoa(n), "ce-subject": "m" + part + "." + part, "ce-time": now, "ce-recordedtime": now,
	})})
	if err != nil {
		t.Fatal(err)
	}
	return ack.Sequence
}

// start runs s until stop is called, and fails the test if it ends otherwise.
func start(t *testing.T, js jetstream.JetStream, s consumer.Subscription) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := consumer.New(js, consumer.Config{}).Run(ctx, s); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return func() { cancel(); wg.Wait() }
}

// log collects lines of several goroutines.
type log struct {
	lines chan string
}

func newLog() log { return log{make(chan string, 10_000)} }

func (l log) subscription(durable string) consumer.Subscription {
	return consumer.Subscription{
		Durable: durable, AckWait: time.Second, Takeover: 500 * time.Millisecond, Tries: 3,
		Delay: func(int) time.Duration { return 10 * time.Millisecond },
		Handlers: consumer.Handlers{
			PromptReminded: func(_ context.Context, e consumer.Event, _ consumer.Prompt) error { l.lines <- e.ID; return nil },
			Gap: func(_ context.Context, g consumer.GapError) error {
				l.lines <- fmt.Sprintf("gap %d-%d", g.From, g.To)
				return nil
			},
			Poison: func(_ context.Context, p consumer.Poison) error { l.lines <- "poison " + p.Err.Error(); return nil },
		},
	}
}

func (l log) want(t *testing.T, want ...string) {
	t.Helper()
	for _, w := range want {
		select {
		case got := <-l.lines:
			if got != w {
				t.Errorf("told %q, want %q", got, w)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("never told %q", w)
		}
	}
}

// wantInAnyOrder is want for what several workers tell.
func (l log) wantInAnyOrder(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for range want {
		select {
		case line := <-l.lines:
			got = append(got, line)
		case <-time.After(20 * time.Second):
			t.Fatalf("told only %q of %q", got, want)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
}

func TestRunDurable(t *testing.T) {
	_, js := natstest.Log(t)
	ledger, err := consumer.NewKVLedger(t.Context(), js, "LEDGER", "notify", 1)
	if err != nil {
		t.Fatal(err)
	}
	l := newLog()
	s := l.subscription("notify")
	s.Ledger = ledger
	put(t, js, "a", 1)
	put(t, js, "a", 2)
	third := put(t, js, "a", 3)
	put(t, js, "a", 4)
	stream, err := js.Stream(t.Context(), "SC_EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.DeleteMsg(t.Context(), third); err != nil {
		t.Fatal(err)
	}
	stop := start(t, js, s)
	l.want(t, "a-1", "a-2", "gap 3-3", "a-4")

	// The same messages once more, by a durable that begins anew.
	stop()
	if err := stream.DeleteConsumer(t.Context(), "notify"); err != nil {
		t.Fatal(err)
	}
	stop = start(t, js, s)
	put(t, js, "a", 5)
	l.want(t, "a-5")

	// More than the stream keeps of a subject: what is gone is a gap.
	stop()
	for n := 6; n <= 75; n++ {
		put(t, js, "a", n)
	}
	stop = start(t, js, s)
	l.want(t, "gap 6-11", "a-12")
	for n := 13; n <= 75; n++ {
		l.want(t, "a-"+strconv.Itoa(n))
	}
	stop()
	durable, err := js.Consumer(t.Context(), "SC_EVENTS", "notify")
	if err != nil {
		t.Fatal(err)
	}
	waitUntil(t, func() bool { // acknowledgements have no answer
		info, err := durable.Info(t.Context())
		return err == nil && info.NumAckPending == 0 && info.NumPending == 0
	})
}

// Bad input stops nothing, is told, and is terminated rather than acknowledged.
func TestRunTerminatesPoison(t *testing.T) {
	_, js := natstest.Log(t)
	advisories, err := js.Conn().SubscribeSync("$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.SC_EVENTS.notify")
	if err != nil {
		t.Fatal(err)
	}
	l := newLog()
	var wants []string
	for name, c := range bad() {
		if c.header["ce-id"] != nil {
			c.header["ce-id"] = []string{strings.ReplaceAll(name, " ", "-")} // else they are doubles
		}
		if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: "sc.v1.prompt.m.a", Header: c.header, Data: []byte(c.data)}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		wants = append(wants, c.want)
	}
	put(t, js, "good", 1)
	s := l.subscription("notify")
	s.Workers = 1
	s.Handlers.Gap = func(context.Context, consumer.GapError) error { return nil }
	defer start(t, js, s)()
	for _, want := range wants {
		if line := <-l.lines; !strings.HasPrefix(line, "poison consumer: ") || !strings.Contains(line, want) {
			t.Errorf("told %q, want poison for %q", line, want)
		}
		m, err := advisories.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatalf("no advisory of a terminated message: %v", err)
		}
		var advisory struct{ Reason string }
		if err := json.Unmarshal(m.Data, &advisory); err != nil || !strings.Contains(advisory.Reason, want) {
			t.Errorf("terminated for %q (%v), want %q", advisory.Reason, err, want)
		}
	}
	l.want(t, "good-1")
}

func TestRunOrdered(t *testing.T) {
	_, js := natstest.Log(t)
	for n := range 5 {
		put(t, js, "a", n+1)
	}
	l := newLog()
	s := l.subscription("")
	fail := true
	s.Handlers.PromptReminded = func(_ context.Context, e consumer.Event, _ consumer.Prompt) error {
		if fail && e.Sequence == 3 {
			fail = false
			return errors.New("not now")
		}
		l.lines <- e.ID
		return nil
	}
	for range 2 { // nothing is remembered
		stop := start(t, js, s)
		l.want(t, "a-1", "a-2", "a-3", "a-4", "a-5")
		stop()
	}
	s.From = consumer.FromHeads
	defer start(t, js, s)()
	l.want(t, "a-5")
}

// Of two replicas one gets everything; the other takes over.
func TestReplicasStandBy(t *testing.T) {
	_, js := natstest.Log(t)
	ledger, err := consumer.NewKVLedger(t.Context(), js, "LEDGER", "notify", 1)
	if err != nil {
		t.Fatal(err)
	}
	logs, stops := []log{newLog(), newLog()}, []func(){}
	for i := range logs {
		s := logs[i].subscription("notify")
		s.Ledger = ledger
		stops = append(stops, start(t, js, s))
	}
	for n := range 20 {
		put(t, js, "a", n+1)
	}
	active := 0
	var first string
	select {
	case first = <-logs[0].lines:
	case first = <-logs[1].lines:
		active = 1
	case <-time.After(20 * time.Second):
		t.Fatal("nobody got anything")
	}
	if first != "a-1" {
		t.Errorf("first %q", first)
	}
	for n := 2; n <= 20; n++ {
		logs[active].want(t, "a-"+strconv.Itoa(n))
	}
	stops[active]()
	put(t, js, "a", 21)
	logs[1-active].want(t, "a-21")
	stops[1-active]()
	if len(logs[0].lines)+len(logs[1].lines) != 0 {
		t.Error("an event was told twice")
	}
}

func TestClientOnABroker(t *testing.T) {
	_, js := natstest.Log(t)
	client := consumer.New(js, consumer.Config{})
	publish := func(subject, typ, data string) {
		t.Helper()
		_, tokens, _ := strings.Cut(strings.TrimPrefix(subject, "sc.v1."), ".")
		h := header(map[string]string{"ce-type": typ, "ce-subject": tokens})
		if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: subject, Header: h, Data: []byte(data)}); err != nil {
			t.Fatal(err)
		}
	}
	const rest = `"incarnation":"i","sequences":{},"latest":{}`
	publish("sc.v1.prompt.m.a", string(consumer.PromptOpened), body)
	publish("sc.v1.agenda.m", string(consumer.AgendaSnapshot), `{"memberId":"secret-member","prompts":[`+body+`],`+rest+`,"asked":[],"access":null,"pushes":[],"decided":"x"}`)
	publish("sc.v1.member.m", string(consumer.MemberSnapshot), `{"memberId":"secret-member","consent":{"read":true,"provision":"permit"},`+rest+`,"connections":[],"task":null,"recommendations":[],"observation":{}}`)
	if p, ok, err := client.Current(t.Context(), "a.1"); err != nil || !ok || p.Action != consumer.ActOAuth {
		t.Errorf("current: %+v, %v, %v", p, ok, err)
	}
	if _, ok, err := client.Current(t.Context(), "a.2"); err != nil || ok {
		t.Errorf("another opening is current: %v, %v", ok, err)
	}
	if m, err := client.State(t.Context(), "m"); err != nil || m.Consent.Provision != consumer.Permit {
		t.Errorf("state: %+v, %v", m, err)
	}
	if _, err := client.Agenda(t.Context(), "nobody"); !errors.Is(err, consumer.ErrNothing) {
		t.Errorf("agenda of nobody: %v", err)
	}
	// An agenda that says nothing is not one that asks for nothing.
	publish("sc.v1.agenda.broken", string(consumer.AgendaSnapshot), `{}`)
	if _, err := client.Agenda(t.Context(), "broken"); !errors.Is(err, consumer.ErrMalformed) {
		t.Errorf("a broken agenda: %v", err)
	}
	publish("sc.v1.agenda.later", "smartconnect.agenda.snapshot.v2", `{"prompts":[]}`)
	if _, err := client.Agenda(t.Context(), "later"); !errors.Is(err, consumer.ErrUnknownType) || !strings.Contains(err.Error(), "snapshot.v2") {
		t.Errorf("agenda of a connector to come: %v", err)
	}
	sub, err := js.Conn().Subscribe("sc.svc.v1.prompt.start", func(m *nats.Msg) {
		var r map[string]string
		if err := json.Unmarshal(m.Data, &r); err != nil || r["promptId"]+r["offerId"] != "a.1" && r["promptId"]+r["offerId"] != "o" || r["memberId"] == "member-2" {
			_ = m.RespondMsg(&nats.Msg{Header: nats.Header{micro.ErrorCodeHeader: {"stale_prompt"}, micro.ErrorHeader: {"closed"}}})
			return
		}
		_ = m.Respond([]byte(`{"method":"activate_direct","status":"CONNECTED"}`))
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	for name, start := range map[string]func() (consumer.Started, error){
		"by the id alone": func() (consumer.Started, error) { return client.StartPrompt(t.Context(), "a.1") },
		"by its member":   func() (consumer.Started, error) { return client.StartPromptFor(t.Context(), "a.1", "member-1") },
		"an offer":        func() (consumer.Started, error) { return client.StartOffer(t.Context(), "o") },
		"a member's":      func() (consumer.Started, error) { return client.StartOfferFor(t.Context(), "o", "member-1") },
	} {
		if s, err := start(); err != nil || s.Status != consumer.Connected {
			t.Errorf("start %s: %+v, %v", name, s, err)
		}
	}
	// Nobody is signed in: that is no leave to start whatever there is.
	for _, start := range []func(context.Context, string, string) (consumer.Started, error){client.StartPromptFor, client.StartOfferFor} {
		_, err = start(t.Context(), "a.1", "")
		if refusal, ok := errors.AsType[consumer.Refusal](err); !ok || refusal != consumer.BadRequest {
			t.Errorf("started for nobody: %v", err)
		}
	}
	_, err = client.StartPromptFor(t.Context(), "a.1", "member-2")
	if refusal, ok := errors.AsType[consumer.Refusal](err); !ok || refusal != consumer.StalePrompt {
		t.Errorf("refused start: %v", err)
	}
}

// journal is a database of one file, in which an effect and its mark are one
// line: a service that keeps both together does everything exactly once.
type journal struct {
	file  *os.File
	mu    sync.Mutex
	marks map[string]consumer.Mark
}

func openJournal(name string) (*journal, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	j := &journal{file: f, marks: map[string]consumer.Mark{}}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var m consumer.Mark
		var subject, what, stored string
		if _, err := fmt.Sscan(lines.Text(), &what, &subject, &m.Stream, &m.Sequence, &m.ID, &stored); err != nil {
			continue
		}
		if m.Stored, err = time.Parse(time.RFC3339Nano, stored); err == nil {
			j.marks[subject] = m
		}
	}
	return j, nil
}

func (j *journal) write(what, subject string, m consumer.Mark) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.marks[subject] == m {
		return nil // the handler wrote it with its effect
	}
	j.marks[subject] = m
	_, err := fmt.Fprintln(j.file, what, subject, m.Stream, m.Sequence, m.ID, m.Stored.Format(time.RFC3339Nano))
	return err
}

func (j *journal) Last(_ context.Context, subject string) (consumer.Mark, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.marks[subject], nil
}

func (j *journal) Done(_ context.Context, subject string, m consumer.Mark) error {
	return j.write("mark", subject, m)
}

// TestMain lets this binary be a service that is killed: see TestKill.
func TestMain(m *testing.M) {
	if url := os.Getenv("CONSUMER_TEST_SERVICE"); url != "" {
		if err := serve(url, os.Getenv("CONSUMER_TEST_FILE"), os.Getenv("CONSUMER_TEST_LEDGER")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// serve is a service whose effects go to a file: with the journal as its
// ledger an effect and its mark are one line, else an effect is a line under
// the event's id that is not written twice.
func serve(url, file, ledger string) error {
	ctx := context.Background()
	nc, err := nats.Connect(url)
	if err != nil {
		return err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	j, err := openJournal(file)
	if err != nil {
		return err
	}
	s := consumer.Subscription{
		Durable: "service", Ledger: j, AckWait: time.Second, Takeover: 200 * time.Millisecond, Workers: 4,
		Handlers: consumer.Handlers{
			PromptReminded: func(_ context.Context, e consumer.Event, _ consumer.Prompt) error {
				time.Sleep(2 * time.Millisecond) // the work, in which the kill comes
				return j.write("effect", e.Subject, e.Mark())
			},
			Gap: func(_ context.Context, g consumer.GapError) error {
				_, err := fmt.Fprintln(j.file, g.Error())
				return err
			},
			Poison: func(_ context.Context, p consumer.Poison) error {
				_, err := fmt.Fprintln(j.file, "poison", p.Err)
				return err
			},
		},
	}
	if ledger == "bucket" {
		if s.Ledger, err = consumer.NewKVLedger(ctx, js, "LEDGER", "service", 1); err != nil {
			return err
		}
	}
	return consumer.New(js, consumer.Config{}).Run(ctx, s)
}

// A service that is killed 20 times in mid-stream handles every event, has its
// effects once, and reports no gap.
func TestKill(t *testing.T) {
	for _, ledger := range []string{"journal", "bucket"} {
		t.Run(ledger, func(t *testing.T) {
			t.Parallel()
			server, err := embednats.Start(embednats.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(server.Stop)
			nc, err := server.Connect()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(nc.Close)
			js, err := jetstream.New(nc)
			if err != nil {
				t.Fatal(err)
			}
			if err := topology.Apply(t.Context(), js, topology.Config{Prefix: "sc.v1"}, false); err != nil {
				t.Fatal(err)
			}
			file := t.TempDir() + "/journal"
			run := func() *exec.Cmd {
				cmd := exec.CommandContext(t.Context(), os.Args[0])
				cmd.Env = append(os.Environ(), "CONSUMER_TEST_SERVICE="+server.URL(), "CONSUMER_TEST_FILE="+file, "CONSUMER_TEST_LEDGER="+ledger)
				cmd.Stderr = os.Stderr
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				return cmd
			}
			kill := func(cmd *exec.Cmd) { _ = cmd.Process.Kill(); _ = cmd.Wait() }
			const parts, each, kills = 12, 60, 20 // fewer than the stream keeps of a subject
			var want []string
			n := 0
			publish := func(total int) {
				for ; n < total; n++ {
					part := fmt.Sprintf("p%d", n%parts)
					put(t, js, part, n/parts+1)
					want = append(want, fmt.Sprintf("%s-%d", part, n/parts+1))
				}
			}
			for k := range kills {
				before := lines(t, file)
				cmd := run()
				publish((k + 1) * parts * each / kills)
				waitUntil(t, func() bool { return lines(t, file) >= before+5+k%10 })
				kill(cmd)
			}
			cmd := run()
			waitUntil(t, func() bool { return len(effects(t, file)) >= len(want) })
			kill(cmd)
			got := effects(t, file)
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("%d effects of %d events", len(got), len(want))
			}
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(content)) {
				if !strings.HasPrefix(line, "effect ") && !strings.HasPrefix(line, "mark ") {
					t.Errorf("reported: %s", line)
				}
			}
		})
	}
}

func lines(t *testing.T, file string) int { return len(effects(t, file)) }

// effects returns the ids of the events whose effect is in the file.
func effects(t *testing.T, file string) []string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var ids []string
	for line := range strings.Lines(string(content)) {
		if words := strings.Fields(line); len(words) == 6 && words[0] == "effect" {
			ids = append(ids, words[4])
		}
	}
	return ids
}

func waitUntil(t *testing.T, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("it never came so far")
		}
	}
}
