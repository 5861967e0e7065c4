package poller

import (
	"testing"
	"time"

	"github.com/smartconnect/connector/internal/bwell"
	"github.com/smartconnect/connector/internal/events"
)

func TestTiers(t *testing.T) {
	conn := func(s events.Status, changes ...func(*events.MemberConnection)) events.MemberConnection {
		c := events.MemberConnection{State: events.ConnectionState{Status: s}}
		if s.Broken() {
			c.BrokenSince = t0
		}
		for _, change := range changes {
			change(&c)
		}
		return c
	}
	ias := func(c *events.MemberConnection) { c.State.IntegrationType = events.DirectIAS }
	confirmed := func(c *events.MemberConnection) { c.ConfirmedAt = t0 }
	removed := func(c *events.MemberConnection) { c.RemovedAt = t0 }
	firstSight := func(c *events.MemberConnection) { c.FirstSight = true }
	consent := func(p events.Provision) events.MemberConsent { return events.MemberConsent{Read: true, Provision: p} }
	task := func(s string) *events.MemberTask { return &events.MemberTask{Status: s} }
	all := func(c ...events.MemberConnection) []events.MemberConnection { return c }
	p := DefaultPace()
	for name, tt := range map[string]struct {
		head *events.Member
		was  standing
		want time.Duration
	}{
		"never seen":                      {nil, standing{}, p.Fast},
		"all is well":                     {&events.Member{Connections: all(conn(events.Connected))}, standing{}, p.Healthy},
		"nothing is connected":            {&events.Member{}, standing{}, p.Dead},
		"a status nobody knows":           {&events.Member{Connections: all(conn(""))}, standing{}, p.Healthy},
		"what is connected was removed":   {&events.Member{Connections: all(conn(events.Connected, removed))}, standing{}, p.Dead},
		"a break waits for confirmation":  {&events.Member{Connections: all(conn(events.Expired))}, standing{}, p.Fast},
		"a confirmed break":               {&events.Member{Connections: all(conn(events.Expired, confirmed))}, standing{}, p.Dead},
		"another still works":             {&events.Member{Connections: all(conn(events.Expired, confirmed), conn(events.Connected))}, standing{}, p.Healthy},
		"broken before we looked":         {&events.Member{Connections: all(conn(events.Expired, firstSight))}, standing{}, p.Dead},
		"ERROR takes a day to believe":    {&events.Member{Connections: all(conn(events.Failing), conn(events.Connected))}, standing{}, p.Healthy},
		"a search runs":                   {&events.Member{Task: task("in-progress"), Connections: all(conn(events.Connected))}, standing{}, p.Fast},
		"for an hour already":             {&events.Member{Task: task("in-progress")}, standing{fastSince: t0.Add(-time.Hour)}, p.FastMost},
		"for a while":                     {&events.Member{Task: task("ready")}, standing{fastSince: t0.Add(-4 * time.Minute)}, time.Minute},
		"the search is over":              {&events.Member{Task: task("completed"), Connections: all(conn(events.Connected))}, standing{}, p.Healthy},
		"consent is given, access is not": {&events.Member{Consent: consent(events.Permit), Connections: all(conn(events.AccessIsOver, confirmed))}, standing{}, p.Fast},
		"consent has ended":               {&events.Member{Consent: consent(events.Deny), Connections: all(conn(events.Connected))}, standing{}, p.Dead},
		"and a break is not confirmed":    {&events.Member{Consent: consent(events.Deny), Connections: all(conn(events.AccessIsOver, ias))}, standing{}, p.Dead},
		"but one of no consent's is":      {&events.Member{Consent: consent(events.Deny), Connections: all(conn(events.Expired))}, standing{}, p.Fast},
		"and a search was running then":   {&events.Member{Consent: consent(events.Deny), Task: task("ready"), Connections: all(conn(events.Connected))}, standing{}, p.Dead},
		"tapped":                          {&events.Member{Consent: consent(events.Deny)}, standing{tapped: t0.Add(time.Second)}, p.Fast},
		"tapped long ago":                 {&events.Member{}, standing{tapped: t0}, p.Dead},
		"a row is missing":                {&events.Member{Connections: all(conn(events.Connected))}, standing{suspects: true}, p.Fast},
		"for an hour already, too":        {&events.Member{Connections: all(conn(events.Connected))}, standing{suspects: true, fastSince: t0.Add(-time.Hour)}, p.FastMost},
		"the same would mean more soon":   {&events.Member{Connections: all(conn(events.Connected))}, standing{wake: t0.Add(time.Minute)}, time.Minute},
		"but not sooner than usual":       {&events.Member{Connections: all(conn(events.Connected))}, standing{wake: t0.Add(9 * time.Hour)}, p.Healthy},
	} {
		s := tt.was
		s.learn(tt.head)
		s.fast(t0)
		if got := p.next(s, t0, 0).Sub(t0); got != tt.want {
			t.Errorf("%s: asked again after %s, want %s", name, got, tt.want)
		}
		if got := p.next(s, t0, 1).Sub(t0); got < tt.want || got > tt.want+tt.want/10 {
			t.Errorf("%s: spread to %s", name, got)
		}
	}
}

func TestAfterFailures(t *testing.T) {
	p := DefaultPace()
	for name, tt := range map[string]struct {
		s    standing
		want time.Duration // 0: not before the credentials change
	}{
		"refused":        {standing{failures: 1, class: bwell.Auth}, 0},
		"forbidden":      {standing{failures: 1, class: bwell.Forbidden}, p.Dead},
		"invalid":        {standing{failures: 1, class: bwell.Invalid}, p.Healthy},
		"the first":      {standing{failures: 1, class: bwell.Transient}, p.Retry},
		"the second":     {standing{failures: 2, class: bwell.Transient}, 2 * p.Retry},
		"the fifth":      {standing{failures: 5, class: bwell.Transient}, 16 * p.Retry},
		"the thousandth": {standing{failures: 1000, class: bwell.Transient}, p.Dead},
		"asked to wait":  {standing{failures: 1, class: bwell.Transient, retry: time.Hour}, time.Hour},
		"asked to hurry": {standing{failures: 9, class: bwell.Transient, retry: time.Second}, 256 * p.Retry},
		"nobody knows":   {standing{failures: 1}, p.Retry},
	} {
		got := time.Duration(0)
		if at := p.next(tt.s, t0, 0); !at.IsZero() {
			got = at.Sub(t0)
		}
		if got != tt.want {
			t.Errorf("%s: again after %s, want %s", name, got, tt.want)
		}
	}
}
