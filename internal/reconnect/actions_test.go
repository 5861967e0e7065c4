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
	t       *testing.T
	state   events.ConnectionState
	consent events.MemberConsent
	urls    int
}

func (a *tapped) Connection(context.Context, events.MemberToken, string, events.IntegrationType) (Reading, error) {
	return Reading{Found: true, State: a.state, Consent: a.consent}, nil
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
	later := NewActions(ActionsConfig{Log: l, Tokens: tokens, Actor: b, Notes: c, Ledger: audit.NewLedger(js), Now: func() time.Time { return time.Now().Add(365 * day) }})
	if _, err := later.Start(ctx, StartRequest{PromptID: want.PromptID}); !errors.Is(err, StalePrompt) {
		t.Errorf("past its expiry, which no look has closed yet: %v", err)
	}
	b.state.Status = events.Unknown
	if started, err := acts.Start(ctx, StartRequest{PromptID: want.PromptID, MemberID: ann}); err != nil || started.Method != "oauth" {
		t.Errorf("open, and of a status that says nothing: %+v, %v", started, err)
	}
	if len(acts.limits) > 4 {
		t.Errorf("%d ids are remembered, most of which are none", len(acts.limits))
	}
}

// acting returns Actions on a member who has one open prompt, and the offer of
// another source.
func acting(ctx context.Context, t *testing.T, b *tapped, status events.Status, kind events.IntegrationType, consent events.MemberConsent) *Actions {
	t.Helper()
	l, _ := natstest.Log(t)
	b.t = t
	known := events.Member{
		Book: events.NewBook("inc"), MemberID: "member one", Consent: consent,
		Connections: []events.MemberConnection{{
			Token: "c1", ConnectionID: "clinic", Number: 1, State: events.ConnectionState{Status: status, IntegrationType: kind}, Episode: 1,
		}},
		Recommendations: []events.Recommendation{{MemberID: "member one", Alias: "lakeside", OfferID: "o1"}},
	}
	offer := []events.Event{{Type: events.RecommendationFound, Part: "o1", Data: &known.Recommendations[0]}}
	tx, err := l.Subjects().Poll("m1", offer, &known, 0, t0)
	if err != nil {
		t.Fatal(err)
	}
	from, err := l.Commit(ctx, tx)
	if err != nil {
		t.Fatal(err)
	}
	p := events.Prompt{
		MemberID: "member one", ConnectionID: "clinic", PromptID: "c1.1", Action: events.ActOAuth, Reason: "expired", Urgency: events.Required,
		ConnectionStatus: status, IntegrationType: kind, OpenedAt: t0,
	}
	asked := events.Agenda{Book: events.NewBook("inc"), MemberID: "member one", Prompts: []events.Prompt{p}}
	if tx, err = l.Subjects().Decide("m1", []events.Event{{Type: events.PromptOpened, Part: "c1", Data: &p}}, &asked, 0, from.HeadSeq, time.Time{}, t0); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Commit(ctx, tx); err != nil {
		t.Fatal(err)
	}
	return NewActions(ActionsConfig{Log: l, Actor: b, Notes: unnoted{}, Ledger: &paper{}})
}

// Consent is read again with the connection: what was known of it may be an
// hour old, and what is read may lag behind what is known.
func TestActingByTheConsentOfNow(t *testing.T) {
	at := func(p events.Provision, after time.Duration) events.MemberConsent {
		return events.MemberConsent{Read: true, ConsentID: string(p), Provision: p, DateTime: t0.Add(after)}
	}
	expired := func(k events.IntegrationType) events.ConnectionState {
		return events.ConnectionState{Status: events.Expired, IntegrationType: k}
	}
	over := events.ConnectionState{Status: events.AccessIsOver, IntegrationType: events.IndirectIAS}
	permit, later, none := at(events.Permit, 0), at(events.Deny, time.Hour), events.MemberConsent{}
	for _, x := range []struct {
		name        string
		state       events.ConnectionState
		known, read events.MemberConsent
		want        error // nil: a URL
		offer       error
	}{
		{"permitted", expired(events.IndirectIAS), permit, permit, nil, nil},
		{"revoked since the last poll", expired(events.IndirectIAS), permit, later, ConsentEnded, ConsentEnded},
		{"revoked, and the read lags", expired(events.IndirectIAS), later, permit, ConsentEnded, ConsentEnded},
		{"revoked, and consents did not come", expired(events.IndirectIAS), later, none, ConsentEnded, ConsentEnded},
		{"given again since the last poll", expired(events.IndirectIAS), at(events.Deny, -time.Hour), permit, nil, nil},
		{"nothing to PROA", expired(events.PROA), permit, later, nil, nil},
		{"access that should be back", over, permit, permit, nil, nil},
		{"access that ended", over, permit, later, ConsentEnded, ConsentEnded},
		{"access without consent", over, permit, at(events.None, time.Hour), ConsentEnded, ConsentEnded},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			b := &tapped{state: x.state, consent: x.read}
			acts := acting(ctx, t, b, x.state.Status, x.state.IntegrationType, x.known)
			for _, ask := range []struct {
				r    StartRequest
				want error
			}{
				{StartRequest{PromptID: "c1.1"}, x.want},
				{StartRequest{OfferID: "o1"}, x.offer},
			} {
				b.urls = 0
				started, err := acts.Start(ctx, ask.r)
				if !errors.Is(err, ask.want) || (ask.want == nil) != (b.urls == 1 && started.RedirectURL != "") {
					t.Errorf("%+v: %+v, %v, %d URLs", ask.r, started, err, b.urls)
				}
			}
		})
	}
	t.Run("an offer that is connected", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		b := &tapped{state: events.ConnectionState{Status: events.Connected, IntegrationType: events.IndirectIAS}, consent: permit}
		acts := acting(ctx, t, b, events.Expired, events.IndirectIAS, permit)
		if _, err := acts.Start(ctx, StartRequest{OfferID: "o1"}); !errors.Is(err, StalePrompt) || b.urls != 0 {
			t.Errorf("%v, %d URLs", err, b.urls)
		}
	})
}
