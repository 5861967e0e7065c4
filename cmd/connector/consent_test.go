package main

import (
	"testing"

	"github.com/smartconnect/connector/internal/events"
)

// Once a member has revoked consent, b.well is asked for connections and
// consents and for nothing else, whatever is broken and whoever starts anew.
func TestAfterConsentEndedLittleIsAsked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	m := w.sim.Members()[0]
	calls := func(root string) int { return w.sim.Calls()[m.ID][root] }
	roots := []string{"tasks", "careTeams", "getOauthUrl", "activateDirectConnection"}
	eager := func(s *service) { s.set.Policy.DirectAuto = []events.Status{events.Expired} }
	severalPolls := func() {
		t.Helper()
		connections, consents := calls("getMemberConnections"), calls("consents")
		w.until("polled several times", func() bool {
			return calls("getMemberConnections") >= connections+5 && calls("consents") >= consents+5
		})
	}

	w.enrol()
	_, stop := w.serve(eager)
	w.until("known", func() bool { return w.known(m.ID).MemberID != "" })
	w.set(m, "INDIRECT_IAS", "EXPIRED")
	w.until("asked", func() bool { return len(w.agenda(m.ID).Prompts) == 1 })
	prompt := w.agenda(m.ID).Prompts[0]
	if calls("tasks") == 0 || calls("careTeams") == 0 {
		t.Fatalf("asked for %v before consent ended", w.sim.Calls()[m.ID])
	}

	w.must(w.sim.SetConsent(m.ID, "deny"))
	w.until("noticed", func() bool {
		known := w.known(m.ID)
		return known.Effective() == events.Deny && len(w.agenda(m.ID).Prompts) == 0
	})
	w.set(m, "DIRECT_IAS", "EXPIRED") // what would be activated without asking
	severalPolls()                    // the one that noticed had asked for all
	before := w.sim.Calls()[m.ID]
	stand := func(when string) {
		t.Helper()
		severalPolls()
		for _, root := range roots {
			if n := calls(root) - before[root]; n != 0 {
				t.Errorf("%s: %s was asked for %d times", when, root, n)
			}
		}
	}
	if code, _, complaints := w.run("", w.at("prompts", "start", prompt.PromptID)...); code != exitFailed {
		t.Errorf("a withdrawn prompt is started: code %d: %s", code, complaints)
	}
	stand("after consent ended")
	w.must(stop())
	w.serve(eager)
	stand("after a restart")
}
