package test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/smartconnect/connector/internal/simulator"
)

// The README's subscriber compiles, runs, and prints a prompt.
func TestReadmeSubscriber(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(readme), "```go\n")
	snippet, _, closed := strings.Cut(rest, "```")
	if !ok || !closed || strings.Count(snippet, "\n") > 25 {
		t.Fatalf("the README has no short Go snippet: %d lines", strings.Count(snippet, "\n"))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	w := newWorld(t, 1)
	w.start("only")
	dir := t.TempDir()
	// The README's is the address of dev; here the server is another.
	const address = "nats.DefaultURL"
	if !strings.Contains(snippet, address) {
		t.Fatalf("the snippet does not connect to %s", address)
	}
	snippet = strings.Replace(snippet, address, strconv.Quote(w.url), 1)
	file, program := filepath.Join(dir, "main.go"), filepath.Join(dir, "subscriber")
	if err := os.WriteFile(file, []byte(snippet), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", program, file).CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	cmd := exec.CommandContext(ctx, program)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer kill(cmd)
	w.settle(ctx) // the baseline is known
	m := w.sim.Members()[0]
	id, _ := m.Connections[0]["id"].(string)
	if err := w.sim.SetConnection(m.ID, id, simulator.Row{"status": "EXPIRED"}); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "smartconnect.prompt.opened.v1 ") && strings.Contains(lines.Text(), `"notify":true`) {
			return
		}
	}
	t.Fatalf("no prompt was printed: %v", ctx.Err())
}

// What goes wrong in the snippet is said, and not a nil that is used.
func TestReadmeSubscriberIgnoresNoError(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(readme), "```go\n")
	snippet, _, _ := strings.Cut(rest, "```")
	if strings.Contains(snippet, ", _ :=") || strings.Contains(snippet, ", _ =") {
		t.Errorf("an error is thrown away:\n%s", snippet)
	}
}
