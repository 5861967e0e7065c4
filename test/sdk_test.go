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
	if _, err := exec.LookPath("npm"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("npm is missing; it is required where CI=true")
		}
		t.Skip("NPM IS MISSING: the published SDK was not tried")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	dir := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json", "guide.mjs"} {
		body, err := os.ReadFile(filepath.Join("sdk", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	install := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
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
