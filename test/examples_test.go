package test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/replay"
	"github.com/smartconnect/connector/internal/simulator"
)

// The notification services of examples/ push when a connection breaks, and
// take the prompt back when it works again.
func TestExamples(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	w := newWorld(t, 1)
	services := map[string]*exec.Cmd{"Go": w.notifyGo(ctx)}
	if npm(t) {
		services["TypeScript"] = w.notifyTS(ctx)
	}
	w.start("only")
	w.settle(ctx) // the baseline is known
	told := map[string]chan string{}
	for name, cmd := range services {
		told[name] = make(chan string, 1000)
		listen(t, cmd, told[name])
	}
	m := w.sim.Members()[0]
	id, _ := m.Connections[0]["id"].(string)
	set := func(status string) {
		t.Helper()
		if err := w.sim.SetConnection(m.ID, id, simulator.Row{"status": status}); err != nil {
			t.Fatal(err)
		}
	}
	// want waits until each has said it, in one of the ways that rest lists, and
	// returns what was said.
	want := func(prefix, rest string) (all string) {
		t.Helper()
		for name, lines := range told {
			for found := false; !found; {
				select {
				case line := <-lines:
					found = strings.HasPrefix(line, prefix) && slices.ContainsFunc(strings.Split(rest, "|"), func(r string) bool { return strings.Contains(line, r) })
					if found {
						all += line + "\n"
					}
				case <-ctx.Done():
					t.Fatalf("%s never said %s … %s", name, prefix, rest)
				}
			}
		}
		return all
	}
	set("EXPIRED")
	want("push ", "please reconnect")
	set("CONNECTED")
	want("take back ", "connected")

	// What is no event is put aside, with a word of why, and holds up nothing.
	raw := stranger{w}
	raw.publish("prompt.mx.c", "prompt.opened.v1", 1, time.Now(), `{}`)
	want("", "has no memberId|: no memberId")
	raw.publish("prompt.mx.c", "prompt.opened.v2", 2, time.Now(), prompt("c.1"))
	want("", `unknown type "smartconnect.prompt.opened.v2"|unknown type smartconnect.prompt.opened.v2`)
	raw.publish("prompt.mx.c", "prompt.opened.v1", 3, time.Now(), strings.Replace(prompt("c.1"), "required", "BOGUS", 1))
	want("", "urgency")
	raw.publish("access.mx", "access.ended.v1", 1, time.Now(), `{}`)
	want("", "has no memberId|: no memberId")
	raw.publish("access.mx", "access.ended.v1", 2, time.Now(), ended)
	// There is no agenda that says so. The next is pushed, if what is before it
	// was not.
	at := time.Now()
	raw.publish("agenda.my", "agenda.snapshot.v1", 1, at, agenda(`{"key":"k","connections":[],"endedAt":"`+at.UTC().Format(time.RFC3339Nano)+`"}`))
	raw.publish("access.my", "access.ended.v1", 1, at, ended)
	if said := want("push ", "access ended: restore_consent for 1 connections"); strings.Count(said, " access.my-1 ") != len(services) {
		t.Errorf("pushed what does not hold: %s", said)
	}

	raw.publish("agenda.mw", "agenda.snapshot.v1", 1, time.Now(), agenda("null", prompt("c.8")))
	raw.publish("prompt.mw.c", "prompt.opened.v1", 1, time.Now(), prompt("c.8"))
	want("push ", "please reconnect")

	// Consent was given again while nobody read: it is not asked for.
	for name, cmd := range services {
		w.acknowledged(ctx, map[string]string{"Go": "notify-go", "TypeScript": "notify-ts"}[name])
		kill(cmd)
	}
	raw.publish("access.my", "access.ended.v1", 2, time.Now(), ended)
	back := time.Now().UTC().Format(time.RFC3339Nano)
	raw.publish("agenda.my", "agenda.snapshot.v1", 2, time.Now(), agenda(`{"key":"k","connections":[],"endedAt":"`+back+`","permittedAt":"`+back+`"}`))
	// And operators moved the durables back meanwhile, one of them by the means
	// that an older broker has: made anew, with another beginning.
	for name, mark := range map[string]string{"notify-go": "monday", "notify-ts": "tuesday"} {
		if _, err := replay.Position(ctx, w.js, w.log.Subjects(), replay.Query{FromSeq: 1}, replay.Target{Name: name, Mark: mark, Move: true}); err != nil && (name == "notify-go" || services["TypeScript"] != nil) {
			t.Fatal(err)
		}
	}
	if services["TypeScript"] != nil {
		w.makeAnew(ctx, "notify-ts")
	}
	raw.publish("agenda.mz", "agenda.snapshot.v1", 1, time.Now(), agenda("null", prompt("c.9")))
	raw.publish("prompt.mz.c", "prompt.opened.v1", 1, time.Now(), prompt("c.9"))
	for name, cmd := range services {
		services[name] = again(ctx, cmd)
		listen(t, services[name], told[name])
	}
	if said := want("push ", ""); strings.Count(said, " prompt.mz.c-1 ") != len(services) {
		t.Errorf("pushed what is no news: %s", said)
	}
}

// A stranger writes to the stream what no connector would.
type stranger struct{ *world }

// publish stores a message with a whole envelope on a subject below the prefix.
func (s stranger) publish(subject, typ string, sequence int, at time.Time, body string) {
	s.t.Helper()
	_, tokens, _ := strings.Cut(subject, ".")
	stamp := at.UTC().Format(time.RFC3339Nano)
	m := &nats.Msg{Subject: "sc.v1." + subject, Data: []byte(body), Header: nats.Header{
		"ce-specversion": {"1.0"}, "ce-id": {fmt.Sprintf("%s-%d", subject, sequence)}, "ce-source": {"urn:smartconnect:connector"},
		"ce-type": {"smartconnect." + typ}, "ce-subject": {tokens}, "ce-time": {stamp}, "ce-recordedtime": {stamp},
		"ce-sequence": {strconv.Itoa(sequence)}, "ce-datacontenttype": {"application/json"},
		"ce-dataschema": {"urn:smartconnect:schema:smartconnect." + typ + ".json"}, "ce-dataclassification": {"restricted"}, "ce-dataregulation": {"HIPAA"},
	}}
	if _, err := s.js.PublishMsg(s.t.Context(), m); err != nil {
		s.t.Fatal(err)
	}
}

const ended = `{"memberId":"m","action":"restore_consent","reason":"consent_ended","connections":[{"connectionId":"c","integrationType":"DIRECT_IAS","restored":false}]}`

func prompt(id string) string {
	return `{"memberId":"m","connectionId":"c","promptId":"` + id + `","action":"oauth","reason":"expired","urgency":"required","notify":true,"connectionStatus":"EXPIRED","openedAt":"2026-03-01T08:15:30Z","reminder":0,"flapCount":0}`
}

func agenda(access string, prompts ...string) string {
	return `{"incarnation":"i","sequences":{},"latest":{},"memberId":"m","prompts":[` + strings.Join(prompts, ",") + `],"asked":[],"access":` + access + `,"pushes":[],"decided":"x"}`
}

// acknowledged waits until a durable has nothing more to read and nothing in hand.
func (w *world) acknowledged(ctx context.Context, durable string) {
	w.t.Helper()
	c, err := w.js.Consumer(ctx, events.Stream, durable)
	if err != nil {
		w.t.Fatal(err)
	}
	for {
		info, err := c.Info(ctx)
		if err != nil {
			w.t.Fatal(err)
		}
		if info.NumPending == 0 && info.NumAckPending == 0 {
			return
		}
		wait(ctx, 20*time.Millisecond)
	}
}

// makeAnew gives a durable another beginning, with all else that it has.
func (w *world) makeAnew(ctx context.Context, durable string) {
	w.t.Helper()
	stream, err := w.js.Stream(ctx, events.Stream)
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := stream.Consumer(ctx, durable)
	if err != nil {
		w.t.Fatal(err)
	}
	config := c.CachedInfo().Config
	if err := stream.DeleteConsumer(ctx, durable); err != nil {
		w.t.Fatal(err)
	}
	config.DeliverPolicy, config.OptStartSeq = jetstream.DeliverByStartSequencePolicy, 1
	if _, err := stream.CreateConsumer(ctx, config); err != nil {
		w.t.Fatal(err)
	}
}

// again returns the command once more.
func again(ctx context.Context, cmd *exec.Cmd) *exec.Cmd {
	next := exec.CommandContext(ctx, cmd.Path, cmd.Args[1:]...)
	next.Dir, next.Env = cmd.Dir, cmd.Env
	return next
}

// listen starts a service and hears what it says and complains of.
func listen(t *testing.T, cmd *exec.Cmd, told chan<- string) {
	t.Helper()
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kill(cmd); _ = w.Close() })
	go func() {
		for lines := bufio.NewScanner(r); lines.Scan(); {
			told <- lines.Text()
		}
	}()
}

func npm(t *testing.T) bool {
	t.Helper()
	_, err := exec.LookPath("npm")
	if err != nil && os.Getenv("CI") == "true" {
		t.Fatal("npm is missing; it is required where CI=true")
	}
	if err != nil {
		t.Log("NPM IS MISSING: the TypeScript service was not tried")
	}
	return err == nil
}

func (w *world) notifyGo(ctx context.Context) *exec.Cmd {
	w.t.Helper()
	program := filepath.Join(w.t.TempDir(), "notify-go")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", program, "../examples/notify-go").CombinedOutput(); err != nil {
		w.t.Fatalf("build: %v\n%s", err, out)
	}
	return exec.CommandContext(ctx, program, "-nats", w.url)
}

// notifyTS installs and builds the service in a folder of its own, with types
// written anew: those that are committed must be the same.
func (w *world) notifyTS(ctx context.Context) *exec.Cmd {
	w.t.Helper()
	dir := w.t.TempDir()
	from := filepath.Join("..", "examples", "notify-ts")
	for _, name := range []string{"package.json", "package-lock.json", "tsconfig.json", "types.mjs", "notify.ts", "contract.ts"} {
		body, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			w.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), body, 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	schemas, err := filepath.Abs(filepath.Join("..", "schemas"))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, args := range [][]string{
		{"npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"},
		{"node", "types.mjs", schemas},
		{"npm", "run", "build"},
	} {
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			w.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	for _, name := range []string{"events.ts", "shapes.ts"} {
		fresh, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			w.t.Fatal(err)
		}
		committed, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			w.t.Fatal(err)
		}
		if !bytes.Equal(fresh, committed) {
			w.t.Errorf("examples/notify-ts/%s is not what the schemas say; run there: npm run types", name)
		}
	}
	cmd := exec.CommandContext(ctx, "node", "dist/notify.js")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "NATS_URL="+w.url)
	return cmd
}
