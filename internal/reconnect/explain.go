package reconnect

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/smartconnect/connector/internal/events"
)

// A Standing is all that bears on what is asked of a member at one time.
type Standing struct {
	Member *events.Member
	Agenda *events.Agenda // nil: nothing is asked yet
	Held   Held
	Now    time.Time // sentences give times in its zone

	// Silences are those in force that cover a connection, by id, with their
	// ends; under "" those that cover the member as a whole.
	Silences map[events.ConnectionToken]map[string]time.Time

	// Confirm is how long a break must stand, by its status, and Flap how long
	// CONNECTED must hold to end an episode. Both are rules of whoever polls.
	Confirm map[events.Status]time.Duration
	Flap    time.Duration
}

// An Explanation says why a member is asked what they are asked, or nothing,
// and what would change it. docs/operations.md documents its JSON.
type Explanation struct {
	MemberID    string                   `json:"memberId"`
	At          time.Time                `json:"at"`
	Consent     ConsentExplained         `json:"consent"`
	Task        *events.MemberTask       `json:"task"`
	Observation events.MemberObservation `json:"observation"`
	Holds       []Hold                   `json:"holds"` // of all connections
	Pushes      Pushes                   `json:"pushes"`
	NextLook    time.Time                `json:"nextLook,omitzero"` // the broker's timer, if one is pending
	Access      AccessExplained          `json:"access"`
	Connections []ConnectionExplained    `json:"connections"`
}

// ConsentExplained is the member's IAS consent as it was read, and as it counts.
type ConsentExplained struct {
	events.MemberConsent
	Effective events.Provision `json:"effective,omitempty"` // empty: not known
	By        string           `json:"by,omitempty"`        // consent, or task where none was read
}

// A Hold is something that keeps prompts back, by its reason.
type Hold struct {
	Reason   string    `json:"reason"`
	Event    string    `json:"event,omitempty"`    // id of the event that tells of it
	Silences []Silence `json:"silences,omitempty"` // where the reason is silenced
}

// A Silence is an operator's, in force until a time.
type Silence struct {
	ID    string    `json:"id"`
	Until time.Time `json:"until"`
}

// Pushes are what the member was pushed in the last seven days.
type Pushes struct {
	Week int       `json:"week"`
	Most int       `json:"most"`
	Next time.Time `json:"next,omitzero"` // when there may be another, if there may be none now
}

// AccessExplained is about the member's consent as a whole: whether the end of
// access, or its return, was told or is to be.
type AccessExplained struct {
	Told    *events.AgendaAccess `json:"told"` // the latest end of access; null: none was told
	Verdict Verdict              `json:"verdict"`
	Due     bool                 `json:"due"`
	Because string               `json:"because"`
	Timers  []Timer              `json:"timers"`
	Changes []Change             `json:"changes"`
}

// ConnectionExplained is about one connection.
type ConnectionExplained struct {
	Facts  events.MemberConnection `json:"facts"`
	Holds  []Hold                  `json:"holds"`  // of this connection alone
	Prompt *events.Prompt          `json:"prompt"` // the open one
	Asked  *events.Asked           `json:"asked"`  // what was asked so far

	// Verdict is the row that fits and what becomes of it. Due: it is not
	// written yet, the decider's next look does what it says.
	Verdict Verdict  `json:"verdict"`
	Due     bool     `json:"due"`
	Rules   []Rule   `json:"rules"` // from the top; the last one fits
	Timers  []Timer  `json:"timers"`
	Changes []Change `json:"changes"`
}

// A Rule is a row of the decision table and the fact that makes it fit, or
// keeps it from fitting.
type Rule struct {
	Rule    int    `json:"rule"`
	Fits    bool   `json:"fits"`
	Because string `json:"because"`
}

// Explain says where a member stands and why. It decides as the decider does,
// and changes nothing.
//
// trail.go is the decision table once more, in words: a sentence is needed just
// where judge goes on to the next row. A test holds the two together over the
// whole table. whatif.go guesses what would change a verdict, tries it, and
// tells what did.
func (p Policy) Explain(s Standing) Explanation {
	d := p.decide(s.Member, s.Agenda, s.Held, s.Now)
	x := explainer{Standing: s, policy: p, why: d.Why, settled: d.Why, next: s.Agenda}
	if d.Next != nil {
		// What comes later comes of what is about to be written.
		x.next = d.Next
		x.settled = p.decide(s.Member, x.next, s.Held, s.Now).Why
	}
	x.plan = p.begin(s.Member, x.next, s.Held, s.Now)
	e := Explanation{
		MemberID: s.Member.MemberID, At: s.Now, Task: s.Member.Task, Observation: s.Member.Observation,
		Consent: x.consent(), Holds: x.holds(""), Pushes: x.pushes(), Access: x.access(), Connections: []ConnectionExplained{},
	}
	for _, c := range s.Member.Connections {
		e.Connections = append(e.Connections, x.connection(c))
	}
	if s.Agenda == nil {
		return e
	}
	if s.Agenda.NextLook.After(s.Now) {
		e.NextLook = s.Agenda.NextLook
	}
	for _, prompt := range s.Agenda.Prompts {
		token, _, _ := strings.Cut(prompt.PromptID, ".")
		if _, known := s.Member.Connection(events.ConnectionToken(token)); !known {
			e.Connections = append(e.Connections, x.orphan(events.ConnectionToken(token), prompt))
		}
	}
	return e
}

// explainer explains one standing.
type explainer struct {
	Standing
	policy Policy
	why    []Verdict // what is decided now

	// The agenda when that is written, a plan on it, and what is decided then.
	next    *events.Agenda
	plan    *plan
	settled []Verdict
}

func (x *explainer) connection(c events.MemberConnection) ConnectionExplained {
	e := ConnectionExplained{
		Facts: c, Holds: x.holds(c.Token), Verdict: verdictOn(x.why, c.Token), Rules: x.rules(c), Timers: x.timers(c), Changes: x.changes(c),
	}
	asked, prompt, isOpen := x.policy.begin(x.Member, x.Agenda, x.Held, x.Now).asked(c.Token)
	later, _, _ := x.plan.asked(c.Token)
	e.Due = e.Verdict != verdictOn(x.settled, c.Token) || later != asked
	if asked.Episode > 0 {
		e.Asked = &asked
	}
	if isOpen {
		e.Prompt = &prompt
	}
	return e
}

// orphan explains a prompt about what the head does not list.
func (x *explainer) orphan(c events.ConnectionToken, prompt events.Prompt) ConnectionExplained {
	return ConnectionExplained{
		Facts: events.MemberConnection{Token: c, ConnectionID: prompt.ConnectionID}, Prompt: &prompt,
		Verdict: verdictOn(x.why, c), Due: true,
		Holds: []Hold{}, Rules: []Rule{{1, true, "the member has no such connection any more"}}, Timers: []Timer{}, Changes: []Change{},
	}
}

// verdictOn returns what became of a connection in the end, after all notes.
func verdictOn(all []Verdict, c events.ConnectionToken) Verdict {
	for _, v := range slices.Backward(all) {
		if v.Connection == c {
			return v
		}
	}
	return Verdict{}
}

func (x *explainer) consent() ConsentExplained {
	c := ConsentExplained{MemberConsent: x.Member.Consent, Effective: x.Member.Effective()}
	switch {
	case c.Read:
		c.By = "consent"
	case c.Effective != "":
		c.By = "task"
	}
	return c
}

// holds lists what holds prompts of one connection back, or of all for "".
func (x *explainer) holds(c events.ConnectionToken) []Hold {
	list := []Hold{}
	add := func(holds bool, reason string) {
		if !holds {
			return
		}
		h := Hold{Reason: reason, Event: x.Held.Told[reason]}
		if c != "" {
			h.Event = x.Held.Told[reason+"."+string(c)]
		}
		if reason == reasonSilenced {
			h.Silences = x.silences(c)
		}
		list = append(list, h)
	}
	if c != "" {
		add(x.Held.Degraded[c], reasonDegraded)
		add(x.Held.Muted[c], reasonSilenced)
		return list
	}
	add(x.plan.blind(), reasonBlind)
	add(x.Held.Storm, reasonStorm)
	add(x.Held.Silenced, reasonSilenced)
	return list
}

// silences lists those that cover a connection, or the member as a whole.
func (x *explainer) silences(c events.ConnectionToken) []Silence {
	var list []Silence
	for _, id := range slices.Sorted(maps.Keys(x.Silences[c])) {
		list = append(list, Silence{id, x.Silences[c][id]})
	}
	return list
}

func (x *explainer) pushes() Pushes {
	p := Pushes{Most: x.policy.MaxPushesPerWeek}
	if x.Agenda == nil {
		return p
	}
	recent := slices.SortedFunc(slices.Values(x.Agenda.Pushes), time.Time.Compare)
	recent = slices.DeleteFunc(recent, func(t time.Time) bool { return x.Now.Sub(t) >= week })
	p.Week = len(recent)
	if over := p.Week - p.Most; over >= 0 && over < p.Week {
		p.Next = recent[over].Add(week)
	}
	return p
}

// access explains the consent as a whole.
func (x *explainer) access() AccessExplained {
	e := AccessExplained{Timers: []Timer{}, Changes: []Change{}}
	if x.Agenda != nil && x.Agenda.Incarnation == x.Member.Incarnation {
		e.Told = x.Agenda.Access
	}
	var settled Verdict
	settled, e.Because = x.accessIn(x.trial(""))
	e.Verdict = settled
	if told := onConsent(x.why); told.Outcome == Ended || told.Outcome == Restored {
		e.Verdict, e.Due, e.Because = told, true, x.consentIs()
	}
	try := func(change Change, alter func(*trial)) {
		t := x.trial("")
		alter(t)
		if v, _ := x.accessIn(t); v != settled {
			change.Then = v
			e.Changes = append(e.Changes, change)
		}
	}
	x.unhold(events.MemberConnection{}, settled.Reason, try)
	if a := x.plan.next.Access; settled.Reason == reasonAwaiting {
		grace := Timer{timerGrace, a.PermittedAt.Add(x.policy.Grace), "the grace ends, and what came back is told"}
		e.Timers = append(e.Timers, grace)
		try(x.due(grace), func(t *trial) { t.now = grace.At })
		try(Change{Kind: changeStatus, What: "b.well says CONNECTED of all whose access ended", Status: events.Connected}, func(t *trial) {
			for i := range t.member.Connections {
				t.c = &t.member.Connections[i]
				if slices.Contains(a.Connections, t.c.Token) && t.c.State.Status == events.AccessIsOver && !t.c.Removed() {
					t.becomes(events.Connected, x.Flap)
				}
			}
		})
	}
	x.askConsent(try)
	return e
}

// onConsent returns what is to be told of the consent as a whole, none if
// nothing is. What is overdue is said of the connections.
func onConsent(why []Verdict) Verdict {
	i := slices.IndexFunc(why, func(v Verdict) bool { return v.Connection == "" && v.Outcome != Overdue })
	if i < 0 {
		return Verdict{}
	}
	return why[i]
}

// accessIn says how the consent as a whole stands in t: what is to be told, or
// else what keeps it from being told. The sentence is for where nothing is
// changed in t.
func (x *explainer) accessIn(t *trial) (v Verdict, because string) {
	d := t.decide()
	if v = onConsent(d.Why); v.Outcome == HeldBack {
		return v, fmt.Sprintf("%s; its end is not told: %s", x.consentIs(), x.holding(events.MemberConnection{}, v.Reason))
	} else if v.Outcome != "" {
		return v, x.consentIs()
	}
	pl := t.policy.begin(t.member, t.agenda, t.held, t.now)
	if d.Next != nil {
		pl.next = d.Next
	}
	nothing := Verdict{Action: events.ActNone, Outcome: Nothing}
	wait := Verdict{Row: 4, Reason: reasonAwaiting, Action: events.ActWait, Outcome: HeldBack}
	told := Verdict{Row: 3, Reason: reasonConsentEnded, Action: events.ActRestoreConsent, Outcome: Kept}
	says := func(v Verdict, format string, a ...any) (Verdict, string) {
		return v, x.consentIs() + fmt.Sprintf(format, a...)
	}

	access, consent := pl.next.Access, t.member.Effective()
	switch {
	case t.held.Forgotten:
		nothing.Row, nothing.Reason = 1, reasonForgotten
		return says(nothing, "; the member is being forgotten")
	case consent == "":
		wait.Row, wait.Reason = 6, reasonBlind
		return says(wait, "")
	case consent == events.Permit && access == nil:
		return says(nothing, "; no end of access was ever told")
	case consent == events.Permit && !access.RestoredAt.IsZero():
		nothing.Row, nothing.Reason = 4, reasonRestored
		return says(nothing, "; the end of access of %s was answered at %s", x.clock(access.EndedAt), x.clock(access.RestoredAt))
	case consent == events.Permit:
		ends := access.PermittedAt.Add(t.policy.Grace)
		if !t.now.Before(ends) {
			wait.Reason = reasonBlind
			return says(wait, "; what came back is not told: %s", x.holding(events.MemberConnection{}, reasonBlind))
		}
		return says(wait, " since %s; b.well has until %s to restore access by itself", x.clock(access.PermittedAt), x.clock(ends))
	case access != nil && access.RestoredAt.IsZero() && access.PermittedAt.IsZero(), access != nil && access.Key == pl.member.DenialKey():
		return says(told, "; the end of access was told at %s, and is told once", x.clock(access.EndedAt))
	case pl.newDenial():
		return says(nothing, "; there is no IAS connection that could lose access")
	case consent == events.Deny:
		return says(nothing, "; there was no permit before it, so that no access has ended")
	default:
		return says(nothing, "; no connection lost its access while we looked")
	}
}
