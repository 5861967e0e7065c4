// Package judge says what holds for all members at once: that a source fails
// for many, that so much changed at once that an operator must look, that
// b.well cannot be seen at all. It judges from the stream, by one replica at a
// time; all replicas read what was judged.
//
// Read tally.go first: it counts and decides, and does no I/O. judge.go carries
// it out; view.go is what the others see of it.
package judge

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/smartconnect/connector/internal/events"
)

// Rules say from when on something concerns everybody. Shares are from 0 to 1.
type Rules struct {
	// SourceMembers is how many members a source must have before it is judged,
	// and half of it how many it must keep to stay degraded. Default 50: the
	// share of a handful says nothing. Members count who are seen and whose
	// connection there is alive.
	SourceMembers int
	// SourceDegraded is from which share of failing members on a source is
	// degraded, SourceRestored at which it is no longer. Defaults 0.5 and 0.2:
	// apart, so that a source on the edge does not come and go.
	SourceDegraded, SourceRestored float64

	// StormMembers and StormShare are how many members, and which share of those
	// who could break, must break within StormWindow to be a storm. Defaults 100
	// and 0.02. The window, 5 min, must be shorter than any confirmation: prompts
	// are held before the first could open. Healthy members are asked once an
	// hour, so within the window not a tenth of them are looked at: 0.02 is a
	// quarter of those. Who is not seen, or has nothing that works, cannot break:
	// counted in, they would in time put the share out of reach.
	StormMembers int
	StormShare   float64
	StormWindow  time.Duration

	// ObserverPolls is how many polls of the last minute must have been before
	// they are judged, ObserverLost from which share of failures on b.well
	// cannot be seen, ObserverResumed at which it can again. Defaults 20, 0.5
	// and 0.1.
	ObserverPolls                 int
	ObserverLost, ObserverResumed float64
}

// DefaultRules returns the rules that the comments of [Rules] describe.
func DefaultRules() Rules {
	return Rules{
		SourceMembers: 50, SourceDegraded: 0.5, SourceRestored: 0.2,
		StormMembers: 100, StormShare: 0.02, StormWindow: 5 * time.Minute,
		ObserverPolls: 20, ObserverLost: 0.5, ObserverResumed: 0.1,
	}
}

// Validate says what is wrong with r; confirm is the shortest confirmation.
// Each error begins with the key of a policy file.
func (r Rules) Validate(confirm time.Duration) error {
	share := func(name string, s float64) error {
		if !(s > 0 && s <= 1) {
			return fmt.Errorf("%s: %v, want a share above 0, at most 1", name, s)
		}
		return nil
	}
	for _, s := range []struct {
		name string
		is   float64
	}{
		{"source.degraded", r.SourceDegraded},
		{"source.restored", r.SourceRestored},
		{"storm.share", r.StormShare},
		{"observer.lost", r.ObserverLost},
		{"observer.resumed", r.ObserverResumed},
	} {
		if err := share(s.name, s.is); err != nil {
			return err
		}
	}
	switch {
	case r.SourceMembers < 1:
		return fmt.Errorf("source.members: %d, want at least 1", r.SourceMembers)
	case r.StormMembers < 1:
		return fmt.Errorf("storm.members: %d, want at least 1", r.StormMembers)
	case r.ObserverPolls < 1:
		return fmt.Errorf("observer.polls: %d, want at least 1", r.ObserverPolls)
	case r.SourceRestored >= r.SourceDegraded:
		return fmt.Errorf("source.restored: %v, want less than where it is degraded, %v", r.SourceRestored, r.SourceDegraded)
	case r.ObserverResumed >= r.ObserverLost:
		return fmt.Errorf("observer.resumed: %v, want less than where it is lost, %v", r.ObserverResumed, r.ObserverLost)
	case r.StormWindow <= 0 || r.StormWindow >= confirm:
		return fmt.Errorf("storm.window: %s, want more than 0 and less than the shortest confirmation, %s", r.StormWindow, confirm)
	}
	return nil
}

// A tally counts the members of every source and the breaks of late. What it
// knows is in the member heads: a restart counts anew to the same.
type tally struct {
	members map[events.MemberToken]*counted
	sources map[events.SourceToken]*source
}

// counted is what counts of one member.
type counted struct {
	at    []stay
	works bool      // something is connected, and we see the member
	broke time.Time // the latest break, by our clock; zero for none that we saw
}

// A stay is one connection of a member at a source.
type stay struct {
	source  *source
	failing bool
}

type source struct {
	token            events.SourceToken
	members, failing int
}

func newTally() *tally {
	return &tally{members: map[events.MemberToken]*counted{}, sources: map[events.SourceToken]*source{}}
}

// see takes in a member's head, nil if the member is gone.
func (t *tally) see(m events.MemberToken, head *events.Member, keys events.Tokenizer) {
	was := t.members[m]
	if was != nil {
		for _, s := range was.at {
			s.source.count(s.failing, -1)
		}
	}
	if head == nil {
		delete(t.members, m)
		return
	}
	now := &counted{}
	for _, c := range head.Connections {
		if c.Removed() {
			continue
		}
		if !c.FirstSight && c.BrokenSince.After(now.broke) {
			now.broke = c.BrokenSince
		}
		if head.Observation.Blind() {
			continue // how it stands we do not know; how it stood says nothing of today
		}
		now.works = now.works || c.State.Status == events.Connected
		if cutOff(c.State.Status) {
			continue
		}
		s := t.source(keys.Source(c.ConnectionID))
		failing := failing(c.State)
		// One member is one vote at a source, whatever the number of rows.
		if i := slices.IndexFunc(now.at, func(o stay) bool { return o.source == s }); i >= 0 {
			now.at[i].failing = now.at[i].failing || failing
			continue
		}
		now.at = append(now.at, stay{s, failing})
	}
	for _, s := range now.at {
		s.source.count(s.failing, 1)
	}
	t.members[m] = now
}

// cutOff reports whether a connection ended with the member's grant. It can
// neither work nor fail any more, and a sync that failed for want of a grant
// does not speak against the source.
func cutOff(s events.Status) bool { return s.Broken() && s != events.Failing }

// failing reports whether the state of a connection that is alive speaks against
// its source.
func failing(s events.ConnectionState) bool {
	return s.Status == events.Failing || s.SyncStatus == "ERROR"
}

func (t *tally) source(token events.SourceToken) *source {
	s := t.sources[token]
	if s == nil {
		s = &source{token: token}
		t.sources[token] = s
	}
	return s
}

func (s *source) count(failing bool, by int) {
	s.members += by
	if failing {
		s.failing += by
	}
}

// standing is what was judged last, as far as it holds.
type standing struct {
	degraded map[events.SourceToken]bool
	storm    bool
	released time.Time // when the last storm was released: what broke before counts no more
	lost     bool
	lostAt   time.Time
	silences map[string]events.Silence
	told     map[string]string // id of the latest event, by its kind, a dot and its part
}

// judge says what is to be judged now that was not before.
func (t *tally) judge(r Rules, was standing, polls, failed int, now time.Time) []events.Event {
	var rulings []events.Event
	tell := func(kind events.Type, part string, data events.Data) {
		rulings = append(rulings, events.Event{Type: kind, Part: part, Data: data})
	}
	for token := range was.degraded {
		t.source(token) // one that nobody is at any more is not degraded
	}
	for _, token := range slices.Sorted(maps.Keys(t.sources)) {
		s := t.sources[token]
		share := s.share()
		switch degraded := was.degraded[token]; {
		case !degraded && s.members >= r.SourceMembers && share >= r.SourceDegraded:
			tell(events.SourceDegraded, string(token), &events.Source{Reason: "members_failing", Members: s.members, Share: share})
		case degraded && share <= r.SourceRestored:
			tell(events.SourceRestored, string(token), &events.Source{Reason: "recovered", Members: s.members, Share: share})
		case degraded && 2*s.members < r.SourceMembers:
			// What is left says too little to hold it back for ever.
			tell(events.SourceRestored, string(token), &events.Source{Reason: "too_few", Members: s.members, Share: share})
		}
	}
	since := now.Add(-r.StormWindow)
	if was.released.After(since) {
		since = was.released
	}
	broke, able := 0, 0
	for _, m := range t.members {
		just := m.broke.After(since)
		if just {
			broke++
		}
		if just || m.works {
			able++
		}
	}
	if !was.storm && broke >= r.StormMembers && float64(broke) >= r.StormShare*float64(able) {
		tell(events.StormHeld, "", &events.Storm{Reason: "many_at_once", Changed: broke, Members: len(t.members)})
	}
	share := 0.0
	if polls > 0 {
		share = float64(failed) / float64(polls)
	}
	switch {
	case !was.lost && polls >= r.ObserverPolls && share >= r.ObserverLost:
		tell(events.ObserverLost, "", &events.Observer{Reason: "polls_failing", Share: share, Since: now})
	case was.lost && polls > 0 && share <= r.ObserverResumed:
		tell(events.ObserverResumed, "", &events.Observer{Reason: "recovered", Share: share, Since: was.lostAt})
	}
	for _, id := range slices.Sorted(maps.Keys(was.silences)) {
		if s := was.silences[id]; !now.Before(s.Until) {
			tell(events.SilenceEnded, id, &s)
		}
	}
	return rulings
}

func (s *source) share() float64 {
	if s.members == 0 {
		return 0
	}
	return float64(s.failing) / float64(s.members)
}
