package test

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// The published TypeScript SDK goes through b.well's guide against the
// simulator as everybody runs it. Of a second one the access tokens end soon, so
// that the SDK has to refresh.
func TestPublishedSDK(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	dir := npmProject(ctx, t, "sdk")
	node := exec.CommandContext(ctx, "node", "guide.mjs")
	node.Dir = dir
	node.Env = append(os.Environ(), "BASE="+simulated(t), "BRIEF_BASE="+simulated(t, "--token-life", "5s"))
	out, err := node.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}

// simulated runs connector sim with one member and returns its address.
func simulated(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command(program(t), append([]string{"sim", "--listen", "127.0.0.1:0", "--members", "1"}, args...)...)
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kill(cmd) })
	var line struct{ Address, Message string }
	said := bufio.NewScanner(log)
	if !said.Scan() || json.Unmarshal(said.Bytes(), &line) != nil || line.Address == "" {
		t.Fatalf("connector sim said: %s", said.Text())
	}
	return "http://" + line.Address
}

// npmProject installs the packages that a folder here names, in a copy of it.
func npmProject(ctx context.Context, t *testing.T, folder string) string {
	t.Helper()
	if _, err := exec.LookPath("npm"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("npm is missing; it is required where CI=true")
		}
		t.Skipf("NPM IS MISSING: what is in test/%s was not tried", folder)
	}
	dir := t.TempDir()
	files, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.IsDir() {
			continue // packages somebody installed by hand
		}
		body, err := os.ReadFile(filepath.Join(folder, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, f.Name()), body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	install := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	return dir
}
