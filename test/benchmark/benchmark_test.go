// Package benchmark measures the connector beside the raw limit of what it
// stands on, in the same run: docs/benchmarks.md says how to read the figures.
package benchmark

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/smartconnect/connector/internal/audit"
	"github.com/smartconnect/connector/internal/bwell"
	"github.com/smartconnect/connector/internal/embednats"
	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/poller"
	"github.com/smartconnect/connector/internal/reconnect"
	"github.com/smartconnect/connector/internal/secret"
	"github.com/smartconnect/connector/internal/simulator"
	"github.com/smartconnect/connector/internal/topology"
)

const workers = 32 // requests in flight, of the connector and of the bare loop

// broker starts a server with the connector's streams; connections to it go
// over TCP.
func broker(b *testing.B) (connect func() jetstream.JetStream, log func() *events.Log) {
	b.Helper()
	s, err := embednats.Start(embednats.Config{Dir: b.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.Stop)
	connect = func() jetstream.JetStream {
		nc, err := nats.Connect(s.URL())
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(nc.Close)
		js, err := jetstream.New(nc)
		if err != nil {
			b.Fatal(err)
		}
		return js
	}
	subjects, err := events.NewSubjects("")
	if err != nil {
		b.Fatal(err)
	}
	if err := topology.Apply(b.Context(), connect(), topology.Config{Prefix: subjects.Prefix()}, false); err != nil {
		b.Fatal(err)
	}
	return connect, func() *events.Log { return events.NewLog(connect(), subjects, "") }
}

// crowd is a registry of members with tokens of their own.
type crowd struct {
	ids    []string
	tokens map[events.MemberToken]bwell.Tokens
	names  map[events.MemberToken]string
}

func newCrowd(keys events.Tokenizer, ids []string, token func(i int) secret.Value) crowd {
	c := crowd{ids: ids, tokens: map[events.MemberToken]bwell.Tokens{}, names: map[events.MemberToken]string{}}
	for i, id := range ids {
		m := keys.Member(id)
		c.tokens[m], c.names[m] = static{token(i)}, id
	}
	return c
}

func (c crowd) Watch(ctx context.Context, changed func(events.MemberToken, bool)) error {
	for m := range c.names {
		changed(m, false)
	}
	<-ctx.Done()
	return nil
}

func (c crowd) Identity(_ context.Context, m events.MemberToken) (memberID, incarnation string, err error) {
	return c.names[m], "inc", nil
}

func (c crowd) Tokens(m events.MemberToken) bwell.Tokens { return c.tokens[m] }

type static struct{ token secret.Value }

func (s static) Access(context.Context) (secret.Value, error) { return s.token, nil }

func (s static) Renew(context.Context, secret.Value) (secret.Value, error) { return s.token, nil }

// all holds every shard.
type all struct{}

func (all) Holds(events.MemberToken) (epoch uint64, ok bool) { return 1, true }

func (all) Notify(func()) {}

func tokenizer(b *testing.B) events.Tokenizer {
	b.Helper()
	k, err := events.NewTokenizer(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		b.Fatal(err)
	}
	return k
}

// restless polls everybody as fast as it goes.
func restless() poller.Pace {
	p := poller.FastPace()
	p.Fast, p.FastMost, p.Healthy, p.Dead, p.Tapped = 1, 1, 1, 1, 1
	p.Offers = 24 * time.Hour
	return p
}

// patient polls nobody that does not ask for it.
func patient() poller.Pace {
	p := poller.DefaultPace()
	p.Fast, p.FastMost, p.Healthy, p.Dead = time.Hour, time.Hour, time.Hour, time.Hour
	return p
}

// run runs f until the returned stop.
func run(b *testing.B, f func(context.Context) error) (stop func()) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
}

// await waits until a counter has moved by n, and reports how fast it did.
func await(b *testing.B, read func() int64, n int, unit string) {
	b.Helper()
	from, started := read(), time.Now()
	b.ResetTimer()
	for read()-from < int64(n) {
		time.Sleep(200 * time.Microsecond)
	}
	b.ReportMetric(float64(read()-from)/time.Since(started).Seconds(), unit)
}

// recorder keeps the requests that pass through it.
type recorder struct {
	mu   sync.Mutex
	seen []*http.Request
	body [][]byte
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.seen, r.body = append(r.seen, req), append(r.body, body)
	r.mu.Unlock()
	next := req.Clone(req.Context())
	next.Body = io.NopCloser(bytes.NewReader(body))
	return http.DefaultTransport.RoundTrip(next)
}

// BenchmarkUnchanged polls members that do not change: with the connector, and
// with a bare loop that sends the same requests to the same simulated b.well
// and throws the answers away.
func BenchmarkUnchanged(b *testing.B) {
	const members = 500
	sim := simulator.New(simulator.Config{Seed: 1, Members: members})
	server := httptest.NewServer(sim.Handler())
	defer server.Close()
	var ids []string
	access := make([]secret.Value, 0, members)
	client, err := bwell.New(bwell.Config{BaseURL: server.URL, ClientKey: secret.New("a2V5")})
	if err != nil {
		b.Fatal(err)
	}
	for _, m := range sim.Members() {
		grant, err := client.Refresh(b.Context(), secret.New(m.RefreshToken))
		if err != nil {
			b.Fatal(err)
		}
		ids, access = append(ids, m.ID), append(access, grant.Access)
	}

	b.Run("connector", func(b *testing.B) {
		_, log := broker(b)
		keys := tokenizer(b)
		p, err := poller.New(poller.Config{
			Log: log(), Tokenizer: keys, Registry: newCrowd(keys, ids, func(i int) secret.Value { return access[i] }),
			Upstream: client, Leases: all{}, Rules: poller.DefaultRules(), Pace: restless(), Workers: workers, Rate: 1e9,
		})
		if err != nil {
			b.Fatal(err)
		}
		defer run(b, p.Run)()
		for p.Stats().Unchanged < 5*members { // all are known and quiet
			time.Sleep(time.Millisecond)
		}
		before := p.Stats()
		await(b, func() int64 { return p.Stats().Unchanged }, b.N, "polls/s")
		if after := p.Stats(); after.Committed != before.Committed || after.Failed != before.Failed {
			b.Errorf("something changed or failed: %+v, then %+v", before, after)
		}
	})

	b.Run("bare", func(b *testing.B) {
		r := &recorder{}
		recording, err := bwell.New(bwell.Config{BaseURL: server.URL, ClientKey: secret.New("a2V5"), HTTP: &http.Client{Transport: r}})
		if err != nil {
			b.Fatal(err)
		}
		for _, token := range access {
			if _, err := recording.Observe(b.Context(), token, bwell.Want{}); err != nil {
				b.Fatal(err)
			}
		}
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.MaxIdleConnsPerHost = workers
		plain := &http.Client{Transport: transport}
		var next, done atomic.Int64
		var loops sync.WaitGroup
		b.ResetTimer()
		started := time.Now()
		for range workers {
			loops.Go(func() {
				for next.Add(1) <= int64(b.N) {
					i := int(next.Load()) % len(r.seen)
					req := r.seen[i].Clone(b.Context())
					req.Body = io.NopCloser(bytes.NewReader(r.body[i]))
					req.ContentLength = int64(len(r.body[i]))
					res, err := plain.Do(req)
					if err != nil {
						b.Error(err)
						return
					}
					if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
						b.Errorf("%s, %v", res.Status, err)
					}
					res.Body.Close()
					done.Add(1)
				}
			})
		}
		loops.Wait()
		b.ReportMetric(float64(done.Load())/time.Since(started).Seconds(), "polls/s")
	})
}

// flipping is a b.well in this process whose every answer is news.
type flipping struct {
	ids   []string
	calls atomic.Int64
	still atomic.Bool // nothing changes any more
}

func (f *flipping) Observe(context.Context, secret.Value, bwell.Want) (bwell.Observation, error) {
	n := f.calls.Load()
	if !f.still.Load() {
		n = f.calls.Add(1)
	}
	o := bwell.Observation{
		Connections: bwell.List[bwell.Connection]{Whole: true},
		Tasks:       bwell.List[bwell.Task]{Whole: true},
		Consents:    bwell.List[bwell.Consent]{Whole: true},
	}
	for i, integration := range []string{"PROA", "DIRECT_IAS", "INDIRECT_IAS"} {
		c := bwell.Connection{
			ID: fmt.Sprintf("clinic-%d", i), Status: bwell.Word{Value: "CONNECTED"}, IntegrationType: bwell.Word{Value: integration},
			Category: bwell.Word{Value: "OAUTH"}, Type: bwell.Word{Value: "CLINICAL"}, SyncStatus: bwell.Word{Value: "RETRIEVED"},
		}
		if i == 0 {
			c.StatusUpdated = bwell.Time{Time: time.Unix(1_700_000_000, 0).Add(time.Duration(n) * time.Microsecond)}
		}
		o.Connections.Items = append(o.Connections.Items, c)
	}
	return o, nil
}

func (*flipping) DeletedConnections(context.Context, secret.Value) (bwell.List[bwell.Connection], error) {
	return bwell.List[bwell.Connection]{Whole: true}, nil
}

func (*flipping) Recommendations(context.Context, secret.Value) (bwell.List[bwell.Recommendation], error) {
	return bwell.List[bwell.Recommendation]{Whole: true}, nil
}

// BenchmarkChanged polls members each of whose answers is news, to acknowledged
// facts: with the connector; with a bare loop that commits batches of the same
// messages; and with plain asynchronous publishing, which guards nothing.
func BenchmarkChanged(b *testing.B) {
	const members, inFlight = 4000, 256
	ids := make([]string, members)
	for i := range ids {
		ids[i] = fmt.Sprintf("member-%05d", i)
	}
	var event, head *jetstream.RawStreamMsg // one transaction as the connector stores it

	b.Run("connector", func(b *testing.B) {
		connect, log := broker(b)
		keys := tokenizer(b)
		l := log()
		p, err := poller.New(poller.Config{
			Log: l, Tokenizer: keys, Registry: newCrowd(keys, ids, func(int) secret.Value { return secret.New("t") }),
			Upstream: &flipping{ids: ids}, Leases: all{}, Rules: poller.DefaultRules(), Pace: restless(), Rate: 1e9, Workers: inFlight,
		})
		if err != nil {
			b.Fatal(err)
		}
		stop := run(b, p.Run)
		for p.Stats().Committed < 2*members {
			time.Sleep(time.Millisecond)
		}
		batches, stored := l.Stats().Batches, l.Stats().Transactions
		await(b, func() int64 { return p.Stats().Committed }, b.N, "polls/s")
		b.ReportMetric(float64(l.Stats().Transactions-stored)/float64(max(1, l.Stats().Batches-batches)), "polls/batch")
		stop()
		s, err := connect().Stream(b.Context(), events.Stream)
		if err != nil {
			b.Fatal(err)
		}
		m := keys.Member(ids[7])
		if head, err = s.GetLastMsgForSubject(b.Context(), l.Subjects().Member(m)); err != nil {
			b.Fatal(err)
		}
		if event, err = s.GetMsg(b.Context(), head.Sequence-1); err != nil {
			b.Fatal(err)
		}
	})
	if event == nil {
		b.Skip("the connector's own run shows what to send")
	}

	for _, size := range []int{64, 400} {
		b.Run(fmt.Sprintf("bare/batches of %d", size), func(b *testing.B) {
			connect, _ := broker(b)
			js := connect()
			seqs := make([]uint64, members)
			b.ResetTimer()
			started := time.Now()
			done := 0
			for next := 0; done < b.N; {
				var msgs []*nats.Msg
				first := next
				for range size / 2 {
					i := next % members
					next++
					msgs = append(msgs, again(event, i, "", 0), again(head, i, "Nats-Expected-Last-Subject-Sequence", seqs[i]))
				}
				last := commitBare(b, js.Conn(), msgs)
				for k := range size / 2 {
					seqs[(first+k)%members] = last - uint64(size-2*(k+1))
				}
				done += size / 2
			}
			b.ReportMetric(float64(done)/time.Since(started).Seconds(), "polls/s")
		})
	}

	b.Run("plain", func(b *testing.B) {
		connect, _ := broker(b)
		js, err := jetstream.New(connect().Conn(), jetstream.WithPublishAsyncMaxPending(4096))
		if err != nil {
			b.Fatal(err)
		}
		b.ResetTimer()
		started := time.Now()
		for i := range b.N {
			for _, m := range []*nats.Msg{again(event, i%members, "", 0), again(head, i%members, "", 0)} {
				if _, err := js.PublishMsgAsync(m); err != nil {
					b.Fatal(err)
				}
			}
		}
		<-js.PublishAsyncComplete()
		b.ReportMetric(float64(b.N)/time.Since(started).Seconds(), "polls/s")
	})
}

// again copies a stored message for the i-th member of the same kind.
func again(m *jetstream.RawStreamMsg, i int, guard string, seq uint64) *nats.Msg {
	next := &nats.Msg{Subject: m.Subject + "-" + strconv.Itoa(i), Header: nats.Header{}, Data: m.Data}
	for name, values := range m.Header {
		if name[0] != 'N' {
			next.Header[name] = values
		}
	}
	if guard != "" {
		next.Header[guard] = []string{strconv.FormatUint(seq, 10)}
	}
	return next
}

// commitBare commits one atomic batch and returns the sequence of its last
// message.
func commitBare(b *testing.B, nc *nats.Conn, msgs []*nats.Msg) uint64 {
	b.Helper()
	id := nats.NewInbox()[7:]
	for i, m := range msgs {
		m.Header["Nats-Batch-Id"] = []string{id}
		m.Header["Nats-Batch-Sequence"] = []string{strconv.Itoa(i + 1)}
		if i < len(msgs)-1 {
			if err := nc.PublishMsg(m); err != nil {
				b.Fatal(err)
			}
			continue
		}
		m.Header["Nats-Batch-Commit"] = []string{"1"}
		reply, err := nc.RequestMsg(m, 10*time.Second)
		if err != nil {
			b.Fatal(err)
		}
		var ack struct {
			Seq   uint64          `json:"seq"`
			Error json.RawMessage `json:"error"`
		}
		if err := json.Unmarshal(reply.Data, &ack); err != nil || ack.Error != nil {
			b.Fatalf("%s, %v", reply.Data, err)
		}
		return ack.Seq
	}
	return 0
}

// turning is a b.well of one connection that breaks when told to.
type turning struct {
	flipping
	broken atomic.Bool
	at     atomic.Int64
}

func (t *turning) Observe(ctx context.Context, s secret.Value, w bwell.Want) (bwell.Observation, error) {
	o, err := t.flipping.Observe(ctx, s, w)
	c := &o.Connections.Items[0]
	c.StatusUpdated = bwell.Time{Time: time.Unix(1_700_000_000+t.at.Load(), 0)}
	if t.broken.Load() {
		c.Status.Value = "EXPIRED"
	}
	return o, err
}

func (t *turning) set(broken bool) {
	t.broken.Store(broken)
	t.at.Add(1)
}

// BenchmarkBreakToPrompt measures from the poll that confirms a break to the
// prompt in a subscriber's hands, one at a time, beside a bare relay of two such
// batches: the time that the broker takes for it anyway.
func BenchmarkBreakToPrompt(b *testing.B) {
	b.Run("connector", func(b *testing.B) {
		connect, log := broker(b)
		keys := tokenizer(b)
		up := &turning{}
		up.still.Store(true)
		rules := poller.FastRules()
		rules.Confirm, rules.HoldOpen, rules.Settle = map[events.Status]time.Duration{events.Expired: 1}, 1, 1
		p, err := poller.New(poller.Config{
			Log: log(), Tokenizer: keys, Registry: newCrowd(keys, []string{"member-1"}, func(int) secret.Value { return secret.New("t") }),
			Upstream: up, Leases: all{}, Rules: rules, Pace: patient(), Rate: 1e9,
		})
		if err != nil {
			b.Fatal(err)
		}
		js := connect()
		durable, err := js.Consumer(b.Context(), topology.Events, topology.Decider)
		if err != nil {
			b.Fatal(err)
		}
		policy := reconnect.DefaultPolicy()
		policy.Group = 0 // nothing to wait for
		decider, err := reconnect.New(reconnect.Config{
			Log: log(), Source: durable, DeadLetters: reconnect.Letters{JS: js}, Ledger: audit.NewLedger(js), Policy: policy,
		})
		if err != nil {
			b.Fatal(err)
		}
		prompts := listen(b, connect(), "sc.v1.prompt.>")
		facts := listen(b, connect(), "sc.v1.member.*")
		defer run(b, p.Run)()
		defer run(b, decider.Run)()
		<-facts
		m := keys.Member("member-1")
		look := func() {
			for !p.Look(m) {
				time.Sleep(time.Millisecond)
			}
		}
		var took []time.Duration
		for range b.N {
			up.set(true)
			look()
			<-facts // the break
			started := time.Now()
			look()
			<-facts // its confirmation
			if got := <-prompts; got != "opened" {
				b.Fatalf("told %s", got)
			}
			took = append(took, time.Since(started))
			up.set(false)
			look()
			<-facts
			if got := <-prompts; got != "resolved" {
				b.Fatalf("told %s", got)
			}
		}
		report(b, took)
	})

	b.Run("relay", func(b *testing.B) {
		connect, _ := broker(b)
		js := connect()
		body := bytes.Repeat([]byte("x"), 1500)
		batch := func(kind string, headSeq uint64) []*nats.Msg {
			return []*nats.Msg{
				{Subject: "sc.v1." + kind + ".m.c", Header: nats.Header{}, Data: body[:600]},
				{
					Subject: "sc.v1." + map[string]string{"connection": "member", "prompt": "agenda"}[kind] + ".m", Data: body,
					Header: nats.Header{"Nats-Expected-Last-Subject-Sequence": {strconv.FormatUint(headSeq, 10)}},
				},
			}
		}
		heads, err := js.CreateConsumer(b.Context(), topology.Events, jetstream.ConsumerConfig{
			Durable: "relay", FilterSubject: "sc.v1.member.*", AckPolicy: jetstream.AckExplicitPolicy,
		})
		if err != nil {
			b.Fatal(err)
		}
		var agenda uint64
		second := connect().Conn()
		sub, err := heads.Consume(func(m jetstream.Msg) {
			agenda = commitBare(b, second, batch("prompt", agenda))
			if err := m.Ack(); err != nil {
				b.Error(err)
			}
		})
		if err != nil {
			b.Fatal(err)
		}
		defer func() {
			sub.Drain()
			<-sub.Closed()
		}()
		prompts := listen(b, connect(), "sc.v1.prompt.>")
		var took []time.Duration
		var head uint64
		for range b.N {
			started := time.Now()
			head = commitBare(b, js.Conn(), batch("connection", head))
			<-prompts
			took = append(took, time.Since(started))
		}
		report(b, took)
	})
}

// listen passes on the last word of the type of every message of a subject.
func listen(b *testing.B, js jetstream.JetStream, subject string) <-chan string {
	b.Helper()
	c, err := js.OrderedConsumer(b.Context(), topology.Events, jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}})
	if err != nil {
		b.Fatal(err)
	}
	got := make(chan string, 1024)
	sub, err := c.Consume(func(m jetstream.Msg) {
		what := ""
		if t := m.Headers()["ce-type"]; len(t) > 0 {
			words := bytes.Split([]byte(t[0]), []byte("."))
			what = string(words[len(words)-2])
		}
		got <- what
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(sub.Stop)
	return got
}

func report(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkDev breaks a connection under `connector dev` as a newcomer runs it,
// polls twice a second and a confirmation of one second included, and waits for
// the prompt.
func BenchmarkDev(b *testing.B) {
	program := filepath.Join(b.TempDir(), "connector")
	if out, err := exec.CommandContext(b.Context(), "go", "build", "-o", program, "../../cmd/connector").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	free := func() string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		return l.Addr().String()
	}
	broker, sim := free(), free()
	dev := exec.Command(program, "dev", "--members", "1", "--nats-listen", broker, "--sim-listen", sim, "--http-listen", free())
	if err := dev.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		_ = dev.Process.Signal(os.Interrupt)
		_ = dev.Wait()
	}()
	var nc *nats.Conn
	for nc == nil {
		nc, _ = nats.Connect("nats://" + broker)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		b.Fatal(err)
	}
	stream := func() bool { _, err := js.Consumer(b.Context(), topology.Events, topology.Decider); return err == nil }
	for !stream() {
		time.Sleep(10 * time.Millisecond)
	}
	prompts, facts := listen(b, js, "sc.v1.prompt.>"), listen(b, js, "sc.v1.member.*")
	<-facts // the first look
	var members []struct {
		ID          string
		Connections []struct{ ID, IntegrationType string }
	}
	res, err := http.Get("http://" + sim + "/sim/members")
	if err != nil {
		b.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&members); err != nil {
		b.Fatal(err)
	}
	m := members[0]
	set := func(status string) {
		url := fmt.Sprintf("http://%s/sim/members/%s/connections/%s", sim, m.ID, m.Connections[0].ID)
		body := fmt.Sprintf(`{"status":%q,"integrationType":%q}`, status, m.Connections[0].IntegrationType)
		req, err := http.NewRequestWithContext(b.Context(), http.MethodPut, url, strings.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		res.Body.Close()
	}
	var took []time.Duration
	for b.Loop() {
		started := time.Now()
		set("EXPIRED")
		for <-prompts != "opened" {
		}
		took = append(took, time.Since(started))
		set("CONNECTED")
		for <-prompts != "resolved" {
		}
		time.Sleep(1100 * time.Millisecond) // a flap would be the same episode
	}
	report(b, took)
}
