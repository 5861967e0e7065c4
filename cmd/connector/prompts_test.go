package main

import (
	"strings"
	"testing"

	"github.com/smartconnect/connector/internal/audit"
)

// What broke before the first look is asked about when an operator says so: once,
// and it is on record who it was.
func TestPromptsOpenTheBaseline(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	all := w.sim.Members()
	for _, m := range all {
		w.set(m, "PROA", "EXPIRED")
	}
	w.enrol()
	_, stop := w.serve(nil)
	w.until("held", func() bool {
		for _, m := range all {
			if held := w.explained(m.ID); !strings.Contains(held, "first_sight") {
				return false
			}
		}
		return true
	})
	open := func(args ...string) string {
		t.Helper()
		code, out, complaints := w.run("", w.at(append([]string{"prompts", "open", "--baseline", "--by", "ann", "--json"}, args...)...)...)
		if code != exitOK {
			t.Fatal(complaints)
		}
		return strings.TrimSpace(out)
	}
	if got := open("--dry-run"); got != `{"found":2,"released":0,"needless":0}` {
		t.Error(got)
	}
	if got := open("--rate", "1000"); got != `{"found":2,"released":2,"needless":0}` {
		t.Error(got)
	}
	w.until("asked", func() bool { return len(w.agenda(all[0].ID).Prompts) == 1 && len(w.agenda(all[1].ID).Prompts) == 1 })
	for _, args := range [][]string{{"--dry-run"}, nil} {
		if got := open(args...); got != `{"found":0,"released":0,"needless":0}` {
			t.Errorf("once more: %s", got)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	code, out, complaints := w.run("", w.at("audit", "--what", string(audit.Release), "--json")...)
	if code != exitOK || strings.Count(out, `"by":"ann"`) != 2 {
		t.Errorf("on record: %s%s", out, complaints)
	}
}

// explained returns what explain prints of a member.
func (w *world) explained(memberID string) string {
	_, out, _ := w.run("", w.keyed("explain", memberID)...)
	return out
}
