// Package test runs the whole program as its users do: processes, a real NATS,
// a simulated b.well over HTTP.
package test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/smartconnect/connector/internal/embednats"
	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/members"
	"github.com/smartconnect/connector/internal/secret"
	"github.com/smartconnect/connector/internal/simulator"
	"github.com/smartconnect/connector/internal/topology"
)

// long reports whether the long forms of the tests are wanted.
func long() bool { return os.Getenv("CONNECTOR_TEST") == "long" }

// world is a NATS server, a simulated b.well with enrolled members, and a built
// connector to run against them.
type world struct {
	t        *testing.T
	url      string
	js       jetstream.JetStream
	log      *events.Log
	keys     members.Keys
	keyFile  string
	sim      *simulator.Simulator
	simURL   string
	program  string
	journals *journal
}

// journal collects what processes write to their logs.
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
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	w := &world{t: t, program: filepath.Join(t.TempDir(), "connector"), keyFile: filepath.Join(t.TempDir(), "key"), journals: &journal{}}
	build := exec.Command("go", "build", "-o", w.program, "../cmd/connector")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	server, err := embednats.Start(embednats.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	must(err)
	t.Cleanup(server.Stop)
	w.url = server.URL()
	nc, err := nats.Connect(w.url)
	must(err)
	t.Cleanup(nc.Close)
	w.js, err = jetstream.New(nc)
	must(err)
	subjects, err := events.NewSubjects("")
	must(err)
	w.log = events.NewLog(w.js, subjects, "")
	must(topology.Apply(t.Context(), w.js, topology.Config{Prefix: subjects.Prefix()}, false))
	must(members.GenerateKeys(w.keyFile))
	w.keys, err = members.LoadKeys(w.keyFile)
	must(err)

	w.sim = simulator.New(simulator.Config{Seed: 7, Members: count})
	sim := httptest.NewServer(w.sim.Handler())
	t.Cleanup(sim.Close)
	w.simURL = sim.URL
	bucket, err := w.js.KeyValue(t.Context(), topology.Members)
	must(err)
	store := members.NewStore(bucket, w.keys)
	for _, m := range w.sim.Members() {
		_, _, err := store.Enrol(t.Context(), members.Enrolment{ID: m.ID, RefreshToken: secret.New(m.RefreshToken)})
		must(err)
	}
	return w
}

// start runs a connector; it is killed at the end of the test if it still runs.
func (w *world) start(name string) *exec.Cmd {
	w.t.Helper()
	cmd := exec.Command(w.program, "run", "--fast", "--nats", w.url, "--bwell", w.simURL, "--key-file", w.keyFile,
		"--http-listen", "", "--replica", name, "--client-key", "a2V5")
	cmd.Stdout, cmd.Stderr = w.journals, w.journals
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return cmd
}

func kill(cmd *exec.Cmd) {
	_ = cmd.Process.Signal(syscall.SIGKILL)
	_ = cmd.Wait()
}

// stir changes something of some member, as b.well would.
func (w *world) stir(rng *rand.Rand) {
	all := w.sim.Members()
	m := all[rng.IntN(len(all))]
	c := m.Connections[rng.IntN(len(m.Connections))]
	id, _ := c["id"].(string)
	if rng.IntN(12) == 0 {
		provision := "deny"
		if m.Consent == "deny" {
			provision = "permit"
		}
		_ = w.sim.SetConsent(m.ID, provision)
		return
	}
	status := []string{"CONNECTED", "CONNECTED", "EXPIRED", "EXPIRED", "DISCONNECTED", "ERROR"}[rng.IntN(6)]
	if err := w.sim.SetConnection(m.ID, id, simulator.Row{"status": status, "integrationType": c["integrationType"]}); err != nil {
		w.t.Error(err)
	}
}

// settle waits until the heads equal the simulator's truth and every prompt is
// where it should be; what is still missing when ctx ends is the failure.
func (w *world) settle(ctx context.Context) {
	w.t.Helper()
	for {
		wrong := w.differences(ctx)
		if len(wrong) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			w.t.Fatalf("after all this, still wrong:\n%s\nlog:\n%s", strings.Join(wrong, "\n"), lastLines(w.journals.String(), 30))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func lastLines(s string, n int) string {
	lines := strings.Split(s, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func (w *world) differences(ctx context.Context) []string {
	var wrong []string
	for _, truth := range w.sim.Members() {
		m := w.keys.Tokenizer().Member(truth.ID)
		known, err := w.log.Member(ctx, m)
		if err != nil || known.Snapshot == nil {
			wrong = append(wrong, fmt.Sprintf("%s: no head: %v", truth.ID, err))
			continue
		}
		asked, err := w.log.Agenda(ctx, m)
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("%s: no agenda: %v", truth.ID, err))
			continue
		}
		if got := string(known.Snapshot.Effective()); got != truth.Consent {
			wrong = append(wrong, fmt.Sprintf("%s: consent %q, truth %q", truth.ID, got, truth.Consent))
		}
		for _, row := range truth.Connections {
			i := slices.IndexFunc(known.Snapshot.Connections, func(c events.MemberConnection) bool {
				return c.ConnectionID == row["id"] && string(c.State.IntegrationType) == row["integrationType"] && !c.Removed()
			})
			if i < 0 {
				wrong = append(wrong, fmt.Sprintf("%s: %v is not known", truth.ID, row["id"]))
				continue
			}
			c := known.Snapshot.Connections[i]
			if string(c.State.Status) != row["status"] {
				wrong = append(wrong, fmt.Sprintf("%s: %v is %s, truth %v", truth.ID, row["id"], c.State.Status, row["status"]))
			}
			open := 0
			if asked.Snapshot != nil {
				for _, p := range asked.Snapshot.Prompts {
					if strings.HasPrefix(p.PromptID, string(c.Token)+".") {
						open++
					}
				}
			}
			if want := w.wanted(c, truth.Consent); open != want {
				wrong = append(wrong, fmt.Sprintf("%s: %v %s %s (first sight %v): %d open prompts, want %d",
					truth.ID, row["id"], c.State.IntegrationType, c.State.Status, c.FirstSight, open, want))
			}
		}
	}
	return wrong
}

// wanted is how many prompts a connection should have once all is quiet.
func (w *world) wanted(c events.MemberConnection, consent string) int {
	switch {
	case c.State.Status == events.Connected, c.State.Status == events.AccessIsOver:
		return 0
	case c.State.IntegrationType.IAS() && consent == "deny":
		return 0
	case c.FirstSight:
		return 0
	default:
		return 1
	}
}

// audit reads the whole stream: no id twice, no gap in any sequence, and no
// identity in subjects and headers. It returns the subjects and headers.
func (w *world) audit(ctx context.Context) {
	w.t.Helper()
	s, err := w.js.Stream(ctx, events.Stream)
	if err != nil {
		w.t.Fatal(err)
	}
	info, err := s.Info(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	consumer, err := w.js.OrderedConsumer(ctx, events.Stream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		w.t.Fatal(err)
	}
	ids, last := map[string]bool{}, map[string]uint64{}
	var open strings.Builder // what anybody may see
	for read := uint64(0); read < info.State.LastSeq; {
		msg, err := consumer.Next(jetstream.FetchMaxWait(5 * time.Second))
		if errors.Is(err, nats.ErrTimeout) {
			break // the last ones have been removed
		}
		if err != nil {
			w.t.Fatal(err)
		}
		md, err := msg.Metadata()
		if err != nil {
			w.t.Fatal(err)
		}
		read = md.Sequence.Stream
		headers, err := json.Marshal(msg.Headers())
		if err != nil {
			w.t.Fatal(err)
		}
		fmt.Fprintf(&open, "%s %s\n", msg.Subject(), headers)
		if kind, _, ok := w.log.Subjects().Parse(msg.Subject()); !ok || kind == "timer" || kind == "due" {
			continue
		}
		e, err := events.Decode(msg.Headers(), msg.Data())
		if err != nil {
			w.t.Errorf("%d: %v", read, err)
			continue
		}
		if ids[e.ID] {
			w.t.Errorf("%d: id %s stands twice", read, e.ID)
		}
		ids[e.ID] = true
		if was, ok := last[msg.Subject()]; ok && e.Sequence != was+1 {
			w.t.Errorf("%d: sequence %d after %d on %s", read, e.Sequence, was, msg.Subject())
		}
		last[msg.Subject()] = e.Sequence
	}
	w.t.Logf("audited %d events on %d subjects", len(ids), len(last))
	w.private("subjects and headers", open.String())
	w.private("logs", w.journals.String())
}

// private fails if text holds anything that names a member, a connection or a
// clinic, or that is as good as a password.
func (w *world) private(what, text string) {
	w.t.Helper()
	for _, m := range w.sim.Members() {
		words := []string{m.ID, m.IDToken, m.RefreshToken}
		for _, c := range m.Connections {
			for _, field := range []string{"id", "name"} {
				if s, _ := c[field].(string); s != "" {
					words = append(words, s)
				}
			}
		}
		for _, word := range words {
			if strings.Contains(text, word) {
				w.t.Errorf("%s name %q", what, word)
			}
		}
	}
	for _, word := range []string{"/oauth/authorize", "eyJ", "rt-"} {
		if strings.Contains(text, word) {
			w.t.Errorf("%s hold %q", what, word)
		}
	}
}

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

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
