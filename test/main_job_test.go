package test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/nats-io/nats.go/micro"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/simulator"
)

// The main job: connections break, each member is asked in the right way,
// reconnects, revokes consent and gives it back.
func TestMainJob(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	w := newWorld(t, 1)
	w.start("only")
	w.mainJob(ctx)
	w.audit(ctx)
}

// mainJob takes the first member through it all, once everything is known.
func (w *world) mainJob(ctx context.Context) {
	t := w.t
	t.Helper()
	w.settle(ctx)
	m := w.sim.Members()[0]
	token := w.keys.Tokenizer().Member(m.ID)
	set := func(integration, status string) string {
		t.Helper()
		for _, c := range m.Connections {
			if c["integrationType"] == integration {
				id, _ := c["id"].(string)
				if err := w.sim.SetConnection(m.ID, id, simulator.Row{"status": status, "integrationType": integration}); err != nil {
					t.Fatal(err)
				}
				return id
			}
		}
		t.Fatalf("no %s connection", integration)
		return ""
	}
	// prompts waits until so many are open.
	prompts := func(n int) []events.Prompt {
		t.Helper()
		for ctx.Err() == nil {
			head, err := w.log.Agenda(ctx, token)
			if err == nil && head.Snapshot != nil && len(head.Snapshot.Prompts) == n {
				return head.Snapshot.Prompts
			}
			wait(ctx, 20*time.Millisecond)
		}
		t.Fatalf("never %d open prompts", n)
		return nil
	}
	start := func(promptID string) (answer map[string]string, refusal string) {
		t.Helper()
		body, err := json.Marshal(map[string]string{"promptId": promptID, "memberId": m.ID})
		if err != nil {
			t.Fatal(err)
		}
		reply, err := w.js.Conn().RequestWithContext(ctx, "sc.svc.v1.prompt.start", body)
		if err != nil {
			t.Fatal(err)
		}
		_ = json.Unmarshal(reply.Data, &answer)
		return answer, reply.Header.Get(micro.ErrorCodeHeader)
	}

	for integration, want := range map[string]events.Action{"PROA": events.ActOAuth, "INDIRECT_IAS": events.ActOAuth, "DIRECT_IAS": events.ActDirect} {
		id := set(integration, "EXPIRED")
		p := prompts(1)[0]
		if p.Action != want || !p.Notify || p.ConnectionID != id {
			t.Errorf("%s: %+v", integration, p)
		}
		answer, refusal := start(p.PromptID)
		switch {
		case refusal != "":
			t.Errorf("%s: refused: %s", integration, refusal)
		case want == events.ActDirect && answer["status"] != "CONNECTED", want == events.ActOAuth && answer["redirectUrl"] == "":
			t.Errorf("%s: %v", integration, answer)
		}
		if want == events.ActOAuth {
			if err := w.sim.Login(m.ID, id); err != nil {
				t.Fatal(err)
			}
		}
		prompts(0)
		if _, refusal := start(p.PromptID); refusal != "stale_prompt" {
			t.Errorf("%s: the old prompt: %q, want stale_prompt", integration, refusal)
		}
	}

	left := set("DIRECT_IAS", "DISCONNECTED")
	if p := prompts(1)[0]; p.Notify || p.Urgency != events.Optional || p.ConnectionID != left {
		t.Errorf("what the member disconnected is listed, never pushed: %+v", p)
	}
	if err := w.sim.SetConsent(m.ID, "deny"); err != nil {
		t.Fatal(err)
	}
	prompts(0)
	ended := w.await(ctx, token, events.AccessEnded)
	if err := w.sim.SetConsent(m.ID, "permit"); err != nil {
		t.Fatal(err)
	}
	restored := w.await(ctx, token, events.AccessRestored)
	if len(ended.Connections) == 0 || len(restored.Connections) != len(ended.Connections) {
		t.Errorf("ended %+v, restored %+v", ended, restored)
	}
	for _, c := range restored.Connections {
		if !c.Restored || c.ConnectionID == left {
			t.Errorf("restored: %+v", c)
		}
	}
	if p := prompts(1)[0]; p.Notify || p.ConnectionID != left {
		t.Errorf("what the member disconnected stays so: %+v", p)
	}
	agenda, err := w.log.Agenda(ctx, token)
	if err != nil || agenda.Snapshot.Sequences["access"] != 2 {
		t.Errorf("%d access events, want ended and restored: %v", agenda.Snapshot.Sequences["access"], err)
	}
}
