package reconnect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/smartconnect/connector/internal/audit"
	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/natstest"
	"github.com/smartconnect/connector/internal/secret"
	"github.com/smartconnect/connector/internal/topology"
)

// paper is a ledger in memory that can be shut.
type paper struct {
	mu      sync.Mutex
	shut    bool
	refused int
	entries []audit.Entry
}

var errShut = errors.New("the ledger is shut")

func (p *paper) Record(_ context.Context, entries ...audit.Entry) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shut && len(entries) > 0 {
		p.refused++
		return errShut
	}
	p.entries = append(p.entries, entries...)
	return nil
}

func (p *paper) set(shut bool) {
	p.mu.Lock()
	p.shut = shut
	p.mu.Unlock()
}

// whats returns what is recorded, in order and without doubles.
func (p *paper) whats() (list []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := map[string]bool{}
	for _, e := range p.entries {
		if !seen[e.ID] {
			list = append(list, strings.TrimSpace(string(e.What)+" "+e.Reason))
		}
		seen[e.ID] = true
	}
	return list
}

// Whoever is not asked is on record with the reason, once for each state of
// what it was decided from; whoever is asked, or needs nothing, is not.
func TestSuppressions(t *testing.T) {
	broken := func(s events.Status, kind events.IntegrationType) *events.Member {
		return one(events.ConnectionState{Status: s, IntegrationType: kind, Category: "OAUTH"}, events.Permit)
	}
	denied := func() *events.Member {
		return one(events.ConnectionState{Status: events.Expired, IntegrationType: events.DirectIAS}, events.Deny)
	}
	unconfirmed := broken(events.Expired, events.PROA)
	unconfirmed.Connections[0].ConfirmedAt = time.Time{}
	c := unconfirmed.Connections[0].Token
	for _, x := range []struct {
		name   string
		member *events.Member
		held   Held
		want   []string
	}{
		{name: "asked", member: broken(events.Expired, events.PROA)},
		{name: "connected", member: broken(events.Connected, events.PROA)},
		{name: "unconfirmed", member: unconfirmed, want: []string{"8 unconfirmed held"}},
		{name: "a storm", member: broken(events.Expired, events.PROA), held: Held{Storm: true}, want: []string{"6 storm held"}},
		{name: "silenced", member: broken(events.Expired, events.PROA), held: Held{Silenced: true}, want: []string{"6 silenced held"}},
		{name: "its source fails", member: broken(events.Expired, events.PROA), held: Held{Degraded: map[events.ConnectionToken]bool{c: true}}, want: []string{"6 source_degraded held"}},
		{name: "consent ended", member: denied(), want: []string{"3 consent_ended nothing"}},
		{name: "nobody knows how", member: broken(events.Expired, ""), want: []string{"12 unknown_type held"}},
		{name: "nobody knows what", member: broken("", events.PROA), want: []string{"13 unknown_status held"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			now := t0.Add(90 * 24 * time.Hour)
			list := suppressions("m", x.member, nil, x.held, atOnce().decide(x.member, nil, x.held, now).Why, now)
			var got []string
			for _, e := range list {
				got = append(got, fmt.Sprintf("%d %s %s", e.Rule, e.Reason, e.Outcome))
				if e.Member != "m" || e.Part != string(c) || e.What != audit.Suppressed {
					t.Errorf("%+v", e)
				}
			}
			if !slices.Equal(got, x.want) {
				t.Errorf("%v, want %v", got, x.want)
			}
			// The same look later is the same entry; another fact makes another one.
			later := suppressions("m", x.member, nil, x.held, atOnce().decide(x.member, nil, x.held, now).Why, now.Add(time.Hour))
			x.member.Latest["connection."+string(c)] = "another"
			other := suppressions("m", x.member, nil, x.held, atOnce().decide(x.member, nil, x.held, now).Why, now)
			for i := range list {
				if later[i].ID != list[i].ID || other[i].ID == list[i].ID {
					t.Errorf("ids %s, %s later, %s of another fact", list[i].ID, later[i].ID, other[i].ID)
				}
			}
		})
	}
}

// A reminder that is due and held back is on record, once; one that is not due, or
// that the member does not want, is not.
func TestSuppressedReminders(t *testing.T) {
	m := one(events.ConnectionState{Status: events.Expired, IntegrationType: events.PROA}, events.Permit)
	_, a, _ := look(t, atOnce(), m, nil, Held{}, t0)
	_, known, _ := look(t, atOnce(), m, a, Held{}, t0.Add(time.Hour), Note{Kind: Acknowledge, Connection: "c1", PromptID: "c1.1"})
	held := Held{Silenced: true}
	entries := func(a *events.Agenda, after time.Duration) []audit.Entry {
		now := t0.Add(after)
		return suppressions("m", m, a, held, atOnce().decide(m, a, held, now).Why, now)
	}
	due := atOnce().Reminders[0]
	first, later := entries(a, due), entries(a, due+time.Hour)
	if len(first) != 1 || first[0].PromptID != "c1.1" || first[0].Reason != reasonSilenced || len(later) != 1 || later[0].ID != first[0].ID {
		t.Errorf("on record: %+v, later %+v", first, later)
	}
	if early, acked := entries(a, due-time.Second), entries(known, due); len(early)+len(acked) > 0 {
		t.Errorf("on record: %+v and %+v", early, acked)
	}
}

// A second storm over the same break is another suppression, and the entry says
// which storm it was.
func TestSuppressionsNameWhatHolds(t *testing.T) {
	m := one(events.ConnectionState{Status: events.Expired, IntegrationType: events.PROA}, events.Permit)
	now := t0.Add(90 * 24 * time.Hour)
	entry := func(told map[string]string) audit.Entry {
		h := Held{Storm: true, Told: told}
		return suppressions("m", m, nil, h, atOnce().decide(m, nil, h, now).Why, now)[0]
	}
	first, second := entry(map[string]string{reasonStorm: "e1"}), entry(map[string]string{reasonStorm: "e2"})
	if first.ID == second.ID || first.Cause != "e1" || second.Cause != "e2" {
		t.Errorf("%+v and %+v", first, second)
	}
}

// A trigger that led to nothing is acknowledged only when that is on record.
func TestSuppressionsAreRecordedFirst(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	l, js := natstest.Log(t)
	durable, err := js.Consumer(ctx, topology.Events, topology.Decider)
	if err != nil {
		t.Fatal(err)
	}
	p := &paper{shut: true}
	c, err := New(Config{
		Log: l, Source: durable, DeadLetters: Letters{js}, Ledger: p, Policy: atOnce(),
		Held: func(*events.Member, time.Time) Held { return Held{Storm: true} },
	})
	if err != nil {
		t.Fatal(err)
	}
	fact(ctx, t, l, "m1", events.Expired, time.Now())
	run, stop := context.WithCancel(zerolog.Nop().WithContext(ctx))
	stopped := make(chan error, 1)
	go func() { stopped <- c.Run(run) }()
	settled := func() bool {
		info, err := durable.Info(ctx)
		return err == nil && info.NumPending == 0 && info.NumAckPending == 0
	}
	until := func(what string, yes func() bool) {
		t.Helper()
		for !yes() {
			if ctx.Err() != nil {
				t.Fatalf("never %s: %v", what, p.whats())
			}
		}
	}
	until("refused", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.refused > 0 })
	if settled() {
		t.Error("acknowledged, and nothing is on record")
	}
	p.set(false)
	until("settled", settled)
	stop()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if got := p.whats(); !slices.Equal(got, []string{"prompt.suppressed storm"}) {
		t.Errorf("on record: %v", got)
	}
}

// bwellSays is a b.well that answers what it is told to.
type bwellSays struct {
	tapped
	activated error
	did       int
	looked    int

	now    Reading // what read reads
	unread error
}

func (b *bwellSays) Look(context.Context, events.MemberToken, events.ConnectionToken, events.Status) error {
	b.looked++
	return nil
}

func (b *bwellSays) ActivateDirect(context.Context, events.MemberToken, string) (events.Status, error) {
	b.did++
	return events.Connected, b.activated
}

// Nothing is done at b.well before it is on record, and no URL is handed out
// that is not.
func TestActsAreOnRecord(t *testing.T) {
	ctx := t.Context()
	for _, x := range []struct {
		name   string
		b      bwellSays
		action events.Action
		want   []string
	}{
		{"a URL", bwellSays{}, events.ActOAuth, []string{"act.started", "act.minted"}},
		{"an activation", bwellSays{}, events.ActDirect, []string{"act.started", "act.activated"}},
		{"a refusal", bwellSays{activated: ErrRefused}, events.ActDirect, []string{"act.started", "act.refused reconnect_in_app"}},
		{"no answer", bwellSays{activated: errors.New("timeout")}, events.ActDirect, []string{"act.started", "act.unknown upstream"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			p, b := &paper{}, &x.b
			b.t = t
			acts := NewActions(ActionsConfig{Actor: b, Notes: unnoted{}, Ledger: p, Now: func() time.Time { return t0 }})
			start := func() (Started, error) {
				e := audit.Entry{Member: "m", Part: "c", PromptID: "c.1", Action: x.action}
				if x.action == events.ActOAuth {
					return acts.oauth(ctx, e, "c", "clinic")
				}
				return acts.activate(ctx, e, events.Prompt{PromptID: "c.1", ConnectionID: "clinic"})
			}
			_, _ = start()
			if got := p.whats(); !slices.Equal(got, x.want) {
				t.Errorf("on record: %v, want %v", got, x.want)
			}
			if first, last := p.entries[0], p.entries[len(p.entries)-1]; last.Cause != first.ID || last.PromptID != "c.1" || last.Member != "m" {
				t.Errorf("%+v after %+v", last, first)
			}
			// Shut, nothing is done and nothing handed out.
			p.set(true)
			did, urls := b.did, b.urls
			if started, err := start(); !errors.Is(err, Upstream) || started != (Started{}) || b.did != did || b.urls != urls {
				t.Errorf("off the record: %+v, %v", started, err)
			}
		})
	}
	t.Run("shut in the middle", func(t *testing.T) {
		p := &paper{}
		acts := NewActions(ActionsConfig{Actor: &shutting{paper: p}, Notes: unnoted{}, Ledger: p})
		started, err := acts.oauth(ctx, audit.Entry{Member: "m", Action: events.ActOAuth}, "c", "clinic")
		if !errors.Is(err, Upstream) || started.RedirectURL != "" {
			t.Errorf("handed out off the record: %+v, %v", started, err)
		}
	})
}

type unnoted struct{}

func (unnoted) Note(context.Context, events.MemberToken, ...Note) error { return nil }

// shutting is a b.well that answers while the ledger is being shut.
type shutting struct {
	tapped
	paper *paper
}

func (s *shutting) OAuthURL(context.Context, events.MemberToken, string) (secret.Value, error) {
	s.paper.set(true)
	return secret.New("https://provider.example/"), nil
}

// Who is asked is not suppressed: a hold leaves open what is open.
func TestWhatIsOpenIsNotSuppressed(t *testing.T) {
	m := one(events.ConnectionState{Status: events.Expired, IntegrationType: events.PROA}, events.Permit)
	_, a, _ := look(t, atOnce(), m, nil, Held{}, t0)
	h := Held{Storm: true}
	if got := suppressions("m", m, a, h, atOnce().decide(m, a, h, t0.Add(time.Hour)).Why, t0); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

// The cause is what held back: the loss of sight, the consent.
func TestCausesOfSuppressions(t *testing.T) {
	blind := one(events.ConnectionState{Status: events.Expired, IntegrationType: events.PROA}, events.Permit)
	blind.Observation.LostSince, blind.Latest["observation"] = t0, "lost"
	denied := one(events.ConnectionState{Status: events.Expired, IntegrationType: events.DirectIAS}, events.Deny)
	denied.Latest["consent"] = "revoked"
	for want, m := range map[string]*events.Member{"lost": blind, "revoked": denied} {
		got := suppressions("m", m, nil, Held{}, atOnce().decide(m, nil, Held{}, t0.Add(time.Hour)).Why, t0)
		if len(got) != 1 || got[0].Cause != want {
			t.Errorf("want %s: %+v", want, got)
		}
	}
}

// read has the connection read as it is said to be now.
type read struct{ *bwellSays }

func (r read) Connection(context.Context, events.MemberToken, string, events.IntegrationType) (Reading, error) {
	return r.now, r.unread
}

// What is activated without asking is on record by what became of it. What b.well
// no longer says as it was decided from is left alone, and looked at.
func TestActivationsWithoutAsking(t *testing.T) {
	expired := events.ConnectionState{Status: events.Expired, IntegrationType: events.DirectIAS}
	disconnected := expired
	disconnected.Status = events.Disconnected
	ended := Reading{Found: true, State: expired, Consent: events.MemberConsent{Read: true, Provision: events.Deny, DateTime: t0.Add(time.Hour)}}
	for name, x := range map[string]struct {
		now    Reading
		unread error
		answer error
		want   []string
	}{
		"activated":              {now: Reading{Found: true, State: expired}, want: []string{"act.started", "act.activated"}},
		"refused":                {now: Reading{Found: true, State: expired}, answer: ErrRefused, want: []string{"act.started", "act.refused reconnect_in_app"}},
		"no answer":              {now: Reading{Found: true, State: expired}, answer: errors.New("no answer"), want: []string{"act.started", "act.unknown upstream"}},
		"not to be read":         {unread: errors.New("no answer")},
		"gone":                   {},
		"the member switched it": {now: Reading{Found: true, State: disconnected}},
		"consent ended":          {now: ended},
	} {
		p, b := &paper{}, &bwellSays{activated: x.answer, now: x.now, unread: x.unread}
		c := &Consumer{Config: Config{Ledger: p, Now: func() time.Time { return t0 }, Actor: read{b}}}
		known := one(expired, events.Permit)
		err := c.activate(t.Context(), "m", known, events.MemberConnection{Token: "c1", Episode: 1, State: expired})
		if fine := name == "activated"; (err == nil) != fine {
			t.Errorf("%s: %v", name, err)
		}
		if got := p.whats(); !slices.Equal(got, x.want) {
			t.Errorf("%s, on record: %v, want %s", name, got, x.want)
		}
		if b.did > 0 != (x.want != nil) || b.looked == 0 != (x.unread != nil) {
			t.Errorf("%s: activated %d times, looked %d times", name, b.did, b.looked)
		}
	}
}
