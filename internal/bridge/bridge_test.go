package bridge

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/smartconnect/connector/internal/embednats"
	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/topology"
)

// world is a server with the stream, and a folder for config and secrets.
type world struct {
	*testing.T
	server *embednats.Server
	js     jetstream.JetStream
	dir    string
	log    *safeBuffer
	sent   int
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	w := &world{T: t, dir: t.TempDir(), log: &safeBuffer{}}
	var err error
	w.server, err = embednats.Start(embednats.Config{Dir: t.TempDir()})
	w.must(err)
	t.Cleanup(w.server.Stop)
	_, w.js = w.connect()
	w.must(topology.Apply(t.Context(), w.js, topology.Config{Prefix: events.DefaultPrefix}, false))
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) connect() (*nats.Conn, jetstream.JetStream) {
	w.Helper()
	nc, err := w.server.Connect()
	w.must(err)
	w.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	w.must(err)
	return nc, js
}

// secret makes a secret in a file of the folder.
func (w *world) secret(name string) string {
	w.Helper()
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	text := "whsec_" + base64.StdEncoding.EncodeToString(key)
	w.must(os.WriteFile(filepath.Join(w.dir, name), []byte(text+"\n"), 0o600))
	return text
}

// config loads a config; delays in it are short.
func (w *world) config(endpoints ...string) Config {
	w.Helper()
	path := filepath.Join(w.dir, "bridge.yaml")
	w.must(os.WriteFile(path, []byte("endpoints:\n"+strings.Join(endpoints, "")), 0o600))
	c, err := Load(path)
	w.must(err)
	c.MaxDelay = 30 * time.Millisecond
	return c
}

// start runs a bridge until the test ends or stop is called.
func (w *world) start(js jetstream.JetStream, c Config) (b *Bridge, stop func()) {
	w.Helper()
	subjects, err := events.NewSubjects("")
	w.must(err)
	b, err = New(js, subjects, c, os.LookupEnv)
	w.must(err)
	b.slack = time.Second
	ctx, cancel := context.WithCancel(zerolog.New(w.log).WithContext(w.Context()))
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			w.Errorf("the bridge ended with: %v", err)
		}
	})
	w.Cleanup(stop)
	return b, stop
}

// publish stores an event and returns its id.
func (w *world) publish(typ string, change ...func(*nats.Msg)) string {
	w.Helper()
	w.sent++
	id := fmt.Sprintf("event-%03d", w.sent)
	m := nats.NewMsg("sc.v1." + strings.Split(typ, ".")[1] + ".m1.c1")
	for name, value := range map[string]string{
		"ce-specversion": "1.0", "ce-id": id, "ce-source": "urn:smartconnect:connector", "ce-type": typ, "ce-subject": "m1.c1",
		"ce-time": "2026-11-24T10:00:00Z", "ce-recordedtime": "2026-11-24T10:00:01Z", "ce-sequence": fmt.Sprint(w.sent),
		"ce-datacontenttype": "application/json", "content-type": "application/json", "ce-later": "kept",
	} {
		m.Header[name] = []string{value}
	}
	m.Data = []byte(prompt)
	for _, f := range change {
		f(m)
	}
	_, err := w.js.PublishMsg(w.Context(), m)
	w.must(err)
	return id
}

const opened = "smartconnect.prompt.opened.v1"

// prompt is data that a later version may write: it has fields that this one
// does not know.
const prompt = `{"memberId":"member-4711","connectionId":"clinic","promptId":"c1.1","action":"oauth","reason":"expired","urgency":"required","notify":true,` +
	`"connectionStatus":"EXPIRED","openedAt":"2026-11-24T10:00:00Z","reminder":0,"flapCount":0,"note":"<é>","big":12345678901234567890}`

// request is one that a receiver got.
type request struct {
	header http.Header
	body   []byte
}

func (r request) id() string { return r.header.Get("Webhook-Id") }

// receiver is an endpoint. answer says what to reply to the n-th request; nil
// means 204.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	got    []request
	answer func(n int, w http.ResponseWriter, r *http.Request)
}

func (w *world) receiver(answer func(n int, w http.ResponseWriter, r *http.Request)) *receiver {
	w.Helper()
	r := &receiver{answer: answer}
	r.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		r.got = append(r.got, request{req.Header.Clone(), body})
		n := len(r.got)
		answer := r.answer
		r.mu.Unlock()
		if answer == nil {
			rw.WriteHeader(http.StatusNoContent)
			return
		}
		answer(n, rw, req)
	}))
	r.StartTLS()
	w.Cleanup(r.Close)
	w.must(os.WriteFile(filepath.Join(w.dir, "ca.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate().Raw}), 0o600))
	return r
}

func (r *receiver) requests() []request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

func (r *receiver) ids() []string {
	var ids []string
	for _, q := range r.requests() {
		ids = append(ids, q.id())
	}
	return ids
}

func (r *receiver) become(answer func(n int, w http.ResponseWriter, r *http.Request)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

func status(code int) func(int, http.ResponseWriter, *http.Request) {
	return func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func (w *world) until(what string, ok func() bool) {
	w.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.Fatalf("never %s; log:\n%s", what, w.log)
		}
	}
}

// endpoint writes one of a config.
func at(name, url string, more ...string) string {
	return fmt.Sprintf("  - {name: %s, url: %q, start: all, allowPrivate: true, ca: ca.pem, types: [smartconnect.prompt.*], secrets: [{file: secret}]%s}\n",
		name, url, strings.Join(append([]string{""}, more...), ", "))
}

// byHand computes a signature by the words of the specification, without the
// library.
func byHand(t *testing.T, secret string, r request) string {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(r.header.Get("webhook-id") + "." + r.header.Get("webhook-timestamp") + "."))
	mac.Write(r.body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func verify(t *testing.T, secret string, r request) error {
	t.Helper()
	hook, err := webhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	return hook.Verify(r.body, r.header)
}

func TestDeliversSigned(t *testing.T) {
	w := newWorld(t)
	secret, r := w.secret("secret"), w.receiver(nil)
	id := w.publish(opened)
	b, _ := w.start(w.js, w.config(at("portal", r.URL+"/hook?x=1")))
	w.until("delivered", func() bool { return len(r.ids()) == 1 })
	q := r.requests()[0]
	if err := verify(t, secret, q); err != nil {
		t.Error(err)
	}
	if want := byHand(t, secret, q); q.header.Get("webhook-signature") != want {
		t.Errorf("signature %s, by hand %s", q.header.Get("webhook-signature"), want)
	}
	// What was changed on the way is found out.
	for name, change := range map[string]func(*request){
		"body":      func(q *request) { q.body = append(slices.Clone(q.body), ' ') },
		"id":        func(q *request) { q.header.Set("webhook-id", "other") },
		"timestamp": func(q *request) { q.header.Set("webhook-timestamp", fmt.Sprint(time.Now().Unix()+1)) },
	} {
		changed := request{q.header.Clone(), q.body}
		change(&changed)
		if verify(t, secret, changed) == nil {
			t.Errorf("another %s passes", name)
		}
	}
	if q.id() != id || q.header.Get("Content-Type") != "application/cloudevents+json" {
		t.Errorf("headers %v", q.header)
	}
	var got map[string]json.RawMessage
	if err := json.Unmarshal(q.body, &got); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"specversion": `"1.0"`, "id": `"` + id + `"`, "type": `"` + opened + `"`, "sequence": `"1"`, "subject": `"m1.c1"`,
		"datacontenttype": `"application/json"`, "later": `"kept"`,
		"data": prompt,
	} {
		if string(got[name]) != want {
			t.Errorf("%s is %s, want %s", name, got[name], want)
		}
	}
	w.until("counted", func() bool { return b.Stats()[0].Delivered == 1 })
}

// An endpoint that is down for a while loses nothing, and what came later waits.
func TestDownThenUp(t *testing.T) {
	w := newWorld(t)
	w.secret("secret")
	r := w.receiver(status(http.StatusServiceUnavailable))
	b, _ := w.start(w.js, w.config(at("portal", r.URL)))
	var want []string
	for range 5 {
		want = append(want, w.publish(opened))
	}
	w.until("tried thrice", func() bool { return len(r.ids()) >= 3 })
	if ids := slices.Compact(r.ids()); len(ids) != 1 || ids[0] != want[0] {
		t.Errorf("tried %v, want the first until it is taken", ids)
	}
	w.until("said to be failing", func() bool {
		rows, err := List(t.Context(), w.js, w.config(at("portal", r.URL)))
		w.must(err)
		return rows[0].State == Failing && rows[0].LastFailure == ServerError && rows[0].Status == 503 && rows[0].Pending == 5 && !rows[0].FailingSince.IsZero()
	})
	r.become(nil)
	w.until("all delivered", func() bool { return b.Stats()[0].Delivered == 5 })
	if ids := slices.Compact(r.ids()); !slices.Equal(ids, want) {
		t.Errorf("in the order %v, want %v", ids, want)
	}
	w.until("said to be well", func() bool {
		rows, err := List(t.Context(), w.js, w.config(at("portal", r.URL)))
		w.must(err)
		return rows[0].State == OK && rows[0].Pending == 0 && rows[0].FailingSince.IsZero() && !rows[0].LastDelivery.IsZero()
	})
}

// An endpoint that fails is said to fail as long as a bridge tries, and to be
// unread when its bridge was killed, whatever it left in hand.
func TestAnEndpointWithoutABridgeIsUnread(t *testing.T) {
	w := newWorld(t)
	w.secret("secret")
	r := w.receiver(status(http.StatusServiceUnavailable))
	c := w.config(at("portal", r.URL), at("idle", r.URL))
	c.Endpoints[0].Timeout = time.Second // so that what is left in hand comes soon
	c.Endpoints[1].Types = []string{"smartconnect.storm.*"}
	row := func() Row {
		t.Helper()
		rows, err := List(t.Context(), w.js, c)
		w.must(err)
		if (rows[1].State == Unread) != (rows[0].State == Unread) || rows[1].State == Failing {
			t.Errorf("who gets nothing: %+v", rows[1])
		}
		return rows[0]
	}
	nc, js := w.connect()
	_, stop := w.start(js, c)
	w.publish(opened)
	w.until("said to be failing", func() bool { return row().State == Failing })
	for tries := len(r.ids()); len(r.ids()) < tries+20; {
		if now := row(); now.State != Failing || now.Pending != 1 {
			t.Fatalf("while it is tried: %+v", now)
		}
	}
	nc.Close() // as kill -9 does
	now := row()
	if now.State != Unread || now.Pending != 1 || now.LastFailure != ServerError || now.FailingSince.IsZero() {
		t.Errorf("killed: %+v", now)
	}
	stop()
	// Another takes over; it waits for an hour before the next try, and is there.
	c.MaxDelay = time.Hour
	r.become(status(http.StatusNotFound))
	tried := len(r.ids())
	w.start(w.js, c)
	w.until("tried by another", func() bool { return len(r.ids()) > tried })
	w.until("said to be failing again", func() bool { return row().LastFailure == Refused })
	if now := row(); now.State != Failing {
		t.Errorf("it waits for its next try: %+v", now)
	}
}

// What the stream drops before an endpoint takes it is a gap, and said to be one:
// in the log, in the numbers and in the list. What it keeps is none.
func TestAGapIsTold(t *testing.T) {
	w := newWorld(t)
	w.secret("secret")
	r := w.receiver(nil)
	c := w.config(at("portal", r.URL))
	b, stop := w.start(w.js, c)
	for range 3 {
		w.publish(opened)
	}
	w.until("three delivered", func() bool { return b.Stats()[0].Delivered == 3 })

	// As many as the stream keeps: the oldest was taken before it went.
	r.become(status(http.StatusServiceUnavailable))
	for range 64 {
		w.publish(opened)
	}
	r.become(nil)
	w.until("all delivered", func() bool { return b.Stats()[0].Delivered == 3+64 })
	if s := b.Stats()[0]; s.Gaps != 0 {
		t.Errorf("nothing was lost: %+v\n%s", s, w.log)
	}

	// More, on one subject of two, while the endpoint takes nothing.
	r.become(status(http.StatusServiceUnavailable))
	other := func(m *nats.Msg) { m.Subject, m.Header["ce-subject"] = "sc.v1.prompt.m2.c1", []string{"m2.c1"} }
	for n := range 70 {
		w.publish(opened)
		if n < 3 {
			w.publish(opened, other, func(m *nats.Msg) { m.Header["ce-sequence"] = []string{fmt.Sprint(n + 1)} })
		}
	}
	r.become(nil)
	row := func() Row {
		rows, err := List(t.Context(), w.js, c)
		w.must(err)
		return rows[0]
	}
	w.until("all that is kept delivered", func() bool { return row().Pending == 0 })
	if s := b.Stats()[0]; s.Gaps != 1 {
		t.Errorf("%+v\n%s", s, w.log)
	}
	if n := strings.Count(w.log.String(), "events were gone before the endpoint took them"); n != 1 || !strings.Contains(w.log.String(), `"subject":"sc.v1.prompt.m1.c1"`) {
		t.Errorf("said %d times:\n%s", n, w.log)
	}
	if r := row(); r.Gaps != 1 || r.LastGap.IsZero() {
		t.Errorf("listed: %+v", r)
	}
	stop()

	// And while nobody runs a bridge: it is found when one does.
	for range 70 {
		w.publish(opened)
	}
	b, _ = w.start(w.js, c)
	w.until("what is kept delivered", func() bool { return b.Stats()[0].Delivered == 64 })
	if s := b.Stats()[0]; s.Gaps != 1 || row().Gaps != 2 {
		t.Errorf("%+v, listed %+v\n%s", s, row(), w.log)
	}
	// What went before there was an endpoint, nobody promised it.
	late, _ := w.start(w.js, w.config(at("late", r.URL)))
	w.until("all that is kept delivered", func() bool { return late.Stats()[0].Delivered == 64+3 })
	if s := late.Stats()[0]; s.Gaps != 0 {
		t.Errorf("%+v\n%s", s, w.log)
	}
}

// A process that dies between the post and the acknowledgement: the event comes
// again with the same webhook-id, and nothing overtakes it.
func TestDiesBeforeItAcknowledges(t *testing.T) {
	w := newWorld(t)
	w.secret("secret")
	nc, js := w.connect()
	r := w.receiver(nil)
	r.become(func(n int, rw http.ResponseWriter, _ *http.Request) {
		if n == 2 {
			nc.Close() // nothing that it says from now on reaches the broker
		}
		rw.WriteHeader(http.StatusNoContent)
	})
	var want []string
	for range 4 {
		want = append(want, w.publish(opened))
	}
	c := w.config(at("portal", r.URL, "timeout: 1s"))
	_, stop := w.start(js, c)
	w.until("two delivered", func() bool { return len(r.ids()) == 2 })
	stop()
	w.start(w.js, c)
	w.until("the rest delivered", func() bool { return len(r.ids()) == 5 })
	if ids := r.ids(); !slices.Equal(ids, []string{want[0], want[1], want[1], want[2], want[3]}) {
		t.Errorf("delivered %v", ids)
	}
}

// A stop that is asked for ends nothing in the middle: what is in hand is
// acknowledged and not sent twice.
func TestStopFinishesWhatIsInHand(t *testing.T) {
	w := newWorld(t)
	w.secret("secret")
	inHand, finish := make(chan struct{}), make(chan struct{})
	r := w.receiver(nil)
	r.become(func(n int, rw http.ResponseWriter, _ *http.Request) {
		if n == 1 {
			close(inHand)
			<-finish
		}
		rw.WriteHeader(http.StatusOK)
	})
	first, second := w.publish(opened), w.publish(opened)
	c := w.config(at("portal", r.URL))
	_, stop := w.start(w.js, c)
	<-inHand
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	close(finish)
	<-stopped
	w.start(w.js, c)
	w.until("the second delivered", func() bool { return len(r.ids()) >= 2 })
	if ids := r.ids(); !slices.Equal(ids, []string{first, second}) {
		t.Errorf("delivered %v", ids)
	}
}

// Two processes share one endpoint and keep its order.
func TestTwoBridgesKeepTheOrder(t *testing.T) {
	w := newWorld(t)
	w.secret("secret")
	r := w.receiver(func(n int, rw http.ResponseWriter, _ *http.Request) {
		if n%4 == 0 {
			rw.WriteHeader(http.StatusInternalServerError)
			return
		}
		rw.WriteHeader(http.StatusNoContent)
	})
	var want []string
	for range 40 {
		want = append(want, w.publish(opened))
	}
	c := w.config(at("portal", r.URL))
	one, _ := w.start(w.js, c)
	_, other := w.connect()
	two, _ := w.start(other, c)
	w.until("all delivered", func() bool { return one.Stats()[0].Delivered+two.Stats()[0].Delivered == 40 })
	if ids := slices.Compact(r.ids()); !slices.Equal(ids, want) {
		t.Errorf("in the order %v", ids)
	}
}

func TestRotation(t *testing.T) {
	w := newWorld(t)
	old, r := w.secret("secret"), w.receiver(nil)
	fresh := w.secret("fresh")
	w.publish(opened)
	w.start(w.js, w.config(strings.Replace(at("portal", r.URL), "[{file: secret}]", "[{file: fresh}, {file: secret}]", 1)))
	w.until("delivered", func() bool { return len(r.ids()) == 1 })
	q := r.requests()[0]
	if want := byHand(t, fresh, q) + " " + byHand(t, old, q); q.header.Get("webhook-signature") != want {
		t.Errorf("signatures %s, want %s", q.header.Get("webhook-signature"), want)
	}
	for name, secret := range map[string]string{"old": old, "new": fresh} {
		if err := verify(t, secret, q); err != nil {
			t.Errorf("who knows the %s secret: %v", name, err)
		}
	}
	if verify(t, w.secret("other"), q) == nil {
		t.Error("any secret passes")
	}
}

// What one endpoint refuses holds up that endpoint alone.
func TestEndpointsAreIsolated(t *testing.T) {
	w := newWorld(t)
	w.secret("secret")
	r := w.receiver(nil)
	r.become(func(_ int, rw http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/bad" {
			rw.WriteHeader(http.StatusBadRequest)
		}
	})
	b, _ := w.start(w.js, w.config(at("bad", r.URL+"/bad"), at("good", r.URL+"/good")))
	for range 5 {
		w.publish(opened)
	}
	w.until("good has all, bad was tried", func() bool { s := b.Stats(); return s[1].Delivered == 5 && s[0].Failed >= 2 })
	if s := b.Stats(); s[0].Delivered != 0 || s[0].FailingSince.IsZero() || !s[1].FailingSince.IsZero() {
		t.Errorf("%+v", s)
	}
}

func TestFilter(t *testing.T) {
	w := newWorld(t)
	w.secret("secret")
	r := w.receiver(nil)
	replayed := func(m *nats.Msg) { m.Header["ce-replay"] = []string{"r1"} }
	a := w.publish(opened)
	w.publish("smartconnect.prompt.reminded.v1")
	w.publish("smartconnect.connection.confirmed.v1")
	copied := w.publish(opened, replayed)
	w.publish(opened, func(m *nats.Msg) { m.Header["ce-specversion"] = []string{"0.3"} })
	later := w.publish("smartconnect.prompt.opened.v2")
	z := w.publish(opened)
	only := func(name string, types string, more ...string) string {
		return strings.Replace(at(name, r.URL+"/"+name, more...), "smartconnect.prompt.*", types, 1)
	}
	b, _ := w.start(w.js, w.config(only("one", "smartconnect.prompt.opened.v1"), only("all", "smartconnect.prompt.opened.*", "replays: true")))
	w.until("all read", func() bool {
		rows, err := List(t.Context(), w.js, b.config)
		w.must(err)
		return rows[0].State == OK && rows[1].State == OK && rows[0].Pending == 0 && rows[1].Pending == 0
	})
	if s := b.Stats(); s[0].Delivered != 2 || s[0].Skipped != 2 || s[1].Delivered != 4 || s[1].Skipped != 1 {
		t.Errorf("%+v; log:\n%s", s, w.log)
	}
	counts, marked := map[string]int{}, 0
	for _, q := range r.requests() {
		counts[q.id()]++
		if bytes.Contains(q.body, []byte(`"replay":"r1"`)) {
			marked++
		}
	}
	if counts[a] != 2 || counts[z] != 2 || counts[copied] != 1 || counts[later] != 1 || len(counts) != 4 || marked != 1 {
		t.Errorf("%v, %d marked", counts, marked)
	}
}

// Only the heads of who was forgotten are passed over in silence. Whatever else
// is no event is said and counted, and never signed.
func TestWhatIsNoEvent(t *testing.T) {
	w := newWorld(t)
	w.secret("secret")
	r := w.receiver(nil)
	raw := func(subject, body string) {
		t.Helper()
		_, err := w.js.Publish(t.Context(), subject, []byte(body))
		w.must(err)
	}
	body := func(text string) func(*nats.Msg) { return func(m *nats.Msg) { m.Data = []byte(text) } }
	raw("sc.v1.member.m1", "") // forgotten
	raw("sc.v1.agenda.m1", "")
	noEvents := 0
	for _, f := range []func(){
		func() { raw("sc.v1.prompt.m1.c1", "") },
		func() { raw("sc.v1.prompt.m1.c1", "{bad") },
		func() { raw("sc.v1.member.m1", "{}") },
		func() { w.publish(opened, body("")) },
		func() { w.publish(opened, body("{}")) },
		func() { w.publish(opened, body("[]")) },
		func() { w.publish(opened, body(strings.Replace(prompt, `"promptId":"c1.1",`, "", 1))) },
		func() { w.publish(opened, body(strings.Replace(prompt, `"notify":true`, `"notify":"yes"`, 1))) },
		func() { w.publish(opened, func(m *nats.Msg) { m.Header["ce-sequence"] = []string{"0"} }) },
		func() { w.publish("smartconnect.prompt.opened.v2", body("[]")) },
	} {
		f()
		noEvents++
	}
	w.publish("smartconnect.prompt.reminded.v1", body("{}")) // nobody wants it
	later := w.publish("smartconnect.prompt.opened.v2", body("{}"))
	last := w.publish(opened)
	b, stop := w.start(w.js, w.config(strings.Replace(at("portal", r.URL), "smartconnect.prompt.*", "smartconnect.prompt.opened.*, smartconnect.*.snapshot.v1", 1)))
	w.until("the last delivered", func() bool { return b.Stats()[0].Delivered == 2 })
	stop()
	if ids := r.ids(); !slices.Equal(ids, []string{later, last}) {
		t.Errorf("delivered %v, want %v", ids, []string{later, last})
	}
	if s := b.Stats()[0]; s.Skipped != int64(noEvents) || strings.Count(w.log.String(), "no event, not sent") != noEvents {
		t.Errorf("%d were skipped, want %d; log:\n%s", s.Skipped, noEvents, w.log)
	}
	if strings.Contains(w.log.String(), "member-4711") {
		t.Errorf("the log quotes a body:\n%s", w.log)
	}
}

func TestStart(t *testing.T) {
	w := newWorld(t)
	w.secret("secret")
	r := w.receiver(nil)
	w.publish(opened)
	c := w.config(strings.Replace(at("portal", r.URL), "start: all", "start: new", 1), strings.Replace(at("ago", r.URL+"/ago"), "start: all", "start: 1h", 1))
	b, stop := w.start(w.js, c)
	w.until("the old one at the other", func() bool { return b.Stats()[1].Delivered == 1 })
	w.publish(opened)
	w.until("the new one", func() bool { s := b.Stats(); return s[0].Delivered == 1 && s[1].Delivered == 2 })
	stop()
	// It is new once. What came while nobody ran is sent; settings may change.
	missed := w.publish(opened)
	c.Endpoints[0].Timeout, c.Endpoints[0].Types = 3*time.Second, []string{"smartconnect.prompt.*", "smartconnect.storm.*"}
	b, _ = w.start(w.js, c)
	w.until("what was missed", func() bool { return b.Stats()[0].Delivered == 1 })
	durable, err := w.js.Consumer(t.Context(), events.Stream, "bridge-portal")
	w.must(err)
	if config := durable.CachedInfo().Config; config.AckWait != 4*time.Second || !slices.Equal(config.FilterSubjects, []string{"sc.v1.prompt.*.*", "sc.v1.storm"}) || config.MaxAckPending != 1 {
		t.Errorf("%+v", config)
	}
	if last := r.ids(); last[len(last)-1] != missed && last[len(last)-2] != missed {
		t.Errorf("%v", last)
	}
}

// A receiver that is gone is left in peace until somebody resumes it, also over
// restarts and new settings; then it gets what waited.
func TestGone(t *testing.T) {
	w := newWorld(t)
	w.secret("secret")
	r := w.receiver(status(http.StatusGone))
	id := w.publish(opened)
	second := w.publish(opened)
	c := w.config(at("portal", r.URL))
	_, stop := w.start(w.js, c)
	state := func() Row {
		rows, err := List(t.Context(), w.js, c)
		w.must(err)
		return rows[0]
	}
	w.until("paused", func() bool { return state().State == Paused })
	w.until("said loudly", func() bool { return strings.Contains(w.log.String(), "connector bridge resume") })
	stop()
	if !strings.Contains(w.log.String(), `"level":"error"`) {
		t.Errorf("not said as an error: %s", w.log)
	}
	c.Endpoints[0].Timeout = 2 * time.Second
	r.become(nil)
	b, _ := w.start(w.js, c)
	w.until("looked at", func() bool { return b.Stats()[0].Paused })
	if row := state(); row.State != Paused || row.Pending != 2 || row.LastFailure != Gone || len(r.ids()) != 1 {
		t.Errorf("%+v after %v", row, r.ids())
	}
	w.must(Resume(t.Context(), w.js, c, "portal"))
	w.until("both delivered", func() bool { return b.Stats()[0].Delivered == 2 })
	if ids := r.ids(); !slices.Equal(ids, []string{id, id, second}) {
		t.Errorf("%v", ids)
	}
	if err := Resume(t.Context(), w.js, c, "nobody"); err == nil || !strings.Contains(err.Error(), "portal") {
		t.Errorf("%v", err)
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	w := newWorld(t)
	w.secret("secret")
	elsewhere := w.receiver(nil)
	r := w.receiver(func(_ int, rw http.ResponseWriter, q *http.Request) {
		http.Redirect(rw, q, elsewhere.URL, http.StatusTemporaryRedirect)
	})
	w.publish(opened)
	b, _ := w.start(w.js, w.config(at("portal", r.URL)))
	w.until("tried twice", func() bool { return b.Stats()[0].Failed >= 2 })
	if len(elsewhere.ids()) != 0 || b.Stats()[0].Delivered != 0 {
		t.Error("it was followed")
	}
	if h := b.endpoints[0].now; h.LastFailure != Redirected {
		t.Errorf("%+v", h)
	}
}

// Addresses that are not public are refused when the connection is made, so
// that a name that leads there is refused too.
func TestPrivateAddressIsRefused(t *testing.T) {
	w := newWorld(t)
	w.secret("secret")
	r := w.receiver(nil)
	w.publish(opened)
	_, port, _ := strings.Cut(strings.TrimPrefix(r.URL, "https://"), ":")
	c := w.config(strings.Replace(at("portal", "https://localhost:"+port), "allowPrivate: true, ", "", 1))
	b, _ := w.start(w.js, c)
	w.until("tried twice", func() bool { return b.Stats()[0].Failed >= 2 })
	if !strings.Contains(w.log.String(), `"why":"address_refused"`) || len(r.ids()) != 0 {
		t.Errorf("%v\n%s", r.ids(), w.log)
	}
}

// Nothing that is logged says where events go, what signs them, or what is in
// them.
func TestLogsTellNoSecrets(t *testing.T) {
	w := newWorld(t)
	secret := w.secret("secret")
	r := w.receiver(func(n int, rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Location", "https://s3cret.example/")
		rw.WriteHeader([]int{500, 302, 400, 429, 204}[min(n, 5)-1])
		_, _ = io.WriteString(rw, "s3cret")
	})
	dead := w.receiver(nil)
	dead.Close()
	w.receiver(nil) // its certificate is trusted; httptest has one for all
	w.publish(opened)
	b, stop := w.start(w.js, w.config(at("portal", r.URL+"/s3cret?token=s3cret"), at("dead", dead.URL+"/s3cret"),
		at("name", "https://s3cret.invalid/"), at("speech", strings.Replace(r.URL, "https:", "http:", 1)+"/s3cret")))
	w.until("all tried", func() bool {
		s := b.Stats()
		return s[0].Delivered == 1 && s[1].Failed > 0 && s[2].Failed > 0 && s[3].Failed > 0
	})
	stop()
	logged := w.log.String()
	for _, no := range []string{"s3cret", secret, strings.TrimPrefix(secret, "whsec_")[:12], "member-4711", "127.0.0.1", "https:", "http:"} {
		if strings.Contains(logged, no) {
			t.Errorf("logged: %s", no)
		}
	}
	for _, why := range []string{`"server_error"`, `"redirected"`, `"refused"`, `"throttled"`, `"connection"`, `"dns"`, `"endpoint":"portal"`} {
		if !strings.Contains(logged, why) {
			t.Errorf("not logged: %s\n%s", why, logged)
		}
	}
}

func TestTest(t *testing.T) {
	w := newWorld(t)
	secret := w.secret("secret")
	r := w.receiver(nil)
	c := w.config(at("portal", r.URL))
	got, err := c.Test(t.Context(), "portal", os.LookupEnv)
	if err != nil || got.Why != Delivered || got.Status != 204 {
		t.Errorf("%+v, %v", got, err)
	}
	q := r.requests()[0]
	if err := verify(t, secret, q); err != nil || q.id() != got.ID {
		t.Errorf("%v: %s %s", err, q.id(), q.body)
	}
	// It is an event of the contract, made up and over.
	var e events.Event
	if err := json.Unmarshal(q.body, &e); err != nil || e.ID != got.ID || e.Type != events.PromptOpened || got.Type != e.Type || e.Source != events.TestSource || e.Expires.After(time.Now()) {
		t.Errorf("%v: %s", err, q.body)
	}
	r.become(status(401))
	if got, err := c.Test(t.Context(), "portal", os.LookupEnv); err != nil || got.Why != Refused || got.Status != 401 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := c.Test(t.Context(), "nobody", os.LookupEnv); err == nil {
		t.Error("there is no such endpoint")
	}
}
