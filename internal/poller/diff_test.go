package poller

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/smartconnect/connector/internal/bwell"
	"github.com/smartconnect/connector/internal/events"
)

var t0 = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)

func tokenizer(t testing.TB) events.Tokenizer {
	t.Helper()
	k, err := events.NewTokenizer(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func conn(id, integration, status string, changes ...func(*bwell.Connection)) bwell.Connection {
	c := bwell.Connection{
		ID: id, Name: "Clinic", Status: bwell.Word{Value: status}, IntegrationType: bwell.Word{Value: integration},
		Category: bwell.Word{Value: "OAUTH"}, Type: bwell.Word{Value: "CLINICAL"}, SyncStatus: bwell.Word{Value: "RETRIEVED"},
		StatusUpdated: bwell.Time{Time: t0.Add(-24 * time.Hour)}, Created: bwell.Time{Time: t0.Add(-48 * time.Hour)},
	}
	for _, change := range changes {
		change(&c)
	}
	return c
}

func updated(d time.Duration) func(*bwell.Connection) {
	return func(c *bwell.Connection) { c.StatusUpdated = bwell.Time{Time: t0.Add(d)} }
}

func answer(conns ...bwell.Connection) bwell.Observation {
	return bwell.Observation{
		Connections: bwell.List[bwell.Connection]{Items: conns, Whole: true},
		Tasks:       bwell.List[bwell.Task]{Whole: true},
		Consents:    bwell.List[bwell.Consent]{Whole: true, Items: []bwell.Consent{consent("k1", "permit", -time.Hour)}},
	}
}

func consent(id, provision string, at time.Duration) bwell.Consent {
	return bwell.Consent{
		ID: id, Category: bwell.CategoryIAS, Status: bwell.Word{Value: "active"}, Provision: bwell.Word{Value: provision},
		DateTime: bwell.Time{Time: t0.Add(at)},
	}
}

// A story plays answers one after the other, as a poller that never restarts.
type story struct {
	t      testing.TB
	tokens events.Tokenizer
	rules  Rules
	head   *events.Member
	memory memory
	last   finding
}

func begin(t testing.TB, first bwell.Observation) *story {
	s := &story{t: t, tokens: tokenizer(t), rules: DefaultRules()}
	s.see(0, first)
	return s
}

// see returns the kinds of the events that an answer comes to, as "status_changed c-1".
func (s *story) see(at time.Duration, o bwell.Observation, more ...func(*look)) []string {
	s.t.Helper()
	l := look{memberID: "m-1", incarnation: "inc", head: s.head, seen: o, now: t0.Add(at)}
	for _, m := range more {
		m(&l)
	}
	s.last = s.rules.diff(l, s.memory, s.tokens)
	s.memory = s.last.memory
	if s.last.next != nil {
		s.head = s.last.next
	}
	var told []string
	for _, e := range s.last.told {
		what := strings.TrimSuffix(strings.TrimPrefix(string(e.Type), "smartconnect."), ".v1")
		if c, ok := e.Data.(*events.Connection); ok {
			what += " " + c.ConnectionID
		}
		told = append(told, what)
	}
	return told
}

func (s *story) want(at time.Duration, o bwell.Observation, want ...string) {
	s.t.Helper()
	if got := s.see(at, o); !slices.Equal(got, want) {
		s.t.Errorf("after %s: told %q, want %q", at, got, want)
	}
}

func TestBaselineIsOneTransaction(t *testing.T) {
	s := &story{t: t, tokens: tokenizer(t), rules: DefaultRules()}
	half := answer(conn("c-1", "PROA", "EXPIRED"))
	half.Consents = bwell.List[bwell.Consent]{Err: errors.New("x")}
	s.want(0, half) // incomplete: no baseline
	s.want(time.Minute, answer(conn("c-1", "PROA", "EXPIRED"), conn("c-1", "DIRECT_IAS", "CONNECTED")),
		"observation.started", "consent.baseline", "connection.baseline c-1", "connection.baseline c-1")
	a, b := s.head.Connections[0], s.head.Connections[1]
	if a.Token == b.Token || a.Number != 1 || b.Number != 2 {
		t.Errorf("one id, two types: %s #%d and %s #%d", a.Token, a.Number, b.Token, b.Number)
	}
	if b.FirstSight == a.FirstSight {
		t.Error("only the broken one is broken at first sight")
	}
	s.want(2*time.Minute, answer(conn("c-1", "PROA", "EXPIRED"), conn("c-1", "DIRECT_IAS", "CONNECTED")))
}

func TestWhatCountsAsAChange(t *testing.T) {
	for _, tt := range []struct {
		name string
		now  bwell.Connection
		want []string
	}{
		{"nothing", conn("c-1", "PROA", "CONNECTED"), nil},
		{"lastSynced alone", conn("c-1", "PROA", "CONNECTED", func(c *bwell.Connection) { c.LastSynced.Time = t0 }), nil},
		{"status", conn("c-1", "PROA", "EXPIRED", updated(time.Minute)), []string{"connection.status_changed c-1"}},
		{"an unknown status", conn("c-1", "PROA", "UNKNOWN", func(c *bwell.Connection) { c.Status.Raw = "SLEEPY" }), []string{"connection.status_changed c-1"}},
		{"no status", conn("c-1", "PROA", ""), []string{"connection.status_changed c-1"}},
		{"came and went", conn("c-1", "PROA", "CONNECTED", updated(time.Minute)), []string{"connection.status_changed c-1"}},
		{"sync", conn("c-1", "PROA", "CONNECTED", func(c *bwell.Connection) { c.SyncStatus.Value = "ERROR" }), []string{"connection.sync_changed c-1"}},
		{"category", conn("c-1", "PROA", "CONNECTED", func(c *bwell.Connection) { c.Category.Value = "BASIC" }), []string{"connection.changed c-1"}},
		{"type becomes known", conn("c-1", "", "CONNECTED"), []string{"connection.changed c-1"}},
		{"another created", conn("c-1", "PROA", "EXPIRED", func(c *bwell.Connection) { c.Created.Time = t0 }), []string{"connection.replaced c-1"}},
		{"another type is another connection", conn("c-1", "DIRECT_IAS", "CONNECTED"), []string{"connection.discovered c-1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			begin(t, answer(conn("c-1", "PROA", "CONNECTED"))).want(2*time.Minute, answer(tt.now), tt.want...)
		})
	}
}

func TestMissedBetween(t *testing.T) {
	s := begin(t, answer(conn("c-1", "PROA", "CONNECTED")))
	s.see(time.Hour, answer(conn("c-1", "PROA", "CONNECTED", updated(time.Minute))))
	got := s.last.told[0].Data.(*events.Connection).MissedBetween
	if got == nil || !got.After.Equal(t0.Add(-24*time.Hour)) || !got.Before.Equal(t0.Add(time.Minute)) {
		t.Errorf("missedBetween %+v", got)
	}
}

func TestBreakIsConfirmedOnceAfterItsWindow(t *testing.T) {
	broken := answer(conn("c-1", "PROA", "EXPIRED", updated(0)))
	s := begin(t, answer(conn("c-1", "PROA", "CONNECTED")))
	s.want(time.Minute, broken, "connection.status_changed c-1")
	s.want(11*time.Minute, broken) // exactly the window: not later yet
	if !s.last.wake.Equal(t0.Add(11*time.Minute + time.Millisecond)) {
		t.Errorf("wake at %v", s.last.wake)
	}
	part := broken
	part.Connections.Whole = false
	s.want(12*time.Minute, part) // only a whole list confirms
	s.want(12*time.Minute, broken, "connection.confirmed c-1")
	s.want(13*time.Minute, broken)
	if !s.last.quiet() {
		t.Error("nothing more can come of this answer")
	}
}

func TestExpiryIsToldAtEachLeadOnce(t *testing.T) {
	const day = 24 * time.Hour
	s := &story{t: t, tokens: tokenizer(t), rules: DefaultRules()}
	s.rules.Validity = map[string]time.Duration{"c-1": 90 * day}
	s.rules.Lead = []time.Duration{3 * day, 14 * day}
	works := answer(conn("c-1", "PROA", "CONNECTED", updated(0)), conn("c-2", "PROA", "CONNECTED", updated(0)))
	s.see(0, works)
	s.want(time.Hour, works)
	if !s.last.quiet() || !s.last.wake.Equal(t0.Add(76*day)) {
		t.Errorf("quiet %t, wake at %v", s.last.quiet(), s.last.wake)
	}
	s.want(76*day, works, "connection.expiring c-1")
	if e := s.last.told[0]; !e.Data.(*events.Connection).ExpiresAt.Equal(t0.Add(90*day)) || !e.Time.IsZero() {
		t.Errorf("told %+v, %v", e.Data, e.Time)
	}
	s.want(77*day, works)
	if !s.last.quiet() || !s.last.wake.Equal(t0.Add(87*day)) {
		t.Errorf("quiet %t, wake at %v", s.last.quiet(), s.last.wake)
	}
	s.want(88*day, works, "connection.expiring c-1")
	s.want(89*day, works)
	s.want(91*day, works) // the source is kinder than its terms
	if !s.last.wake.IsZero() {
		t.Errorf("wake at %v", s.last.wake)
	}

	renewed := answer(conn("c-1", "PROA", "CONNECTED", updated(89*day)), conn("c-2", "PROA", "CONNECTED", updated(0)))
	s.want(92*day, renewed, "connection.status_changed c-1")
	s.want(164*day, renewed) // 90 days later, less 14, is day 165
	s.want(177*day, renewed, "connection.expiring c-1")
	s.want(178*day, renewed)

	broken := answer(conn("c-1", "PROA", "EXPIRED", updated(179*day)), conn("c-2", "PROA", "CONNECTED", updated(0)))
	s.want(179*day, broken, "connection.status_changed c-1")
	if c := s.head.Connections[0]; !c.ExpiresAt.IsZero() || !c.WarnedAt.IsZero() {
		t.Errorf("still to expire: %+v", c)
	}
}

func TestExpiryIsNotToldAgainAfterAnUnknownStatus(t *testing.T) {
	const day = 24 * time.Hour
	undated := func(c *bwell.Connection) { c.StatusUpdated = bwell.Time{} }
	s := &story{t: t, tokens: tokenizer(t), rules: DefaultRules()}
	s.rules.Validity = map[string]time.Duration{"c-1": 90 * day}
	works := answer(conn("c-1", "PROA", "CONNECTED", undated))
	s.see(0, works)
	s.want(84*day, works, "connection.expiring c-1")
	s.want(85*day, answer(conn("c-1", "PROA", "", undated)), "connection.status_changed c-1")
	s.want(86*day, works, "connection.status_changed c-1")
	s.want(87*day, works)
}

// Whoever is first seen shortly before the end is warned at the next look.
func TestExpiryOfWhatIsFirstSeenLate(t *testing.T) {
	const day = 24 * time.Hour
	s := &story{t: t, tokens: tokenizer(t), rules: DefaultRules()}
	s.rules.Validity = map[string]time.Duration{"c-1": 30 * day}
	works := answer(conn("c-1", "PROA", "CONNECTED", updated(-25*day)))
	s.see(0, works)
	if s.last.quiet() && s.last.wake.After(t0) {
		t.Error("the next look comes to nothing")
	}
	s.want(time.Hour, works, "connection.expiring c-1")
}

func TestFlapIsOneEpisode(t *testing.T) {
	s := begin(t, answer(conn("c-1", "PROA", "CONNECTED")))
	status := func(at time.Duration, status string) events.MemberConnection {
		s.see(at, answer(conn("c-1", "PROA", status, updated(at))))
		return s.head.Connections[0]
	}
	if c := status(time.Minute, "EXPIRED"); c.Episode != 1 || c.FlapCount != 0 {
		t.Errorf("first break: %+v", c)
	}
	status(2*time.Minute, "CONNECTED")
	if c := status(3*time.Minute, "ERROR"); c.Episode != 1 || c.FlapCount != 1 {
		t.Errorf("broken again at once: %+v", c)
	}
	status(4*time.Minute, "CONNECTED")
	if c := status(4*time.Minute+s.rules.HoldOpen+1, "EXPIRED"); c.Episode != 2 || c.FlapCount != 0 {
		t.Errorf("broken after the hold-open: %+v", c)
	}
}

// A status that is null or unknown says nothing: neither that a break is over
// nor that there is one. It only starts the window of a confirmation anew.
func TestUnknownStatusEndsNoEpisode(t *testing.T) {
	type step struct {
		at     time.Duration
		status string
	}
	for _, tt := range []struct {
		name           string
		first          string
		then           []step
		episode, flaps int
		broken         time.Duration // since when the break is counted
	}{
		{"null in a break", "CONNECTED", []step{{1, "EXPIRED"}, {2, ""}, {3, "EXPIRED"}}, 1, 0, 3},
		{"a word nobody knows in a break", "CONNECTED", []step{{1, "EXPIRED"}, {2, "UNKNOWN"}, {3, "DISCONNECTED"}}, 1, 0, 3},
		{"null for long", "CONNECTED", []step{{1, "EXPIRED"}, {2, ""}, {3000, "EXPIRED"}}, 1, 0, 3000},
		{"null at first sight, then broken", "", []step{{1, "EXPIRED"}, {2, ""}, {3, "EXPIRED"}}, 1, 0, 3},
		{"broken at first sight", "ERROR", []step{{1, ""}, {2, "ERROR"}}, 1, 0, 2},
		{"broken soon after it worked again, null between", "CONNECTED", []step{{1, "EXPIRED"}, {2, "CONNECTED"}, {3, ""}, {4, "EXPIRED"}}, 1, 1, 4},
		{"and two of them", "CONNECTED", []step{{1, "EXPIRED"}, {2, "CONNECTED"}, {3, ""}, {4, "UNKNOWN"}, {5, "EXPIRED"}}, 1, 1, 5},
		{"just within the hold-open", "CONNECTED", []step{{1, "EXPIRED"}, {2, "CONNECTED"}, {3, ""}, {62, "EXPIRED"}}, 1, 1, 62},
		{"just after it", "CONNECTED", []step{{1, "EXPIRED"}, {2, "CONNECTED"}, {3, ""}, {63, "EXPIRED"}}, 2, 0, 63},
		{"connected on both sides of null", "CONNECTED", []step{{1, "EXPIRED"}, {2, "CONNECTED"}, {40, ""}, {41, "CONNECTED"}, {63, "EXPIRED"}}, 2, 0, 63},
		{"worked only after null", "CONNECTED", []step{{1, "EXPIRED"}, {2, ""}, {3, "CONNECTED"}, {64, "EXPIRED"}}, 2, 0, 64},
		{"but not for long", "CONNECTED", []step{{1, "EXPIRED"}, {2, ""}, {3, "CONNECTED"}, {63, "EXPIRED"}}, 1, 1, 63},
		{"and null again after the flap", "CONNECTED", []step{{1, "EXPIRED"}, {2, "CONNECTED"}, {3, "EXPIRED"}, {100, ""}, {101, "EXPIRED"}}, 1, 1, 101},
	} {
		s := begin(t, answer(conn("c-1", "PROA", tt.first)))
		for _, st := range tt.then {
			s.see(st.at*time.Minute, answer(conn("c-1", "PROA", st.status, updated(st.at*time.Minute))))
		}
		c := s.head.Connections[0]
		if c.Episode != tt.episode || c.FlapCount != tt.flaps || !c.BrokenSince.Equal(t0.Add(tt.broken*time.Minute)) || !c.ConfirmedAt.IsZero() {
			t.Errorf("%s: episode %d, flapped %d times, broken since %s, confirmed %s; want %d, %d, %s", tt.name,
				c.Episode, c.FlapCount, c.BrokenSince.Sub(t0), c.ConfirmedAt, tt.episode, tt.flaps, tt.broken*time.Minute)
		}
	}
}

// What was broken when we first looked is no news until it has worked, however
// its break changes.
func TestFirstSightLastsUntilItWorks(t *testing.T) {
	for _, tt := range []struct {
		name, first string
		then        []string
		want        bool
	}{
		{"as it was", "ERROR", nil, true},
		{"broken in another way", "ERROR", []string{"EXPIRED"}, true},
		{"and in a third", "ACCESS_ENDED", []string{"EXPIRED", "DISCONNECTED"}, true},
		{"unknown in between", "EXPIRED", []string{"", "EXPIRED"}, true},
		{"it worked", "EXPIRED", []string{"CONNECTED", "EXPIRED"}, false},
		{"it worked for a moment", "EXPIRED", []string{"CONNECTED", "", "ERROR"}, false},
		{"it works", "EXPIRED", []string{"CONNECTED"}, false},
		{"it worked at first", "CONNECTED", []string{"EXPIRED"}, false},
	} {
		s := begin(t, answer(conn("c-1", "PROA", tt.first)))
		for i, status := range tt.then {
			at := time.Duration(i+1) * time.Minute
			s.see(at, answer(conn("c-1", "PROA", status, updated(at))))
		}
		if c := s.head.Connections[0]; c.FirstSight != tt.want {
			t.Errorf("%s: first sight %t, want %t", tt.name, c.FirstSight, tt.want)
		}
	}
}

// Of a status that was unknown when we first looked, b.well's own time tells
// whether the break was there already.
func TestFirstSightOfAnUnknownStatus(t *testing.T) {
	for name, tt := range map[string]struct {
		first   string
		updated time.Duration
		want    bool
	}{
		"broken since long ago":                 {"", -20 * time.Hour, true},
		"broken since we looked":                {"", time.Minute, false},
		"worked when we looked, and is settled": {"CONNECTED", -20 * time.Hour, false},
	} {
		s := begin(t, answer(conn("c-1", "PROA", tt.first)))
		s.see(time.Hour, answer(conn("c-1", "PROA", "EXPIRED", updated(tt.updated))))
		if c := s.head.Connections[0]; c.FirstSight != tt.want || c.State.Status != events.Expired {
			t.Errorf("%s: first sight %t, want %t: %+v", name, c.FirstSight, tt.want, c)
		}
	}
}

func TestOldRowMustSettle(t *testing.T) {
	s := begin(t, answer(conn("c-1", "PROA", "CONNECTED", updated(-time.Minute))))
	old := answer(conn("c-1", "PROA", "EXPIRED", updated(-time.Hour)))
	s.want(time.Minute, old)
	s.want(2*time.Minute, old)
	s.want(3*time.Minute, old, "connection.status_changed c-1")
}

// A row whose time stepped back for good is what b.well says, once it has
// settled: its break is confirmed, and what changes in it is told.
func TestOldRowThatStaysIsBelieved(t *testing.T) {
	old := func(changes ...func(*bwell.Connection)) bwell.Observation {
		return answer(conn("c-1", "PROA", "EXPIRED", append(changes, updated(-time.Hour))...))
	}
	s := begin(t, answer(conn("c-1", "PROA", "CONNECTED")))
	s.want(time.Minute, answer(conn("c-1", "PROA", "EXPIRED", updated(time.Minute))), "connection.status_changed c-1")
	s.want(12*time.Minute, old()) // it may be from before the break
	s.want(13*time.Minute, old())
	s.want(14*time.Minute, old(), "connection.confirmed c-1")
	s.want(15*time.Minute, old())
	if !s.last.quiet() || !s.last.wake.IsZero() {
		t.Errorf("quiet %t, wake at %v: nothing more can come of this answer", s.last.quiet(), s.last.wake)
	}
	broken := func(c *bwell.Connection) { c.SyncStatus.Value = "ERROR" }
	s.want(16*time.Minute, old(broken), "connection.sync_changed c-1")
	s.want(17*time.Minute, old(broken))
	if !s.last.quiet() || !s.last.wake.IsZero() || !s.head.Connections[0].State.StatusUpdated.Equal(t0.Add(-time.Hour)) {
		t.Errorf("quiet %t, wake at %v, %+v", s.last.quiet(), s.last.wake, s.head.Connections[0].State)
	}

	// One that only lags is no news, and settles nothing for the next.
	s = begin(t, answer(conn("c-1", "PROA", "EXPIRED", updated(0))))
	s.want(1*time.Minute, old(broken))
	s.want(2*time.Minute, answer(conn("c-1", "PROA", "EXPIRED", updated(0))))
	s.want(4*time.Minute, old(broken))
	s.want(6*time.Minute, old(broken), "connection.sync_changed c-1")
}

func TestLaggingReadConfirmsNothingAfterOurAction(t *testing.T) {
	broken := answer(conn("c-1", "PROA", "EXPIRED", updated(time.Minute)))
	s := begin(t, answer(conn("c-1", "PROA", "CONNECTED")))
	s.want(1*time.Minute, broken, "connection.status_changed c-1")
	s.memory.acted = map[events.ConnectionToken]action{s.head.Connections[0].Token: {events.Connected, t0.Add(11 * time.Minute)}}
	s.want(12*time.Minute, broken)
	s.want(13*time.Minute, broken, "connection.confirmed c-1")
}

func TestOwnActionIsNotContradictedByALaggingRead(t *testing.T) {
	s := begin(t, answer(conn("c-1", "PROA", "CONNECTED")))
	s.memory.acted = map[events.ConnectionToken]action{s.head.Connections[0].Token: {events.Connected, t0}}
	broken := answer(conn("c-1", "PROA", "EXPIRED", updated(time.Minute)))
	s.want(time.Minute, broken)
	s.want(3*time.Minute, broken, "connection.status_changed c-1")
}

func TestRowThatDisappears(t *testing.T) {
	s := begin(t, answer(conn("c-1", "PROA", "CONNECTED"), conn("c-2", "PROA", "CONNECTED")))
	gone := answer(conn("c-2", "PROA", "CONNECTED"))
	half := gone
	half.Tasks = bwell.List[bwell.Task]{Err: errors.New("x")}
	s.want(1*time.Minute, gone)
	s.want(2*time.Minute, half) // does not count
	s.want(3*time.Minute, gone)
	if s.last.askDeleted {
		t.Error("asked for deleted rows too early")
	}
	s.want(4*time.Minute, gone)
	if !s.last.askDeleted {
		t.Fatal("three complete answers without the row: ask for deleted ones")
	}
	deleted := bwell.List[bwell.Connection]{Whole: true, Items: []bwell.Connection{conn("c-1", "PROA", "DELETED")}}
	got := s.see(4*time.Minute, gone, func(l *look) { l.deleted = &deleted })
	if !slices.Equal(got, []string{"connection.removed c-1"}) || s.last.told[0].Data.(*events.Connection).Current.Status != events.Deleted {
		t.Errorf("told %q", got)
	}
	token := s.head.Connections[0].Token
	s.want(5*time.Minute, answer(conn("c-1", "PROA", "CONNECTED"), conn("c-2", "PROA", "CONNECTED")), "connection.discovered c-1")
	if s.head.Connections[0].Token != token {
		t.Error("what comes back keeps its token")
	}
}

// A removal ends the episode, whatever the connection comes back as: a decider
// that looked at neither must see that the break is another one.
func TestWhatComesBackBreaksAnew(t *testing.T) {
	for name, back := range map[string][]string{
		"broken":                  {"EXPIRED"},
		"connected for a moment":  {"CONNECTED", "EXPIRED"},
		"as nobody knows what":    {"", "EXPIRED"},
		"broken in another way":   {"ERROR"},
		"connected, then unknown": {"CONNECTED", "UNKNOWN", "EXPIRED"},
	} {
		s := begin(t, answer(conn("c-1", "PROA", "CONNECTED")))
		s.rules.Vanish = 1
		s.see(1*time.Minute, answer(conn("c-1", "PROA", "EXPIRED", updated(time.Minute))))
		s.see(2*time.Minute, answer())
		s.see(2*time.Minute, answer(), func(l *look) { l.deleted = &bwell.List[bwell.Connection]{Whole: true} })
		if c := s.head.Connections[0]; !c.Removed() || c.Episode != 1 {
			t.Fatalf("%s: %+v", name, c)
		}
		for i, status := range back {
			at := time.Duration(3+i) * time.Minute
			s.see(at, answer(conn("c-1", "PROA", status, updated(at))))
		}
		if c := s.head.Connections[0]; c.Episode != 2 || c.FlapCount != 0 || c.FirstSight {
			t.Errorf("%s: episode %d, flapped %d times, first sight %t; want a new episode", name, c.Episode, c.FlapCount, c.FirstSight)
		}
	}
}

// Nothing vanishes by an answer that is not complete, also where enough complete
// ones came before it.
func TestNothingVanishesByAnIncompleteAnswer(t *testing.T) {
	s := begin(t, answer(conn("c-1", "PROA", "CONNECTED")))
	for i := range s.rules.Vanish {
		s.want(time.Duration(i+1)*time.Minute, answer())
	}
	half := bwell.Observation{Consents: answer().Consents, Connections: bwell.List[bwell.Connection]{Err: errors.New("x")}}
	s.want(5*time.Minute, half)
	if s.last.askDeleted {
		t.Error("asked for deleted rows by an answer that lists none")
	}
	none := bwell.List[bwell.Connection]{Whole: true}
	if got := s.see(5*time.Minute, half, func(l *look) { l.deleted = &none }); len(got) != 0 {
		t.Errorf("told %q", got)
	}
	if s.want(6*time.Minute, answer()); !s.last.askDeleted {
		t.Error("the complete answers before it count no more")
	}
}

// What is listed goes on being what it is, also where something that was removed
// fits as well.
func TestRowIsNotTakenForARemovedOne(t *testing.T) {
	s := begin(t, answer(conn("c-1", "PROA", "CONNECTED")))
	s.rules.Vanish = 1
	s.see(1*time.Minute, answer())
	s.see(1*time.Minute, answer(), func(l *look) { l.deleted = &bwell.List[bwell.Connection]{Whole: true} })
	s.want(2*time.Minute, answer(conn("c-1", "", "EXPIRED")), "connection.discovered c-1")
	s.want(3*time.Minute, answer(conn("c-1", "PROA", "EXPIRED")), "connection.changed c-1")
	s.want(4*time.Minute, answer(conn("c-1", "PROA", "EXPIRED")))
}

func TestRowThatComesBackIsNotRemoved(t *testing.T) {
	s := begin(t, answer(conn("c-1", "PROA", "CONNECTED")))
	for i := range 4 {
		s.want(time.Duration(2*i+1)*time.Minute, answer())
		s.want(time.Duration(2*i+2)*time.Minute, answer(conn("c-1", "PROA", "CONNECTED")))
	}
}

func TestConsent(t *testing.T) {
	with := func(all ...bwell.Consent) bwell.Observation {
		o := answer()
		o.Consents.Items = all
		return o
	}
	permit := consent("k1", "permit", -time.Hour)
	s := begin(t, with(permit))
	s.want(1*time.Minute, with(consent("k2", "deny", time.Minute), permit), "consent.revoked")
	s.want(2*time.Minute, with(permit)) // a read that lags is older: no news
	s.want(3*time.Minute, with(permit, consent("k3", "permit", 2*time.Minute), consent("k2", "deny", time.Minute)), "consent.granted")
	undated := consent("k4", "deny", 0)
	undated.DateTime = bwell.Time{}
	s.want(4*time.Minute, with(undated))
	s.want(5*time.Minute, with(undated), "consent.revoked")
	s.want(6*time.Minute, with())
	s.want(7*time.Minute, with(), "consent.revoked")
	if s.head.Consent.Provision != events.None {
		t.Errorf("provision %q", s.head.Consent.Provision)
	}
	draft := consent("k5", "permit", time.Hour)
	draft.Status.Value = "draft"
	other := consent("k6", "permit", time.Hour)
	other.Category = "tos"
	s.want(8*time.Minute, with(draft, other))
}

// Consents may come and go unseen: the newest that was ever listed counts, also
// if it says what we knew. It is no news, so nothing is written for it.
func TestReadsThatLagBringNoOldConsent(t *testing.T) {
	with := func(all ...bwell.Consent) bwell.Observation {
		o := answer()
		o.Consents.Items = all
		return o
	}
	permit, deny := consent("k1", "permit", -time.Hour), consent("k2", "deny", time.Minute)
	between, again := consent("k3", "permit", 2*time.Minute), consent("k4", "deny", 3*time.Minute)
	s := begin(t, with(permit))
	s.want(1*time.Minute, with(permit, deny), "consent.revoked")
	s.want(4*time.Minute, with(permit, deny, between, again))
	if s.last.next != nil || !s.last.quiet() {
		t.Error("the same provision is no change")
	}
	s.want(5*time.Minute, with(permit, deny, between)) // lags
	failed := with()
	failed.Consents = bwell.List[bwell.Consent]{Err: errors.New("x")}
	s.want(6*time.Minute, failed)
	s.want(7*time.Minute, with(permit, deny, between)) // and still does
	s.want(8*time.Minute, with(again, consent("k5", "permit", 8*time.Minute)), "consent.granted")
	if s.head.Consent.ConsentID != "k5" {
		t.Errorf("%+v", s.head.Consent)
	}
}

// A head that was written before it said whether there was a permit says it by
// the permit that it holds.
func TestPermitInAnOldHead(t *testing.T) {
	o := answer()
	o.Consents.Items = []bwell.Consent{consent("k1", "permit", -time.Hour)}
	s := begin(t, o)
	s.head.Consent.Permitted = false
	o.Consents.Items = append(o.Consents.Items, consent("k2", "deny", time.Minute))
	s.want(time.Minute, o, "consent.revoked")
	if !s.head.Consent.Permitted {
		t.Error("the permit is forgotten")
	}
}

// Where b.well's times do not tell which of two consents is newer, as where they
// are days, it must say so twice.
func TestConsentsOfOneTime(t *testing.T) {
	with := func(all ...bwell.Consent) bwell.Observation {
		o := answer()
		o.Consents.Items = all
		return o
	}
	stored := func(c bwell.Consent, at time.Duration) bwell.Consent {
		c.Updated.Time = t0.Add(at)
		return c
	}
	permit, deny := consent("k1", "permit", 0), consent("k2", "deny", 0)
	s := begin(t, with(permit))
	s.want(1*time.Minute, with(permit, deny))
	s.want(2*time.Minute, with(deny, permit))
	s.want(3*time.Minute, with(permit, deny))
	s.want(4*time.Minute, with(permit, deny), "consent.revoked")

	// When it was stored is the next best.
	s = begin(t, with(stored(permit, 0)))
	s.want(1*time.Minute, with(stored(deny, time.Minute), stored(permit, 0)))
	s.want(2*time.Minute, with(stored(permit, 0), stored(deny, time.Minute)), "consent.revoked")
}

func TestNewestTaskCounts(t *testing.T) {
	task := func(id, status string, at time.Duration) bwell.Task {
		return bwell.Task{ID: id, Status: bwell.Word{Value: status}, LastModified: bwell.Time{Time: t0.Add(at)}}
	}
	with := func(all ...bwell.Task) bwell.Observation {
		o := answer()
		o.Tasks.Items = all
		return o
	}
	s := begin(t, answer())
	s.want(1*time.Minute, with(task("a", "in-progress", 1), task("b", "rejected", -1)), "task.status_changed")
	s.want(2*time.Minute, with(task("b", "rejected", -1)))
	s.want(3*time.Minute, with())
	s.want(4*time.Minute, with(task("a", "completed", 2)), "task.status_changed")
	if s.head.Task.Status != "completed" {
		t.Errorf("%+v", s.head.Task)
	}
}

// b.well's lists have no order. Of what its times do not tell apart the same
// counts whatever comes first, or each answer would be a change.
func TestOrderMeansNothing(t *testing.T) {
	sync := func(s string) func(*bwell.Connection) { return func(c *bwell.Connection) { c.SyncStatus.Value = s } }
	category := func(c *bwell.Connection) { c.Category.Value = "BASIC" }
	undated := func(c *bwell.Connection) { c.StatusUpdated, c.Created = bwell.Time{}, bwell.Time{} }
	synced := func(c *bwell.Connection) { c.LastSynced.Time = t0 }
	works := conn("c-1", "PROA", "CONNECTED", undated)
	for name, rows := range map[string][]bwell.Connection{
		"sync":          {works, conn("c-1", "PROA", "CONNECTED", undated, sync("ERROR"))},
		"sync errors":   {works, conn("c-1", "PROA", "CONNECTED", undated, func(c *bwell.Connection) { c.SyncErrors = []string{"E"} })},
		"category":      {works, conn("c-1", "PROA", "CONNECTED", undated, category)},
		"unknown words": {conn("c-1", "PROA", "UNKNOWN", undated, func(c *bwell.Connection) { c.Status.Raw = "A" }), conn("c-1", "PROA", "UNKNOWN", undated, func(c *bwell.Connection) { c.Status.Raw = "B" })},
		"lastSynced":    {conn("c-1", "PROA", "CONNECTED", undated, sync("ERROR")), conn("c-1", "PROA", "CONNECTED", undated, synced)},
		"no status":     {works, conn("c-1", "PROA", "", undated)},
		"access ended":  {works, conn("c-1", "PROA", "ACCESS_ENDED", undated)},
		"expired":       {works, conn("c-1", "PROA", "EXPIRED", undated)},
	} {
		s := begin(t, answer(rows...))
		if name == "no status" || name == "access ended" || name == "expired" {
			if got := s.head.Connections[0].State.Status; got != events.Connected {
				t.Errorf("%s: %s, want the one that works", name, got)
			}
		}
		slices.Reverse(rows)
		if told := s.see(time.Minute, answer(rows...)); len(told) > 0 {
			t.Errorf("%s: the other way round: told %q", name, told)
		}
	}

	o := answer()
	o.Tasks.Items = []bwell.Task{{ID: "a", Status: bwell.Word{Value: "ready"}}, {ID: "b", Status: bwell.Word{Value: "completed"}}}
	s := begin(t, o)
	slices.Reverse(o.Tasks.Items)
	if told := s.see(time.Minute, o); len(told) > 0 {
		t.Errorf("undated tasks the other way round: told %q", told)
	}
}

func TestLoseAndResume(t *testing.T) {
	s := begin(t, answer(conn("c-1", "PROA", "CONNECTED")))
	l := look{memberID: "m-1", incarnation: "inc", head: s.head, now: t0.Add(time.Hour)}
	f := lose(l, "unreachable", events.ActNone)
	if len(f.told) != 1 || f.told[0].Type != events.ObservationLost {
		t.Fatalf("%+v", f.told)
	}
	l.head = f.next
	if again := lose(l, "unreachable", events.ActNone); again.next != nil {
		t.Error("told twice")
	}
	s.head = f.next
	s.want(2*time.Hour, answer(conn("c-1", "PROA", "CONNECTED")), "observation.resumed")
}

func TestOffers(t *testing.T) {
	s := begin(t, answer(conn("c-1", "PROA", "CONNECTED")))
	offers := func(alias ...string) func(*look) {
		list := bwell.List[bwell.Recommendation]{Whole: true}
		for _, a := range alias {
			list.Items = append(list.Items, bwell.Recommendation{Alias: a})
		}
		return func(l *look) { l.offers = &list }
	}
	same := answer(conn("c-1", "PROA", "CONNECTED"))
	if got := s.see(1, same, offers("lake-1", "c-1")); !slices.Equal(got, []string{"recommendation.found"}) {
		t.Errorf("told %q: a connected source is no offer", got)
	}
	if got := s.see(2, same, offers()); !slices.Equal(got, []string{"recommendation.withdrawn"}) {
		t.Errorf("told %q", got)
	}
}

// Whatever b.well answers, in whatever order its rows stand: looking again at
// the same moment finds nothing new, every known connection keeps its token, and
// no two have the same one.
func TestDiffInvariants(t *testing.T) {
	tokens := tokenizer(t)
	statuses := []string{"CONNECTED", "EXPIRED", "DISCONNECTED", "DELETED", "ACCESS_ENDED", "ERROR", "", "UNKNOWN"}
	types := []string{"PROA", "DIRECT_IAS", "INDIRECT_IAS", "", "UNKNOWN"}
	rapid.Check(t, func(t *rapid.T) {
		rules, now := DefaultRules(), t0
		var head *events.Member
		var mem memory
		seen := map[events.ConnectionToken]string{}
		for range rapid.IntRange(1, 12).Draw(t, "polls") {
			now = now.Add(time.Duration(rapid.IntRange(1, 4000).Draw(t, "seconds")) * time.Second)
			var conns []bwell.Connection
			for i := range rapid.IntRange(0, 4).Draw(t, "rows") {
				conns = append(conns, conn(fmt.Sprintf("c-%d", rapid.IntRange(0, 2).Draw(t, "id")),
					rapid.SampledFrom(types).Draw(t, "type"), rapid.SampledFrom(statuses).Draw(t, "status"),
					updated(time.Duration(rapid.IntRange(-100, 100).Draw(t, "updated")+i)*time.Minute)))
			}
			o := answer(conns...)
			o.Connections.Whole = rapid.IntRange(0, 9).Draw(t, "whole") > 0
			l := look{memberID: "m-1", incarnation: "inc", head: head, seen: o, now: now}
			f := rules.diff(l, mem, tokens)
			slices.Reverse(l.seen.Connections.Items)
			if g := rules.diff(l, mem, tokens); fmt.Sprint(kinds(f)) != fmt.Sprint(kinds(g)) {
				t.Fatalf("the order of rows matters: %v, %v", kinds(f), kinds(g))
			}
			if f.next != nil {
				head = f.next
			}
			l.head = head
			again := rules.diff(l, f.memory, tokens)
			// One event per connection and poll: a confirmation may have to wait.
			again.told = slices.DeleteFunc(again.told, func(e events.Event) bool { return e.Type == events.ConnectionConfirmed })
			if len(again.told) > 0 {
				t.Fatalf("told again at the same moment: %v", kinds(again))
			}
			mem = f.memory
			if head == nil {
				continue
			}
			here := map[events.ConnectionToken]bool{}
			for _, c := range head.Connections {
				if here[c.Token] || seen[c.Token] != "" && seen[c.Token] != c.ConnectionID {
					t.Fatalf("token %s names two connections", c.Token)
				}
				here[c.Token], seen[c.Token] = true, c.ConnectionID
				if !c.BrokenSince.IsZero() && !c.ConnectedSince.IsZero() {
					t.Fatalf("both broken and connected: %+v", c)
				}
			}
			for token := range seen {
				if !here[token] {
					t.Fatal("a known connection was forgotten")
				}
			}
		}
	})
}

func kinds(f finding) []string {
	var all []string
	for _, e := range f.told {
		all = append(all, string(e.Type)+e.Part)
	}
	return all
}
