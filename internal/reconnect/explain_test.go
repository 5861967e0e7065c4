package reconnect

import (
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/smartconnect/connector/internal/events"
)

// standing is what Explain needs beyond what decide does.
func standing(m *events.Member, a *events.Agenda, h Held, now time.Time) Standing {
	confirm := map[events.Status]time.Duration{events.Failing: day}
	for _, s := range []events.Status{events.Expired, events.Disconnected, events.Deleted, events.AccessIsOver} {
		confirm[s] = 10 * time.Minute
	}
	return Standing{Member: m, Agenda: a, Held: h, Now: now, Confirm: confirm, Flap: time.Hour}
}

// The trail is another statement of the table than judge, so the two are
// compared over all of it: the row that is said to fit is judge's, none above
// it is, and every row has a fact.
func TestTrailIsTheTable(t *testing.T) {
	var (
		statuses   = []events.Status{events.Connected, events.Expired, events.Disconnected, events.Deleted, events.AccessIsOver, events.Failing, "", events.Unknown}
		types      = []events.IntegrationType{events.PROA, events.DirectIAS, events.IndirectIAS, "", events.Unknown, "IAL2"}
		categories = []string{"", "BASIC", "HAPI"}
		consents   = []events.Provision{"", events.None, events.Permit, events.Deny}
		syncs      = []string{"SYNCED", "DELETING"}
		on         = map[events.ConnectionToken]bool{"c1": true}
		holds      = []Held{{}, {Blind: true}, {Storm: true}, {Silenced: true}, {Degraded: on}, {Muted: on}, {Forgotten: true}, {Released: true}, {Storm: true, Blind: true}}
		overdue    = atOnce()
		auto       = atOnce()
		seen       = map[int]int{}
	)
	overdue.PromptRestoreOverdue, overdue.UnknownTypes = true, map[string]events.Action{"HAPI": events.ActOAuth}
	auto.DirectAuto, auto.Group, auto.HoldOpen = []events.Status{events.Expired}, time.Minute, 3*time.Hour
	for _, p := range []Policy{atOnce(), overdue, auto} {
		if err := p.Validate(); err != nil {
			t.Fatal(err)
		}
		for _, status := range statuses {
			for _, kind := range types {
				for _, category := range categories {
					if kind != "" && kind != "IAL2" && category != "" {
						continue // it says nothing there
					}
					for _, consent := range consents {
						for _, sync := range syncs {
							for _, held := range holds {
								for flags := range 32 {
									m := one(events.ConnectionState{Status: status, IntegrationType: kind, Category: category, SyncStatus: sync}, consent)
									c := &m.Connections[0]
									c.FirstSight = flags&1 > 0
									if flags&2 > 0 {
										c.ConfirmedAt = time.Time{}
									}
									now := t0.Add(2 * time.Hour)
									if flags&4 > 0 {
										now = t0.Add(2 * day)
									}
									if flags&8 > 0 {
										m.Observation.LostSince = t0
									}
									if flags&16 > 0 {
										c.RemovedAt = t0
									}
									x := explainer{Standing: standing(m, nil, held, now), policy: p, plan: p.begin(m, nil, held, now)}
									want := x.plan.judge(*c).row
									rules := x.rules(*c)
									for i, r := range rules {
										if r.Rule != i+1 || r.Fits != (r.Rule == want) || r.Because == "" {
											t.Fatalf("%+v, consent %q, held %+v, flags %b: judge says row %d, the trail\n%s", c.State, consent, held, flags, want, trail(rules))
										}
									}
									if len(rules) != want {
										t.Fatalf("%+v, consent %q, held %+v, flags %b: judge says row %d, the trail\n%s", c.State, consent, held, flags, want, trail(rules))
									}
									seen[want]++
								}
							}
						}
					}
				}
			}
		}
	}
	if len(seen) != lastRow {
		t.Errorf("reached rows %v", slices.Sorted(maps.Keys(seen)))
	}
}

func trail(rules []Rule) string {
	var lines []string
	for _, r := range rules {
		lines = append(lines, fmt.Sprintf("%2d %-5t %s", r.Rule, r.Fits, r.Because))
	}
	return strings.Join(lines, "\n")
}

// Whatever happened to a member, an explanation says what decide decides; its
// trail ends at the row that fits; and each change it claims, made by hand,
// leads to the verdict it claims, which is another one than without. What is
// held back is told what it waits for.
func TestExplanationsAreTrue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, s := anyStanding(t)
		d := p.decide(s.Member, s.Agenda, s.Held, s.Now)
		e := p.Explain(s)
		if len(e.Connections) < len(s.Member.Connections) {
			t.Fatalf("%d connections explained", len(e.Connections))
		}
		for _, c := range e.Connections {
			v := verdictOn(d.Why, c.Facts.Token)
			last := c.Rules[len(c.Rules)-1]
			if c.Verdict != v || last.Rule != v.Row || !last.Fits {
				t.Fatalf("decided %+v\nexplained %+v by\n%s", v, c.Verdict, trail(c.Rules))
			}
			if kind := waitsFor()[v.Reason]; v.Outcome == HeldBack && !c.Due && !slices.ContainsFunc(c.Changes, func(c Change) bool { return c.Kind == kind }) {
				t.Fatalf("%+v waits for nothing of kind %s: %+v", v, kind, c.Changes)
			}
			settled := s // what follows once the decision is written
			if d.Next != nil {
				settled.Agenda = d.Next
			}
			before := settled
			for _, change := range c.Changes {
				with := settled
				if change.Kind == changeTime && !strings.Contains(change.What, "silence") {
					with = before // timers come one after the other
				}
				was := verdictOn(p.decide(with.Member, with.Agenda, with.Held, with.Now).Why, c.Facts.Token)
				after, why := with.changed(t, p, c.Facts.Token, change)
				if !slices.Contains(why, change.Then) || change.Then == was || change.What == "" {
					t.Fatalf("%s: %+v, %q\nis %+v\nclaimed to become %+v\nbecomes %+v", c.Facts.Token, c.Facts, change.What, was, change.Then, why)
				}
				if change.Kind == changeTime && !strings.Contains(change.What, "silence") {
					before = after
				}
			}
		}
		if v := onConsent(d.Why); v.Outcome != "" && e.Access.Verdict != v || e.Access.Because == "" {
			t.Fatalf("decided %+v\nexplained %+v", v, e.Access)
		}
		settled := s
		if d.Next != nil {
			settled.Agenda = d.Next
		}
		was := p.Explain(settled).Access
		if was.Verdict.Outcome == Kept && was.Told == nil {
			t.Fatalf("told before, but there is nothing: %+v", was)
		}
		for _, change := range e.Access.Changes {
			after, _ := settled.changed(t, p, "", change)
			after.Agenda = settled.Agenda
			if is := p.Explain(after).Access.Verdict; is != change.Then || is == was.Verdict {
				t.Fatalf("%q\nis %+v\nclaimed to become %+v\nbecomes %+v", change.What, was.Verdict, change.Then, is)
			}
		}
	})
}

// What is said in each state, to be read: the row that fits last, then the
// timers, then the changes.
func TestExplainedStates(t *testing.T) {
	const file = "testdata/explain.txt"
	state := func(s events.Status, kind events.IntegrationType) events.ConnectionState {
		return events.ConnectionState{Status: s, IntegrationType: kind, Category: "HAPI", SyncStatus: "SYNCED"}
	}
	expired := func() *events.Member { return one(state(events.Expired, events.PROA), events.Permit) }
	direct := func(p events.Provision) *events.Member { return one(state(events.Expired, events.DirectIAS), p) }
	over := func(p events.Provision) *events.Member { return one(state(events.AccessIsOver, events.DirectIAS), p) }
	but := func(m *events.Member, change func(m *events.Member, c *events.MemberConnection)) *events.Member {
		change(m, &m.Connections[0])
		return m
	}
	seen := func(p Policy, m *events.Member, at time.Time, notes ...Note) *events.Agenda {
		_, a := written(t, p.decide(m, nil, Held{}, at))
		if len(notes) > 0 {
			_, a = written(t, p.decide(m, a, Held{}, at.Add(time.Minute), notes...))
		}
		return a
	}
	p, group, patient, auto := atOnce(), DefaultPolicy(), atOnce(), atOnce()
	patient.HoldOpen = 10 * time.Minute
	auto.DirectAuto = []events.Status{events.Expired}
	on := map[events.ConnectionToken]bool{"c1": true}
	soon := t0.Add(5 * time.Minute)
	note := func(k NoteKind) Note {
		return Note{Kind: k, Connection: "c1", PromptID: "c1.1", For: 3 * day, Action: events.ActVerifyIdentity}
	}

	var out strings.Builder
	for _, tt := range []struct {
		name     string
		p        Policy
		m        *events.Member
		a        *events.Agenda
		h        Held
		now      time.Time
		silences map[string]time.Time
	}{
		{"being forgotten", p, expired(), nil, Held{Forgotten: true}, soon, nil},
		{"removed", p, but(expired(), func(_ *events.Member, c *events.MemberConnection) { c.RemovedAt = t0 }), nil, Held{}, soon, nil},
		{"connected", p, one(state(events.Connected, events.PROA), events.Permit), nil, Held{}, t0.Add(90 * time.Minute), nil},
		{"connected again, held for a while", patient, one(state(events.Connected, events.PROA), events.Permit), seen(p, expired(), t0), Held{}, t0.Add(65 * time.Minute), nil},
		{"consent denied", p, direct(events.Deny), nil, Held{}, soon, nil},
		{"access ended, never asked for consent", p, over(events.None), nil, Held{}, soon, nil},
		{"access ended, consent given again", p, over(events.Permit), nil, Held{}, soon, nil},
		{"access not restored", p, over(events.Permit), nil, Held{}, t0.Add(2 * day), nil},
		{"consent not read", p, direct(""), nil, Held{}, soon, nil},
		{"the member must sign in", p, but(expired(), func(m *events.Member, _ *events.MemberConnection) {
			m.Observation = events.MemberObservation{Started: t0, LostSince: t0, Reason: "reauthenticate"}
		}), nil, Held{}, soon, nil},
		{"b.well cannot be seen", p, expired(), nil, Held{Blind: true}, soon, nil},
		{"source degraded", p, expired(), nil, Held{Degraded: on}, soon, nil},
		{"storm, and silenced", p, expired(), nil, Held{Storm: true, Muted: on}, soon, map[string]time.Time{"a1": t0.Add(time.Hour)}},
		{"silenced twice", p, expired(), nil, Held{Muted: on}, soon, map[string]time.Time{"a1": t0.Add(time.Hour), "b2": t0.Add(30 * day)}},
		{"deleting", p, but(expired(), func(_ *events.Member, c *events.MemberConnection) { c.State.SyncStatus = "DELETING" }), nil, Held{}, soon, nil},
		{"unconfirmed", p, but(expired(), func(_ *events.Member, c *events.MemberConnection) { c.ConfirmedAt = time.Time{} }), nil, Held{}, soon, nil},
		{"unconfirmed, window over", p, but(expired(), func(_ *events.Member, c *events.MemberConnection) { c.ConfirmedAt = time.Time{} }), nil, Held{}, t0.Add(time.Hour), nil},
		{"first sight", p, but(expired(), func(_ *events.Member, c *events.MemberConnection) { c.FirstSight = true }), nil, Held{}, soon, nil},
		{"about to be asked", p, expired(), nil, Held{}, soon, nil},
		{"grouping", group, expired(), seen(group, expired(), t0), Held{}, t0.Add(time.Minute), nil},
		{"asked", p, direct(events.Permit), seen(p, direct(events.Permit), t0), Held{}, soon, nil},
		{"snoozed", p, expired(), seen(p, expired(), t0, note(Snooze)), Held{}, soon, nil},
		{"acknowledged", p, expired(), seen(p, expired(), t0, note(Acknowledge)), Held{}, soon, nil},
		{"refused to activate", p, direct(events.Permit), seen(p, direct(events.Permit), t0, note(Instead)), Held{}, soon, nil},
		{"being activated", auto, direct(events.Permit), seen(auto, direct(events.Permit), t0), Held{}, t0.Add(time.Minute), nil},
		{"never answered", p, expired(), func() *events.Agenda {
			_, a := written(t, p.decide(expired(), seen(p, expired(), t0), Held{}, t0.Add(40*day)))
			return a
		}(), Held{}, t0.Add(41 * day), nil},
		{"unknown type", p, one(state(events.Expired, ""), events.Permit), nil, Held{}, soon, nil},
		{"unknown status", p, but(one(state(events.Unknown, events.PROA), events.Permit), func(_ *events.Member, c *events.MemberConnection) {
			c.State.StatusRaw, c.BrokenSince = "ON_HOLIDAY", time.Time{}
		}), nil, Held{}, soon, nil},
	} {
		s := standing(tt.m, tt.a, tt.h, tt.now)
		s.Silences = map[events.ConnectionToken]map[string]time.Time{"c1": tt.silences}
		e := tt.p.Explain(s).Connections[0]
		fmt.Fprintf(&out, "# %s\n%s\n", tt.name, said(e.Verdict))
		last := e.Rules[len(e.Rules)-1]
		fmt.Fprintf(&out, "  row %d: %s\n", last.Rule, last.Because)
		for _, timer := range e.Timers {
			fmt.Fprintf(&out, "  ~ %s %s: %s\n", hours(timer.At.Sub(t0)), timer.Timer, timer.Means)
		}
		for _, c := range e.Changes {
			fmt.Fprintf(&out, "  %s: %s", c.Kind, c.What)
			if c.Command != "" {
				fmt.Fprintf(&out, " (%s)", c.Command)
			}
			fmt.Fprintf(&out, "\n    = %s\n", said(c.Then))
		}
		fmt.Fprintln(&out)
	}
	accessStates(t, &out)
	if *update {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("%s\ngot:\n%s", file, out.String())
	}
}

// accessStates writes what is said of the consent as a whole.
func accessStates(t *testing.T, out *strings.Builder) {
	working := one(events.ConnectionState{Status: events.Connected, IntegrationType: events.DirectIAS}, events.Permit)
	then := func(m *events.Member, p events.Provision, s events.Status) *events.Member {
		next := *m
		next.Sequences = maps.Clone(m.Sequences)
		next.Connections = slices.Clone(m.Connections)
		h := &history{member: &next, flap: time.Hour}
		h.consent(p, t0.Add(2*time.Hour))
		h.status("c1", s, t0.Add(2*time.Hour))
		return &next
	}
	over := then(working, events.Deny, events.AccessIsOver)
	_, ended := written(t, atOnce().decide(over, nil, Held{}, t0.Add(2*time.Hour)))
	again := then(over, events.Permit, events.AccessIsOver)
	_, waits := written(t, atOnce().decide(again, ended, Held{}, t0.Add(3*time.Hour)))
	back := then(over, events.Permit, events.Connected)
	_, restored := written(t, atOnce().decide(back, ended, Held{}, t0.Add(3*time.Hour)))
	proa := one(events.ConnectionState{Status: events.Connected, IntegrationType: events.PROA}, events.Permit)
	for _, tt := range []struct {
		name string
		m    *events.Member
		a    *events.Agenda
		h    Held
		now  time.Duration
	}{
		{"being forgotten", working, nil, Held{Forgotten: true}, time.Hour},
		{"consent not read", one(events.ConnectionState{}, ""), nil, Held{}, time.Hour},
		{"never denied", working, nil, Held{}, time.Hour},
		{"never given", one(working.Connections[0].State, events.None), nil, Held{}, time.Hour},
		{"denied when we first looked", one(working.Connections[0].State, events.Deny), nil, Held{}, time.Hour},
		{"denied, with nothing to lose", then(proa, events.Deny, events.Connected), nil, Held{}, 2 * time.Hour},
		{"denied, in a storm", over, nil, Held{Storm: true}, 2 * time.Hour},
		{"denied, about to be told", over, nil, Held{}, 2 * time.Hour},
		{"denied, told", over, ended, Held{}, 3 * time.Hour},
		{"given again", again, waits, Held{}, 4 * time.Hour},
		{"given again, grace over, not seen", again, waits, Held{Blind: true}, 40 * time.Hour},
		{"restored", back, restored, Held{}, 4 * time.Hour},
	} {
		e := atOnce().Explain(standing(tt.m, tt.a, tt.h, t0.Add(tt.now))).Access
		fmt.Fprintf(out, "# Access: %s\n%s, due %t\n  %s\n", tt.name, said(e.Verdict), e.Due, e.Because)
		for _, timer := range e.Timers {
			fmt.Fprintf(out, "  ~ %s %s: %s\n", hours(timer.At.Sub(t0)), timer.Timer, timer.Means)
		}
		for _, c := range e.Changes {
			fmt.Fprintf(out, "  %s: %s\n    = %s\n", c.Kind, c.What, said(c.Then))
		}
		fmt.Fprintln(out)
	}
}

func said(v Verdict) string {
	return fmt.Sprintf("%s, row %d, %s, %s", v.Outcome, v.Row, v.Reason, v.Action)
}

// changed makes a change by hand: of a connection, or of the member as a whole
// for "". It returns where the member stands once what is decided then, why,
// is written.
func (s Standing) changed(t *rapid.T, p Policy, c events.ConnectionToken, change Change) (after Standing, why []Verdict) {
	m := *s.Member
	m.Sequences, m.Latest = maps.Clone(m.Sequences), maps.Clone(m.Latest)
	m.Connections = slices.Clone(m.Connections)
	s.Member = &m
	h := &history{member: &m, flap: s.Flap}
	known := &events.MemberConnection{}
	if c != "" {
		known = h.find(c)
	}
	var notes []Note
	switch change.Kind {
	case changeStatus:
		if c == "" {
			for _, k := range m.Connections {
				if k.State.Status == events.AccessIsOver && !k.Removed() {
					h.status(k.Token, change.Status, s.Now)
				}
			}
			break
		}
		h.status(c, change.Status, s.Now)
		if change.Status == events.Connected {
			s.Now = s.Now.Add(p.HoldOpen)
		}
	case changePoll:
		switch {
		case strings.Contains(change.What, "confirms"):
			if change.At.After(s.Now) {
				s.Now = change.At
			}
			s.Now = s.Now.Add(time.Millisecond)
			known.ConfirmedAt = s.Now
			if known.State.Status != change.Status || s.Now.Sub(known.BrokenSince) <= s.Confirm[change.Status] {
				t.Fatalf("%q, but %s broke at %s", change.What, known.State.Status, known.BrokenSince)
			}
		case strings.Contains(change.What, "no more"):
			known.RemovedAt = s.Now
		default:
			known.RemovedAt = time.Time{}
			if status := known.State.Status; status.Broken() || status == events.Connected {
				known.State.Status = "" // it comes back as if for the first time
				h.status(c, status, s.Now)
			}
		}
	case changeConsent:
		to := events.Permit
		if strings.Contains(change.What, "deny") {
			to = events.Deny
		}
		h.consent(to, s.Now)
	case changeSight:
		s.Held.Blind, m.Observation.LostSince = false, time.Time{}
		if strings.Contains(change.What, "consent") {
			h.consent(events.Permit, s.Now)
		}
	case changeJudgement:
		s.Held.Degraded = nil
	case changeSync:
		known.State.SyncStatus = "SYNCED"
	case changeType:
		known.State.IntegrationType = events.PROA
	case changePolicy:
		if strings.Contains(change.What, "promptRestoreOverdue") {
			p.PromptRestoreOverdue = true
			break
		}
		p.UnknownTypes = map[string]events.Action{known.State.Category: events.ActOAuth}
	case changeEpisode:
		status := known.State.Status
		h.status(c, events.Connected, s.Now.Add(-s.Flap-time.Second))
		h.status(c, status, s.Now)
		h.find(c).ConfirmedAt = s.Now
	case changeTime:
		s.Now = change.At
		if strings.Contains(change.What, "silence") {
			endSilences(&s, func(_ string, until time.Time) bool { return !until.After(s.Now) })
		}
	case changeCommand:
		command, _, _ := strings.Cut(change.Command, " && ")
		switch words := strings.Fields(command); {
		case slices.Equal(words[:2], []string{"connector", "storm"}):
			s.Held.Storm = false
		case slices.Equal(words[:2], []string{"connector", "silence"}):
			endSilences(&s, func(id string, _ time.Time) bool { return strings.Contains(change.Command, id) })
		case slices.Equal(words, []string{"connector", "prompts", "open", "--baseline"}):
			notes = []Note{{Kind: Release, Connection: c}}
		case slices.Equal(words[:3], []string{"connector", "prompts", "ack"}):
			notes = []Note{{Kind: Acknowledge, Connection: c, PromptID: words[3]}}
		case slices.Equal(words[:2], []string{"connector", "members"}):
			s.Held.Forgotten = false
		default:
			t.Fatalf("nobody knows the command %q", change.Command)
		}
	default:
		t.Fatalf("nobody knows the kind %q", change.Kind)
	}
	d := p.decide(s.Member, s.Agenda, s.Held, s.Now, notes...)
	if d.Next != nil {
		s.Agenda = d.Next
	}
	return s, d.Why
}

// waitsFor returns what kind of change a verdict that holds back waits for, by
// its reason.
func waitsFor() map[string]string {
	return map[string]string{
		reasonConnected: changeTime, reasonAwaiting: changeTime, reasonOverdue: changePolicy, reasonBlind: changeSight, reasonDegraded: changeJudgement,
		reasonStorm: changeCommand, reasonSilenced: changeCommand, reasonDeleting: changeSync, reasonUnconfirmed: changePoll, reasonFirstSight: changeCommand,
		reasonGrouping: changeTime, reasonActivating: changeTime, reasonUnknownType: changeType, reasonUnknownStatus: changeStatus,
	}
}

// What holds back is counted under its reason, whatever it is.
func TestEveryHoldIsCounted(t *testing.T) {
	counted := append(Holds(), reasonConnected) // which works, and only waits to be closed
	for reason := range waitsFor() {
		if !slices.Contains(counted, reason) {
			t.Errorf("%s is not", reason)
		}
	}
	if len(counted) != len(waitsFor()) {
		t.Errorf("counted are %v", counted)
	}
}

func endSilences(s *Standing, ended func(id string, until time.Time) bool) {
	s.Held.Silenced, s.Held.Muted = false, map[events.ConnectionToken]bool{}
	for token, silences := range s.Silences {
		for id, until := range silences {
			switch {
			case ended(id, until):
			case token == "":
				s.Held.Silenced = true
			default:
				s.Held.Muted[token] = true
			}
		}
	}
}

// anyStanding is where a member stands after something happened to them.
func anyStanding(t *rapid.T) (Policy, Standing) {
	p := atOnce()
	p.Group = rapid.SampledFrom([]time.Duration{0, 2 * time.Minute}).Draw(t, "group")
	p.HoldOpen = rapid.SampledFrom([]time.Duration{0, 10 * time.Minute}).Draw(t, "hold-open")
	p.PromptRestoreOverdue = rapid.Bool().Draw(t, "prompt when overdue")
	if rapid.Bool().Draw(t, "activate") {
		p.DirectAuto = []events.Status{events.Expired, events.Failing}
	}
	if rapid.Bool().Draw(t, "unknown types") {
		p.UnknownTypes = map[string]events.Action{"HAPI": events.ActReenter}
	}
	tokens := []events.ConnectionToken{"c1", "c2"}
	statuses := []events.Status{
		events.Connected, events.Connected, events.Expired, events.Expired, events.Expired, events.Disconnected,
		events.Deleted, events.AccessIsOver, events.AccessIsOver, events.Failing, "", events.Unknown,
	}
	types := []events.IntegrationType{events.PROA, events.DirectIAS, events.DirectIAS, events.IndirectIAS, "", events.Unknown, "IAL2"}
	h, now := newHistory(), t0
	for _, c := range tokens {
		k := h.find(c)
		k.State.IntegrationType = rapid.SampledFrom(types).Draw(t, "type")
		k.State.Category = rapid.SampledFrom([]string{"", "BASIC", "HAPI"}).Draw(t, "category")
		h.status(c, rapid.SampledFrom(statuses).Draw(t, "first status"), now)
	}
	if rapid.Bool().Draw(t, "asked for consent") {
		h.consent(rapid.SampledFrom([]events.Provision{events.Permit, events.Permit, events.Deny, events.None}).Draw(t, "first consent"), now)
	}
	var agenda *events.Agenda
	draw := func() Held { // mostly nothing
		rare := func(what string) bool { return rapid.IntRange(0, 7).Draw(t, what) == 0 }
		held := Held{Blind: rare("blind"), Storm: rare("storm"), Silenced: rare("silenced"), Forgotten: rare("forgotten") && rare("really")}
		if rare("degraded") {
			held.Degraded = map[events.ConnectionToken]bool{"c1": true}
		}
		if held.Silenced {
			held.Muted = map[events.ConnectionToken]bool{"c1": true, "c2": true}
		} else if rare("muted") {
			held.Muted = map[events.ConnectionToken]bool{"c2": true}
		}
		return held
	}
	see := func(held Held, notes ...Note) {
		if _, next := written(asTB(t), p.decide(h.member, agenda, held, now, notes...)); next != nil {
			agenda = next
		}
	}
	for range rapid.IntRange(0, 12).Draw(t, "steps") {
		now = now.Add(time.Duration(rapid.SampledFrom([]int{0, 1, 9, 11, 60, 1440, 4320, 50000}).Draw(t, "minutes")) * time.Minute)
		c := rapid.SampledFrom(tokens).Draw(t, "connection")
		switch rapid.IntRange(0, 11).Draw(t, "what") {
		case 0, 1, 2:
			h.status(c, rapid.SampledFrom(statuses).Draw(t, "status"), now)
		case 3:
			h.consent(rapid.SampledFrom([]events.Provision{events.Permit, events.Deny, events.None}).Draw(t, "consent"), now)
		case 4:
			if rapid.Bool().Draw(t, "really") {
				h.find(c).RemovedAt = now
			}
		case 5:
			h.find(c).State.SyncStatus = rapid.SampledFrom([]string{"", "", "DELETING"}).Draw(t, "sync")
		case 6:
			h.member.Observation.LostSince = rapid.SampledFrom([]time.Time{{}, {}, now}).Draw(t, "lost")
			h.member.Observation.Reason = rapid.SampledFrom([]string{"unreachable", "reauthenticate"}).Draw(t, "lost how")
		case 7:
			if agenda != nil && len(agenda.Prompts) > 0 {
				token, _, _ := strings.Cut(agenda.Prompts[0].PromptID, ".")
				see(Held{}, Note{
					Kind: rapid.SampledFrom([]NoteKind{Acknowledge, Snooze, Instead}).Draw(t, "note"), Connection: events.ConnectionToken(token),
					PromptID: agenda.Prompts[0].PromptID, For: 2 * day, Action: events.ActVerifyIdentity,
				})
			}
		default:
			h.confirmed(now)
		}
		if rapid.IntRange(0, 3).Draw(t, "looked") > 0 {
			see(draw())
		}
	}
	s := standing(h.member, agenda, draw(), now)
	member, source := map[string]time.Time{"one": now.Add(time.Hour)}, map[string]time.Time{"two": now.Add(2 * time.Hour)}
	switch {
	case s.Held.Silenced:
		s.Silences = map[events.ConnectionToken]map[string]time.Time{"": member, "c1": {"one": member["one"], "two": source["two"]}, "c2": member}
	case len(s.Held.Muted) > 0:
		s.Silences = map[events.ConnectionToken]map[string]time.Time{"c2": source}
	}
	return p, s
}

// The page for operators knows every word that an explanation uses.
func TestExplainedWordsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## Explain\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, word := range []string{
		Nothing, HeldBack, Opened, Kept, Reminded, Resolved, Withdrawn, Superseded, Expired, Spent, Ended, Restored, Noted, Activating,
		reasonForgotten, reasonRemoved, reasonConnected, reasonConsentEnded, reasonAwaiting, reasonOverdue, reasonBlind, reasonDegraded,
		reasonStorm, reasonSilenced, reasonDeleting, reasonUnconfirmed, reasonFirstSight, reasonExpired, reasonDisconnected, reasonDeleted,
		reasonError, reasonUnknownType, reasonUnknownStatus, reasonGrouping, reasonActivating, reasonAcknowledged,
		timerConfirm, timerGroup, timerActivate, timerGrace, timerHoldOpen, timerEpisode, timerReminder, timerSnooze, timerExpiry,
		changeTime, changePoll, changeStatus, changeSync, changeType, changeEpisode, changeConsent, changeSight, changeJudgement, changeCommand, changePolicy,
	} {
		if !strings.Contains(section, "`"+word+"`") {
			t.Errorf("docs/operations.md, Explain, does not know `%s`", word)
		}
	}
	for _, v := range []any{
		Explanation{}, ConsentExplained{}, Hold{}, Silence{}, Pushes{}, AccessExplained{}, ConnectionExplained{}, Rule{}, Timer{}, Change{}, Verdict{},
	} {
		for _, f := range reflect.VisibleFields(reflect.TypeOf(v)) {
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); !f.Anonymous && !strings.Contains(section, "`"+name+"`") {
				t.Errorf("docs/operations.md, Explain, does not know the field `%s` of %T", name, v)
			}
		}
	}
}

// After a status that says nothing, a break is the same episode: what would come
// of it is not told as the end of the prompt that is open.
func TestABreakAfterAnUnknownStatusIsTheSame(t *testing.T) {
	m := one(events.ConnectionState{Status: events.Expired, IntegrationType: events.PROA}, events.Permit)
	_, a, _ := look(t, atOnce(), m, nil, Held{}, t0)
	c := &m.Connections[0]
	c.State.Status, c.BrokenSince, c.ConfirmedAt = events.Unknown, time.Time{}, time.Time{}
	now := t0.Add(time.Hour)
	x := atOnce().Explain(Standing{Member: m, Agenda: a, Now: now, Flap: time.Hour, Confirm: map[events.Status]time.Duration{events.Expired: 10 * time.Minute}})
	for _, change := range x.Connections[0].Changes {
		if change.Status != events.Expired {
			continue
		}
		if change.Then.Outcome != HeldBack || change.Then.Reason != reasonUnconfirmed {
			t.Errorf("then %+v", change.Then)
		}
		return
	}
	t.Errorf("another break changes nothing: %+v", x.Connections[0].Changes)
}
