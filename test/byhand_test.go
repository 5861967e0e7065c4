package test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/simulator"
	"github.com/smartconnect/connector/internal/topology"
)

// natsCLI is what the lines are tried with. It stays out of tools.mod: it would
// have the linters built with other versions of what they share.
const natsCLI = "github.com/nats-io/natscli/nats@v0.5.1"

// byHand returns the lines for the nats CLI that people are told to copy.
func byHand(t *testing.T) []string {
	t.Helper()
	readme, err := os.ReadFile("../examples/README.md")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(readme)) {
		if strings.HasPrefix(line, "nats ") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// What the lines name is there: streams, subjects of kinds that carry events,
// services. This needs no CLI.
func TestExamplesByHandNameWhatIsThere(t *testing.T) {
	desired := topology.Desired(topology.Config{Prefix: events.DefaultPrefix})
	named := regexp.MustCompile(`\bSC_[A-Z]+\b|\bsc\.(v1|svc)\.[a-z0-9.*>]+`)
	seen := 0
	for _, line := range byHand(t) {
		for _, name := range named.FindAllString(line, -1) {
			seen++
			kind, isEvent := strings.CutPrefix(name, events.DefaultPrefix+".")
			kind, _, _ = strings.Cut(kind, ".")
			_, noService := os.Stat("../schemas/services/" + name + ".request.json")
			switch {
			case slices.ContainsFunc(desired, func(s topology.Stream) bool { return s.Config.Name == name }):
			case isEvent && (kind == ">" || slices.Contains(events.Kinds(), kind)):
			case noService == nil:
			default:
				t.Errorf("%s: there is no %s", line, name)
			}
		}
	}
	if seen < 10 {
		t.Errorf("only %d names in the lines", seen)
	}
}

// Each line does what it says.
func TestExamplesByHand(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	path := cli(ctx, t)
	w := newWorld(t, 1)
	w.start("only")
	w.settle(ctx)
	m := w.sim.Members()[0]
	id, _ := m.Connections[0]["id"].(string)
	if err := w.sim.SetConnection(m.ID, id, simulator.Row{"status": "EXPIRED", "integrationType": "PROA"}); err != nil {
		t.Fatal(err)
	}
	token := w.keys.Tokenizer().Member(m.ID)
	var asked events.Prompt
	for asked.PromptID == "" {
		agenda, err := w.log.Agenda(ctx, token)
		if err != nil {
			t.Fatal(err)
		}
		if agenda.Snapshot != nil && len(agenda.Snapshot.Prompts) > 0 {
			asked = agenda.Snapshot.Prompts[0]
		}
		wait(ctx, 20*time.Millisecond)
	}
	n := 0
	tell := func() { n++; stranger{w}.publish("prompt.mx.c", "prompt.opened.v1", n, time.Now(), prompt("c.1")) }

	// By line: whether it waits for something new, and what it says.
	wants := []struct {
		waits bool
		want  string
	}{
		{true, "sc.v1.prompt.mx.c"},
		{false, "subject: sc.v1.connection." + string(token)},
		{false, `"promptId":"` + asked.PromptID + `"`},
		{false, "sc.v1.agenda." + string(token)},
		{false, `"promptId":"` + asked.PromptID + `"`},
		{false, "Name: mine"},
		{true, "sc.v1.prompt.mx.c"},
		{false, `"method":"oauth"`},
	}
	lines := byHand(t)
	if len(lines) != len(wants) {
		t.Fatalf("%d lines, and %d are tried", len(lines), len(wants))
	}
	for i, line := range lines {
		line = strings.ReplaceAll(strings.ReplaceAll(line, "<m>", string(token)), "<c>.<n>", asked.PromptID)
		said := make(chan error, 1)
		go func() { said <- tryLine(ctx, line, w.url, path, wants[i].want) }()
		for waiting := true; waiting; {
			if wants[i].waits {
				tell() // again and again: it does not say when it begins to listen
			}
			select {
			case err := <-said:
				if waiting = false; err != nil {
					t.Errorf("%s: %v", line, err)
				}
			case <-time.After(200 * time.Millisecond):
			}
		}
	}
}

// tryLine runs a line until it says what is wanted.
func tryLine(ctx context.Context, line, url, path, want string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	home, err := os.MkdirTemp("", "byhand")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(home) }()
	cmd := exec.CommandContext(ctx, "sh", "-c", "exec "+line)
	cmd.Env = append(os.Environ(), "NATS_URL="+url, "PATH="+path+string(os.PathListSeparator)+os.Getenv("PATH"), "XDG_CONFIG_HOME="+home)
	r, out := io.Pipe()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait(); _ = out.Close() }()
	var said strings.Builder
	for lines := bufio.NewScanner(r); lines.Scan(); {
		said.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), want) {
			cancel()
			go func() { _, _ = io.Copy(io.Discard, r) }()
			<-ended
			return nil
		}
	}
	return fmt.Errorf("it never said %s, but %.1000s (%w)", want, said.String(), <-ended)
}

// cli returns the folder of the nats CLI.
func cli(ctx context.Context, t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	install := exec.CommandContext(ctx, "go", "install", natsCLI)
	install.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=-mod=mod")
	out, err := install.CombinedOutput()
	if err == nil {
		return dir
	}
	if have, err := exec.LookPath("nats"); err == nil {
		return filepath.Dir(have)
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("the nats CLI is missing; it is required where CI=true: %s", out)
	}
	t.Skip("THE NATS CLI IS MISSING: its lines were not run, only read")
	return ""
}
