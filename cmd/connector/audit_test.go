package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/smartconnect/connector/internal/audit"
)

// The record is printed, of one member or of all, doubles dropped.
func TestAudit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.enrol()
	_, stop := w.serve(func(*service) {})
	all := w.sim.Members()
	m := all[0]
	w.until("known", func() bool { return w.known(m.ID).MemberID != "" && w.known(all[1].ID).MemberID != "" })
	w.set(m, "PROA", "EXPIRED")
	w.until("asked", func() bool { return len(w.agenda(m.ID).Prompts) == 1 })
	prompt := w.agenda(m.ID).Prompts[0].PromptID
	if code, _, complaints := w.run("", w.at("prompts", "start", prompt)...); code != exitOK {
		t.Fatal(complaints)
	}
	lines := func(args ...string) (whats []string) {
		code, out, complaints := w.run("", w.at(append([]string{"audit", "--json"}, args...)...)...)
		if code != exitOK {
			t.Fatal(complaints)
		}
		for line := range strings.Lines(out) {
			var e audit.Entry
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatal(err)
			}
			whats = append(whats, string(e.What))
		}
		return whats
	}
	w.until("on record", func() bool { return strings.Contains(strings.Join(lines(), " "), "prompt.opened") })
	if err := stop(); err != nil {
		t.Error(err)
	}
	of := strings.Join(lines(m.ID, "--key-file", w.keyFile), " ")
	for _, want := range []string{"prompt.suppressed", "prompt.opened", "act.started act.minted"} {
		if !strings.Contains(of, want) {
			t.Errorf("%s is not on record: %s", want, of)
		}
	}
	if others := lines(all[1].ID, "--key-file", w.keyFile); len(others) != 0 {
		t.Errorf("of somebody who was asked nothing: %v", others)
	}
	if only := lines("--what", "act.minted"); len(only) != 1 {
		t.Errorf("%v", only)
	}
	code, out, _ := w.run("", w.at("audit", m.ID, "--key-file", w.keyFile)...)
	if code != exitOK || !strings.Contains(out, prompt) || strings.Contains(out, m.ID) {
		t.Errorf("%d\n%s", code, out)
	}
	if code, _, complaints := w.run("", w.at("audit", m.ID)...); code != exitFailed || !strings.Contains(complaints, "--key-file") {
		t.Errorf("%d %s", code, complaints)
	}
}
