package month

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/smartconnect/connector/internal/events"
)

// flapping is how long CONNECTED must hold for the next break to be another
// episode.
const flapping = time.Hour

// lag is how long after b.well's date we see a change.
const lag = time.Second

// A scribe writes what happens to one member as a poller does: the events that
// tell of it and the new head, in one transaction.
type scribe struct {
	log    *events.Log
	tokens events.Tokenizer
	began  time.Time
	life   life

	id    string
	token events.MemberToken
	head  events.Member
	seq   uint64 // of the head in the stream
	told  []events.Event
	names map[events.ConnectionToken]string
	conns []events.ConnectionToken // by their place in the life's rows
	tasks int
}

func newScribe(log *events.Log, tokens events.Tokenizer, began time.Time, l life) *scribe {
	id := fmt.Sprintf("member-%04d", l.number)
	return &scribe{
		log: log, tokens: tokens, began: began, life: l, id: id, token: tokens.Member(id),
		head: events.Member{Book: events.NewBook("only"), MemberID: id}, names: map[events.ConnectionToken]string{},
	}
}

// write writes what happens at a moment.
func (s *scribe) write(ctx context.Context, m moment) error {
	now := s.began.Add(m.at)
	s.told = nil
	first := s.head.Observation.Started.IsZero()
	for _, f := range m.facts {
		s.tell(f, now, first)
	}
	if !s.head.Observation.Blind() {
		s.head.Observation.LastComplete = now
	}
	slices.SortFunc(s.head.Connections, func(a, b events.MemberConnection) int {
		return cmp.Or(cmp.Compare(a.ConnectionID, b.ConnectionID), cmp.Compare(a.Number, b.Number))
	})
	tx, err := s.log.Subjects().Poll(s.token, s.told, &s.head, s.seq, now)
	if err != nil {
		return err
	}
	stored, err := s.log.Commit(ctx, tx)
	s.seq = stored.HeadSeq
	return err
}

func (s *scribe) tell(f fact, now time.Time, first bool) {
	switch f := f.(type) {
	case began:
		s.head.Observation.Started = now
		s.add(events.Event{Type: events.ObservationStarted, Data: &events.Observation{MemberID: s.id, Reason: "enrolled", Action: events.ActNone}})
	case lost:
		s.head.Observation.LostSince, s.head.Observation.Reason = now, "unreachable"
		s.add(events.Event{Type: events.ObservationLost, Data: &events.Observation{
			MemberID: s.id, Reason: "unreachable", LastComplete: s.head.Observation.LastComplete, Action: events.ActNone,
		}})
	case resumed:
		last := s.head.Observation.LastComplete
		s.head.Observation.LostSince, s.head.Observation.Reason = time.Time{}, ""
		s.add(events.Event{Type: events.ObservationResumed, Data: &events.Observation{
			MemberID: s.id, Reason: "recovered", LastComplete: last, Action: events.ActNone,
		}})
	case consented:
		s.consent(f, now)
	case searched:
		s.search(f, now, first)
	case listed:
		s.list(s.life.rows[f.c], now, first)
	case turned:
		s.change(f.c, events.ConnectionStatusChanged, now, func(to *events.ConnectionState) { setStatus(to, f.to, now) })
	case moved:
		s.change(f.c, events.ConnectionChanged, now, func(to *events.ConnectionState) { setKind(to, f.kind, f.category) })
	case syncing:
		s.change(f.c, events.ConnectionSyncChanged, now, func(to *events.ConnectionState) { to.SyncStatus = f.word })
	case replaced:
		s.change(f.c, events.ConnectionReplaced, now, func(to *events.ConnectionState) {
			to.Created = now.Add(-lag)
			setStatus(to, f.to, now)
		})
	case confirmed:
		c := s.find(f.c)
		c.ConfirmedAt = now
		state := c.State
		s.connection(events.ConnectionConfirmed, c, &state, &state)
	case removed:
		c := s.find(f.c)
		was := c.State
		c.RemovedAt, c.BrokenSince, c.ConfirmedAt = now, time.Time{}, time.Time{}
		c.ConnectedSince, c.WasConnectedSince = time.Time{}, time.Time{}
		s.connection(events.ConnectionRemoved, c, &was, nil)
	case back:
		c := s.find(f.c)
		c.RemovedAt, c.EpisodeSince, c.FirstSight = time.Time{}, time.Time{}, false
		to := c.State
		setStatus(&to, f.to, now)
		to.StatusUpdated = now.Add(-lag)
		s.turn(c, to, now)
		s.connection(events.ConnectionDiscovered, c, nil, &to)
	default:
		panic(fmt.Sprintf("month: a poller does not see %T", f))
	}
}

func (s *scribe) add(e events.Event) { s.told = append(s.told, e) }

func (s *scribe) consent(f consented, now time.Time) {
	was := s.head.Consent
	is := events.MemberConsent{Read: true, Provision: f.to, Permitted: was.Permitted || was.Provision == events.Permit || f.to == events.Permit}
	if f.to != events.None { // there is one, and it has a name and a date
		is.ConsentID = fmt.Sprintf("consent-%d", s.head.Sequences["consent"]+1)
		is.DateTime = now.Add(-f.since)
	}
	e := events.Event{Type: events.ConsentRevoked, Time: is.DateTime, Data: &events.Consent{
		MemberID: s.id, ConsentID: is.ConsentID, Previous: was.Provision, Current: is.Provision,
	}}
	switch {
	case !was.Read:
		e.Type = events.ConsentBaseline
	case f.to == events.Permit:
		e.Type = events.ConsentGranted
	}
	s.head.Consent = is
	s.add(e)
}

func (s *scribe) search(f searched, now time.Time, first bool) {
	s.tasks++
	e := events.Event{Type: events.TaskStatusChanged, Time: now.Add(-lag), Data: &events.Task{
		MemberID: s.id, TaskID: fmt.Sprintf("task-%d", s.tasks), Previous: "none", Current: f.status,
	}}
	d := e.Data.(*events.Task)
	switch {
	case first:
		e.Type, d.Previous = events.TaskBaseline, ""
	case s.head.Task != nil:
		d.Previous = s.head.Task.Status
	}
	s.head.Task = &events.MemberTask{TaskID: d.TaskID, Status: f.status, Updated: e.Time}
	s.add(e)
}

func setStatus(to *events.ConnectionState, s events.Status, now time.Time) {
	if to.Status == s {
		return
	}
	to.Status, to.StatusRaw, to.StatusUpdated = s, "", now.Add(-lag)
	if s == events.Unknown {
		to.StatusRaw = "DREAMING"
	}
}

func setKind(to *events.ConnectionState, t events.IntegrationType, category string) {
	to.IntegrationType, to.IntegrationTypeRaw, to.Category = t, "", category
	if t == events.Unknown {
		to.IntegrationTypeRaw = "CARRIER_PIGEON"
	}
}

func (s *scribe) list(r row, now time.Time, first bool) {
	number := 1
	for _, c := range s.head.Connections {
		if c.ConnectionID == r.id {
			number = max(number, c.Number+1)
		}
	}
	c := events.MemberConnection{Token: s.tokens.Connection(s.id, r.id, number), ConnectionID: r.id, Number: number, FirstSeen: now}
	state := events.ConnectionState{Created: now.Add(-100 * day)}
	setKind(&state, r.kind, r.category)
	setStatus(&state, r.status, now)
	if r.old {
		state.StatusUpdated = s.head.Observation.Started.Add(-day)
	}
	s.turn(&c, state, now)
	s.names[c.Token] = name(r.id, number)
	s.conns = append(s.conns, c.Token)
	t := events.ConnectionDiscovered
	if first {
		t = events.ConnectionBaseline
	}
	s.connection(t, &c, nil, &state)
	s.head.Connections = append(s.head.Connections, c)
}

// name is what connections are called in the story.
func name(id string, number int) string { return fmt.Sprintf("%s/%d", id, number) }

func (s *scribe) find(c int) *events.MemberConnection {
	return &s.head.Connections[slices.IndexFunc(s.head.Connections, func(k events.MemberConnection) bool { return k.Token == s.conns[c] })]
}

func (s *scribe) change(i int, t events.Type, now time.Time, change func(*events.ConnectionState)) {
	c := s.find(i)
	was, to := c.State, c.State
	change(&to)
	s.turn(c, to, now)
	s.connection(t, c, &was, &to)
}

func (s *scribe) connection(t events.Type, c *events.MemberConnection, was, to *events.ConnectionState) {
	e := events.Event{Type: t, Part: string(c.Token), Data: &events.Connection{
		MemberID: s.id, ConnectionID: c.ConnectionID, Previous: was, Current: to, Episode: c.Episode,
	}}
	if c.Episode > 0 {
		e.CorrelationID = events.EpisodeID(c.Token, c.Episode)
	}
	if to != nil && t != events.ConnectionConfirmed {
		e.Time = to.StatusUpdated
	}
	s.add(e)
}

// turn moves a connection to a state and keeps its clocks, as the poller's diff
// does. internal/replay adds up the events by the same rules, so the check at
// the end of the story finds where this one differs.
func (s *scribe) turn(c *events.MemberConnection, to events.ConnectionState, now time.Time) {
	switch {
	case to.Status.Broken() && to.Status == c.State.Status && !c.BrokenSince.IsZero():
	case to.Status.Broken():
		worked := cmp.Or(c.ConnectedSince, c.WasConnectedSince)
		switch {
		case !c.BrokenSince.IsZero():
		case c.EpisodeSince.IsZero(), !worked.IsZero() && now.Sub(worked) > flapping:
			c.Episode, c.EpisodeSince, c.FlapCount = c.Episode+1, now, 0
			c.FirstSight = worked.IsZero() && to.StatusUpdated.Before(s.head.Observation.Started)
		case !worked.IsZero():
			c.FlapCount++
		}
		c.BrokenSince, c.ConfirmedAt, c.ConnectedSince, c.WasConnectedSince = now, time.Time{}, time.Time{}, time.Time{}
	case to.Status == events.Connected:
		if c.ConnectedSince.IsZero() {
			c.ConnectedSince = cmp.Or(c.WasConnectedSince, now)
		}
		c.WasConnectedSince, c.BrokenSince, c.ConfirmedAt, c.FirstSight = time.Time{}, time.Time{}, time.Time{}, false
	default:
		c.WasConnectedSince = cmp.Or(c.ConnectedSince, c.WasConnectedSince)
		c.ConnectedSince, c.BrokenSince, c.ConfirmedAt = time.Time{}, time.Time{}, time.Time{}
	}
	c.State = to
}
