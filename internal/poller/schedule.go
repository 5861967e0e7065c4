package poller

import (
	"time"

	"github.com/smartconnect/connector/internal/bwell"
	"github.com/smartconnect/connector/internal/events"
)

// Pace says how often members are asked for.
type Pace struct {
	// Fast is the first interval where change is likely: a search is running, a
	// prompt was tapped, consent was just given, a break is unconfirmed, a row is
	// missing. It grows with the time the reason lasts, up to FastMost.
	Fast, FastMost time.Duration
	// Healthy is the interval of a member with nothing to wait for.
	Healthy time.Duration
	// Dead is the interval where nothing is alive, or consent has ended.
	Dead time.Duration
	// Tapped is how long a request to look keeps the fast tier, or a consent that
	// was just given.
	Tapped time.Duration
	// Retry is the first interval after a failure; it doubles up to Dead.
	Retry time.Duration
	// Unreachable is how long failures last before the member counts as unseen.
	Unreachable time.Duration
	// Offers is how often recommendations are read, besides after a search.
	Offers time.Duration
}

// DefaultPace returns the pace for real members. b.well publishes no limits, so
// it is a cautious one.
func DefaultPace() Pace {
	return Pace{
		Fast: 15 * time.Second, FastMost: 5 * time.Minute, Healthy: time.Hour, Dead: 6 * time.Hour,
		Tapped: 15 * time.Minute, Retry: 15 * time.Second, Unreachable: time.Hour, Offers: 24 * time.Hour,
	}
}

// FastPace returns a pace for trying the connector out.
func FastPace() Pace {
	const half = 500 * time.Millisecond
	return Pace{
		Fast: half, FastMost: half, Healthy: half, Dead: half, Tapped: time.Minute,
		Retry: half, Unreachable: 5 * time.Second, Offers: 5 * time.Second,
	}
}

// A standing is what next needs to know of a member. It is small: there is one
// for every member.
type standing struct {
	seen   bool // there is a head, and what follows is what it says
	likely bool // change is likely
	alive  bool // something is connected, for all that is known
	denied bool // IAS consent has ended

	class     bwell.Class   // of the last poll's error, none if it came back
	failures  int           // in a row
	retry     time.Duration // what b.well asked us to wait
	fastSince time.Time     // since when change is likely or suspected, zero if it is not
	wake      time.Time     // when the same answer would mean something else
	tapped    time.Time     // until when a request to look, or a new consent, keeps the fast tier
	suspects  bool          // rows are missing, or a consent was seen once
}

// learn takes over what a head says, nil for none.
func (s *standing) learn(head *events.Member) {
	s.seen = head != nil
	if s.seen {
		s.likely, s.alive, s.denied = likely(head), alive(head), head.Effective() == events.Deny
	}
}

// fast notes since when change is likely or suspected.
func (s *standing) fast(now time.Time) {
	if !s.likely && !s.suspects {
		s.fastSince = time.Time{}
	} else if s.fastSince.IsZero() {
		s.fastSince = now
	}
}

// next returns when to poll a member again; zero means not before its
// credentials change. spread is a random number in [0, 1) that keeps members
// apart.
func (p Pace) next(s standing, now time.Time, spread float64) time.Time {
	jitter := func(d time.Duration) time.Duration { return d + time.Duration(float64(d)*0.1*spread) }
	if s.failures > 0 {
		switch s.class {
		case bwell.Auth:
			return time.Time{} // the member must sign in again
		case bwell.Forbidden:
			return now.Add(jitter(p.Dead))
		case bwell.Invalid:
			return now.Add(jitter(p.Healthy))
		default:
			wait := p.Retry << min(s.failures-1, 16)
			return now.Add(max(jitter(min(wait, p.Dead)), s.retry))
		}
	}
	wait := p.tier(s, now)
	at := now.Add(jitter(wait))
	if s.wake.After(now) && s.wake.Before(at) {
		at = s.wake
	}
	return at
}

func (p Pace) tier(s standing, now time.Time) time.Duration {
	fast := func(since time.Time) time.Duration { return min(max(now.Sub(since)/4, p.Fast), p.FastMost) }
	switch {
	case now.Before(s.tapped):
		return p.Fast
	case !s.seen:
		return p.Fast
	case s.likely, s.suspects:
		return fast(s.fastSince)
	case s.denied, !s.alive:
		return p.Dead
	default:
		return p.Healthy
	}
}

// likely reports whether change is likely: a search runs, a break waits for its
// confirmation, or consent was given and access has not come back.
func likely(m *events.Member) bool {
	// After consent ended tasks are not read, so the last one says nothing, and
	// nobody is asked about the connections that it governs.
	denied := m.Effective() == events.Deny
	if m.Task != nil && (m.Task.Status == "ready" || m.Task.Status == "in-progress") && !denied {
		return true
	}
	for _, c := range m.Connections {
		if denied && (c.State.IntegrationType.IAS() || c.State.Status == events.AccessIsOver) {
			continue
		}
		if !c.BrokenSince.IsZero() && c.ConfirmedAt.IsZero() && !c.FirstSight && c.State.Status != events.Failing {
			return true
		}
		if c.State.Status == events.AccessIsOver && !c.Removed() && m.Effective() == events.Permit {
			return true
		}
	}
	return false
}

// alive reports whether a connection may work. One of an unknown status may.
func alive(m *events.Member) bool {
	for _, c := range m.Connections {
		if !c.State.Status.Broken() && !c.Removed() {
			return true
		}
	}
	return false
}
