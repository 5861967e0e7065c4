package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/micro"

	"github.com/smartconnect/connector/internal/events"
)

// b.well refuses to activate for a member whose identity is not proven. From
// then on the prompt asks for that, until it is.
func TestIdentityIsAskedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.enrol()
	w.serve(nil)
	m := w.sim.Members()[0]
	w.until("known", func() bool { return w.known(m.ID).MemberID != "" })
	identity := func(status string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, w.simURL+"/sim/members/"+m.ID+"/identity", strings.NewReader(`{"status":"`+status+`"}`))
		w.must(err)
		resp, err := http.DefaultClient.Do(r)
		w.must(err)
		defer resp.Body.Close()
		if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", resp.Status, body)
		}
	}
	identity("attested")
	w.set(m, "DIRECT_IAS", "EXPIRED")
	// prompt waits until this is what is asked.
	prompt := func(want events.Action) events.Prompt {
		t.Helper()
		var p events.Prompt
		w.until("asked to "+string(want), func() bool {
			all := w.agenda(m.ID).Prompts
			if len(all) != 1 || all[0].Action != want {
				return false
			}
			p = all[0]
			return true
		})
		return p
	}
	start := func(p events.Prompt) (answer, refusal string) {
		t.Helper()
		body, err := json.Marshal(map[string]string{"promptId": p.PromptID, "memberId": m.ID})
		w.must(err)
		reply, err := w.nc.Request(servicePrefix+".prompt.start", body, 30*time.Second)
		w.must(err)
		return string(reply.Data), reply.Header.Get(micro.ErrorCodeHeader)
	}

	if _, refusal := start(prompt(events.ActDirect)); refusal != "identity_required" {
		t.Fatalf("refused with %q, want identity_required", refusal)
	}
	p := prompt(events.ActVerifyIdentity)
	if _, refusal := start(p); refusal != "identity_required" {
		t.Errorf("still not proven: refused with %q, want identity_required", refusal)
	}
	if code, out, complaints := w.run("", w.at("prompts", "list")...); code != exitOK || !strings.Contains(out, "verify_identity") {
		t.Errorf("not listed: code %d\n%s%s", code, out, complaints)
	}
	identity("validated")
	if answer, refusal := start(p); refusal != "" || !strings.Contains(answer, "CONNECTED") {
		t.Errorf("proven: %s, refused with %q", answer, refusal)
	}
	w.until("resolved", func() bool { return len(w.agenda(m.ID).Prompts) == 0 })
}
