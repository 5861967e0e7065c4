package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/members"
)

// Whatever makes tokens refuses a key file of another deployment, and says what
// to do; nothing is written under it.
func TestKeyFileOfAnotherDeployment(t *testing.T) {
	w := newWorld(t, 1)
	w.enrol()
	before := w.bucketSeq()
	foreign := filepath.Join(t.TempDir(), "key")
	w.must(members.GenerateKeys(foreign))
	for _, args := range [][]string{
		{"run", "--client-key", "a2V5", "--http-listen", "", "--bwell", w.simURL},
		{"members", "enrol"},
		{"members", "list"},
		{"members", "show", "m"},
		{"explain", "m"},
		{"audit", "m"},
		{"state", "--member", "m"},
		{"events", "replay", "--dry-run", "--from-seq", "1", "--member", "m"},
		{"silence", "add", "--member", "m", "--for", "1h", "why"},
		{"silence", "list"},
		{"prompts", "list"},
		{"prompts", "show", "p.1"},
		{"prompts", "start", "p.1"},
		{"prompts", "ack", "p.1"},
		{"prompts", "link", "p.1"},
		{"prompts", "open", "--baseline", "--dry-run"},
	} {
		code, out, complaints := w.run(`{"id":"m","refreshToken":"x"}`, append(w.at(args...), "--key-file", foreign)...)
		if code != exitFailed || out != "" || !strings.Contains(complaints, "another deployment's") || !strings.Contains(complaints, "give the key file") {
			t.Errorf("%s: code %d\nout: %s\nerr: %s", strings.Join(args, " "), code, out, complaints)
		}
	}
	if after := w.bucketSeq(); after != before {
		t.Errorf("%d messages were written", after-before)
	}
	for _, what := range []string{"members", "prompts"} {
		if code, _, complaints := w.run("", w.keyed(what, "list")...); code != exitOK {
			t.Errorf("its own, %s list: %s", what, complaints)
		}
	}
}

func (w *world) bucketSeq() uint64 {
	w.Helper()
	s, err := w.js.Stream(w.Context(), "KV_SC_MEMBERS")
	w.must(err)
	return s.CachedInfo().State.LastSeq
}

// A sealing key that is missing is no word of b.well's: members are not told to
// sign in, and all goes on when it is put back.
func TestSealingKeyIsMissing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.enrol()
	other := filepath.Join(t.TempDir(), "key")
	w.must(members.GenerateKeys(other))
	var ours, theirs map[string]any
	for path, file := range map[string]*map[string]any{w.keyFile: &ours, other: &theirs} {
		body, err := os.ReadFile(path)
		w.must(err)
		w.must(json.Unmarshal(body, file))
	}
	theirs["tokenSecret"] = ours["tokenSecret"]
	body, err := json.Marshal(theirs)
	w.must(err)
	w.must(os.WriteFile(other, body, 0o600))
	lost, err := members.LoadKeys(other)
	w.must(err)

	address, stop := w.serve(func(s *service) { s.keys = lost })
	w.until("tried", func() bool {
		_, metrics := w.get(address + "/metrics")
		return metric(t, metrics, "connector_polls_failed_total") >= 6
	})
	w.must(stop())
	log := w.journal.String()
	if n := strings.Count(log, `"level":"error"`); n != 1 || !strings.Contains(log, "put the sealing key back") {
		t.Errorf("said %d times, want once:\n%s", n, log)
	}
	if strings.Contains(log, "sign in again") || w.count(events.ObservationLost) > 0 {
		t.Errorf("members are told to sign in:\n%s", log)
	}
	w.serve(nil)
	w.until("known", func() bool {
		for _, m := range w.sim.Members() {
			if w.known(m.ID).MemberID == "" {
				return false
			}
		}
		return true
	})
}
