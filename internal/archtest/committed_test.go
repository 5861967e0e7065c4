package archtest

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// leaks finds what belongs to one machine and not to the project: folders of
// somebody's own, and hosts that packages were fetched from.
var leaks = regexp.MustCompile(`(^|[^\w.~-])/(work|root|Users|home/\w+)/|\bproxy\.golang\b|\bregistry\.(npmjs|yarnpkg)\b|\bdeb\.debian\b`)

func TestNothingOfOneMachineIsCommitted(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "git", "ls-files", "-z")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("LOUD SKIP: this is no git checkout: %v", err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		body, err := os.ReadFile(filepath.Join(root, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted, not committed yet
		}
		if err != nil {
			t.Fatal(err)
		}
		if bytes.IndexByte(body, 0) >= 0 {
			continue // not text
		}
		for n, line := range strings.Split(string(body), "\n") {
			if found := leaks.FindString(line); found != "" {
				t.Errorf("%s:%d: %q belongs to one machine", name, n+1, strings.TrimSpace(found))
			}
		}
	}
}

func TestEverySchemaHasAFixture(t *testing.T) {
	schemas := jsonNames(t, "schemas")
	fixtures := jsonNames(t, "schemas/fixtures")
	for name := range schemas {
		if !fixtures[name] {
			t.Errorf("schemas/%s has no fixture", name)
		}
	}
	for name := range fixtures {
		if !schemas[name] {
			t.Errorf("schemas/fixtures/%s has no schema", name)
		}
	}
	if len(schemas) == 0 {
		t.Error("there is no schema at all")
	}
}

func jsonNames(t *testing.T, dir string) map[string]bool {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(root, dir, "smartconnect.*.json"))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, p := range paths {
		names[filepath.Base(p)] = true
	}
	return names
}
