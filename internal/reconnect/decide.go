// Package reconnect decides when a member should be asked to reconnect a
// broken connection, and how.
//
// Read decide.go first: judge is the decision table, plan is what follows from
// it, and testdata/decide/*.txt are its worked examples. access.go is the part
// about the member's consent as a whole. Both do no I/O: equal arguments give
// equal decisions, so whoever is overtaken by another may simply look again.
package reconnect

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/smartconnect/connector/internal/events"
)

// Held is what is known outside the member's heads that keeps prompts back.
// Its zero value holds nothing back.
type Held struct {
	Forgotten bool // the member is being forgotten
	Blind     bool // we do not see b.well at all (observer.lost)
	Storm     bool // so much changed at once that an operator must look first
	Silenced  bool // an operator silenced the whole member

	// Degraded and Muted hold single connections: their source fails for many
	// members, or an operator silenced them.
	Degraded, Muted map[events.ConnectionToken]bool

	// Released lets prompts open for what was broken before we first looked.
	Released bool

	// Told names the event behind a hold, by the hold's reason and, where it
	// holds a single connection, a dot and its token. Nothing is decided by it;
	// the record and explanations name it.
	Told map[string]string
}

// same reports whether h and other hold the same back.
func (h Held) same(other Held) bool {
	return h.Forgotten == other.Forgotten && h.Blind == other.Blind && h.Storm == other.Storm &&
		h.Silenced == other.Silenced && h.Released == other.Released &&
		maps.Equal(h.Degraded, other.Degraded) && maps.Equal(h.Muted, other.Muted)
}

// judged reports whether h holds anything back by what was judged of all.
func (h Held) judged() bool {
	yes := func(m map[events.ConnectionToken]bool) bool {
		for _, held := range m {
			if held {
				return true
			}
		}
		return false
	}
	return h.Blind || h.Storm || h.Silenced || yes(h.Degraded) || yes(h.Muted)
}

// A Decision is what to write, when to look again, and why.
type Decision struct {
	// Events tell what is asked from now on. Their member, sequence and id are
	// given to them when they are written.
	Events []events.Event

	// Next is the agenda to write, nil where nothing changes. Its Decided is
	// for the caller to fill in: a member head does not hold its own id. Where
	// Next is there, so is an event or a NextLook.
	Next *events.Agenda

	// NextLook is when something falls due if nothing else happens, zero for
	// never. It is always later than the decision.
	NextLook time.Time

	// Activate lists connections to be activated without asking, after the
	// decision was written. It is told once per episode: if it comes to nothing,
	// the member is asked.
	Activate []events.MemberConnection

	// Noted reports whether all notes were taken, or say what was so already. One
	// that was not speaks of a prompt that is not open.
	Noted bool

	// Why has a verdict for every connection, also where nothing is done. A
	// verdict without a connection speaks of the consent as a whole.
	Why []Verdict
}

// A Verdict is the trail of one decision: the row of the table that fitted
// first, and what became of it. It is what we log, count, assert and explain.
type Verdict struct {
	Connection events.ConnectionToken `json:"connection,omitempty"`
	Row        int                    `json:"rule"`
	Reason     string                 `json:"reason"`
	Action     events.Action          `json:"action"`
	Outcome    string                 `json:"outcome"`
}

// The outcomes of a verdict.
const (
	Nothing    = "nothing"    // nothing is asked, and nothing needs to be
	HeldBack   = "held"       // nothing is opened, what is open stays
	Opened     = "opened"     // the member is asked
	Kept       = "kept"       // the member was asked already
	Reminded   = "reminded"   // and once more
	Resolved   = "resolved"   // it works again
	Withdrawn  = "withdrawn"  // the question no longer makes sense
	Superseded = "superseded" // withdrawn, and opened with another action or weight
	Expired    = "expired"    // never answered; asking ends for this episode
	Spent      = "spent"      // asking has ended for this episode
	Ended      = "access_ended"
	Restored   = "access_restored"
	Overdue    = "restore_overdue"
	Noted      = "noted"      // somebody wants something remembered
	Activating = "activating" // tried without asking the member
)

// The reasons of a verdict, and of the prompts that come of it.
const (
	reasonForgotten     = "forgotten"
	reasonRemoved       = "removed"
	reasonConnected     = "connected"
	reasonConsentEnded  = "consent_ended"
	reasonAwaiting      = "awaiting_restore"
	reasonOverdue       = "restore_overdue"
	reasonBlind         = "blind"
	reasonDegraded      = "source_degraded"
	reasonStorm         = "storm"
	reasonSilenced      = "silenced"
	reasonDeleting      = "deleting"
	reasonUnconfirmed   = "unconfirmed"
	reasonFirstSight    = "first_sight"
	reasonExpired       = "expired"
	reasonDisconnected  = "disconnected"
	reasonDeleted       = "deleted"
	reasonError         = "error"
	reasonUnknownType   = "unknown_type"
	reasonUnknownStatus = "unknown_status"
	reasonSuperseded    = "superseded"
	reasonRestored      = "consent_restored"
	reasonGrouping      = "grouping"
	reasonActivating    = "activating"
	reasonAcknowledged  = "acknowledged"
	reasonSnoozed       = "snoozed"
	reasonInstead       = "another_way"
	reasonReleased      = "released"
)

// want is what a row of the table wants of the connection's prompt.
type want int

const (
	hold     want = iota // open nothing, leave what is open
	open                 // one prompt should be open
	resolve              // none, since it works
	withdraw             // none, since asking makes no sense
)

// A judgement is the row of the table that fits a connection.
type judgement struct {
	row    int
	want   want
	action events.Action
	reason string
	until  time.Time // of a hold that ends by itself, zero for others
}

// decide makes the member's agenda what it should be. held says what keeps
// prompts back; agenda may be nil, and counts as such if it belongs to another
// incarnation of the member. Deciding again on what was decided changes
// nothing, however often, until something else happens or falls due.
func (p Policy) decide(member *events.Member, agenda *events.Agenda, held Held, now time.Time, notes ...Note) Decision {
	pl := p.begin(member, agenda, held, now)
	noted := true
	for _, n := range notes {
		noted = pl.note(n) != void && noted
	}
	pl.consent()
	for _, c := range member.Connections {
		pl.connection(c)
	}
	pl.group()
	pl.orphans()
	pl.overdue()
	pl.shareBatch()
	d := pl.decision()
	d.Noted = noted
	return d
}

// begin returns a plan in which nothing is decided.
func (p Policy) begin(member *events.Member, agenda *events.Agenda, held Held, now time.Time) *plan {
	if agenda == nil || agenda.Incarnation != member.Incarnation {
		agenda = &events.Agenda{Book: events.NewBook(member.Incarnation), MemberID: member.MemberID}
	}
	return &plan{policy: p, member: member, old: agenda, next: copied(agenda), held: held, now: now}
}

// judge is the decision table: the first row that fits, from the top.
func (pl *plan) judge(c events.MemberConnection) judgement {
	status, consent := c.State.Status, pl.member.Effective()
	over := status == events.AccessIsOver
	denied := c.State.IntegrationType.IAS() && consent == events.Deny

	switch {
	case pl.held.Forgotten:
		return judgement{row: 1, want: withdraw, action: events.ActNone, reason: reasonForgotten}
	case c.Removed():
		return judgement{row: 1, want: withdraw, action: events.ActNone, reason: reasonRemoved}

	case status == events.Connected:
		if until := c.ConnectedSince.Add(pl.policy.HoldOpen); pl.now.Before(until) && !denied {
			return judgement{row: 2, action: events.ActNone, reason: reasonConnected, until: until}
		}
		return judgement{row: 2, want: resolve, action: events.ActNone, reason: reasonConnected}

	case denied,
		over && (consent == events.Deny || consent == events.None):
		return judgement{row: 3, want: withdraw, action: events.ActRestoreConsent, reason: reasonConsentEnded}

	case over && consent == events.Permit:
		if until := pl.graceEnds(c); pl.now.Before(until) {
			return judgement{row: 4, action: events.ActWait, reason: reasonAwaiting, until: until}
		}
		return pl.afterGrace(c)
	}

	if j, ok := pl.heldBack(c, consent); ok {
		return j
	}
	row, action := pl.way(c)
	if until, auto := pl.activates(c); auto && pl.now.Before(until) {
		return judgement{row: row, action: events.ActWait, reason: reasonActivating, until: until}
	}
	switch status {
	case events.Expired:
		return asking(row, action, reasonExpired)
	case events.Disconnected:
		return asking(row, action, reasonDisconnected)
	case events.Deleted:
		return asking(row, action, reasonDeleted)
	case events.Failing:
		return asking(row, action, reasonError)
	default:
		return judgement{row: 13, action: events.ActUnknown, reason: reasonUnknownStatus}
	}
}

// afterGrace is row 5. Operators are told whatever the judgement; a prompt, if
// the policy wants one, is held back by what holds every other.
func (pl *plan) afterGrace(c events.MemberConnection) judgement {
	if !pl.policy.PromptRestoreOverdue {
		return judgement{row: 5, action: events.ActWait, reason: reasonOverdue}
	}
	if j, ok := pl.heldBack(c, events.Permit); ok {
		j.row = 5
		return j
	}
	_, action := pl.way(c)
	return asking(5, action, reasonOverdue)
}

// heldBack is rows 6 to 8.
func (pl *plan) heldBack(c events.MemberConnection, consent events.Provision) (judgement, bool) {
	wait := func(row int, reason string) (judgement, bool) {
		return judgement{row: row, action: events.ActWait, reason: reason}, true
	}
	// IAS consent is nothing to a PROA connection, so it need not be known
	// before one is asked about.
	unread := consent == "" && (c.State.IntegrationType != events.PROA || c.State.Status == events.AccessIsOver)
	switch {
	case unread, pl.blind():
		return wait(6, reasonBlind)
	case pl.held.Degraded[c.Token]:
		return wait(6, reasonDegraded)
	case pl.held.Storm:
		return wait(6, reasonStorm)
	case pl.held.Silenced, pl.held.Muted[c.Token]:
		return wait(6, reasonSilenced)
	case c.State.SyncStatus == "DELETING":
		return wait(7, reasonDeleting)
	case !c.State.Status.Broken():
		return judgement{}, false // no break to confirm: row 13
	case c.ConfirmedAt.IsZero():
		return wait(8, reasonUnconfirmed)
	case c.FirstSight && !pl.held.Released && !pl.remembers(c).Released:
		return wait(8, reasonFirstSight)
	default:
		return judgement{}, false
	}
}

// way is how the member reconnects, rows 9 to 12.
func (pl *plan) way(c events.MemberConnection) (row int, action events.Action) {
	switch s := c.State; {
	case s.IntegrationType == events.PROA, s.IntegrationType == events.IndirectIAS:
		return 9, events.ActOAuth
	case s.IntegrationType == events.DirectIAS:
		return 10, cmp.Or(pl.remembers(c).Instead, events.ActDirect)
	case (s.IntegrationType == "" || s.IntegrationType == events.Unknown) && s.Category == "BASIC":
		return 11, events.ActReenter
	// b.well has types beyond the three of Smart Connect, DIRECT and IAL2: we
	// know the words, but not the way back.
	default:
		action := cmp.Or(pl.policy.UnknownTypes[s.Category], events.ActUnknown)
		if action == events.ActDirect {
			action = cmp.Or(pl.remembers(c).Instead, action)
		}
		return 12, action
	}
}

// remembers returns what was asked about c in this episode.
func (pl *plan) remembers(c events.MemberConnection) events.Asked {
	asked, _, _ := pl.asked(c.Token)
	if asked.Episode != c.Episode {
		return events.Asked{Connection: c.Token, Openings: asked.Openings, Episode: c.Episode}
	}
	return asked
}

// asking opens, unless nobody knows what for.
func asking(row int, action events.Action, reason string) judgement {
	if action == events.ActUnknown {
		return judgement{row: row, action: action, reason: reasonUnknownType}
	}
	if row == 12 {
		reason = reasonUnknownType
	}
	return judgement{row: row, want: open, action: action, reason: reason}
}

// blind reports whether we do not see the member at present, alone or with all
// others.
func (pl *plan) blind() bool { return pl.held.Blind || pl.member.Observation.Blind() }

// A plan is a decision in the making.
type plan struct {
	policy Policy
	member *events.Member
	old    *events.Agenda // never written to
	next   *events.Agenda
	held   Held
	now    time.Time

	told    []events.Event
	why     []Verdict
	look    time.Time // the earliest thing to fall due
	touched bool      // next differs from old, also where no event tells of it
	late    []events.MemberConnection
	ready   []opening // what there is reason to ask, now or together with others

	activate []events.MemberConnection

	// pushed: this decision has counted a push. What is told to a member in one
	// moment is one push, however many prompts it speaks of.
	pushed bool
}

// An opening is a prompt that may open.
type opening struct {
	asked   events.Asked
	c       events.MemberConnection
	j       judgement
	verdict int // in why
}

// connection does what the table says about one connection.
func (pl *plan) connection(c events.MemberConnection) {
	j := pl.judge(c)
	v := Verdict{Connection: c.Token, Row: j.row, Reason: j.reason, Action: j.action, Outcome: HeldBack}
	pl.lookAt(j.until)
	if j.row == 5 {
		pl.noteLate(c)
	}
	asked, prompt, isOpen := pl.asked(c.Token)
	if isOpen && asked.Episode != c.Episode && j.want != resolve && j.want != withdraw {
		// It was connected in between and we did not look. The head no longer
		// says since when, so the downtime reaches to the new break.
		pl.close(&asked, prompt, events.PromptResolved, reasonConnected, c.FlapCount, seconds(c.EpisodeSince.Sub(prompt.OpenedAt)))
		isOpen, v.Outcome = false, Resolved
	}
	if !isOpen && asked.Episode != c.Episode {
		asked = events.Asked{Connection: c.Token, Openings: asked.Openings, Episode: c.Episode}
	}
	switch {
	case j.want == resolve && isOpen:
		from := cmp.Or(c.EpisodeSince, prompt.OpenedAt)
		pl.close(&asked, prompt, events.PromptResolved, j.reason, c.FlapCount, seconds(c.ConnectedSince.Sub(from)))
		v.Outcome = Resolved
	case j.want == withdraw && isOpen:
		pl.close(&asked, prompt, events.PromptWithdrawn, j.reason, c.FlapCount, nil)
		v.Outcome = Withdrawn
	case j.want == resolve, j.want == withdraw:
		v.Outcome = Nothing
	case j.row == 2 && isOpen:
		// It works, and is resolved when that holds, whenever it would have expired.
	case isOpen && !pl.now.Before(asked.ExpiresAt):
		// The opening promised when it becomes inert; a hold does not prolong it.
		pl.close(&asked, prompt, events.PromptExpired, reasonExpired, c.FlapCount, nil)
		asked.ExpiredAt = pl.now
		pl.put(asked)
		v.Outcome = Expired
	case j.want == hold && isOpen:
		pl.lookAt(asked.ExpiresAt)
	case j.reason == reasonActivating && asked.ActivatedAt.IsZero():
		asked.ActivatedAt = pl.now
		pl.put(asked)
		pl.activate = append(pl.activate, c)
		v.Outcome = Activating
	case j.want == hold:
		if j.row == 2 {
			v.Outcome = Nothing
		}
	case isOpen && pl.outdated(prompt, c, j):
		pl.close(&asked, prompt, events.PromptWithdrawn, reasonSuperseded, c.FlapCount, nil)
		pl.open(asked, c, j)
		v.Outcome = Superseded
	case isOpen:
		v.Outcome = pl.remind(asked, prompt, c, j)
	case !asked.ExpiredAt.IsZero():
		v.Outcome = Spent
	default:
		if asked.ReadyAt.Before(c.BrokenSince) {
			asked.ReadyAt = time.Time{} // that was before this break
		}
		pl.ready = append(pl.ready, opening{asked, c, j, len(pl.why)})
	}
	pl.why = append(pl.why, v)
}

// outdated reports whether an open prompt asks for something else than should be
// asked now, or no longer with the right weight: one that was only listed, say,
// since the member disconnected, when the source has expired since. While the
// status is the same, a weight that differs is that of another policy: of before a
// restart, or of a replica that still has it, and the two would go on closing what
// the other opened.
func (pl *plan) outdated(prompt events.Prompt, c events.MemberConnection, j judgement) bool {
	rule := pl.policy.Statuses[c.State.Status]
	weighs := prompt.Urgency != rule.Urgency || prompt.NotPushed == quietPolicy && rule.Notify
	return prompt.Action != j.action || weighs && prompt.ConnectionStatus != c.State.Status
}

// group opens what is ready, all together, once the first of it has been ready
// for the grouping window.
func (pl *plan) group() {
	if len(pl.ready) == 0 {
		return
	}
	first := pl.now
	for _, o := range pl.ready {
		if at := o.asked.ReadyAt; !at.IsZero() && at.Before(first) {
			first = at
		}
	}
	due := first.Add(pl.policy.Group)
	for _, o := range pl.ready {
		v := &pl.why[o.verdict]
		if pl.now.Before(due) {
			v.Reason = reasonGrouping
			if o.asked.ReadyAt.IsZero() {
				o.asked.ReadyAt = pl.now
				pl.put(o.asked)
			}
			continue
		}
		pl.open(o.asked, o.c, o.j)
		v.Outcome = Opened
	}
	if pl.now.Before(due) {
		pl.lookAt(due)
	}
}

// replace puts an open prompt in place of what it was.
func (pl *plan) replace(prompt events.Prompt) {
	pl.next.Prompts[slices.IndexFunc(pl.next.Prompts, same(prompt.PromptID))] = prompt
}

func (pl *plan) open(asked events.Asked, c events.MemberConnection, j judgement) {
	rule := pl.policy.Statuses[c.State.Status]
	asked.Openings++
	asked.OpeningID = ""
	asked.Reminders = 0
	asked.ReadyAt, asked.SnoozedUntil = time.Time{}, time.Time{}
	asked.ExpiresAt = pl.now.Add(pl.policy.Expiry)
	asked.RemindAt = pl.reminderAfter(0)
	prompt := events.Prompt{
		MemberID: pl.member.MemberID, ConnectionID: c.ConnectionID, PromptID: promptID(asked),
		Action: j.action, Reason: j.reason, Urgency: rule.Urgency,
		ConnectionStatus: c.State.Status, IntegrationType: c.State.IntegrationType,
		OpenedAt: pl.now, FlapCount: c.FlapCount,
	}
	switch {
	case !rule.Notify:
		prompt.NotPushed = quietPolicy
	case !asked.PushedAt.IsZero():
		prompt.NotPushed = quietBefore
	default:
		pl.push(&asked, &prompt)
	}
	pl.put(asked)
	pl.next.Prompts = append(pl.next.Prompts, prompt)
	pl.tell(events.PromptOpened, asked, prompt, pl.member.Latest["connection."+string(c.Token)])
	pl.lookAt(asked.ExpiresAt)
	if pl.mayRemind(asked, c) {
		pl.lookAt(asked.RemindAt)
	}
}

// remind keeps a prompt, and says so again when that is due.
func (pl *plan) remind(asked events.Asked, prompt events.Prompt, c events.MemberConnection, j judgement) string {
	pl.lookAt(asked.ExpiresAt)
	if !pl.mayRemind(asked, c) {
		return Kept
	}
	if pl.now.Before(asked.RemindAt) {
		pl.lookAt(asked.RemindAt)
		return Kept
	}
	asked.OpeningID = openingID(pl.old, asked)
	asked.Reminders++
	asked.SnoozedUntil = time.Time{}
	asked.RemindAt = pl.reminderAfter(asked.Reminders)
	prompt.Reminder = asked.Reminders
	prompt.Reason, prompt.ConnectionStatus = j.reason, c.State.Status // as they are now
	prompt.SnoozedUntil = time.Time{}
	pl.push(&asked, &prompt)
	prompt.FlapCount = c.FlapCount
	pl.put(asked)
	pl.replace(prompt)
	pl.tell(events.PromptReminded, asked, prompt, asked.OpeningID)
	if pl.mayRemind(asked, c) {
		pl.lookAt(asked.RemindAt)
	}
	return Reminded
}

// mayRemind goes by the status of today: who has since disconnected on purpose
// is left alone. The end of a snooze is a reminder that the member wants.
func (pl *plan) mayRemind(asked events.Asked, c events.MemberConnection) bool {
	wanted := !asked.SnoozedUntil.IsZero()
	return !asked.RemindAt.IsZero() && asked.AcknowledgedAt.IsZero() && (wanted || pl.policy.Statuses[c.State.Status].Notify)
}

// reminderAfter returns when the reminder after n others is due, zero if there
// is none.
func (pl *plan) reminderAfter(n int) time.Time {
	if n >= len(pl.policy.Reminders) {
		return time.Time{}
	}
	return pl.now.Add(pl.policy.Reminders[n])
}

// Why the member is not pushed: Prompt.NotPushed.
const (
	quietPolicy = "policy"        // nobody is, for this status
	quietBefore = "pushed_before" // in this episode
	quietCap    = "weekly_cap"
)

// push marks a prompt as one to push to the member, and counts that, unless the
// member was pushed often enough this week. Quiet hours are a hint beside it.
func (pl *plan) push(asked *events.Asked, prompt *events.Prompt) {
	recent := 0
	for _, t := range pl.next.Pushes {
		if pl.now.Sub(t) < week {
			recent++
		}
	}
	switch {
	case pl.pushed: // with others
	case recent >= pl.policy.MaxPushesPerWeek:
		prompt.Notify, prompt.NotPushed, prompt.NotBefore = false, quietCap, time.Time{}
		return
	default:
		pl.next.Pushes = append(pl.next.Pushes, pl.now)
		pl.pushed = true
	}
	asked.PushedAt = cmp.Or(asked.PushedAt, pl.now)
	prompt.Notify, prompt.NotPushed, prompt.NotBefore = true, "", pl.policy.Quiet.end(pl.now)
}

// close tells that a prompt is over and clears what was due for it.
func (pl *plan) close(asked *events.Asked, prompt events.Prompt, t events.Type, reason string, flaps int, downtime *int64) {
	pl.next.Prompts = slices.DeleteFunc(pl.next.Prompts, same(prompt.PromptID))
	prompt.Reason = reason
	// Nothing to do is nothing to push.
	prompt.Notify, prompt.NotPushed, prompt.NotBefore, prompt.SnoozedUntil = false, "", time.Time{}, time.Time{}
	prompt.FlapCount = max(prompt.FlapCount, flaps)
	prompt.ClosedAt = pl.now
	prompt.Downtime = downtime
	pl.tell(t, *asked, prompt, openingID(pl.old, *asked))
	asked.OpeningID, asked.Reminders = "", 0
	asked.RemindAt, asked.ExpiresAt = time.Time{}, time.Time{}
	pl.put(*asked)
}

func (pl *plan) tell(t events.Type, asked events.Asked, prompt events.Prompt, cause string) {
	pl.told = append(pl.told, events.Event{
		Type: t, Part: string(asked.Connection), CausationID: cause, Data: &prompt, Expires: asked.ExpiresAt,
		CorrelationID: events.EpisodeID(asked.Connection, asked.Episode),
	})
}

// orphans withdraws what is open for connections the head no longer lists.
func (pl *plan) orphans() {
	for _, prompt := range pl.old.Prompts {
		token, _, _ := strings.Cut(prompt.PromptID, ".")
		c := events.ConnectionToken(token)
		if _, known := pl.member.Connection(c); known {
			continue
		}
		asked, _, _ := pl.asked(c)
		pl.close(&asked, prompt, events.PromptWithdrawn, reasonRemoved, 0, nil)
		pl.why = append(pl.why, Verdict{c, 1, reasonRemoved, events.ActNone, Withdrawn})
	}
}

// shareBatch marks prompts that are told together, opened or reminded of, so that
// the member gets one message about all. What is told alone is of no batch. The
// name is the first one's id, and which reminder that is, if it is one: it is
// never used again.
func (pl *plan) shareBatch() {
	var together []*events.Prompt
	for _, e := range pl.told {
		if e.Type == events.PromptOpened || e.Type == events.PromptReminded {
			together = append(together, e.Data.(*events.Prompt))
		}
	}
	name := ""
	if len(together) > 1 {
		name = together[0].PromptID
		if n := together[0].Reminder; n > 0 {
			name = fmt.Sprintf("%s.%d", name, n)
		}
	}
	for _, prompt := range together {
		prompt.Batch = name
		if i := slices.IndexFunc(pl.next.Prompts, same(prompt.PromptID)); i >= 0 {
			pl.next.Prompts[i].Batch = name
		}
	}
}

// decision writes only what must be written. A look that comes too early costs
// nothing, so one that is pending before the next due thing is left to come.
func (pl *plan) decision() Decision {
	d := Decision{Events: pl.told, NextLook: pl.look, Why: pl.why, Activate: pl.activate}
	pending := pl.old.NextLook.After(pl.now)
	unscheduled := !pl.look.IsZero() && (!pending || pl.look.Before(pl.old.NextLook))
	if len(pl.told) == 0 && !pl.touched && !unscheduled {
		if pending {
			d.NextLook = pl.old.NextLook
		}
		return d
	}
	if len(pl.told) == 0 && pl.look.IsZero() {
		d.NextLook = pl.now.Add(max(pl.policy.Grace, time.Hour)) // something must carry the commit
	}
	pl.next.Pushes = slices.DeleteFunc(pl.next.Pushes, func(t time.Time) bool { return pl.now.Sub(t) >= week })
	pl.next.NextLook = d.NextLook
	d.Next = pl.next
	return d
}

// lookAt asks for a look at t, zero for none.
func (pl *plan) lookAt(t time.Time) {
	if !t.IsZero() && (pl.look.IsZero() || t.Before(pl.look)) {
		pl.look = t
	}
}

// asked returns what was asked about a connection, and its open prompt.
func (pl *plan) asked(c events.ConnectionToken) (events.Asked, events.Prompt, bool) {
	i := slices.IndexFunc(pl.next.Asked, func(a events.Asked) bool { return a.Connection == c })
	if i < 0 {
		return events.Asked{Connection: c}, events.Prompt{}, false
	}
	asked := pl.next.Asked[i]
	prompt, isOpen := pl.next.Open(promptID(asked))
	return asked, prompt, isOpen
}

func (pl *plan) put(asked events.Asked) {
	pl.touched = true
	i := slices.IndexFunc(pl.next.Asked, func(a events.Asked) bool { return a.Connection == asked.Connection })
	if i < 0 {
		pl.next.Asked = append(pl.next.Asked, asked)
		return
	}
	pl.next.Asked[i] = asked
}

// promptID names the latest opening. The same opening has the same id, whoever
// decided it.
func promptID(asked events.Asked) string {
	return fmt.Sprintf("%s.%d", asked.Connection, asked.Openings)
}

// openingID returns the event id of the opening of an open prompt. The id is
// given when the event is written, so it is found in the book by the decision
// after: until a second event is told of the prompt, the latest is the
// opening. Whoever tells one must keep it in the agenda.
func openingID(agenda *events.Agenda, asked events.Asked) string {
	return cmp.Or(asked.OpeningID, agenda.Latest["prompt."+string(asked.Connection)])
}

func same(promptID string) func(events.Prompt) bool {
	return func(p events.Prompt) bool { return p.PromptID == promptID }
}

// seconds returns whole seconds. Clocks may disagree, but nothing is down for
// less than no time.
func seconds(d time.Duration) *int64 {
	return new(max(0, int64(d/time.Second)))
}

// copied returns an agenda that can be written to without touching a.
func copied(a *events.Agenda) *events.Agenda {
	next := *a
	next.Sequences, next.Latest = maps.Clone(a.Sequences), maps.Clone(a.Latest)
	next.Prompts, next.Asked, next.Pushes = slices.Clone(a.Prompts), slices.Clone(a.Asked), slices.Clone(a.Pushes)
	if a.Access != nil {
		access := *a.Access
		access.Connections = slices.Clone(access.Connections)
		next.Access = &access
	}
	return &next
}
