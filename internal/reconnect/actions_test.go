package reconnect

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/smartconnect/connector/internal/audit"
	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/natstest"
	"github.com/smartconnect/connector/internal/secret"
	"github.com/smartconnect/connector/internal/topology"
)

// tapped is a b.well on which nothing may be done.
type tapped struct {
	t     *testing.T
	state events.ConnectionState
	urls  int
}

func (a *tapped) Connection(context.Context, events.MemberToken, string, events.IntegrationType) (events.ConnectionState, bool, error) {
	return a.state, true, nil
}

func (a *tapped) OAuthURL(context.Context, events.MemberToken, string) (secret.Value, error) {
	a.urls++
	return secret.New("https://provider.example/"), nil
}

func (a *tapped) ActivateDirect(context.Context, events.MemberToken, string) (events.Status, error) {
	a.t.Error("activated")
	return "", nil
}

func (a *tapped) Verified(context.Context, events.MemberToken) (bool, error) { return true, nil }

func (a *tapped) Look(context.Context, events.MemberToken, events.ConnectionToken, events.Status) error {
	return nil
}

// An id that could be none's finds nothing, however long and whatever is in it,
// and what looks at a prompt does nothing at b.well.
func TestActionsFindPrompts(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	l, js := natstest.Log(t)
	tokens, err := events.NewTokenizer([]byte(strings.Repeat("k", events.MinTokenSecret)))
	if err != nil {
		t.Fatal(err)
	}
	const ann = "member one"
	m := tokens.Member(ann)
	fact(ctx, t, l, m, events.Expired, time.Now())
	durable, err := js.Consumer(ctx, topology.Events, topology.Decider)
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(Config{Log: l, Source: durable, DeadLetters: Letters{js}, Ledger: audit.NewLedger(js), Policy: atOnce()})
	if err != nil {
		t.Fatal(err)
	}
	run, stop := context.WithCancel(ctx)
	stopped := make(chan error, 1)
	go func() { stopped <- c.Run(run) }()
	defer func() {
		stop()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	}()
	var want events.Prompt
	for want.PromptID == "" {
		head, err := l.Agenda(ctx, m)
		if err != nil {
			t.Fatal(err)
		}
		if head.Snapshot != nil && len(head.Snapshot.Prompts) == 1 {
			want = head.Snapshot.Prompts[0]
		}
	}
	b := &tapped{t: t, state: events.ConnectionState{Status: events.Expired, IntegrationType: events.PROA}}
	acts := NewActions(ActionsConfig{Log: l, Tokens: tokens, Actor: b, Notes: c, Ledger: audit.NewLedger(js)})
	who, got, err := acts.Prompt(ctx, StartRequest{PromptID: want.PromptID, MemberID: ann})
	if err != nil || who != m || got.PromptID != want.PromptID || got.Action != events.ActOAuth || b.urls != 0 {
		t.Fatalf("%+v, %v; %d URLs", got, err, b.urls)
	}
	if started, err := acts.Start(ctx, StartRequest{PromptID: want.PromptID, MemberID: ann}); err != nil || started.Method != "oauth" || b.urls != 1 {
		t.Errorf("%+v, %v", started, err)
	}
	for name, r := range map[string]StartRequest{
		"nobody's":        {PromptID: strings.Repeat("a", 26) + ".1"},
		"another's":       {PromptID: want.PromptID, MemberID: "bob"},
		"none":            {},
		"all":             {PromptID: "*.1"},
		"below":           {PromptID: ">"},
		"two lines":       {PromptID: "c.1\r\nSUB x 1"},
		"in capitals":     {PromptID: strings.ToUpper(want.PromptID)},
		"spaces":          {PromptID: " "},
		"not text":        {PromptID: "\x00\xff"},
		"longer than any": {PromptID: strings.Repeat("a", 65)},
		"huge":            {PromptID: strings.Repeat("a.", 10<<20)},
	} {
		if _, _, err := acts.Prompt(ctx, r); !errors.Is(err, NotFound) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := acts.Start(ctx, r); !errors.Is(err, NotFound) {
			t.Errorf("%s started: %v", name, err)
		}
	}
	for _, r := range []StartRequest{{PromptID: strings.TrimSuffix(want.PromptID, ".1") + ".2"}, {PromptID: strings.TrimSuffix(want.PromptID, ".1")}} {
		if _, _, err := acts.Prompt(ctx, r); !errors.Is(err, StalePrompt) {
			t.Errorf("%+v: %v", r, err)
		}
	}
	if len(acts.limits) > 4 {
		t.Errorf("%d ids are remembered, most of which are none", len(acts.limits))
	}
}
