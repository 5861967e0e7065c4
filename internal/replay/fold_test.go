package replay_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"regexp"
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
		head, err := log.Member(t.Context(), "m")
		if err != nil {
			t.Fatal(err)
		}
		asked.Decided = head.ID
		told := []events.Event{{Type: typ, Part: "c", Data: &p, Expires: expires, CorrelationID: events.EpisodeID("c", c.Episode)}}
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
		asked.Asked = []events.Asked{{Connection: "c", Openings: i + 1, Episode: i + 1, PushedAt: p.OpenedAt}}
		decide(events.PromptResolved, p, time.Time{})
	}
}

func kept(t *testing.T, js jetstream.JetStream) []replay.Kept {
	t.Helper()
	var all []replay.Kept
	for _, m := range messages(t, js, events.Stream) {
		if e, err := events.Decode(m.Header, m.Data); err == nil {
			all = append(all, replay.Kept{Event: e, Body: m.Data})
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

// life writes heads and events about member m by hand.
type life struct {
	*testing.T
	log         *events.Log
	at          time.Time
	known       events.Member
	asked       events.Agenda
	guard, asks uint64
}

func (l *life) poll(told ...events.Event) {
	l.Helper()
	l.at = l.at.Add(time.Hour)
	tx, err := l.log.Subjects().Poll("m", told, &l.known, l.guard, l.at)
	l.guard = l.commit(tx, err)
}

func (l *life) decide(told ...events.Event) {
	l.Helper()
	head, err := l.log.Member(l.Context(), "m")
	if err != nil {
		l.Fatal(err)
	}
	l.asked.Decided, l.asked.NextLook = head.ID, l.at.AddDate(100, 0, 0) // or its timer fires
	tx, err := l.log.Subjects().Decide("m", told, &l.asked, l.asks, l.guard, l.asked.NextLook, l.at)
	l.asks = l.commit(tx, err)
}

func (l *life) commit(tx events.Transaction, err error) uint64 {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
	stored, err := l.log.Commit(l.Context(), tx)
	if err != nil {
		l.Fatal(err)
	}
	return stored.HeadSeq
}

// everything is a life after which no field of the heads is empty.
func everything(t *testing.T, log *events.Log) {
	t.Helper()
	at := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	l := &life{T: t, log: log, at: at}
	l.known = events.Member{Book: events.NewBook("inc"), MemberID: "id"}
	l.asked = events.Agenda{Book: events.NewBook("inc"), MemberID: "id"}
	state := func(s events.Status, t events.IntegrationType) events.ConnectionState {
		return events.ConnectionState{
			Status: s, StatusRaw: "s", IntegrationType: t, IntegrationTypeRaw: "i", Category: "c", CategoryRaw: "r", Type: "t", TypeRaw: "y",
			SyncStatus: "z", SyncStatusRaw: "w", SyncErrors: []string{"e"}, StatusUpdated: at.Add(-time.Hour), Created: at.Add(-48 * time.Hour), LastSynced: at.Add(-2 * time.Hour),
		}
	}
	tell := func(typ events.Type, c events.MemberConnection) events.Event {
		s := c.State
		return events.Event{Type: typ, Part: string(c.Token), Data: &events.Connection{MemberID: "id", ConnectionID: c.ConnectionID, Current: &s, Episode: c.Episode, ExpiresAt: c.ExpiresAt}}
	}
	// The first look finds four connections: one works, one is broken, two have
	// lost their access.
	now := l.at.Add(time.Hour)
	l.known.Observation = events.MemberObservation{Started: now, LastComplete: now}
	l.known.Consent = events.MemberConsent{Read: true, ConsentID: "k", Provision: events.Permit, DateTime: at, Permitted: true}
	l.known.Task = &events.MemberTask{TaskID: "t", Status: "unknown", Raw: "odd", Reason: "because", Updated: at}
	l.known.Recommendations = []events.Recommendation{{MemberID: "id", Alias: "a", OfferID: "r"}}
	works := events.MemberConnection{Token: "c1", ConnectionID: "one", Number: 1, FirstSeen: now, ConnectedSince: now, State: state(events.Connected, events.PROA)}
	broken := func(token events.ConnectionToken, id string, s events.Status, t events.IntegrationType) events.MemberConnection {
		return events.MemberConnection{Token: token, ConnectionID: id, Number: 1, FirstSeen: now, BrokenSince: now, Episode: 1, EpisodeSince: now, FirstSight: true, State: state(s, t)}
	}
	l.known.Connections = []events.MemberConnection{
		works, broken("c2", "two", events.Expired, events.PROA), broken("c3", "three", events.AccessIsOver, events.DirectIAS), broken("c4", "four", events.AccessIsOver, events.IndirectIAS),
	}
	c1, c2, c3, c4 := &l.known.Connections[0], &l.known.Connections[1], &l.known.Connections[2], &l.known.Connections[3]
	l.poll(events.Event{Type: events.ObservationStarted, Data: &events.Observation{MemberID: "id", Reason: "enrolled", Action: events.ActNone}},
		events.Event{Type: events.ConsentBaseline, Time: at, Data: &events.Consent{MemberID: "id", ConsentID: "k", Current: events.Permit}},
		events.Event{Type: events.TaskBaseline, Time: at, Data: &events.Task{MemberID: "id", TaskID: "t", Current: "unknown", CurrentRaw: "odd", Reason: "because"}},
		events.Event{Type: events.RecommendationFound, Part: "r", Data: &l.known.Recommendations[0]},
		tell(events.ConnectionBaseline, *c1), tell(events.ConnectionBaseline, *c2), tell(events.ConnectionBaseline, *c3), tell(events.ConnectionBaseline, *c4))
	// The working one breaks, heals and breaks again at once, and the third is
	// gone.
	now = l.at.Add(time.Hour)
	c1.State.Status, c1.BrokenSince, c1.ConnectedSince, c1.Episode, c1.EpisodeSince = events.Expired, now, time.Time{}, 1, now
	c2.ConfirmedAt = now
	l.known.Observation.LastComplete = now
	l.poll(tell(events.ConnectionStatusChanged, *c1), tell(events.ConnectionConfirmed, *c2))
	now = l.at.Add(time.Hour)
	c1.State.Status, c1.ConnectedSince, c1.BrokenSince = events.Connected, now, time.Time{}
	l.poll(tell(events.ConnectionStatusChanged, *c1)) // an answer that was not complete
	now = l.at.Add(time.Hour)
	c1.State.Status, c1.ConnectedSince, c1.BrokenSince, c1.FlapCount = events.Expired, time.Time{}, now, 1
	l.known.Observation.LastComplete = now
	l.poll(tell(events.ConnectionStatusChanged, *c1))
	now = l.at.Add(time.Hour)
	c1.ConfirmedAt = now
	c3.RemovedAt, c3.BrokenSince = now, time.Time{}
	gone := tell(events.ConnectionRemoved, *c3)
	gone.Data.(*events.Connection).Current = nil
	l.poll(tell(events.ConnectionConfirmed, *c1), gone)
	// Access ends with the consent, comes back late and then at last. Of one
	// connection there is something to remember, though it is not asked about.
	now = l.at.Add(time.Hour)
	l.known.Consent.Provision, l.known.Consent.DateTime = events.Deny, now.Add(-time.Minute)
	l.poll(events.Event{Type: events.ConsentRevoked, Time: now.Add(-time.Minute), Data: &events.Consent{MemberID: "id", ConsentID: "k", Previous: events.Permit, Current: events.Deny}})
	access := func(t events.Type) events.Event {
		return events.Event{Type: t, Data: &events.Access{MemberID: "id", Action: events.ActNone, Reason: "reason", Connections: []events.AccessConnection{{ConnectionID: "four", IntegrationType: events.IndirectIAS}}}}
	}
	l.asked.Access = &events.AgendaAccess{Key: l.known.DenialKey(), Connections: []events.ConnectionToken{"c4"}, EndedAt: l.at}
	l.asked.Asked = []events.Asked{{Connection: "c2", Episode: 1, ReadyAt: l.at, Released: true}}
	l.decide(access(events.AccessEnded))
	now = l.at.Add(time.Hour)
	l.known.Consent.Provision, l.known.Consent.DateTime = events.Permit, now.Add(-time.Minute)
	l.poll(events.Event{Type: events.ConsentGranted, Time: now.Add(-time.Minute), Data: &events.Consent{MemberID: "id", ConsentID: "k", Previous: events.Deny, Current: events.Permit}})
	l.asked.Access.PermittedAt = l.at.Add(-time.Minute)
	l.at = l.at.Add(30 * time.Hour)
	l.asked.Access.OverdueAt = l.at
	l.asked.Asked = append(l.asked.Asked, events.Asked{Connection: "c4", Episode: 1, OverdueAt: l.at, ActivatedAt: l.at})
	l.decide(access(events.AccessRestoreOverdue))
	l.at = l.at.Add(time.Hour)
	l.asked.Access.RestoredAt = l.at
	l.decide(access(events.AccessRestored))
	// The first is asked about, reminded and acknowledged, the second asked about
	// and snoozed, the fourth asked about in vain.
	open := func(token, id string) events.Prompt {
		return events.Prompt{
			MemberID: "id", ConnectionID: id, PromptID: token + ".1", Action: events.ActOAuth, Reason: "expired", Urgency: events.Required, Notify: true, ConnectionStatus: events.Expired,
			IntegrationType: events.PROA, OpenedAt: l.at, FlapCount: 1, Batch: "c1.1", NotBefore: l.at.Add(time.Hour),
		}
	}
	claim := func(t events.Type, token string, p events.Prompt, expires time.Time) events.Event {
		return events.Event{Type: t, Part: token, Data: &p, Expires: expires, CorrelationID: events.EpisodeID(events.ConnectionToken(token), 1)}
	}
	l.at = l.at.Add(time.Hour)
	expires := l.at.Add(40 * time.Hour)
	p1, p2, p4 := open("c1", "one"), open("c2", "two"), open("c4", "four")
	l.asked.Prompts, l.asked.Pushes = []events.Prompt{p1, p2, p4}, []time.Time{l.at} // told together, it is one push
	l.asked.Asked = []events.Asked{
		{Connection: "c2", Episode: 1, Released: true, Openings: 1, PushedAt: l.at, ExpiresAt: expires, RemindAt: l.at.Add(24 * time.Hour)},
		{Connection: "c4", Episode: 1, OverdueAt: l.asked.Asked[1].OverdueAt, ActivatedAt: l.asked.Asked[1].ActivatedAt, Openings: 1, PushedAt: l.at, ExpiresAt: expires, Instead: events.ActReenter},
		{Connection: "c1", Episode: 1, Openings: 1, PushedAt: l.at, ExpiresAt: expires, RemindAt: l.at.Add(24 * time.Hour)},
	}
	l.decide(claim(events.PromptOpened, "c1", p1, expires), claim(events.PromptOpened, "c2", p2, expires), claim(events.PromptOpened, "c4", p4, expires))
	opened := func(token string) string { return l.asked.Latest["prompt."+token] }
	id1, id2 := opened("c1"), opened("c2")
	l.at = l.at.Add(24 * time.Hour)
	p1.Reminder, p2.Notify, p2.NotBefore, p2.SnoozedUntil = 1, false, time.Time{}, l.at.Add(9*time.Hour)
	l.asked.Prompts[0], l.asked.Prompts[1] = p1, p2
	l.asked.Pushes = append(l.asked.Pushes, l.at)
	l.asked.Asked[2].OpeningID, l.asked.Asked[2].Reminders = id1, 1
	l.asked.Asked[0].OpeningID, l.asked.Asked[0].SnoozedUntil, l.asked.Asked[0].RemindAt = id2, p2.SnoozedUntil, p2.SnoozedUntil
	l.decide(claim(events.PromptReminded, "c1", p1, expires), claim(events.PromptAcknowledged, "c2", p2, expires))
	l.at = expires
	p1.Notify = false
	l.asked.Prompts = []events.Prompt{p1, p2}
	l.asked.Asked[2].AcknowledgedAt, l.asked.Asked[1].ExpiredAt, l.asked.Asked[1].ExpiresAt = l.at, l.at, time.Time{}
	p4.ClosedAt = l.at
	p4.Notify = false
	l.decide(claim(events.PromptAcknowledged, "c1", p1, expires), claim(events.PromptExpired, "c4", p4, expires))
	// More are found: one that works and will expire, one of which it is no longer
	// known whether it works, two that are asked about, one that might be. Then
	// nothing is seen.
	now = l.at.Add(time.Hour)
	l.known.Connections = append(l.known.Connections, broken("c6", "six", events.Expired, events.PROA), broken("c7", "sky", events.Expired, events.PROA), broken("c8", "sun", events.Expired, events.PROA),
		events.MemberConnection{Token: "c9", ConnectionID: "zy", Number: 1, FirstSeen: now, ConnectedSince: now, State: state(events.Connected, events.PROA)},
		events.MemberConnection{Token: "c5", ConnectionID: "zz", Number: 1, FirstSeen: now, ConnectedSince: now, State: state(events.Connected, events.PROA)})
	slices.SortFunc(l.known.Connections, func(a, b events.MemberConnection) int { return strings.Compare(a.ConnectionID, b.ConnectionID) })
	l.known.Observation.LastComplete = now
	var found []events.Event
	for _, c := range l.known.Connections {
		if c.FirstSeen.Equal(now) {
			found = append(found, tell(events.ConnectionDiscovered, c))
		}
	}
	l.poll(found...)
	p6 := open("c6", "six")
	p8 := open("c8", "sun")
	p8.Notify, p8.NotBefore, p8.NotPushed = false, time.Time{}, "weekly_cap"
	l.asked.Prompts, l.asked.Pushes = append(l.asked.Prompts, p6, p8), append(l.asked.Pushes, l.at)
	l.asked.Asked = append(l.asked.Asked, events.Asked{Connection: "c6", Episode: 1, Openings: 1, PushedAt: l.at, ExpiresAt: l.at.Add(time.Hour)},
		events.Asked{Connection: "c8", Episode: 1, Openings: 1, ExpiresAt: l.at.Add(time.Hour)}, events.Asked{Connection: "c7", Episode: 1, ReadyAt: l.at})
	l.decide(claim(events.PromptOpened, "c6", p6, l.at.Add(time.Hour)), claim(events.PromptOpened, "c8", p8, l.at.Add(time.Hour)))
	c5 := &l.known.Connections[len(l.known.Connections)-1]
	now = l.at.Add(time.Hour)
	c5.ExpiresAt, c5.WarnedAt = now.Add(72*time.Hour), now
	c9 := &l.known.Connections[len(l.known.Connections)-2]
	c9.State.Status, c9.ConnectedSince, c9.WasConnectedSince = events.Unknown, time.Time{}, c9.ConnectedSince
	l.poll(tell(events.ConnectionExpiring, *c5), tell(events.ConnectionStatusChanged, *c9))
	l.known.Observation.LostSince, l.known.Observation.Reason = l.at.Add(time.Hour), "unreachable"
	l.poll(events.Event{Type: events.ObservationLost, Data: &events.Observation{MemberID: "id", Reason: "unreachable", LastComplete: l.known.Observation.LastComplete, Action: events.ActNone}})
	l.decide() // a look that changes nothing but when the next is
}

// untold is what no event tells: a difference there is none.
var untold = []string{
	"agenda.nextLook", "agenda.access.permittedAt", "agenda.asked[].remindAt", "agenda.asked[].readyAt", "agenda.asked[].instead",
	"agenda.asked[].activatedAt", "agenda.asked[].released",
}

// Whatever differs in a head is found and named, field by field. A new field of
// the heads fails here until something happens to it in the life above and its
// event is added up, or it is listed as one of which no event tells.
func TestEveryDifferenceIsNamed(t *testing.T) {
	log, js := natstest.Log(t)
	everything(t, log)
	all := kept(t, js)
	if check := replay.Fold("m", all); check.Verdict != replay.Same || check.Since != 0 || check.AgendaSince != 0 {
		t.Fatalf("%+v", check)
	}
	inList := regexp.MustCompile(`\[\d+\]`)
	seen := map[string]bool{ // are never so in a head: what is open is not closed
		"agenda.prompts[].closedAt": true, "agenda.prompts[].downtime": true,
	}
	tried := 0
	for _, typ := range []events.Type{events.MemberSnapshot, events.AgendaSnapshot} {
		last := 0
		for i, k := range all {
			if k.Event.Type == typ {
				last = i
			}
		}
		head := headOf(t, typ, all[last].Body)
		spoil(reflect.ValueOf(head).Elem(), typ.Kind(), seen, func(path string) {
			field := inList.ReplaceAllString(path, "[]")
			if strings.HasSuffix(path, ".incarnation") || strings.Contains(path, ".sequences") {
				return // another history, or one that is too short
			}
			tried++
			spoilt, err := json.Marshal(head)
			if err != nil {
				t.Fatal(err)
			}
			changed := slices.Clone(all)
			changed[last].Event.Data, changed[last].Body = headOf(t, typ, spoilt), spoilt
			check := replay.Fold("m", changed)
			if slices.Contains(untold, field) {
				if check.Verdict != replay.Same {
					t.Errorf("no event tells %s, and yet: %+v", path, check)
				}
				return
			}
			if check.Verdict != replay.Differs || !slices.ContainsFunc(check.Differences, func(d string) bool { return d == path || strings.HasPrefix(path, d+"[") }) {
				t.Errorf("%s is wrong: %+v", path, check)
			}
			for _, d := range check.Differences {
				if strings.Contains(d, "2026") || strings.Contains(d, "one") {
					t.Errorf("a value is named: %s", d)
				}
			}
		})
		eachField(reflect.TypeOf(head).Elem(), typ.Kind(), func(field string) {
			if !seen[field] {
				t.Errorf("nothing happens to %s: let something happen, and add up the event that tells it", field)
			}
		})
	}
	if tried < 200 {
		t.Errorf("only %d fields were spoilt", tried)
	}
	page, err := os.ReadFile("../../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range untold {
		if word := field[strings.LastIndexAny(field, ".")+1:]; !strings.Contains(string(page), word+"`") {
			t.Errorf("docs/events.md does not say that %s is left out", field)
		}
	}
}

// What says the same in other bytes was not written by us.
func TestOtherBytesAreADifference(t *testing.T) {
	log, js := natstest.Log(t)
	story(t, log, 1)
	for what, change := range map[string]struct{ old, new, want string }{
		"a space":        {`"memberId":"id"`, `"memberId": "id"`, "agenda"},
		"a field of old": {`"memberId":"id"`, `"memberId":"id","more":null`, "agenda"},
		"a new field":    {`"memberId":"id"`, `"memberId":"id","more":1`, "agenda.more"},
		"another zone":   {`"openedAt":"2026-03-02T16:00:00Z"`, `"openedAt":"2026-03-02T17:00:00+01:00"`, "agenda.prompts[0].openedAt"},
	} {
		all := kept(t, js)
		last := &all[len(all)-1]
		body := strings.Replace(string(last.Body), change.old, change.new, 1)
		if body == string(last.Body) {
			t.Fatalf("%s: %s is not in %s", what, change.old, body)
		}
		last.Body = []byte(body)
		if check := replay.Fold("m", all); check.Verdict != replay.Differs || !slices.Equal(check.Differences, []string{change.want}) {
			t.Errorf("%s: %+v", what, check)
		}
	}
}

func headOf(t *testing.T, typ events.Type, body []byte) events.Data {
	t.Helper()
	var head events.Data = &events.Member{}
	if typ == events.AgendaSnapshot {
		head = &events.Agenda{}
	}
	if err := json.Unmarshal(body, head); err != nil {
		t.Fatal(err)
	}
	return head
}

// name returns what a field is called in JSON, empty for an embedded struct.
func name(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// eachField calls each for every field at the ends of a type.
func eachField(typ reflect.Type, path string, each func(path string)) {
	switch {
	case typ.Kind() == reflect.Pointer:
		eachField(typ.Elem(), path, each)
	case typ.Kind() == reflect.Slice:
		eachField(typ.Elem(), path+"[]", each)
	case typ.Kind() == reflect.Struct && typ != reflect.TypeFor[time.Time]():
		for field := range typ.Fields() {
			eachField(field.Type, strings.TrimSuffix(path+"."+name(field), "."), each)
		}
	default:
		each(path)
	}
}

// spoil changes what v holds, one thing after the other, calls each with its
// path, and puts it back. seen gets the fields that hold something.
func spoil(v reflect.Value, path string, seen map[string]bool, each func(path string)) {
	set := func(to reflect.Value) {
		was := reflect.New(v.Type()).Elem()
		was.Set(v)
		v.Set(to)
		each(path)
		v.Set(was)
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			set(reflect.New(v.Type().Elem()))
			return
		}
		set(reflect.Zero(v.Type()))
		spoil(v.Elem(), path, seen, each)
		return
	case reflect.Slice:
		for i := range v.Len() {
			spoil(v.Index(i), fmt.Sprintf("%s[%d]", path, i), seen, each)
		}
		set(reflect.Append(v.Slice3(0, v.Len(), v.Len()), reflect.Zero(v.Type().Elem())))
		return
	case reflect.Struct:
		if at, ok := reflect.TypeAssert[time.Time](v); ok {
			set(reflect.ValueOf(at.Add(time.Hour).UTC()))
			break
		}
		for i := range v.NumField() {
			spoil(v.Field(i), strings.TrimSuffix(path+"."+name(v.Type().Field(i)), "."), seen, each)
		}
		return
	case reflect.Map:
		more := reflect.MakeMap(v.Type())
		for _, k := range v.MapKeys() {
			more.SetMapIndex(k, v.MapIndex(k))
		}
		more.SetMapIndex(reflect.ValueOf("more"), reflect.Zero(v.Type().Elem()))
		was := reflect.New(v.Type()).Elem()
		was.Set(v)
		v.Set(more)
		each(path + ".more")
		v.Set(was)
	case reflect.String:
		set(reflect.ValueOf(v.String() + "x").Convert(v.Type()))
	case reflect.Bool:
		set(reflect.ValueOf(!v.Bool()))
	default:
		set(reflect.ValueOf(v.Int() + 1).Convert(v.Type()))
	}
	if !v.IsZero() {
		seen[regexp.MustCompile(`\[\d+\]`).ReplaceAllString(path, "[]")] = true
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
