// Package test runs the whole program as its users do: processes, a real NATS,
// a simulated b.well over HTTP.
package test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/smartconnect/connector/internal/audit"
	"github.com/smartconnect/connector/internal/embednats"
	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/members"
	"github.com/smartconnect/connector/internal/natstest"
	"github.com/smartconnect/connector/internal/replay"
	"github.com/smartconnect/connector/internal/secret"
	"github.com/smartconnect/connector/internal/simulator"
	"github.com/smartconnect/connector/internal/topology"
)

// long reports whether the long forms of the tests are wanted.
func long() bool { return os.Getenv("CONNECTOR_TEST") == "long" }

// bwell is the simulated b.well as tests turn its knobs.
type bwell interface {
	Members() []simulator.MemberView
	SetConnection(memberID, connectionID string, fields simulator.Row) error
	RemoveConnection(memberID, connectionID string) error
	SetConsent(memberID, provision string) error
	SetTask(memberID, status string) error
	SetToken(memberID string, c simulator.TokenChange) error
	Login(memberID, connectionID string) error
}

// world is NATS, a simulated b.well with enrolled members, and what it takes to
// run connectors between them.
type world struct {
	t        *testing.T
	js       jetstream.JetStream
	log      *events.Log
	keys     members.Keys
	keyFile  string
	sim      bwell
	journals *journal

	// Where connectors find them, if they are run as processes.
	url, simURL string
	replicas    int
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

// newWorld is a world on one server.
func newWorld(t *testing.T, count int) *world {
	t.Helper()
	server, err := embednats.Start(embednats.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	nc, err := nats.Connect(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return newWorldOn(t, server.URL(), js, 1, count)
}

// newWorldOnThree is a world on three servers, all in this process.
func newWorldOnThree(t *testing.T, count int) (*world, *natstest.Cluster) {
	t.Helper()
	c := natstest.ThreeServers(t)
	return newWorldOn(t, c.URL(), c.JetStream(0), 3, count), c
}

func newWorldOn(t *testing.T, url string, js jetstream.JetStream, replicas, count int) *world {
	t.Helper()
	sim := simulator.New(simulator.Config{Seed: 7, Members: count})
	http := httptest.NewServer(sim.Handler())
	t.Cleanup(http.Close)
	w := openWorld(t, js, sim)
	w.url, w.replicas, w.simURL = url, replicas, http.URL
	if err := topology.Apply(t.Context(), js, topology.Config{Prefix: w.log.Subjects().Prefix(), Replicas: replicas}, false); err != nil {
		t.Fatal(err)
	}
	bucket, err := js.KeyValue(t.Context(), topology.Members)
	if err != nil {
		t.Fatal(err)
	}
	store := members.NewStore(bucket, w.keys)
	for _, m := range sim.Members() {
		if _, _, err := store.Enrol(t.Context(), members.Enrolment{ID: m.ID, RefreshToken: secret.New(m.RefreshToken)}); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// openWorld makes what every world has: a key file, and eyes on both ends.
func openWorld(t *testing.T, js jetstream.JetStream, sim bwell) *world {
	t.Helper()
	w := &world{t: t, js: js, sim: sim, keyFile: filepath.Join(t.TempDir(), "key"), journals: &journal{}}
	if err := members.GenerateKeys(w.keyFile); err != nil {
		t.Fatal(err)
	}
	var err error
	if w.keys, err = members.LoadKeys(w.keyFile); err != nil {
		t.Fatal(err)
	}
	subjects, err := events.NewSubjects("")
	if err != nil {
		t.Fatal(err)
	}
	w.log = events.NewLog(js, subjects, "")
	return w
}

// A built program is the same for all tests of a process.
type built struct {
	once sync.Once
	path string
	err  error
}

var connector built

// program returns the connector as it stands in the work tree.
func program(t *testing.T) string {
	t.Helper()
	connector.once.Do(func() {
		dir, err := os.MkdirTemp("", "connector-test-") //nolint:usetesting // it outlives the test that asked first
		if err != nil {
			connector.err = err
			return
		}
		connector.path = filepath.Join(dir, "connector")
		if out, err := exec.Command("go", "build", "-o", connector.path, "../cmd/connector").CombinedOutput(); err != nil {
			connector.err = fmt.Errorf("build: %w\n%s", err, out)
		}
	})
	if connector.err != nil {
		t.Fatal(connector.err)
	}
	return connector.path
}

// TestMain takes the built program away.
func TestMain(m *testing.M) {
	code := m.Run()
	if connector.path != "" {
		_ = os.RemoveAll(filepath.Dir(connector.path))
	}
	os.Exit(code)
}

// A process is a connector that was started, and what it has logged since.
type process struct {
	*exec.Cmd
	log   *journal
	ended chan struct{}
}

// start runs a connector; it is killed at the end of the test if it still runs.
func (w *world) start(name string, more ...string) *process {
	w.t.Helper()
	p := &process{log: &journal{}, ended: make(chan struct{})}
	p.Cmd = exec.Command(program(w.t), append([]string{
		"run", "--fast", "--nats", w.url, "--replicas", strconv.Itoa(w.replicas), "--bwell", w.simURL, "--key-file", w.keyFile,
		"--http-listen", "", "--replica", name, "--client-key", "a2V5",
	}, more...)...)
	p.Stdout = io.MultiWriter(w.journals, p.log)
	p.Stderr = p.Stdout
	if err := p.Start(); err != nil {
		w.t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.Wait()
	}()
	w.t.Cleanup(p.kill)
	return p
}

func (p *process) kill() {
	_ = p.Process.Signal(syscall.SIGKILL)
	<-p.ended
}

// gone reports whether the process has ended.
func (p *process) gone() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// tells returns how many lines of a kind the process has logged.
func (p *process) tells(message string) int {
	return strings.Count(p.log.String(), `"message":"`+message+`"`)
}

// toldOf returns how many events of each member the process has told.
func (p *process) toldOf() map[string]int {
	n := map[string]int{}
	for _, l := range told(p.log.String()) {
		n[l.Member]++
	}
	return n
}

// A toldLine is what a connector logs of an event that it has stored.
type toldLine struct{ Message, Member, Event string }

func told(journal string) []toldLine {
	var all []toldLine
	for line := range strings.Lines(journal) {
		var l toldLine
		if json.Unmarshal([]byte(line), &l) == nil && l.Message == "told" {
			all = append(all, l)
		}
	}
	return all
}

func kill(cmd *exec.Cmd) {
	_ = cmd.Process.Signal(syscall.SIGKILL)
	_ = cmd.Wait()
}

// stirUntil stirs until something has come true, or ctx ends.
func (w *world) stirUntil(ctx context.Context, rng *rand.Rand, ok func() bool) {
	for !ok() && ctx.Err() == nil {
		w.stir(rng)
		wait(ctx, time.Duration(rng.IntN(150))*time.Millisecond)
	}
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
	if rng.IntN(25) == 0 && len(m.Connections) > 2 {
		if err := w.sim.RemoveConnection(m.ID, id); err != nil {
			w.t.Error(err)
		}
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

// met reports whether everybody is known.
func (w *world) met(ctx context.Context) bool {
	for _, m := range w.sim.Members() {
		if known, err := w.log.Member(ctx, w.keys.Tokenizer().Member(m.ID)); err != nil || known.Snapshot == nil {
			return false
		}
	}
	return true
}

// differences compares the heads with the simulator's truth, both ways. It
// counts on that everybody was well when the connector first looked: tests
// settle before they stir. Then whatever is broken broke later, and the member
// is to be asked about it.
func (w *world) differences(ctx context.Context) []string {
	var wrong []string
	for _, truth := range w.sim.Members() {
		m := w.keys.Tokenizer().Member(truth.ID)
		say := func(format string, args ...any) { wrong = append(wrong, truth.ID+": "+fmt.Sprintf(format, args...)) }
		known, err := w.log.Member(ctx, m)
		if err != nil || known.Snapshot == nil {
			say("no head: %v", err)
			continue
		}
		asked, err := w.log.Agenda(ctx, m)
		if err != nil {
			say("no agenda: %v", err)
			continue
		}
		if got := string(known.Snapshot.Effective()); got != truth.Consent {
			say("consent %q, truth %q", got, truth.Consent)
		}
		open := map[string]int{} // prompts, by connection token
		if asked.Snapshot != nil {
			for _, p := range asked.Snapshot.Prompts {
				c, _, _ := strings.Cut(p.PromptID, ".")
				open[c]++
			}
		}
		heads := map[string][]events.MemberConnection{}
		for _, c := range known.Snapshot.Connections {
			if !c.Removed() {
				key := fmt.Sprint(c.ConnectionID, " by ", c.State.IntegrationType)
				heads[key] = append(heads[key], c)
			}
		}
		for _, row := range truth.Connections {
			key := fmt.Sprint(row["id"], " by ", row["integrationType"])
			if len(heads[key]) != 1 {
				say("%s is known %d times", key, len(heads[key]))
				continue
			}
			c := heads[key][0]
			delete(heads, key)
			if c.FirstSight {
				say("%s counts as broken since before the first look", key)
			}
			if string(c.State.Status) != row["status"] {
				say("%s is %s, truth %v", key, c.State.Status, row["status"])
			}
			if want := wanted(row, truth.Consent); open[string(c.Token)] != want {
				say("%s is %v: %d open prompts, want %d", key, row["status"], open[string(c.Token)], want)
			}
			delete(open, string(c.Token))
		}
		for key := range heads {
			say("%s is known and not there", key)
		}
		for c, n := range open {
			say("%d open prompts for %s, which is not there", n, c)
		}
	}
	return wrong
}

// wanted is how many prompts a connection should have once all is quiet.
func wanted(row simulator.Row, consent string) int {
	integration, _ := row["integrationType"].(string)
	switch {
	case row["status"] == "CONNECTED", row["status"] == "ACCESS_ENDED":
		return 0
	case consent == "deny" && strings.HasSuffix(integration, "_IAS"):
		return 0
	default:
		return 1
	}
}

// history is how many messages of a subject the stream keeps.
const history = 64

// audit reads the whole stream: everything that a connector said it had told is
// there, no id twice, no gap in any sequence, and no identity in subjects and
// headers.
func (w *world) audit(ctx context.Context) {
	w.t.Helper()
	said := told(w.journals.String()) // before the stream is measured: all of it must be in there
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
	ids, last, kept := map[string]bool{}, map[string]uint64{}, map[string]int{}
	full := map[string]bool{} // members of whom the stream may have dropped something
	var asked []events.Event  // what must be on record
	var open strings.Builder  // what anybody may see
	for read := uint64(0); read < info.State.LastSeq; {
		msg, err := consumer.Next(jetstream.FetchMaxWait(time.Second))
		if err != nil && ctx.Err() != nil {
			w.t.Fatalf("read to %d of %d: %v", read, info.State.LastSeq, err)
		}
		if errors.Is(err, nats.ErrTimeout) {
			// What was last may have been removed; then nothing is left to read.
			if left, err := consumer.Info(ctx); err == nil && left.NumPending == 0 && left.Delivered.Stream <= read {
				break
			}
			continue
		}
		if errors.Is(err, nats.ErrNoResponders) {
			wait(ctx, 20*time.Millisecond) // of three servers, not each knows of a new consumer at once
			continue
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
		if kept[msg.Subject()]++; e.Member != "" {
			full[string(e.Member)] = full[string(e.Member)] || kept[msg.Subject()] >= history
		}
		switch e.Type.Kind() {
		case "prompt", "access", "source", "observer", "storm", "silence":
			asked = append(asked, e)
		}
	}
	for _, l := range said {
		if !ids[l.Event] && !full[l.Member] {
			w.t.Errorf("%s of %s was told and is not there", l.Event, l.Member)
		}
	}
	rows := 0
	for _, m := range w.sim.Members() {
		rows += 1 + len(m.Connections) // a head, and a first sight of each connection
	}
	if len(said) == 0 || len(ids) < rows {
		w.t.Errorf("audited %d events, of %d that were told; there must be at least %d", len(ids), len(said), rows)
	}
	w.onRecord(ctx, asked)
	w.t.Logf("audited %d events on %d subjects; %d were told by the logs", len(ids), len(last), len(said))
	for _, m := range w.sim.Members() {
		check, err := replay.CheckMember(ctx, w.js, w.log.Subjects(), w.keys.Tokenizer().Member(m.ID))
		if err != nil || check.Verdict != replay.Same {
			w.t.Errorf("the events do not add up to the heads: %+v, %v", check, err)
		}
	}
	w.private("subjects and headers", open.String())
	w.private("logs", w.journals.String())
}

// onRecord waits until every event that must be is on record, with what it
// says, and checks that the record names nobody.
func (w *world) onRecord(ctx context.Context, asked []events.Event) {
	w.t.Helper()
	for {
		var all strings.Builder
		on := map[string]audit.Entry{}
		err := audit.Read(ctx, w.js, nil, time.Time{}, func(e audit.Entry) error {
			on[e.ID] = e
			fmt.Fprintf(&all, "%s ", e.Subject())
			return json.NewEncoder(&all).Encode(e)
		})
		missing := slices.DeleteFunc(slices.Clone(asked), func(e events.Event) bool {
			entry, ok := on[e.ID]
			return ok && entry.Sequence == e.Sequence && entry.EventType == e.Type && entry.Member == e.Member
		})
		if err == nil && len(missing) == 0 {
			w.private("the record", all.String())
			w.t.Logf("%d entries on record, of %d events", len(on), len(asked))
			return
		}
		if ctx.Err() != nil {
			w.t.Fatalf("%d of %d events are not on record, the first is %s %s; %v", len(missing), len(asked), missing[0].Type, missing[0].ID, err)
		}
		wait(ctx, 100*time.Millisecond)
	}
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

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// await waits for an access event of a member.
func (w *world) await(ctx context.Context, m events.MemberToken, want events.Type) *events.Access {
	w.t.Helper()
	s, err := w.js.Stream(ctx, events.Stream)
	if err != nil {
		w.t.Fatal(err)
	}
	for ctx.Err() == nil {
		msg, err := s.GetLastMsgForSubject(ctx, w.log.Subjects().Prefix()+".access."+string(m))
		if err == nil {
			if e, err := events.Decode(msg.Header, msg.Data); err == nil && e.Type == want {
				access, _ := e.Data.(*events.Access)
				return access
			}
		}
		wait(ctx, 20*time.Millisecond)
	}
	w.t.Fatalf("never %s", want)
	return nil
}
