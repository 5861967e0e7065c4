package test

import (
	"context"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/smartconnect/connector/internal/simulator"
)

// The published TypeScript SDK goes through b.well's guide against the
// simulator.
func TestPublishedSDK(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	dir := npmProject(ctx, t, "sdk")
	serve := func(now func() time.Time) string {
		srv := httptest.NewServer(simulator.New(simulator.Config{Seed: 1, Members: 1, Now: now}).Handler())
		t.Cleanup(srv.Close)
		return srv.URL
	}
	node := exec.CommandContext(ctx, "node", "guide.mjs")
	node.Dir = dir
	node.Env = append(os.Environ(), "BASE="+serve(time.Now), "SLOW_BASE="+serve(func() time.Time { return time.Now().Add(-3 * time.Hour) }))
	out, err := node.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
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
