package reconnect

import (
	"time"

	"github.com/smartconnect/connector/internal/events"
)

// consent tells, once per denial, that access has ended, and once that it is
// restored. These are events about the member as a whole: prompts are about
// one connection, and while consent is denied there are none for IAS.
func (pl *plan) consent() {
	switch pl.member.Effective() {
	case events.Permit:
		pl.permitted()
	case events.Deny, events.None:
		pl.denied()
	}
}

// denied tells of a new denial. The end of the access that was told last is
// the same one until consent has been given again in between.
func (pl *plan) denied() {
	last := pl.next.Access
	if last != nil && last.PermittedAt.IsZero() && last.RestoredAt.IsZero() {
		return
	}
	key := pl.member.DenialKey()
	if last != nil && last.Key == key {
		return
	}
	if !pl.newDenial() {
		return
	}
	var tokens []events.ConnectionToken
	var listed []events.AccessConnection
	for _, c := range pl.member.Connections {
		s := c.State.Status
		if !c.State.IntegrationType.IAS() || c.Removed() || s == events.Disconnected || s == events.Deleted {
			continue
		}
		tokens = append(tokens, c.Token)
		listed = append(listed, accessOf(c, false))
	}
	if len(tokens) == 0 {
		return
	}
	v := Verdict{Row: 3, Reason: reasonConsentEnded, Action: events.ActRestoreConsent, Outcome: Ended}
	switch {
	case pl.held.Forgotten:
		return
	case pl.blind():
		v.Reason, v.Outcome = reasonBlind, HeldBack
	case pl.held.Storm:
		v.Reason, v.Outcome = reasonStorm, HeldBack
	case pl.held.Silenced:
		v.Reason, v.Outcome = reasonSilenced, HeldBack
	default:
		pl.next.Access = &events.AgendaAccess{Key: key, Connections: tokens, EndedAt: pl.now}
		pl.tellAccess(events.AccessEnded, v.Action, v.Reason, listed, pl.member.Latest["consent"])
	}
	pl.why = append(pl.why, v)
}

// newDenial reports whether access ended while we looked: a consent that was
// permit has ended, or a connection lost its access since. A denial that never
// followed a permit ends nothing, and none alone is no denial: b.well may never
// have been asked.
func (pl *plan) newDenial() bool {
	if pl.member.Effective() == events.Deny && pl.member.Consent.Read && pl.member.Consent.Permitted {
		return true
	}
	for _, c := range pl.member.Connections {
		since := !c.FirstSight || c.BrokenSince.After(c.FirstSeen) // otherwise it was so at first sight
		if c.State.IntegrationType.IAS() && c.State.Status == events.AccessIsOver && since && !c.Removed() {
			return true
		}
	}
	return false
}

// permitted starts the grace, and tells what came back: as soon as all have,
// at the latest when grace is over.
func (pl *plan) permitted() {
	access := pl.next.Access
	if access == nil || !access.RestoredAt.IsZero() || pl.held.Forgotten {
		return
	}
	if access.PermittedAt.IsZero() {
		access.PermittedAt = pl.now
		pl.touched = true
	}
	listed, waiting := []events.AccessConnection{}, false
	for _, token := range access.Connections {
		c, ok := pl.member.Connection(token)
		if !ok {
			continue
		}
		listed = append(listed, accessOf(c, c.State.Status == events.Connected && !c.Removed()))
		waiting = waiting || c.State.Status == events.AccessIsOver && !c.Removed()
	}
	if until := access.PermittedAt.Add(pl.policy.Grace); waiting && pl.now.Before(until) {
		pl.lookAt(until)
		return
	}
	if waiting && pl.blind() {
		return // they may have come back unseen
	}
	cause := pl.old.Latest["access"]
	if !access.OverdueAt.IsZero() {
		cause = pl.member.Latest["consent"] // the latest is no longer the end
	}
	access.RestoredAt = pl.now
	pl.tellAccess(events.AccessRestored, events.ActNone, reasonRestored, listed, cause)
	pl.why = append(pl.why, Verdict{Row: 4, Reason: reasonRestored, Action: events.ActNone, Outcome: Restored})
}

// graceStarted returns since when b.well owes the connection its access: since
// consent was given again, or since the access was lost although it was given.
func (pl *plan) graceStarted(c events.MemberConnection) time.Time {
	start := c.BrokenSince
	if a := pl.next.Access; a != nil && a.PermittedAt.After(start) {
		start = a.PermittedAt
	}
	// Where no denial was told, only b.well's clock knows. It may be wrong,
	// but not by more than a grace.
	if at := pl.member.Consent.DateTime; at.After(start) && at.Before(pl.now.Add(pl.policy.Grace)) {
		start = at
	}
	return start
}

func (pl *plan) graceEnds(c events.MemberConnection) time.Time {
	return pl.graceStarted(c).Add(pl.policy.Grace)
}

// noteLate remembers a connection that should have its access back, once per
// grace. While we are blind we do not know whether it has.
func (pl *plan) noteLate(c events.MemberConnection) {
	asked, _, _ := pl.asked(c.Token)
	told := asked.Episode == c.Episode && !asked.OverdueAt.IsZero() && !asked.OverdueAt.Before(pl.graceStarted(c))
	if told || pl.blind() {
		return
	}
	pl.late = append(pl.late, c)
}

// overdue tells operators of all that are late, in one event.
func (pl *plan) overdue() {
	if len(pl.late) == 0 {
		return
	}
	var listed []events.AccessConnection
	for _, c := range pl.late {
		asked, _, _ := pl.asked(c.Token)
		if asked.Episode != c.Episode {
			asked = events.Asked{Connection: c.Token, Openings: asked.Openings, Episode: c.Episode}
		}
		asked.OverdueAt = pl.now
		pl.put(asked)
		listed = append(listed, accessOf(c, false))
	}
	if pl.next.Access != nil {
		pl.next.Access.OverdueAt = pl.now
	}
	pl.tellAccess(events.AccessRestoreOverdue, events.ActNone, reasonOverdue, listed, pl.member.Latest["consent"])
	pl.why = append(pl.why, Verdict{Row: 5, Reason: reasonOverdue, Action: events.ActNone, Outcome: Overdue})
}

func (pl *plan) tellAccess(t events.Type, action events.Action, reason string, listed []events.AccessConnection, cause string) {
	pl.told = append(pl.told, events.Event{
		Type: t, CausationID: cause,
		Data: &events.Access{MemberID: pl.member.MemberID, Action: action, Reason: reason, Connections: listed},
	})
}

func accessOf(c events.MemberConnection, restored bool) events.AccessConnection {
	return events.AccessConnection{ConnectionID: c.ConnectionID, IntegrationType: c.State.IntegrationType, Restored: restored}
}
