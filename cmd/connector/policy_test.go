package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPolicyCommands(t *testing.T) {
	w := newWorld(t, 0)
	file := func(body string) string {
		name := filepath.Join(t.TempDir(), "policy.yaml")
		w.must(os.WriteFile(name, []byte(body), 0o600))
		return name
	}
	good, bad := file("grace: 2h\n"), file("grace: 1h\ngrase: 2h\n")
	if code, out, _ := w.run("", "policy", "check", good); code != exitOK || !strings.Contains(out, "good") {
		t.Errorf("check: code %d: %s", code, out)
	}
	if code, _, complaints := w.run("", "policy", "check", bad); code != exitFailed || !strings.Contains(complaints, "line 2: there is no setting called grase") {
		t.Errorf("check: code %d: %s", code, complaints)
	}
	if code, out, _ := w.run("", "policy", "show", "--policy", good); code != exitOK || !strings.Contains(out, "\ngrace: 2h\n") || !strings.Contains(out, "\nexpiry: 30d\n") {
		t.Errorf("show: code %d: %s", code, out)
	}
	if code, out, _ := w.run("", "policy", "show", "--fast", "--json", "--policy", good); code != exitOK ||
		!strings.Contains(out, `"grace": "2h"`) || !strings.Contains(out, `"EXPIRED": "1s"`) {
		t.Errorf("show: code %d: %s", code, out)
	}
	// A service with a bad policy says so before it does anything.
	for _, command := range []string{"run", "dev"} {
		args := []string{command, "--policy", bad}
		if command == "run" {
			args = w.keyed(append(args, "--client-key", "a2V5", "--bwell", w.simURL)...)
		}
		if code, _, complaints := w.run("", args...); code != exitFailed || !strings.Contains(complaints, "policy: policy.yaml: line 2") {
			t.Errorf("%s: code %d: %s", command, code, complaints)
		}
	}
}
