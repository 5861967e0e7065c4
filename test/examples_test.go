package test

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/smartconnect/connector/internal/simulator"
)

// The notification services of examples/ push when a connection breaks, and
// take the prompt back when it works again.
func TestExamples(t *testing.T) {
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
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { kill(cmd) })
		told[name] = make(chan string, 100)
		go func() {
			for lines := bufio.NewScanner(out); lines.Scan(); {
				told[name] <- lines.Text()
			}
		}()
	}
	m := w.sim.Members()[0]
	id, _ := m.Connections[0]["id"].(string)
	set := func(status string) {
		t.Helper()
		if err := w.sim.SetConnection(m.ID, id, simulator.Row{"status": status}); err != nil {
			t.Fatal(err)
		}
	}
	want := func(prefix, rest string) {
		t.Helper()
		for name, lines := range told {
			for found := false; !found; {
				select {
				case line := <-lines:
					found = strings.HasPrefix(line, prefix) && strings.Contains(line, rest)
				case <-ctx.Done():
					t.Fatalf("%s never said %s … %s", name, prefix, rest)
				}
			}
		}
	}
	set("EXPIRED")
	want("push ", "please reconnect")
	set("CONNECTED")
	want("take back ", "connected")
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
	cmd := exec.CommandContext(ctx, program, "-nats", w.url)
	cmd.Stderr = os.Stderr
	return cmd
}

// notifyTS installs and builds the service in a folder of its own, with types
// written anew: those that are committed must be the same.
func (w *world) notifyTS(ctx context.Context) *exec.Cmd {
	w.t.Helper()
	dir := w.t.TempDir()
	from := filepath.Join("..", "examples", "notify-ts")
	for _, name := range []string{"package.json", "package-lock.json", "tsconfig.json", "types.mjs", "notify.ts"} {
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
	fresh, err := os.ReadFile(filepath.Join(dir, "events.ts"))
	if err != nil {
		w.t.Fatal(err)
	}
	committed, err := os.ReadFile(filepath.Join(from, "events.ts"))
	if err != nil {
		w.t.Fatal(err)
	}
	if !bytes.Equal(fresh, committed) {
		w.t.Error("examples/notify-ts/events.ts is not what the schemas say; run there: npm run types")
	}
	cmd := exec.CommandContext(ctx, "node", "dist/notify.js")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "NATS_URL="+w.url)
	cmd.Stderr = os.Stderr
	return cmd
}
