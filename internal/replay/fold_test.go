package replay_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/natstest"
	"github.com/smartconnect/connector/internal/replay"
)

// story commits a small life of member m as the poller and the decider tell it:
// a connection breaks, is confirmed, is asked about, and heals n times. Whole
// programs add up too: the tests in test/ check it after every story.
func story(t *testing.T, log *events.Log, n int) {
	t.Helper()
	at := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	var known events.Member
	var asked events.Agenda
	var guard, asks uint64
	state := events.ConnectionState{Status: events.Connected, IntegrationType: events.PROA, StatusUpdated: at.Add(-time.Hour)}
	c := events.MemberConnection{Token: "c", ConnectionID: "clinic", Number: 1, FirstSeen: at, ConnectedSince: at, State: state}
	poll := func(told ...events.Event) {
		t.Helper()
		known.Connections = []events.MemberConnection{c}
		tx, err := log.Subjects().Poll("m", told, &known, guard, at)
		if err != nil {
			t.Fatal(err)
		}
		stored, err := log.Commit(t.Context(), tx)
		if err != nil {
			t.Fatal(err)
		}
		guard = stored.HeadSeq
	}
	decide := func(typ events.Type, p events.Prompt, expires time.Time) {
		t.Helper()
		asked.Prompts = nil
		if typ == events.PromptOpened {
			asked.Prompts = []events.Prompt{p}
			asked.Pushes = append(asked.Pushes, at)
		}
		asked.Pushes = slices.DeleteFunc(asked.Pushes, func(x time.Time) bool { return at.Sub(x) >= 7*24*time.Hour })
		told := []events.Event{{Type: typ, Part: "c", Data: &p, Expires: expires}}
		tx, err := log.Subjects().Decide("m", told, &asked, asks, guard, time.Time{}, at)
		if err != nil {
			t.Fatal(err)
		}
		stored, err := log.Commit(t.Context(), tx)
		if err != nil {
			t.Fatal(err)
		}
		asks = stored.HeadSeq
	}
	connection := func(typ events.Type, previous, current *events.ConnectionState) events.Event {
		e := events.Event{Type: typ, Part: "c", Data: &events.Connection{MemberID: "id", ConnectionID: "clinic", Previous: previous, Current: current, Episode: c.Episode}}
		if typ != events.ConnectionConfirmed {
			e.Time = current.StatusUpdated
		}
		return e
	}
	known = events.Member{
		Book: events.NewBook("inc"), MemberID: "id", Observation: events.MemberObservation{Started: at, LastComplete: at},
		Consent: events.MemberConsent{Read: true, ConsentID: "k", Provision: events.Permit, DateTime: at.Add(-time.Hour), Permitted: true},
		Task:    &events.MemberTask{TaskID: "t", Status: "completed", Updated: at.Add(-2 * time.Hour)}, Recommendations: []events.Recommendation{{MemberID: "id", Alias: "a", OfferID: "r"}},
	}
	asked = events.Agenda{Book: events.NewBook("inc"), MemberID: "id"}
	poll(events.Event{Type: events.ObservationStarted, Data: &events.Observation{MemberID: "id", Reason: "enrolled", Action: events.ActNone}},
		events.Event{Type: events.ConsentBaseline, Time: at.Add(-time.Hour), Data: &events.Consent{MemberID: "id", ConsentID: "k", Current: events.Permit}},
		events.Event{Type: events.TaskBaseline, Time: at.Add(-2 * time.Hour), Data: &events.Task{MemberID: "id", TaskID: "t", Current: "completed"}},
		events.Event{Type: events.RecommendationFound, Part: "r", Data: &events.Recommendation{MemberID: "id", Alias: "a", OfferID: "r"}},
		connection(events.ConnectionBaseline, nil, new(state)))
	at = at.Add(time.Hour)
	c.ExpiresAt, c.WarnedAt = at.Add(72*time.Hour), at
	warning := connection(events.ConnectionExpiring, new(c.State), new(c.State))
	warning.Time, warning.Data.(*events.Connection).ExpiresAt = time.Time{}, c.ExpiresAt
	poll(warning)
	for i := range n {
		at = at.Add(30 * time.Hour)
		was := c.State
		c.State.Status, c.State.StatusUpdated = events.Expired, at.Add(-time.Minute)
		c.Episode, c.EpisodeSince, c.BrokenSince, c.ConnectedSince = i+1, at, at, time.Time{}
		c.ExpiresAt, c.WarnedAt = time.Time{}, time.Time{}
		poll(connection(events.ConnectionStatusChanged, new(was), new(c.State)))
		at = at.Add(time.Hour)
		c.ConfirmedAt = at
		poll(connection(events.ConnectionConfirmed, new(c.State), new(c.State)))
		p := events.Prompt{MemberID: "id", ConnectionID: "clinic", PromptID: fmt.Sprintf("c.%d", i+1), Action: events.ActOAuth, Reason: "expired", Urgency: events.Required, Notify: true, ConnectionStatus: events.Expired, OpenedAt: at}
		asked.Asked = []events.Asked{{Connection: "c", Openings: i + 1, Episode: i + 1, PushedAt: at, ExpiresAt: at.Add(30 * 24 * time.Hour)}}
		decide(events.PromptOpened, p, at.Add(30*24*time.Hour))
		if i == n-1 {
			return // the last stays open
		}
		at = at.Add(time.Hour)
		was = c.State
		c.State.Status, c.State.StatusUpdated = events.Connected, at.Add(-time.Minute)
		c.ConnectedSince, c.BrokenSince, c.ConfirmedAt = at, time.Time{}, time.Time{}
		poll(connection(events.ConnectionStatusChanged, new(was), new(c.State)))
		p.Notify, p.Reason, p.ClosedAt, p.Downtime = false, "connected", at, new(int64(7200))
		asked.Asked = []events.Asked{{Connection: "c", Openings: i + 1, Episode: i + 1}}
		decide(events.PromptResolved, p, time.Time{})
	}
}

func kept(t *testing.T, js jetstream.JetStream) []replay.Kept {
	t.Helper()
	var all []replay.Kept
	for _, m := range messages(t, js, events.Stream) {
		if e, err := events.Decode(m.Header, m.Data); err == nil {
			all = append(all, replay.Kept{Event: e})
		}
	}
	return all
}

func TestEventsAddUpToTheHeads(t *testing.T) {
	log, js := natstest.Log(t)
	story(t, log, 3)
	check, err := replay.CheckMember(t.Context(), js, log.Subjects(), "m")
	if err != nil || check.Verdict != replay.Same || check.Since != 0 || check.AgendaSince != 0 {
		t.Errorf("%+v, %v", check, err)
	}
	if check, err = replay.CheckMember(t.Context(), js, log.Subjects(), "nobody"); err != nil || check.Verdict != replay.NoHeads {
		t.Errorf("nobody: %+v, %v", check, err)
	}
}

// Whatever differs is found and named, but for what changes without an event.
func TestEveryDifferenceIsNamed(t *testing.T) {
	log, js := natstest.Log(t)
	story(t, log, 2)
	all := kept(t, js)
	untold := []string{
		"member.observation.lastComplete", "agenda.decided", "agenda.asked[0].episode", "agenda.asked[0].pushedAt",
		"member.incarnation", "agenda.incarnation", // another one is another history
	}
	tried := 0
	for _, typ := range []events.Type{events.MemberSnapshot, events.AgendaSnapshot} {
		last := 0
		for i, k := range all {
			if k.Event.Type == typ {
				last = i
			}
		}
		body, err := json.Marshal(all[last].Event.Data)
		if err != nil {
			t.Fatal(err)
		}
		var whole map[string]any
		if err := json.Unmarshal(body, &whole); err != nil {
			t.Fatal(err)
		}
		spoil(typ.Kind(), whole, func(path string) {
			if slices.Contains(untold, path) || strings.Contains(path, ".sequences") {
				return // a wrong count is too short a history
			}
			tried++
			spoilt, err := json.Marshal(whole)
			if err != nil {
				t.Fatal(err)
			}
			changed := slices.Clone(all)
			if changed[last].Event.Data, err = headOf(typ, spoilt); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			check := replay.Fold("m", changed)
			if check.Verdict != replay.Differs || !slices.Contains(check.Differences, path) {
				t.Errorf("%s is wrong: %+v", path, check)
			}
			for _, d := range check.Differences {
				if strings.Contains(d, "2026") || strings.Contains(d, "clinic") {
					t.Errorf("a value is named: %s", d)
				}
			}
		})
	}
	if tried < 30 {
		t.Errorf("only %d fields were spoilt", tried)
	}
}

func headOf(t events.Type, body []byte) (events.Data, error) {
	if t == events.MemberSnapshot {
		var m events.Member
		err := json.Unmarshal(body, &m)
		return &m, err
	}
	var a events.Agenda
	err := json.Unmarshal(body, &a)
	return &a, err
}

// spoil changes each leaf of v in turn, calls each with its path, and puts it
// back.
func spoil(path string, v any, each func(path string)) {
	change := func(path string, leaf any, set func(any)) {
		switch x := leaf.(type) {
		case map[string]any, []any:
			spoil(path, x, each)
		case string:
			if _, err := time.Parse(time.RFC3339Nano, x); err == nil {
				set("2025-01-01T00:00:00Z")
			} else {
				set(x + "x")
			}
			each(path)
			set(x)
		case float64:
			set(x + 1)
			each(path)
			set(x)
		case bool:
			set(!x)
			each(path)
			set(x)
		}
	}
	switch x := v.(type) {
	case map[string]any:
		for k := range x {
			change(path+"."+k, x[k], func(to any) { x[k] = to })
		}
	case []any:
		for i := range x {
			change(fmt.Sprintf("%s[%d]", path, i), x[i], func(to any) { x[i] = to })
		}
	}
}

// What is no longer kept is no error: an older head stands for it, and if there
// is none the check says that it cannot tell.
func TestShortHistories(t *testing.T) {
	log, js := natstest.Log(t)
	story(t, log, 3)
	all := kept(t, js)
	without := func(drop func(i int, e events.Event) bool) replay.Check {
		i := -1
		return replay.Fold("m", slices.DeleteFunc(slices.Clone(all), func(k replay.Kept) bool { i++; return drop(i, k.Event) }))
	}
	if c := without(func(i int, _ events.Event) bool { return i < 5 }); c.Verdict != replay.Same || c.Since == 0 || c.AgendaSince != 0 {
		t.Errorf("without the baseline: %+v", c)
	}
	if c := without(func(_ int, e events.Event) bool { return e.Type == events.ConnectionConfirmed && e.Sequence < 5 }); c.Verdict != replay.Same || c.Since == 0 {
		t.Errorf("without an old event in the middle: %+v", c)
	}
	lastOf := map[events.Type]uint64{}
	for _, k := range all {
		lastOf[k.Event.Type] = k.Event.Sequence
	}
	if c := without(func(_ int, e events.Event) bool {
		return e.Type == events.ConnectionConfirmed && e.Sequence == lastOf[e.Type]
	}); c.Verdict != replay.TooShort {
		t.Errorf("without the last event: %+v", c)
	}
	if c := without(func(_ int, e events.Event) bool { return e.Type == events.PromptOpened && e.Sequence == lastOf[e.Type] }); c.Verdict != replay.TooShort {
		t.Errorf("without the last prompt: %+v", c)
	}
	onlyHeads := without(func(_ int, e events.Event) bool {
		return e.Type != events.MemberSnapshot && e.Type != events.AgendaSnapshot || e.Sequence != lastOf[e.Type]
	})
	if onlyHeads.Verdict != replay.TooShort {
		t.Errorf("with the heads alone: %+v", onlyHeads)
	}
}

// More than the stream keeps of a subject: the check goes by an older head.
func TestMoreThanTheStreamKeeps(t *testing.T) {
	log, js := natstest.Log(t)
	story(t, log, 40)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	check, err := replay.CheckMember(ctx, js, log.Subjects(), "m")
	if err != nil || check.Verdict != replay.Same || check.Since == 0 {
		t.Errorf("%+v, %v", check, err)
	}
}

// A head that cannot be read adds up to nothing, whatever stood there before.
// Once a later head can be read, the broken one is only missing from history.
func TestABrokenHead(t *testing.T) {
	log, js := natstest.Log(t)
	story(t, log, 2)
	check := func() replay.Check {
		t.Helper()
		c, err := replay.CheckMember(t.Context(), js, log.Subjects(), "m")
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	all := kept(t, js)
	last := all[len(all)-1]
	for _, typ := range []events.Type{events.MemberSnapshot, events.AgendaSnapshot} {
		for what, body := range map[string]string{"no JSON": "{bad", "no head": "{}"} {
			if _, err := js.Publish(t.Context(), "sc.v1."+typ.Kind()+".m", []byte(body)); err != nil {
				t.Fatal(err)
			}
			if c := check(); c.Verdict != replay.Broken || !slices.Contains(c.Broken, typ.Kind()) {
				t.Errorf("%s on the %s: %+v", what, typ.Kind(), c)
			}
		}
	}
	if c := check(); !slices.Equal(c.Broken, []string{"agenda", "member"}) {
		t.Errorf("both: %+v", c)
	}
	if last.Event.Type != events.AgendaSnapshot {
		t.Fatalf("the story ends with %s", last.Event.Type)
	}
	before := append(slices.Clone(all[:len(all)-1]), replay.Kept{Broken: "agenda"}, last)
	if c := replay.Fold("m", before); c.Verdict != replay.Same {
		t.Errorf("mended: %+v", c)
	}
}

// The head of another member, where this one's should be, is a broken one.
func TestAHeadOfSomebodyElse(t *testing.T) {
	log, js := natstest.Log(t)
	story(t, log, 1)
	for _, m := range messages(t, js, events.Stream) {
		if m.Subject == "sc.v1.agenda.m" {
			if _, err := js.PublishMsg(t.Context(), moved(m, "sc.v1.agenda.other")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if c, err := replay.CheckMember(t.Context(), js, log.Subjects(), "other"); err != nil || c.Verdict != replay.Broken {
		t.Errorf("%+v, %v", c, err)
	}
}

// moved is a message as it would be on another subject.
func moved(m *jetstream.RawStreamMsg, subject string) *nats.Msg {
	_, header := replay.Copy(m.Subject, m.Header, "", "", "")
	delete(header, replay.Mark)
	return &nats.Msg{Subject: subject, Header: header, Data: m.Data}
}
