package reconnect

import (
	"fmt"
	"strings"
	"time"

	"github.com/smartconnect/connector/internal/events"
)

// lastRow is the last row of the decision table.
const lastRow = 13

// rules is the trail of a connection: every row from the top to the one that
// fits.
func (x *explainer) rules(c events.MemberConnection) []Rule {
	var list []Rule
	for row := 1; row <= lastRow; row++ {
		fits, because := x.rule(row, c)
		if fits {
			because += x.andThen(c)
		}
		list = append(list, Rule{row, fits, because})
		if fits {
			break
		}
	}
	return list
}

// rule says whether a row fits a connection that none above it fits, and the
// fact that decides it.
func (x *explainer) rule(row int, c events.MemberConnection) (fits bool, because string) {
	yes := func(format string, a ...any) (bool, string) { return true, fmt.Sprintf(format, a...) }
	no := func(format string, a ...any) (bool, string) { return false, fmt.Sprintf(format, a...) }

	s, consent, consentIs := c.State, x.Member.Effective(), x.consentIs()
	over := s.Status == events.AccessIsOver
	status := "status is " + word(string(s.Status), s.StatusRaw)
	kind := word(string(s.IntegrationType), s.IntegrationTypeRaw)
	category := "category is " + word(s.Category, s.CategoryRaw)
	grace := x.plan.graceEnds(c)
	held, isHeld := x.plan.heldBack(c, consent)

	switch row {
	case 1:
		if x.Held.Forgotten {
			return yes("the member is being forgotten")
		}
		if c.Removed() {
			return yes("b.well lists it no more, since %s", x.clock(c.RemovedAt))
		}
		return no("b.well lists it, and the member is not being forgotten")

	case 2:
		if s.Status == events.Connected {
			return yes("%s since %s", status, x.clock(c.ConnectedSince))
		}
		return no("%s, not CONNECTED", status)

	case 3:
		switch denied := consent == events.Deny || consent == events.None; {
		case consent == events.Deny && s.IntegrationType.IAS():
			return yes("%s, which governs %s", consentIs, kind)
		case denied && over:
			return yes("%s and %s", status, consentIs)
		case denied:
			return no("%s, but says nothing about %s unless it is ACCESS_ENDED", consentIs, kind)
		}
		return no("%s, neither deny nor none", consentIs)

	case 4:
		switch {
		case !over:
			return no("%s, not ACCESS_ENDED", status)
		case consent != events.Permit:
			return no("%s, which is no permit", consentIs)
		case !x.Now.Before(grace):
			return no("the grace, in which b.well restores access by itself, ended at %s", x.clock(grace))
		}
		return yes("%s, %s, and b.well has until %s to restore access by itself", status, consentIs, x.clock(grace))

	case 5:
		switch {
		case !over:
			return no("%s, not ACCESS_ENDED", status)
		case consent != events.Permit:
			return no("%s, which is no permit", consentIs)
		case !x.policy.PromptRestoreOverdue:
			return yes("the grace ended at %s; operators hear of it, and the policy asks no member (promptRestoreOverdue)", x.clock(grace))
		case isHeld:
			return yes("the grace ended at %s; %s", x.clock(grace), x.holding(c, held.reason))
		}
		return yes("the grace ended at %s, and the policy asks the member then (promptRestoreOverdue)", x.clock(grace))

	case 6:
		if isHeld && held.row == row {
			return yes("%s", x.holding(c, held.reason))
		}
		if consent == "" {
			consentIs = "PROA needs no consent"
		}
		return no("we see the member, %s; no storm, no silence, no degraded source", consentIs)

	case 7:
		if isHeld && held.row == row {
			return yes("%s", x.holding(c, held.reason))
		}
		return no("sync status is %s, not DELETING", word(s.SyncStatus, s.SyncStatusRaw))

	case 8:
		switch {
		case isHeld && held.row == row:
			return yes("%s", x.holding(c, held.reason))
		case !s.Status.Broken():
			return no("%s, which is no break", status)
		case c.FirstSight:
			return no("the break is confirmed since %s, and was released although we never saw it work", x.clock(c.ConfirmedAt))
		}
		return no("the break is confirmed since %s, and we saw it begin", x.clock(c.ConfirmedAt))

	case 13:
		return yes("%s, and nobody knows what that asks for", status)
	}

	// Rows 9 to 12.
	oauth := s.IntegrationType == events.PROA || s.IntegrationType == events.IndirectIAS
	unknown := s.IntegrationType == "" || s.IntegrationType == events.Unknown
	_, action := x.plan.way(c)
	switch {
	case !s.Status.Broken():
		return no("%s, none of EXPIRED, DISCONNECTED, DELETED and ERROR", status)
	case row == 9 && oauth, row == 10 && s.IntegrationType == events.DirectIAS:
		return yes("%s and integration type is %s", status, kind)
	case row == 9:
		return no("integration type is %s, neither PROA nor INDIRECT_IAS", kind)
	case row == 10:
		return no("integration type is %s, not DIRECT_IAS", kind)
	case row == 11 && !unknown:
		return no("integration type is %s, neither null nor UNKNOWN", kind)
	case row == 11 && s.Category != "BASIC":
		return no("%s, not BASIC", category)
	case action == events.ActUnknown:
		return yes("%s, integration type is %s and %s; the policy names no action for that (unknownTypes)", status, kind, category)
	default:
		return yes("%s, integration type is %s and %s", status, kind, category)
	}
}

// holding says what it is that holds a connection back for a reason.
func (x *explainer) holding(c events.MemberConnection, reason string) string {
	switch reason {
	case reasonBlind:
		return strings.Join(x.unseen(c), "; ")
	case reasonDegraded:
		return "its source fails for many members (source.degraded)"
	case reasonStorm:
		return "so much changed at once that an operator must look first (storm.held)"
	case reasonSilenced:
		var list []string
		for _, s := range x.silences(c.Token) {
			list = append(list, fmt.Sprintf("%s until %s", s.ID, x.clock(s.Until)))
		}
		return strings.TrimSuffix("an operator silenced it: "+strings.Join(list, ", "), ": ")
	case reasonDeleting:
		return "sync status is " + word(c.State.SyncStatus, c.State.SyncStatusRaw)
	case reasonUnconfirmed:
		return fmt.Sprintf("the break of %s is not confirmed", x.clock(c.BrokenSince))
	default:
		return "it broke before we first looked, and nobody released it"
	}
}

// unseen lists what is not seen that must be before c is asked about.
func (x *explainer) unseen(c events.MemberConnection) []string {
	var list []string
	if x.Held.Blind {
		list = append(list, "b.well cannot be seen (observer.lost)")
	}
	if o := x.Member.Observation; o.Blind() {
		list = append(list, fmt.Sprintf("the member is not seen since %s (%s)", x.clock(o.LostSince), o.Reason))
	}
	if x.unread(c) {
		list = append(list, x.consentIs())
	}
	return list
}

// unread reports whether c waits for the consent to be read.
func (x *explainer) unread(c events.MemberConnection) bool {
	return x.Member.Effective() == "" && (c.State.IntegrationType != events.PROA || c.State.Status == events.AccessIsOver)
}

// andThen says what the verdict adds to the row that fits.
func (x *explainer) andThen(c events.MemberConnection) string {
	v, asked := verdictOn(x.settled, c.Token), x.plan.remembers(c)
	switch {
	case v.Reason == reasonConnected && v.Outcome == HeldBack:
		return ", and must hold for a while before the prompt is resolved (resolveHoldOpen)"
	case v.Reason == reasonGrouping:
		return "; others of the member may join, to be asked about together (group)"
	case v.Reason == reasonActivating:
		return "; the policy has it activated without asking first (directAuto)"
	case v.Outcome == Spent:
		return fmt.Sprintf("; its prompt of this episode expired at %s", x.clock(asked.ExpiredAt))
	case v.Outcome == Kept && !asked.AcknowledgedAt.IsZero():
		return fmt.Sprintf("; acknowledged at %s: no more reminders", x.clock(asked.AcknowledgedAt))
	case v.Row == 10 && asked.Instead != "":
		return "; b.well refused to activate it"
	default:
		return ""
	}
}

func (x *explainer) consentIs() string {
	switch p := x.Member.Effective(); {
	case p == "":
		return "consent is not yet read"
	case x.Member.Consent.Read:
		return fmt.Sprintf("consent is %s", p)
	default:
		return fmt.Sprintf("consent is %s as the task is %s", p, x.Member.Task.Status)
	}
}

// word writes b.well's word, with the one that was sent where ours is UNKNOWN.
func word(s, raw string) string {
	switch {
	case s == "":
		return "null"
	case raw != "":
		return fmt.Sprintf("%s (%.40q)", s, raw)
	default:
		return s
	}
}

// clock writes a time, without its day if that is today.
func (x *explainer) clock(t time.Time) string {
	t = t.In(x.Now.Location())
	if t.Format(time.DateOnly) == x.Now.Format(time.DateOnly) {
		return t.Format(time.TimeOnly)
	}
	return t.Format(time.DateTime)
}

// Means says what the outcome of a verdict means.
func (v Verdict) Means() string {
	switch v.Outcome {
	case Nothing:
		return "nothing is asked, and nothing needs to be"
	case HeldBack:
		return "nothing is opened, what is open stays"
	case Opened:
		return "the member is asked"
	case Kept:
		return "the member was asked already"
	case Reminded:
		return "the member is asked once more"
	case Resolved:
		return "it works again"
	case Withdrawn:
		return "the question no longer makes sense"
	case Superseded:
		return "withdrawn, and opened with another action or weight"
	case Expired:
		return "never answered; asking ends for this episode"
	case Spent:
		return "asking has ended for this episode"
	case Ended:
		return "the end of access is told"
	case Restored:
		return "the return of access is told"
	case Overdue:
		return "operators are told"
	case Noted:
		return "somebody wants something remembered"
	case Activating:
		return "tried without asking the member"
	default:
		return ""
	}
}
