package reconnect

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/smartconnect/connector/internal/events"
)

var t0 = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// atOnce is the default policy, but nothing waits to be asked together.
func atOnce() Policy {
	p := DefaultPolicy()
	p.Group = 0
	return p
}

// written does to a decision what writing it does: events get their sequence
// and their id, and the agenda its book.
func written(t testing.TB, d Decision) ([]events.Event, *events.Agenda) {
	t.Helper()
	if d.Next == nil {
		if len(d.Events) > 0 {
			t.Fatalf("events without an agenda: %+v", d.Events)
		}
		return nil, nil
	}
	if len(d.Events) == 0 && d.NextLook.IsZero() {
		t.Fatal("an agenda with neither event nor next look cannot be written")
	}
	if !d.NextLook.Equal(d.Next.NextLook) {
		t.Fatalf("next look %s, in the agenda %s", d.NextLook, d.Next.NextLook)
	}
	told := slices.Clone(d.Events)
	for i, e := range told {
		key := e.Type.Kind()
		if e.Part != "" {
			key += "." + e.Part
		}
		d.Next.Sequences[key]++
		told[i].Sequence = d.Next.Sequences[key]
		told[i].ID = fmt.Sprintf("%s#%d", key, told[i].Sequence)
		d.Next.Latest[key] = told[i].ID
	}
	return told, d.Next
}

// look decides, writes, and holds that deciding again changes nothing.
func look(t testing.TB, p Policy, m *events.Member, a *events.Agenda, h Held, now time.Time, notes ...Note) ([]events.Event, *events.Agenda, Decision) {
	t.Helper()
	d := p.decide(m, a, h, now, notes...)
	if !d.NextLook.IsZero() && !d.NextLook.After(now) {
		t.Fatalf("at %s: next look at %s", now, d.NextLook)
	}
	told, next := written(t, d)
	if next == nil {
		next = a
	}
	if again := p.decide(m, next, h, now); again.Next != nil {
		t.Fatalf("decided twice: %+v\nthen %+v", d, again)
	}
	return told, next, d
}

// one returns a member with one connection, broken and confirmed long ago.
func one(s events.ConnectionState, consent events.Provision) *events.Member {
	m := &events.Member{Book: events.NewBook("i"), MemberID: "m", Connections: []events.MemberConnection{{
		Token: "c1", ConnectionID: "clinic", State: s, FirstSeen: t0, Episode: 1, EpisodeSince: t0, BrokenSince: t0,
	}}}
	c := &m.Connections[0]
	if s.Status.Broken() {
		c.ConfirmedAt = t0.Add(10 * time.Minute)
	}
	if s.Status == events.Connected {
		c.ConnectedSince, c.BrokenSince = t0.Add(time.Hour), time.Time{}
	}
	if consent != "" {
		m.Consent = events.MemberConsent{Read: true, ConsentID: "k", Provision: consent, DateTime: t0.Add(-time.Hour), Permitted: consent == events.Permit}
		m.Sequences["consent"] = 1
	}
	m.Latest["connection.c1"] = "cause"
	return m
}

// tableSays is the table of the design once more, row by row, in other words than
// judge's: each row says when it fits, and the first that does is taken.
func tableSays(s events.ConnectionState, consent events.Provision, graceOver, confirmed, firstSight bool, held string) (row int, action events.Action, opens bool) {
	in := func(list ...events.Status) bool { return slices.Contains(list, s.Status) }
	unknownType := s.IntegrationType == "" || s.IntegrationType == events.Unknown
	ias := s.IntegrationType == "DIRECT_IAS" || s.IntegrationType == "INDIRECT_IAS"
	broken := in("EXPIRED", "DISCONNECTED", "DELETED", "ERROR")
	rows := []struct {
		row    int
		fits   bool
		action events.Action
		opens  bool
	}{
		{2, in("CONNECTED"), "none", false},
		{3, ias && consent == "deny", "restore_consent", false},
		{3, in("ACCESS_ENDED") && (consent == "deny" || consent == "none"), "restore_consent", false},
		{4, in("ACCESS_ENDED") && consent == "permit" && !graceOver, "wait", false},
		{5, in("ACCESS_ENDED") && consent == "permit" && graceOver, "wait", false},
		{6, consent == "" && (s.IntegrationType != "PROA" || in("ACCESS_ENDED")), "wait", false},
		{6, held != "", "wait", false},
		{7, s.SyncStatus == "DELETING", "wait", false},
		{8, broken && !confirmed, "wait", false},
		{8, broken && firstSight, "wait", false},
		{9, broken && (s.IntegrationType == "PROA" || s.IntegrationType == "INDIRECT_IAS"), "oauth", true},
		{10, broken && s.IntegrationType == "DIRECT_IAS", "activate_direct", true},
		{11, broken && unknownType && s.Category == "BASIC", "reenter_credentials", true},
		{12, broken, "unknown", false},
		{13, s.Status == "" || s.Status == events.Unknown, "unknown", false},
	}
	for _, r := range rows {
		if r.fits {
			return r.row, r.action, r.opens
		}
	}
	panic(fmt.Sprintf("no row fits %+v, consent %q", s, consent))
}

// Every combination of what b.well can say, in the words of its schema, null and
// unknown words included, with every way of being held: the row, the action, and whether a prompt is
// opened; then the same with a prompt already open.
func TestTable(t *testing.T) {
	var (
		statuses   = []events.Status{events.Connected, events.Expired, events.Disconnected, events.Deleted, events.AccessIsOver, events.Failing, "", events.Unknown}
		types      = []events.IntegrationType{events.PROA, events.DirectIAS, events.IndirectIAS, "DIRECT", "IAL2", "", events.Unknown}
		categories = []string{"", "BASIC", "OAUTH", "IDENTITY", events.Unknown}
		consents   = []events.Provision{"", events.None, events.Permit, events.Deny}
		syncs      = []string{"", "PENDING", "RETRIEVING", "RETRIEVED", "ERROR", "DELETING", "DATA_DELETED", events.Unknown}
		holds      = map[string]Held{
			"": {}, "blind": {Blind: true}, "storm": {Storm: true}, "silenced": {Silenced: true},
			"source_degraded": {Degraded: map[events.ConnectionToken]bool{"c1": true}},
			"muted":           {Muted: map[events.ConnectionToken]bool{"c1": true}},
		}
		policy = atOnce()
		seen   = map[int]int{}
	)
	if err := policy.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, status := range statuses {
		for _, kind := range types {
			for _, category := range categories {
				for _, consent := range consents {
					for _, sync := range syncs {
						for hold, held := range holds {
							for flags := range 8 {
								graceOver, confirmed, firstSight := flags&1 > 0, flags&2 > 0, flags&4 > 0
								s := events.ConnectionState{Status: status, IntegrationType: kind, Category: category, SyncStatus: sync}
								m := one(s, consent)
								c := &m.Connections[0]
								c.FirstSight = firstSight
								if !confirmed {
									c.ConfirmedAt = time.Time{}
								}
								now := t0.Add(2 * time.Hour)
								if graceOver {
									now = t0.Add(2 * day)
								}
								name := func() string { // of the one that fails only: there are very many
									return fmt.Sprintf("%+v consent=%q hold=%q grace over=%t confirmed=%t first sight=%t", s, consent, hold, graceOver, confirmed, firstSight)
								}
								row, action, opens := tableSays(s, consent, graceOver, confirmed, firstSight, hold)
								seen[row]++

								d := policy.decide(m, nil, held, now)
								v := verdictOf(t, d, "c1")
								if v.Row != row || v.Action != action || (v.Outcome == Opened) != opens {
									t.Fatalf("%s\n got row %d, %s, %s\nwant row %d, %s, opens=%t", name(), v.Row, v.Action, v.Outcome, row, action, opens)
								}
								if prompts := count(d.Events, events.PromptOpened); prompts != btoi(opens) {
									t.Fatalf("%s: %d prompts", name(), prompts)
								}

								// With one open: closed by rows 2 and 3, else left or replaced.
								d = policy.decide(m, withOpen(now, policy.Statuses[status]), held, now)
								wantOpen := row != 2 && row != 3
								if got := d.Next == nil || len(d.Next.Prompts) == 1; got != wantOpen {
									t.Fatalf("%s: an open prompt, row %d: still open %t", name(), row, got)
								}
								want := 0
								switch {
								case row == 2:
									want = count(d.Events, events.PromptResolved)
								case row == 3, opens && action != events.ActOAuth:
									want = count(d.Events, events.PromptWithdrawn)
								default:
									want = 1 - btoi(closes(d.Events))
								}
								if want != 1 {
									t.Fatalf("%s: an open prompt, row %d: %v", name(), row, kinds(d.Events))
								}
							}
						}
					}
				}
			}
		}
	}
	for row := 2; row <= 13; row++ {
		if seen[row] == 0 {
			t.Errorf("row %d was never reached", row)
		}
	}
}

// withOpen returns an agenda with one open OAuth prompt, opened just before for a
// status with such a rule.
func withOpen(now time.Time, rule StatusRule) *events.Agenda {
	a := &events.Agenda{Book: events.NewBook("i"), MemberID: "m"}
	a.Latest["prompt.c1"] = "opening"
	a.Prompts = []events.Prompt{{
		PromptID: "c1.1", ConnectionID: "clinic", Action: events.ActOAuth, OpenedAt: now.Add(-time.Minute), Urgency: rule.Urgency, Notify: rule.Notify,
	}}
	a.Asked = []events.Asked{{Connection: "c1", Openings: 1, Episode: 1, RemindAt: now.Add(day), ExpiresAt: now.Add(30 * day)}}
	return a
}

// What removes or forgets wins over everything else.
func TestRowOne(t *testing.T) {
	for _, tt := range []struct {
		name, reason string
		removed      time.Time
		held         Held
	}{
		{"removed", "removed", t0, Held{}},
		{"removed while all is held", "removed", t0, Held{Blind: true, Storm: true, Silenced: true}},
		{"forgotten", "forgotten", time.Time{}, Held{Forgotten: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := one(events.ConnectionState{Status: events.Expired, IntegrationType: events.PROA}, events.Deny)
			m.Connections[0].RemovedAt = tt.removed
			told, _, d := look(t, atOnce(), m, withOpen(t0, atOnce().Statuses[events.Expired]), tt.held, t0)
			if v := verdictOf(t, d, "c1"); v.Row != 1 || v.Reason != tt.reason || v.Outcome != Withdrawn {
				t.Errorf("%+v", v)
			}
			if len(told) != 1 || told[0].CausationID != "opening" || told[0].CorrelationID != "c1.1" {
				t.Errorf("%+v", told)
			}
		})
	}
	t.Run("no longer in the head", func(t *testing.T) {
		m := one(events.ConnectionState{}, events.Permit)
		m.Connections = nil
		if _, a, _ := look(t, atOnce(), m, withOpen(t0, atOnce().Statuses[events.Expired]), Held{}, t0); len(a.Prompts) != 0 {
			t.Errorf("%+v", a.Prompts)
		}
	})
}

func TestBoundaries(t *testing.T) {
	expired := events.ConnectionState{Status: events.Expired, IntegrationType: events.PROA}
	over := events.ConnectionState{Status: events.AccessIsOver, IntegrationType: events.DirectIAS}
	connected := events.ConnectionState{Status: events.Connected, IntegrationType: events.PROA}
	open, silent := atOnce(), atOnce()
	silent.Reminders = nil
	patient := atOnce()
	patient.HoldOpen = time.Minute
	at := t0.Add(time.Hour) // the opening, and when the connected ones connected
	asked := func(p Policy) *events.Agenda {
		_, a, _ := look(t, p, one(expired, events.Permit), nil, Held{}, at)
		return a
	}
	for _, tt := range []struct {
		name   string
		policy Policy
		state  events.ConnectionState
		agenda *events.Agenda
		now    time.Time
		want   string
		next   time.Time
	}{
		{"reminder an instant early", open, expired, asked(open), at.Add(day - 1), Kept, at.Add(day)},
		{"reminder exactly on time", open, expired, asked(open), at.Add(day), Reminded, at.Add(4 * day)},
		{"reminder late", open, expired, asked(open), at.Add(9 * day), Reminded, at.Add(12 * day)},
		{"expiry an instant early", silent, expired, asked(silent), at.Add(30*day - 1), Kept, at.Add(30 * day)},
		{"expiry exactly on time", silent, expired, asked(silent), at.Add(30 * day), Expired, time.Time{}},
		{"grace an instant early", open, over, nil, t0.Add(day - 1), HeldBack, t0.Add(day)},
		{"grace exactly over", open, over, nil, t0.Add(day), HeldBack, time.Time{}},
		{"hold-open an instant early", patient, connected, asked(patient), at.Add(time.Minute - 1), HeldBack, at.Add(time.Minute)},
		{"hold-open exactly over", patient, connected, asked(patient), at.Add(time.Minute), Resolved, time.Time{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, d := look(t, tt.policy, one(tt.state, events.Permit), tt.agenda, Held{}, tt.now)
			if v := verdictOf(t, d, "c1"); v.Outcome != tt.want {
				t.Errorf("%+v, want %s", v, tt.want)
			}
			if !d.NextLook.Equal(tt.next) {
				t.Errorf("next look %s, want %s", d.NextLook, tt.next)
			}
			if overdue := count(d.Events, events.AccessRestoreOverdue); overdue != btoi(tt.name == "grace exactly over") {
				t.Errorf("%d restore_overdue", overdue)
			}
		})
	}
}

// A reader can follow a prompt from its end to its opening, however many
// events lie between, and from its opening to the fact.
func TestCauses(t *testing.T) {
	m := one(events.ConnectionState{Status: events.Expired, IntegrationType: events.PROA}, events.Permit)
	opened, a, _ := look(t, atOnce(), m, nil, Held{}, t0)
	first, a, _ := look(t, atOnce(), m, a, Held{}, t0.Add(day))
	second, a, _ := look(t, atOnce(), m, a, Held{}, t0.Add(4*day))
	back := one(events.ConnectionState{Status: events.Connected, IntegrationType: events.PROA}, events.Permit)
	back.Connections[0].ConnectedSince = t0.Add(5*day + 300*time.Millisecond)
	resolved, _, _ := look(t, atOnce(), back, a, Held{}, t0.Add(6*day))
	if opened[0].CausationID != "cause" {
		t.Errorf("opened because of %q", opened[0].CausationID)
	}
	for _, told := range [][]events.Event{first, second, resolved} {
		if len(told) != 1 || told[0].CausationID != opened[0].ID || told[0].CorrelationID != "c1.1" {
			t.Errorf("%+v", told)
		}
	}
	if got := resolved[0].Data.(*events.Prompt); *got.Downtime != int64(5*day/time.Second) || got.Notify || got.PromptID != "c1.1" {
		t.Errorf("%+v, down for %d s", got, *got.Downtime)
	}
}

func TestOpenTogether(t *testing.T) {
	m := one(events.ConnectionState{Status: events.Expired, IntegrationType: events.PROA}, events.Permit)
	for _, token := range []events.ConnectionToken{"c2", "c3", "c4"} {
		c := m.Connections[0]
		c.Token = token
		m.Connections = append(m.Connections, c)
	}
	_, a, _ := look(t, atOnce(), m, nil, Held{}, t0)
	pushed := 0
	for _, p := range a.Prompts {
		pushed += btoi(p.Notify)
		if p.Batch != "c1.1" {
			t.Errorf("%s is of batch %q", p.PromptID, p.Batch)
		}
	}
	// The member gets one message about all four, now and at each reminder.
	if len(a.Prompts) != 4 || pushed != 4 || len(a.Pushes) != 1 {
		t.Errorf("%d prompts, %d pushed, %d counted; want 4, 4, 1", len(a.Prompts), pushed, len(a.Pushes))
	}
	for i, after := range []time.Duration{day, 4 * day} {
		told, next, _ := look(t, atOnce(), m, a, Held{}, t0.Add(after))
		if n := count(told, events.PromptReminded); n != 4 || len(next.Pushes) != i+2 {
			t.Errorf("%d reminded, %d pushes counted; want 4, %d", n, len(next.Pushes), i+2)
		}
		a = next
	}
}

// A direct activation that b.well refused has become another action, which
// stands until the connection works.
// What b.well said to an activation changes what the prompt asks for, for the
// rest of the episode.
func TestRefusedActivationIsAnotherWay(t *testing.T) {
	m := one(events.ConnectionState{Status: events.Expired, IntegrationType: events.DirectIAS}, events.Permit)
	_, a, _ := look(t, atOnce(), m, nil, Held{}, t0)
	note := Note{Kind: Instead, Connection: "c1", PromptID: "c1.1", Action: events.ActVerifyIdentity}
	d := atOnce().decide(m, a, Held{}, t0.Add(time.Minute), note)
	told, a := written(t, d)
	if kinds := kindsOf(told); kinds != "prompt.withdrawn prompt.opened" || !d.Noted {
		t.Fatalf("told %s, noted %t", kinds, d.Noted)
	}
	p := a.Prompts[0]
	if p.Action != events.ActVerifyIdentity || p.Notify || p.PromptID != "c1.2" {
		t.Errorf("%+v", p)
	}
	if again := atOnce().decide(m, a, Held{}, t0.Add(2*time.Minute), note); again.Noted || again.Next != nil {
		t.Errorf("the same note about a closed prompt: %+v", again)
	}
	if _, _, d := look(t, atOnce(), m, a, Held{}, t0.Add(time.Hour)); d.Next != nil {
		t.Errorf("%+v", d.Why)
	}
	// A new episode is a new try.
	m.Connections[0].Episode++
	if _, a, _ = look(t, atOnce(), m, a, Held{}, t0.Add(2*time.Hour)); a.Prompts[0].Action != events.ActDirect {
		t.Errorf("%+v", a.Prompts)
	}
}

func kindsOf(told []events.Event) string {
	var kinds []string
	for _, e := range told {
		kinds = append(kinds, strings.TrimSuffix(strings.TrimPrefix(string(e.Type), "smartconnect."), ".v1"))
	}
	return strings.Join(kinds, " ")
}

// A policy may name activation for a type that b.well does not; what b.well then
// refuses is not asked for again either.
func TestRefusedActivationOfAnUnknownType(t *testing.T) {
	p := atOnce()
	p.UnknownTypes = map[string]events.Action{"HAPI": events.ActDirect}
	m := one(events.ConnectionState{Status: events.Expired, Category: "HAPI"}, events.Permit)
	_, a, _ := look(t, p, m, nil, Held{}, t0)
	told, _, _ := look(t, p, m, a, Held{}, t0.Add(time.Minute), Note{Kind: Instead, Connection: "c1", PromptID: "c1.1", Action: events.ActVerifyIdentity})
	if len(told) != 2 || told[0].Type != events.PromptWithdrawn || told[1].Data.(*events.Prompt).Action != events.ActVerifyIdentity {
		t.Errorf("told %+v", told)
	}
}

// What works when its prompt would expire is resolved, though it must still hold.
func TestExpiryWhileItIsHeldOpen(t *testing.T) {
	p := atOnce()
	p.HoldOpen = time.Hour
	m := one(events.ConnectionState{Status: events.Expired, IntegrationType: events.PROA}, events.Permit)
	_, a, _ := look(t, p, m, nil, Held{}, t0)
	end := t0.Add(p.Expiry)
	c := &m.Connections[0]
	c.State.Status, c.BrokenSince, c.ConfirmedAt, c.ConnectedSince = events.Connected, time.Time{}, time.Time{}, end.Add(-time.Minute)
	told, _, d := look(t, p, m, a, Held{}, end)
	if len(told) > 0 || !d.NextLook.Equal(c.ConnectedSince.Add(p.HoldOpen)) {
		t.Errorf("told %+v, next look %s", told, d.NextLook)
	}
	if told, _, _ := look(t, p, m, a, Held{}, d.NextLook); len(told) != 1 || told[0].Type != events.PromptResolved {
		t.Errorf("told %+v", told)
	}
}

// Two replicas may have two policies for a while, and a policy may change while a
// prompt is open. A prompt weighs what it did when it was opened, until the status
// is another.
func TestAnotherPolicyLeavesWhatIsOpen(t *testing.T) {
	heavy, light := atOnce(), atOnce()
	light.Statuses = maps.Clone(heavy.Statuses)
	light.Statuses[events.Expired] = StatusRule{Urgency: events.Optional}
	for _, p := range [][2]Policy{{heavy, light}, {light, heavy}} {
		m := one(events.ConnectionState{Status: events.Expired, IntegrationType: events.PROA}, events.Permit)
		_, a, _ := look(t, p[0], m, nil, Held{}, t0)
		for i := range 4 {
			if told, _, _ := look(t, p[1-i%2], m, a, Held{}, t0.Add(time.Minute)); len(told) > 0 {
				t.Errorf("told %s", told[0].Type)
			}
		}
		m.Connections[0].State.Status = events.Disconnected
		if told, _, _ := look(t, p[0], m, a, Held{}, t0.Add(time.Minute)); p[0].Statuses[events.Expired].Notify && len(told) != 2 {
			t.Errorf("the member disconnected since: told %d events", len(told))
		}
	}
}

func TestAcknowledgeAndSnooze(t *testing.T) {
	m := one(events.ConnectionState{Status: events.Expired, IntegrationType: events.PROA}, events.Permit)
	p := atOnce()
	noting := func(m *events.Member, a *events.Agenda, after time.Duration, n Note) ([]events.Event, *events.Agenda, bool) {
		n.Connection, n.PromptID = "c1", "c1.1"
		d := p.decide(m, a, Held{}, t0.Add(after), n)
		told, next := written(t, d)
		if next == nil {
			next = a
		}
		return told, next, d.Noted
	}
	take := func(a *events.Agenda, after time.Duration, n Note) ([]events.Event, *events.Agenda, bool) {
		return noting(m, a, after, n)
	}
	opened, a, _ := look(t, p, m, nil, Held{}, t0)

	told, acked, noted := take(a, time.Hour, Note{Kind: Acknowledge})
	if kindsOf(told) != "prompt.acknowledged" || !noted || told[0].CausationID != opened[0].ID {
		t.Fatalf("told %+v, noted %t", told, noted)
	}
	if told, _, noted := take(acked, 2*time.Hour, Note{Kind: Acknowledge}); !noted || len(told) != 0 {
		t.Errorf("acknowledged twice: noted %t, told %s", noted, kindsOf(told))
	}
	if told, _, _ := look(t, p, m, acked, Held{}, t0.Add(2*day)); len(told) != 0 {
		t.Errorf("reminded who knows: %s", kindsOf(told))
	}

	told, snoozed, noted := take(a, time.Hour, Note{Kind: Snooze, For: 5 * day})
	if until := t0.Add(time.Hour + 5*day); kindsOf(told) != "prompt.acknowledged" || !noted || !snoozed.Prompts[0].SnoozedUntil.Equal(until) || !snoozed.NextLook.Equal(until) {
		t.Fatalf("told %+v, next look %s", told, snoozed.NextLook)
	}
	if told, _, _ := look(t, p, m, snoozed, Held{}, t0.Add(4*day)); len(told) != 0 {
		t.Errorf("reminded who sleeps: %s", kindsOf(told))
	}
	told, after, _ := look(t, p, m, snoozed, Held{}, t0.Add(time.Hour+5*day))
	if kindsOf(told) != "prompt.reminded" || told[0].CausationID != opened[0].ID || !after.Prompts[0].SnoozedUntil.IsZero() {
		t.Errorf("told %+v", told)
	}
	_, far, _ := take(a, time.Hour, Note{Kind: Snooze, For: 300 * day})
	if want := t0.Add(time.Hour + p.SnoozeMost); !far.Prompts[0].SnoozedUntil.Equal(want) {
		t.Errorf("snoozed until %s, want %s", far.Prompts[0].SnoozedUntil, want)
	}
	// Who is not reminded of it, or no more, is reminded when they asked for it.
	listed := one(events.ConnectionState{Status: events.Disconnected, IntegrationType: events.PROA}, events.Permit)
	_, b, _ := look(t, p, listed, nil, Held{}, t0)
	_, b, noted = noting(listed, b, time.Hour, Note{Kind: Snooze, For: day})
	told, b, _ = look(t, p, listed, b, Held{}, t0.Add(time.Hour+day))
	if !noted || kindsOf(told) != "prompt.reminded" || !b.NextLook.Equal(b.Asked[0].ExpiresAt) {
		t.Errorf("a snooze of what is only listed: noted %t, told %+v", noted, told)
	}
	for name, n := range map[string]Note{
		"no time":       {Kind: Snooze},
		"into the past": {Kind: Snooze, For: -time.Hour},
	} {
		if _, _, noted := take(a, time.Hour, n); noted {
			t.Errorf("%s: noted", name)
		}
	}
}

// Several breaks of one member are asked about together, once the first has
// waited for the window.
func TestGrouping(t *testing.T) {
	p := DefaultPolicy()
	m := one(events.ConnectionState{Status: events.Expired, IntegrationType: events.PROA}, events.Permit)
	second := m.Connections[0]
	second.Token, second.ConnectionID, second.ConfirmedAt = "c2", "other", time.Time{}
	m.Connections = append(m.Connections, second)
	told, a, d := look(t, p, m, nil, Held{}, t0)
	if len(told) != 0 || !d.NextLook.Equal(t0.Add(p.Group)) || d.Why[0].Reason != reasonGrouping {
		t.Fatalf("told %s, next look %s, %+v", kindsOf(told), d.NextLook, d.Why)
	}
	m.Connections[1].ConfirmedAt = t0.Add(time.Minute)
	told, a, _ = look(t, p, m, a, Held{}, t0.Add(time.Minute))
	if len(told) != 0 {
		t.Fatalf("told %s", kindsOf(told))
	}
	told, a, _ = look(t, p, m, a, Held{}, t0.Add(p.Group))
	if kindsOf(told) != "prompt.opened prompt.opened" || a.Prompts[0].Batch == "" || a.Prompts[0].Batch != a.Prompts[1].Batch {
		t.Errorf("told %s, %+v", kindsOf(told), a.Prompts)
	}
}

func TestQuietHoursAreAHint(t *testing.T) {
	zone := time.FixedZone("", 2*3600)
	for name, tt := range map[string]struct {
		quiet     Quiet
		now, want string
	}{
		"none":            {Quiet{}, "2026-03-01T23:00:00Z", ""},
		"before midnight": {Quiet{From: 22 * time.Hour, To: 7 * time.Hour}, "2026-03-01T23:00:00Z", "2026-03-02T07:00:00Z"},
		"after midnight":  {Quiet{From: 22 * time.Hour, To: 7 * time.Hour}, "2026-03-02T06:59:59Z", "2026-03-02T07:00:00Z"},
		"just over":       {Quiet{From: 22 * time.Hour, To: 7 * time.Hour}, "2026-03-02T07:00:00Z", ""},
		"at noon":         {Quiet{From: 12 * time.Hour, To: 14 * time.Hour}, "2026-03-02T12:00:00Z", "2026-03-02T14:00:00Z"},
		"elsewhere":       {Quiet{From: 22 * time.Hour, To: 7 * time.Hour, Zone: zone}, "2026-03-01T20:30:00Z", "2026-03-02T05:00:00Z"},
	} {
		p := atOnce()
		p.Quiet = tt.quiet
		now, err := time.Parse(time.RFC3339, tt.now)
		if err != nil {
			t.Fatal(err)
		}
		m := one(events.ConnectionState{Status: events.Expired, IntegrationType: events.PROA}, events.Permit)
		_, a, _ := look(t, p, m, nil, Held{}, now)
		got := ""
		if at := a.Prompts[0].NotBefore; !at.IsZero() {
			got = at.Format(time.RFC3339)
		}
		if got != tt.want || !a.Prompts[0].Notify {
			t.Errorf("%s: not before %q, want %q", name, got, tt.want)
		}
	}
}

// An activation without asking is tried once per episode; then the member is
// asked as ever.
func TestActivatingWithoutAsking(t *testing.T) {
	p := atOnce()
	p.DirectAuto = []events.Status{events.Expired}
	m := one(events.ConnectionState{Status: events.Expired, IntegrationType: events.DirectIAS}, events.Permit)
	d := p.decide(m, nil, Held{}, t0)
	told, a := written(t, d)
	if len(told) != 0 || len(d.Activate) != 1 || !d.NextLook.Equal(t0.Add(activation)) {
		t.Fatalf("told %s, activate %d, next look %s", kindsOf(told), len(d.Activate), d.NextLook)
	}
	for after, want := range map[time.Duration]string{time.Minute: "", activation: "prompt.opened"} {
		d := p.decide(m, a, Held{}, t0.Add(after))
		told := d.Events
		if kindsOf(told) != want || len(d.Activate) != 0 {
			t.Errorf("after %s: told %q, activate %d", after, kindsOf(told), len(d.Activate))
		}
	}
	m.Connections[0].State.Status = events.Disconnected
	if d := p.decide(m, nil, Held{}, t0); len(d.Activate) != 0 || kindsOf(d.Events) != "prompt.opened" {
		t.Errorf("what the member did is not undone: %+v", d.Why)
	}
	m.Connections[0].State.Status = events.Expired
	for name, h := range map[string]Held{"storm": {Storm: true}, "silenced": {Silenced: true}} {
		if d := p.decide(m, nil, h, t0); len(d.Activate) != 0 {
			t.Errorf("%s: activated", name)
		}
	}
}

func TestReleaseOfWhatBrokeBeforeWeLooked(t *testing.T) {
	m := one(events.ConnectionState{Status: events.Expired, IntegrationType: events.PROA}, events.Permit)
	m.Connections[0].FirstSight = true
	told, a, _ := look(t, atOnce(), m, nil, Held{}, t0)
	if len(told) != 0 {
		t.Fatalf("told %s", kindsOf(told))
	}
	note := Note{Kind: Release, Connection: "c1"}
	d := atOnce().decide(m, a, Held{}, t0, note)
	told, a = written(t, d)
	if kindsOf(told) != "prompt.opened" || !d.Noted {
		t.Fatalf("told %s, noted %t", kindsOf(told), d.Noted)
	}
	if told, _, _ := look(t, atOnce(), m, a, Held{}, t0.Add(day)); kindsOf(told) != "prompt.reminded" {
		t.Errorf("a released one is asked like any other: %s", kindsOf(told))
	}
	if d := atOnce().decide(m, a, Held{}, t0.Add(day), note); d.Noted {
		t.Error("released twice")
	}
	if d := atOnce().decide(m, a, Held{}, t0, Note{Kind: Release, Connection: "other"}); d.Noted {
		t.Error("released what is not there")
	}
}

// A release leaves alone what is open, also if that belongs to a break before.
func TestReleaseWhileAnotherBreakIsAskedAbout(t *testing.T) {
	m := one(events.ConnectionState{Status: events.Expired, IntegrationType: events.PROA}, events.Permit)
	_, a, _ := look(t, atOnce(), m, nil, Held{}, t0)
	c := &m.Connections[0] // removed, and found again broken, with no look between
	c.Episode, c.EpisodeSince, c.BrokenSince, c.ConfirmedAt, c.FirstSight = 2, t0.Add(day), t0.Add(day), t0.Add(day), true
	d := atOnce().decide(m, a, Held{}, t0.Add(2*day), Note{Kind: Release, Connection: "c1"})
	if d.Noted || count(d.Events, events.PromptExpired) != 0 {
		t.Errorf("noted %t, told %v", d.Noted, kinds(d.Events))
	}
}

func TestAnotherIncarnationIsNobody(t *testing.T) {
	m := one(events.ConnectionState{Status: events.Expired, IntegrationType: events.PROA}, events.Permit)
	a := withOpen(t0, atOnce().Statuses[events.Expired])
	a.Incarnation = "before"
	_, next, d := look(t, atOnce(), m, a, Held{}, t0)
	if d.Why[0].Outcome != Opened || next.Incarnation != "i" || next.Sequences["prompt.c1"] != 1 {
		t.Errorf("%+v, %+v", d.Why, next.Book)
	}
}

// The decision is a new value: a writer who misses throws it away and decides
// again on what he read.
func TestArgumentsStayAsTheyAre(t *testing.T) {
	m := one(events.ConnectionState{Status: events.Expired, IntegrationType: events.DirectIAS}, events.Permit)
	a := withOpen(t0, atOnce().Statuses[events.Expired])
	a.Access = &events.AgendaAccess{Key: "k", Connections: []events.ConnectionToken{"c1"}, EndedAt: t0}
	before := copied(a)
	written(t, atOnce().decide(m, a, Held{}, t0.Add(40*day)))
	if !reflect.DeepEqual(a, before) {
		t.Errorf("changed to %+v", a)
	}
}

func TestValidate(t *testing.T) {
	for name, spoil := range map[string]func(*Policy){
		"grace":             func(p *Policy) { p.Grace = -1 },
		"expiry":            func(p *Policy) { p.Expiry = 0 },
		"maxPushesPerWeek":  func(p *Policy) { p.MaxPushesPerWeek = -1 },
		"resolveHoldOpen":   func(p *Policy) { p.HoldOpen = -1 },
		"reminders[0]":      func(p *Policy) { p.Reminders = []time.Duration{0} },
		"directAuto[0]":     func(p *Policy) { p.DirectAuto = []events.Status{events.Deleted} },
		"urgency":           func(p *Policy) { delete(p.Statuses, events.Deleted) },
		"unknownTypes.HAPI": func(p *Policy) { p.UnknownTypes = map[string]events.Action{"HAPI": events.ActWait} },
	} {
		p := atOnce()
		spoil(&p)
		if err := p.Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func verdictOf(t testing.TB, d Decision, c events.ConnectionToken) Verdict {
	t.Helper()
	for _, v := range d.Why {
		if v.Connection == c {
			return v
		}
	}
	t.Fatalf("no verdict about %s in %+v", c, d.Why)
	return Verdict{}
}

func kinds(told []events.Event) (list []events.Type) {
	for _, e := range told {
		list = append(list, e.Type)
	}
	return list
}

func count(told []events.Event, kind events.Type) (n int) {
	for _, e := range told {
		n += btoi(e.Type == kind)
	}
	return n
}

func closes(told []events.Event) bool {
	return count(told, events.PromptResolved)+count(told, events.PromptWithdrawn)+count(told, events.PromptExpired) > 0
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
