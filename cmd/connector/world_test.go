package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/members"
	"github.com/smartconnect/connector/internal/policy"
	"github.com/smartconnect/connector/internal/secret"
	"github.com/smartconnect/connector/internal/simulator"
	"github.com/smartconnect/connector/internal/topology"
)

// world is a NATS server with the connector's streams and a simulated b.well,
// for commands to be run against.
type world struct {
	*testing.T
	url     string
	nats    *server.Server
	nc      *nats.Conn
	js      jetstream.JetStream
	log     *events.Log
	keys    members.Keys
	keyFile string
	store   *members.Store
	sim     *simulator.Simulator
	simURL  string
	journal *journal // what services log
}

// journal is a text that many may write to.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func newWorld(t *testing.T, count int) *world {
	t.Helper()
	return newWorldOn(t, count, &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
	}, "")
}

// newWorldOn does it on a server of its own kind. user is what goes before the
// host in the address of who may do everything.
func newWorldOn(t *testing.T, count int, o *server.Options, user string) *world {
	t.Helper()
	w := &world{T: t, keyFile: filepath.Join(t.TempDir(), "key"), journal: &journal{}}
	s, err := server.NewServer(o)
	w.must(err)
	w.nats = s
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server is not ready")
	}
	w.url = strings.Replace(s.ClientURL(), "nats://", "nats://"+user, 1)
	w.nc, w.js, w.log = connect(t, w.url)
	w.must(topology.Apply(t.Context(), w.js, topology.Config{Prefix: events.DefaultPrefix}, false))
	w.must(members.GenerateKeys(w.keyFile))
	w.keys, err = members.LoadKeys(w.keyFile)
	w.must(err)
	w.store, _, _, err = openMembers(t.Context(), w.js, w.keys, nil)
	w.must(err)
	w.sim = simulator.New(simulator.Config{Seed: 3, Members: count})
	sim := httptest.NewServer(w.sim.Handler())
	t.Cleanup(sim.Close)
	w.simURL = sim.URL
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// enrol enrols all simulated members.
func (w *world) enrol() {
	w.Helper()
	for _, m := range w.sim.Members() {
		_, _, err := w.store.Enrol(w.Context(), members.Enrolment{ID: m.ID, RefreshToken: secret.New(m.RefreshToken)})
		w.must(err)
	}
}

// serve runs the service, fast, until the test ends or stop is called. It
// returns when HTTP answers.
func (w *world) serve(change func(*service)) (address string, stop func() error) {
	w.Helper()
	ctx, cancel := context.WithCancel(zerolog.New(w.journal).WithContext(w.Context()))
	at := make(chan net.Addr, 1)
	s := service{
		nc: w.nc, js: w.js, log: w.log, keys: w.keys, bwell: w.simURL, clientKey: secret.New("a2V5"),
		httpListen: "127.0.0.1:0", set: policy.Fast(), fast: true, rate: 10, replica: "test", listening: func(a net.Addr) { at <- a },
	}
	if change != nil {
		change(&s)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.run(ctx) }()
	stop = sync.OnceValue(func() error { cancel(); return <-ended })
	w.Cleanup(func() {
		if err := stop(); err != nil {
			w.Errorf("the service ended with: %v", err)
		}
	})
	select {
	case a := <-at:
		return "http://" + a.String(), stop
	case err := <-ended:
		ended <- err
		w.Fatalf("the service ended at once: %v", err)
	case <-time.After(30 * time.Second):
		w.Fatal("the service never answered")
	}
	return "", nil
}

// get reads a page.
func (w *world) get(url string) (int, string) {
	w.Helper()
	req, err := http.NewRequestWithContext(w.Context(), http.MethodGet, url, nil)
	w.must(err)
	resp, err := http.DefaultClient.Do(req)
	w.must(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	w.must(err)
	return resp.StatusCode, string(body)
}

// until waits for something to come true.
func (w *world) until(what string, ok func() bool) {
	w.Helper()
	for end := time.Now().Add(60 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			w.Fatalf("never %s; log:\n%s", what, w.journal)
		}
	}
}

// token returns the token of a member of the simulator.
func (w *world) token(memberID string) events.MemberToken { return w.keys.Tokenizer().Member(memberID) }

// agenda returns what is asked of a member, empty if nothing is yet.
func (w *world) agenda(memberID string) events.Agenda {
	w.Helper()
	head, err := w.log.Agenda(w.Context(), w.token(memberID))
	w.must(err)
	if head.Snapshot == nil {
		return events.Agenda{}
	}
	return *head.Snapshot
}

// known returns what is known of a member, empty if nothing is yet.
func (w *world) known(memberID string) events.Member {
	w.Helper()
	head, err := w.log.Member(w.Context(), w.token(memberID))
	w.must(err)
	if head.Snapshot == nil {
		return events.Member{}
	}
	return *head.Snapshot
}

// set changes the status of the member's first connection of a type and returns
// the connection's id.
func (w *world) set(m simulator.MemberView, integration, status string) string {
	w.Helper()
	for _, c := range m.Connections {
		if c["integrationType"] == integration {
			id, _ := c["id"].(string)
			w.must(w.sim.SetConnection(m.ID, id, simulator.Row{"status": status, "integrationType": integration}))
			return id
		}
	}
	w.Fatalf("no %s connection", integration)
	return ""
}

// run runs a command as from a terminal.
func (w *world) run(stdin string, args ...string) (code int, out, complaints string) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
	defer cancel()
	var o, e bytes.Buffer
	code = program(ctx, args, streams{strings.NewReader(stdin), &o, &e})
	return code, o.String(), e.String()
}
