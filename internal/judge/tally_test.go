package judge

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/smartconnect/connector/internal/events"
)

var t0 = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)

func keys(t testing.TB) events.Tokenizer {
	t.Helper()
	k, err := events.NewTokenizer(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// crowd sees n members, each with one connection to a clinic; the first bad of
// them in a status.
func crowd(t testing.TB, n, bad int, status events.Status, since time.Time) *tally {
	tl := newTally()
	for i := range n {
		c := events.MemberConnection{Token: "c", ConnectionID: "clinic", State: events.ConnectionState{Status: events.Connected}}
		if i < bad {
			c.State.Status, c.BrokenSince = status, since
		}
		tl.see(events.MemberToken(fmt.Sprint("m", i)), &events.Member{Connections: []events.MemberConnection{c}}, keys(t))
	}
	return tl
}

func told(rulings []events.Event) string {
	var kinds []string
	for _, e := range rulings {
		kinds = append(kinds, strings.TrimSuffix(strings.TrimPrefix(string(e.Type), "smartconnect."), ".v1"))
	}
	return strings.Join(kinds, " ")
}

func TestJudgements(t *testing.T) {
	clinic := keys(t).Source("clinic")
	degraded := standing{degraded: map[events.SourceToken]bool{clinic: true}}
	long := t0.Add(-24 * time.Hour)
	for name, tt := range map[string]struct {
		tally         *tally
		was           standing
		polls, failed int
		want          string
	}{
		"nobody":                     {tally: newTally()},
		"half of fifty fail":         {tally: crowd(t, 50, 25, events.Failing, long), want: "source.degraded"},
		"fewer than half":            {tally: crowd(t, 50, 24, events.Failing, long)},
		"too few to say":             {tally: crowd(t, 49, 49, events.Failing, long)},
		"it was told":                {tally: crowd(t, 50, 25, events.Failing, long), was: degraded},
		"better, but not good":       {tally: crowd(t, 50, 11, events.Failing, long), was: degraded},
		"good again":                 {tally: crowd(t, 50, 10, events.Failing, long), was: degraded, want: "source.restored"},
		"nobody is left there":       {tally: newTally(), was: degraded, want: "source.restored"},
		"members did it":             {tally: crowd(t, 99, 99, events.Disconnected, t0)},
		"a hundred at once":          {tally: crowd(t, 100, 100, events.Expired, t0.Add(-time.Minute)), want: "storm.held"},
		"a hundred, but long ago":    {tally: crowd(t, 100, 100, events.Expired, t0.Add(-5*time.Minute))},
		"a hundred of very many":     {tally: crowd(t, 5001, 100, events.Expired, t0.Add(-time.Minute))},
		"a fiftieth of very many":    {tally: crowd(t, 5000, 100, events.Expired, t0.Add(-time.Minute)), want: "storm.held"},
		"the storm was told":         {tally: crowd(t, 100, 100, events.Expired, t0.Add(-time.Minute)), was: standing{storm: true}},
		"released after they broke":  {tally: crowd(t, 100, 100, events.Expired, t0.Add(-time.Minute)), was: standing{released: t0.Add(-time.Minute)}},
		"released, and then a storm": {tally: crowd(t, 100, 100, events.Expired, t0.Add(-time.Minute)), was: standing{released: t0.Add(-2 * time.Minute)}, want: "storm.held"},
		"polls fail":                 {tally: newTally(), polls: 20, failed: 10, want: "observer.lost"},
		"few polls fail":             {tally: newTally(), polls: 20, failed: 9},
		"too few polls":              {tally: newTally(), polls: 19, failed: 19},
		"blindness was told":         {tally: newTally(), polls: 20, failed: 20, was: standing{lost: true}},
		"still not well":             {tally: newTally(), polls: 20, failed: 3, was: standing{lost: true}},
		"sight is back":              {tally: newTally(), polls: 20, failed: 2, was: standing{lost: true}, want: "observer.resumed"},
		"no polls are no sight":      {tally: newTally(), was: standing{lost: true}},
		"silence in force":           {tally: newTally(), was: standing{silences: map[string]events.Silence{"a": {Until: t0.Add(1)}}}},
		"silence over":               {tally: newTally(), was: standing{silences: map[string]events.Silence{"a": {Until: t0}}}, want: "silence.ended"},
	} {
		if got := told(tt.tally.judge(DefaultRules(), tt.was, tt.polls, tt.failed, t0)); got != tt.want {
			t.Errorf("%s: told %q, want %q", name, got, tt.want)
		}
	}
}

// Who is not seen says nothing of a source, and neither does whose grant has
// ended; who cannot break does not make a storm smaller.
func TestWhoCounts(t *testing.T) {
	clinic, n := keys(t).Source("clinic"), 0
	long, just := t0.Add(-24*time.Hour), t0.Add(-time.Minute)
	some := func(tl *tally, count int, status events.Status, change func(*events.Member)) {
		for range count {
			n++
			m := &events.Member{Connections: []events.MemberConnection{{ConnectionID: "clinic", State: events.ConnectionState{Status: status}}}}
			if status.Broken() {
				m.Connections[0].BrokenSince = long
			}
			if change != nil {
				change(m)
			}
			tl.see(events.MemberToken(fmt.Sprint("m", n)), m, keys(t))
		}
	}
	unseen := func(m *events.Member) { m.Observation.LostSince = long }
	broken := func(m *events.Member) { m.Connections[0].BrokenSince = just }
	unsynced := func(m *events.Member) { m.Connections[0].State.SyncStatus = "ERROR" }
	degraded := standing{degraded: map[events.SourceToken]bool{clinic: true}}
	for name, tt := range map[string]struct {
		fill func(*tally)
		was  standing
		want string
	}{
		"who disconnected is not there any more": {func(tl *tally) {
			some(tl, 25, events.Failing, nil)
			some(tl, 25, events.Connected, nil)
			some(tl, 20, events.Disconnected, nil)
			some(tl, 20, events.Deleted, nil)
			some(tl, 20, events.Expired, nil)
			some(tl, 20, events.AccessIsOver, nil)
		}, standing{}, "source.degraded"},
		"a login that expired fails to sync, and that is not the source": {func(tl *tally) {
			some(tl, 60, events.Expired, unsynced)
			some(tl, 50, events.Connected, nil)
		}, standing{}, ""},
		"and does not keep it degraded": {func(tl *tally) {
			some(tl, 60, events.Expired, unsynced)
			some(tl, 50, events.Connected, nil)
		}, degraded, "source.restored"},
		"a sync that fails though the login holds is": {func(tl *tally) {
			some(tl, 25, events.Connected, unsynced)
			some(tl, 25, events.Connected, nil)
		}, standing{}, "source.degraded"},
		"who is not seen fails no longer": {func(tl *tally) {
			some(tl, 40, events.Failing, unseen)
			some(tl, 40, events.Connected, nil)
		}, degraded, "source.restored"},
		"who is not seen works no longer": {func(tl *tally) {
			some(tl, 50, events.Failing, nil)
			some(tl, 60, events.Connected, unseen)
		}, standing{}, "source.degraded"},
		"half of enough still say something": {func(tl *tally) { some(tl, 25, events.Failing, nil) }, degraded, ""},
		"fewer do not":                       {func(tl *tally) { some(tl, 24, events.Failing, nil) }, degraded, "source.restored"},
		"a storm among few who could break": {func(tl *tally) {
			some(tl, 100, events.Expired, broken)
			some(tl, 4900, events.Connected, nil)
			some(tl, 3000, events.Connected, unseen)
			some(tl, 3000, events.Expired, nil)
		}, standing{}, "storm.held"},
		"no storm among more who could": {func(tl *tally) {
			some(tl, 100, events.Expired, broken)
			some(tl, 4901, events.Connected, nil)
		}, standing{}, ""},
		"who broke and was lost from sight broke": {func(tl *tally) {
			some(tl, 100, events.Expired, func(m *events.Member) { broken(m); unseen(m) })
		}, standing{}, "storm.held"},
	} {
		tl := newTally()
		tt.fill(tl)
		if got := told(tl.judge(DefaultRules(), tt.was, 0, 0, t0)); got != tt.want {
			t.Errorf("%s: told %q, want %q", name, got, tt.want)
		}
	}
}

// Whatever was seen before, a member counts as the last head says.
func TestTallyForgetsWhatIsNoLongerSo(t *testing.T) {
	tl, clinic := crowd(t, 60, 60, events.Failing, t0), keys(t).Source("clinic")
	for i := range 60 {
		m := events.MemberToken(fmt.Sprint("m", i))
		switch i % 3 {
		case 0:
			tl.see(m, nil, keys(t)) // gone
		case 1: // removed there, failing twice elsewhere: one vote
			elsewhere := events.MemberConnection{ConnectionID: "other", State: events.ConnectionState{SyncStatus: "ERROR"}}
			tl.see(m, &events.Member{Connections: []events.MemberConnection{
				{ConnectionID: "clinic", RemovedAt: t0, State: events.ConnectionState{Status: events.Failing}}, elsewhere, elsewhere,
			}}, keys(t))
		}
	}
	if s := tl.sources[clinic]; s.members != 20 || s.failing != 20 {
		t.Errorf("clinic: %+v", *s)
	}
	if s := tl.sources[keys(t).Source("other")]; s.members != 20 || s.failing != 20 {
		t.Errorf("other: %+v", *s)
	}
	if len(tl.members) != 40 {
		t.Errorf("%d members", len(tl.members))
	}
}

func TestFirstSightIsNoStorm(t *testing.T) {
	tl := newTally()
	for i := range 500 {
		tl.see(events.MemberToken(fmt.Sprint("m", i)), &events.Member{Connections: []events.MemberConnection{
			{ConnectionID: "clinic", FirstSight: true, BrokenSince: t0, State: events.ConnectionState{Status: events.Expired}},
		}}, keys(t))
	}
	if got := told(tl.judge(DefaultRules(), standing{}, 0, 0, t0)); got != "" {
		t.Errorf("told %s", got)
	}
}

func TestViewHolds(t *testing.T) {
	k := keys(t)
	member := &events.Member{MemberID: "ann", Connections: []events.MemberConnection{
		{Token: "c1", ConnectionID: "clinic", State: events.ConnectionState{Status: events.Expired, IntegrationType: events.PROA}},
		{Token: "c2", ConnectionID: "other", State: events.ConnectionState{Status: events.Failing, IntegrationType: events.DirectIAS}},
		{Token: "c3", ConnectionID: "other", State: events.ConnectionState{Status: events.Failing}},
		{Token: "c4", ConnectionID: "other", State: events.ConnectionState{Status: events.AccessIsOver, IntegrationType: events.IndirectIAS}},
		{Token: "c5", ConnectionID: "other", State: events.ConnectionState{Status: events.Connected, IntegrationType: events.PROA}},
	}}
	ann, clinic := string(k.Member("ann")), string(k.Source("clinic"))
	for name, tt := range map[string]struct {
		scope    map[string]string
		silenced bool
		muted    string
	}{
		"the member":             {map[string]string{ScopeMember: ann}, true, "c1 c2 c3 c4 c5"},
		"another":                {map[string]string{ScopeMember: string(k.Member("bob"))}, false, ""},
		"the source":             {map[string]string{ScopeSource: clinic}, false, "c1"},
		"the type":               {map[string]string{ScopeType: "DIRECT_IAS"}, false, "c2"},
		"the reason":             {map[string]string{ScopeReason: "error"}, false, "c2"},
		"a type nobody knows":    {map[string]string{ScopeReason: "unknown_type"}, false, "c3"},
		"access that stays away": {map[string]string{ScopeReason: "restore_overdue"}, false, "c4"},
		"another reason":         {map[string]string{ScopeReason: "deleted"}, false, ""},
		"both must fit":          {map[string]string{ScopeSource: clinic, ScopeType: "DIRECT_IAS"}, false, ""},
		"both fit":               {map[string]string{ScopeSource: clinic, ScopeMember: ann}, false, "c1"},
		"nothing":                {map[string]string{}, false, ""},
		"a word of another time": {map[string]string{"planet": "mars"}, false, ""},
	} {
		v := NewView(nil, k)
		v.now.take(events.Event{ID: "e", Type: events.SilenceSet, Part: "s", Data: &events.Silence{Scope: tt.scope, Until: t0.Add(time.Hour)}})
		h := v.Of(member, t0)
		var muted []string
		for c := range maps.Keys(h.Muted) {
			muted = append(muted, string(c))
		}
		slices.Sort(muted)
		if h.Silenced != tt.silenced || strings.Join(muted, " ") != tt.muted {
			t.Errorf("%s: silenced %t, muted %v", name, h.Silenced, muted)
		}
		silences, told := map[events.ConnectionToken]map[string]time.Time{}, map[string]string{}
		for c := range h.Muted {
			silences[c], told["silenced."+string(c)] = map[string]time.Time{"s": t0.Add(time.Hour)}, "e"
		}
		if h.Silenced {
			silences[""], told["silenced"] = map[string]time.Time{"s": t0.Add(time.Hour)}, "e"
		}
		if !maps.EqualFunc(h.Silences, silences, maps.Equal) || !maps.Equal(h.Told, told) {
			t.Errorf("%s: by %v, told by %v; want %v, %v", name, h.Silences, h.Told, silences, told)
		}
		if h := v.Of(member, t0.Add(time.Hour)); h.Silenced || len(h.Muted) > 0 {
			t.Errorf("%s: holds beyond its end", name)
		}
	}
}

// Each hold is told by an event: of two silences by the one that ends last.
func TestViewNamesTheEvents(t *testing.T) {
	k := keys(t)
	member := &events.Member{MemberID: "ann", Connections: []events.MemberConnection{{Token: "c1", ConnectionID: "clinic"}}}
	ann, clinic := string(k.Member("ann")), string(k.Source("clinic"))
	v := NewView(nil, k)
	for _, e := range []events.Event{
		{ID: "degraded", Type: events.SourceDegraded, Part: clinic},
		{ID: "held", Type: events.StormHeld},
		{ID: "lost", Type: events.ObserverLost},
		{ID: "long", Type: events.SilenceSet, Part: "a", Data: &events.Silence{Scope: map[string]string{ScopeMember: ann}, Until: t0.Add(2 * time.Hour)}},
		{ID: "short", Type: events.SilenceSet, Part: "b", Data: &events.Silence{Scope: map[string]string{ScopeSource: clinic}, Until: t0.Add(time.Hour)}},
	} {
		v.now.take(e)
	}
	want := map[string]string{"source_degraded.c1": "degraded", "storm": "held", "blind": "lost", "silenced": "long", "silenced.c1": "long"}
	if h := v.Of(member, t0); !maps.Equal(h.Told, want) || len(h.Silences["c1"]) != 2 || len(h.Silences[""]) != 1 {
		t.Errorf("told by %v, want %v; silences %v", h.Told, want, h.Silences)
	}
	if got, want := v.Count(t0), (Count{Storms: 1, Lost: 1, Degraded: 1, Silences: 2}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := v.Count(t0.Add(time.Hour)).Silences; got != 1 {
		t.Errorf("%d silences when the first is over", got)
	}
	for _, e := range []events.Event{
		{ID: "r", Type: events.SourceRestored, Part: clinic},
		{ID: "s", Type: events.StormReleased},
		{ID: "t", Type: events.ObserverResumed},
		{ID: "u", Type: events.SilenceEnded, Part: "a", Data: &events.Silence{}},
	} {
		v.now.take(e)
	}
	if h := v.Of(member, t0); !maps.Equal(h.Told, map[string]string{"silenced.c1": "short"}) {
		t.Errorf("told by %v after their ends", h.Told)
	}
	if got, want := v.Count(t0), (Count{Silences: 1}); got != want {
		t.Errorf("%+v after their ends, want %+v", got, want)
	}
}

func TestRulesAreChecked(t *testing.T) {
	if err := DefaultRules().Validate(10 * time.Minute); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*Rules){
		"a share above one":         func(r *Rules) { r.StormShare = 1.1 },
		"a share of nothing":        func(r *Rules) { r.ObserverLost = 0 },
		"restored above degraded":   func(r *Rules) { r.SourceRestored = 0.6 },
		"resumed above lost":        func(r *Rules) { r.ObserverResumed = 0.5 },
		"no members":                func(r *Rules) { r.SourceMembers = 0 },
		"a window that is too long": func(r *Rules) { r.StormWindow = 10 * time.Minute },
		"no window":                 func(r *Rules) { r.StormWindow = 0 },
	} {
		r := DefaultRules()
		spoil(&r)
		if r.Validate(10*time.Minute) == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
