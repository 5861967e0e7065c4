// Package poller asks b.well on behalf of every member and writes what changed
// to the stream. Read diff.go first: it says what counts as a change; then
// schedule.go, which says when to look again; poller.go only carries them out.
package poller

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/smartconnect/connector/internal/bwell"
	"github.com/smartconnect/connector/internal/events"
)

// Rules say how long something must stand before it is believed. The times are
// ours, never b.well's: its clock orders nothing of ours.
type Rules struct {
	// Confirm is how long a break must stand before it is confirmed, by its
	// status. What heals sooner never becomes a prompt. Default 10 min; ERROR,
	// which mostly heals by itself, 24 h.
	Confirm map[events.Status]time.Duration
	// Settle is how long a row that is older than what we know, or that
	// contradicts what we just did, must stand: b.well's reads lag its writes.
	Settle time.Duration
	// HoldOpen is how long CONNECTED must hold before a break is a new episode.
	HoldOpen time.Duration
	// Vanish is how many complete answers without a row make it worth asking
	// whether it was deleted.
	Vanish int

	// Validity is how long a login to a source holds, by b.well's id of the
	// connection, as the source's own terms say. b.well's API tells nothing of
	// it, so the default is empty; about sources that are not here nothing is told.
	Validity map[string]time.Duration
	// Lead is how long before the end connection.expiring is told, once each.
	// Default 7 d.
	Lead []time.Duration
}

// DefaultRules returns the rules for real members.
func DefaultRules() Rules {
	return Rules{
		Confirm: confirm(10*time.Minute, 24*time.Hour),
		Settle:  2 * time.Minute, HoldOpen: time.Hour, Vanish: 3, Lead: []time.Duration{7 * 24 * time.Hour},
	}
}

// FastRules returns rules for trying the connector out.
func FastRules() Rules {
	r := DefaultRules()
	r.Confirm, r.Settle, r.HoldOpen = confirm(time.Second, 2*time.Second), time.Second, time.Second
	return r
}

// confirm returns one window for all broken statuses but ERROR.
func confirm(window, failing time.Duration) map[events.Status]time.Duration {
	return map[events.Status]time.Duration{
		events.Expired: window, events.Disconnected: window, events.Deleted: window, events.AccessIsOver: window,
		events.Failing: failing,
	}
}

// Validate says what is wrong with r. Each error begins with the key of a
// policy file.
func (r Rules) Validate() error {
	for _, s := range slices.Sorted(maps.Keys(r.Confirm)) {
		if w := r.Confirm[s]; w <= 0 {
			return fmt.Errorf("confirm.%s: %s, want more than 0", s, w)
		}
	}
	switch {
	case r.Settle < 0:
		return fmt.Errorf("settle: %s, want 0 or more", r.Settle)
	case r.HoldOpen < 0:
		return fmt.Errorf("flapHoldOpen: %s, want 0 or more", r.HoldOpen)
	case r.Vanish < 1:
		return fmt.Errorf("vanishAfter: %d, want 1 or more", r.Vanish)
	}
	for _, lead := range r.Lead {
		if lead <= 0 {
			return fmt.Errorf("expiring.lead: %s, want more than 0", lead)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(r.Validity)) {
		if v := r.Validity[id]; len(r.Lead) > 0 && v <= slices.Max(r.Lead) {
			return fmt.Errorf("expiring.validity: %s, want more than the longest lead, %s", v, slices.Max(r.Lead))
		}
	}
	return nil
}

func (r Rules) window(s events.Status) time.Duration { return r.Confirm[s] }

// A look is one answer of b.well's about one member, and what it is compared
// with.
type look struct {
	memberID    string
	incarnation string
	head        *events.Member // nil: there is none yet
	seen        bwell.Observation
	deleted     *bwell.List[bwell.Connection]     // the rows b.well hides; nil: not asked
	offers      *bwell.List[bwell.Recommendation] // nil: not asked
	now         time.Time
}

// complete reports whether the answer may say that something is not there.
// Tasks that were not asked for are not missed.
func (l look) complete() bool {
	tasks := l.seen.Tasks.Whole || l.seen.Tasks.Err == nil
	return l.seen.Connections.Whole && l.seen.Consents.Whole && tasks
}

// memory is what a poller knows of a member beyond the head: suspicions, and
// what was no change. A restart forgets it, which only delays; of consents, a
// read that lags right after one may be taken for news, until it lags no more.
type memory struct {
	missing  map[events.ConnectionToken]int // complete answers without the row
	doubtful map[events.ConnectionToken]doubt
	acted    map[events.ConnectionToken]action
	consent  *events.MemberConsent // seen once, believed when seen again
	newest   time.Time             // of all consents ever listed; the head has those that were a change
}

type doubt struct {
	status events.Status
	since  time.Time
}

// action is what b.well answered when we changed a connection.
type action struct {
	status events.Status
	at     time.Time
}

// A finding is what a look comes to.
type finding struct {
	told   []events.Event
	next   *events.Member // nil: the head stays
	memory memory

	// askDeleted: rows have been away for long enough to ask b.well whether it
	// deleted them; compare again, from the same start, with what it says.
	askDeleted bool

	// wake is when the same answer would mean something else, zero for never.
	wake time.Time
}

// quiet reports whether the same answer would come to nothing until wake.
func (f finding) quiet() bool {
	return f.next == nil && !f.askDeleted && len(f.memory.missing) == 0 && f.memory.consent == nil
}

// differ collects a finding.
type differ struct {
	Rules
	look
	tokens  events.Tokenizer
	before  memory
	head    events.Member
	finding finding
	changed bool
}

// diff compares one answer with the head. It reads no clock and does no I/O;
// equal arguments give equal findings.
func (r Rules) diff(l look, before memory, tokens events.Tokenizer) finding {
	d := &differ{Rules: r, look: l, tokens: tokens, before: before}
	d.finding.memory = memory{
		missing:  map[events.ConnectionToken]int{},
		doubtful: map[events.ConnectionToken]doubt{},
		acted:    map[events.ConnectionToken]action{},
	}
	maps.Copy(d.finding.memory.acted, before.acted)
	maps.DeleteFunc(d.finding.memory.acted, func(_ events.ConnectionToken, a action) bool { return !l.now.Before(a.at.Add(r.Settle)) })
	if l.head != nil {
		d.head = *l.head
		d.head.Connections = slices.Clone(l.head.Connections)
		d.head.Recommendations = slices.Clone(l.head.Recommendations)
	} else {
		d.head = events.Member{Book: events.NewBook(l.incarnation), MemberID: l.memberID}
	}

	baseline := d.head.Observation.Started.IsZero()
	if baseline && !l.complete() {
		return d.finding // the first answer that counts is a complete one
	}
	d.observe(baseline)
	d.consents(baseline)
	d.tasks(baseline)
	d.connections(baseline)
	d.offered()
	if d.changed {
		if l.complete() {
			d.head.Observation.LastComplete = l.now
		}
		d.finding.next = &d.head
	}
	return d.finding
}

// lose tells that the member can no longer be seen. It comes to nothing if that
// was told before, for the same reason.
func lose(l look, reason string, act events.Action) finding {
	f := finding{}
	head := events.Member{Book: events.NewBook(l.incarnation), MemberID: l.memberID}
	if l.head != nil {
		head = *l.head
	}
	o := &head.Observation
	if o.Blind() && o.Reason == reason {
		return f
	}
	if !o.Blind() {
		o.LostSince = l.now
	}
	o.Reason = reason
	f.told = []events.Event{{
		Type: events.ObservationLost,
		Data: &events.Observation{MemberID: l.memberID, Reason: reason, LastComplete: o.LastComplete, Action: act},
	}}
	f.next = &head
	return f
}

func (d *differ) tell(e events.Event) {
	d.finding.told = append(d.finding.told, e)
	d.changed = true
}

// again notes a time at which the same answer would mean something else.
func (d *differ) again(at time.Time) {
	if d.finding.wake.IsZero() || at.Before(d.finding.wake) {
		d.finding.wake = at
	}
}

func (d *differ) observe(baseline bool) {
	o := &d.head.Observation
	switch {
	case baseline:
		o.Started, o.LostSince, o.Reason = d.now, time.Time{}, ""
		d.tell(events.Event{
			Type: events.ObservationStarted,
			Data: &events.Observation{MemberID: d.memberID, Reason: "enrolled", Action: events.ActNone},
		})
	case o.Blind() && d.complete():
		last := o.LastComplete
		o.LostSince, o.Reason = time.Time{}, ""
		d.tell(events.Event{
			Type: events.ObservationResumed,
			Data: &events.Observation{MemberID: d.memberID, Reason: "recovered", LastComplete: last, Action: events.ActNone},
		})
	}
}

// consents finds the member's IAS consent: the newest active one of that
// category. b.well appends consents, lists them in any order, and its reads lag:
// one older than the newest that was ever listed is no news, and one that is
// not newer, for want of a date, must be seen twice. One that says what we knew
// is no change and so not in the head; that it was there is remembered.
func (d *differ) consents(baseline bool) {
	d.finding.memory.newest = d.before.newest
	if !d.seen.Consents.Whole {
		d.finding.memory.consent = d.before.consent
		return
	}
	was, now := d.head.Consent, currentConsent(d.seen.Consents.Items)
	newest := was.DateTime
	if d.before.newest.After(newest) {
		newest = d.before.newest
	}
	if now.DateTime.After(newest) {
		d.finding.memory.newest = now.DateTime
	}
	if was.Read && (was.Provision == now.Provision || !now.DateTime.IsZero() && now.DateTime.Before(newest)) {
		return
	}
	if was.Read && !now.DateTime.After(newest) && (d.before.consent == nil || *d.before.consent != now) {
		d.finding.memory.consent = &now
		return
	}
	e := events.Event{Type: events.ConsentRevoked, Time: now.DateTime, Data: &events.Consent{
		MemberID: d.memberID, ConsentID: now.ConsentID, Previous: was.Provision, Current: now.Provision,
	}}
	switch {
	case baseline || !was.Read:
		e.Type = events.ConsentBaseline
	case now.Provision == events.Permit:
		e.Type = events.ConsentGranted
	}
	d.head.Consent = now.After(was)
	d.tell(e)
}

func currentConsent(all []bwell.Consent) events.MemberConsent {
	best := events.MemberConsent{Read: true, Provision: events.None}
	var stored time.Time // best, at b.well
	for _, c := range all {
		p := events.Provision(c.Provision.Value)
		if c.Category != bwell.CategoryIAS || c.Status.Value != "active" || p != events.Permit && p != events.Deny {
			continue
		}
		at := cmp.Or(c.DateTime.Time, c.Updated.Time)
		if at.Before(best.DateTime) || at.Equal(best.DateTime) && c.Updated.Before(stored) {
			continue // of equally old ones the last counts
		}
		stored = c.Updated.Time
		best = events.MemberConsent{Read: true, ConsentID: c.ID, Provision: p, DateTime: at}
	}
	return best
}

// tasks finds the member's current network search: the newest task, never the
// first in the list, which has no order. Of equally old ones the same counts
// always.
func (d *differ) tasks(baseline bool) {
	if !d.seen.Tasks.Whole {
		return
	}
	var now *events.MemberTask
	for _, t := range d.seen.Tasks.Items {
		at := cmp.Or(t.LastModified.Time, t.Updated.Time, t.AuthoredOn.Time)
		if now != nil && (at.Before(now.Updated) || at.Equal(now.Updated) && t.ID < now.TaskID) {
			continue
		}
		now = &events.MemberTask{TaskID: t.ID, Status: t.Status.Value, Reason: t.Reason, Updated: at}
		if t.Status.Value == bwell.Unknown {
			now.Status, now.Raw = "unknown", t.Status.Raw
		}
	}
	was := d.head.Task
	if now == nil || was != nil && (now.Updated.Before(was.Updated) || now.TaskID == was.TaskID && now.Status == was.Status && now.Raw == was.Raw) {
		return // tasks do not vanish, and an older one is no news
	}
	e := events.Event{Type: events.TaskStatusChanged, Time: now.Updated, Data: &events.Task{
		MemberID: d.memberID, TaskID: now.TaskID, Previous: "none", Current: now.Status, CurrentRaw: now.Raw, Reason: now.Reason,
	}}
	if was != nil {
		e.Data.(*events.Task).Previous = was.Status
	}
	if baseline {
		e.Type = events.TaskBaseline
		e.Data.(*events.Task).Previous = ""
	}
	d.head.Task = now
	d.tell(e)
}

func (d *differ) connections(baseline bool) {
	rows := distinct(d.seen.Connections.Items)
	for _, p := range match(d.head.Connections, rows) {
		switch {
		case p.known < 0:
			d.discover(rows[p.row], baseline)
		case p.row >= 0 && d.head.Connections[p.known].Removed():
			d.rediscover(&d.head.Connections[p.known], rows[p.row])
		case p.row >= 0:
			d.compare(&d.head.Connections[p.known], rows[p.row])
		case !d.head.Connections[p.known].Removed():
			d.miss(&d.head.Connections[p.known])
		}
	}
	slices.SortFunc(d.head.Connections, func(a, b events.MemberConnection) int {
		return cmp.Or(cmp.Compare(a.ConnectionID, b.ConnectionID), cmp.Compare(a.Number, b.Number))
	})
}

// A row is one connection as b.well lists it.
type row struct {
	id    string
	state events.ConnectionState
}

// distinct drops true doubles, same id and same type: the newest statusUpdated
// counts, then the newest created, then the one that works. Of those that are
// still alike the same counts in any order; lastSynced, which moves all the
// time, would not do for that. The rows come sorted.
func distinct(list []bwell.Connection) []row {
	rows := make([]row, 0, len(list))
	for _, c := range list {
		rows = append(rows, row{c.ID, stateOf(c)})
	}
	slices.SortStableFunc(rows, func(a, b row) int {
		return cmp.Or(
			cmp.Compare(a.id, b.id), cmp.Compare(a.state.IntegrationType, b.state.IntegrationType),
			cmp.Compare(a.state.IntegrationTypeRaw, b.state.IntegrationTypeRaw),
			b.state.StatusUpdated.Compare(a.state.StatusUpdated), b.state.Created.Compare(a.state.Created),
			cmp.Compare(rank(a.state.Status), rank(b.state.Status)),
			cmp.Compare(a.state.Status, b.state.Status), cmp.Compare(a.state.StatusRaw, b.state.StatusRaw),
			cmp.Compare(a.state.SyncStatus, b.state.SyncStatus), cmp.Compare(a.state.SyncStatusRaw, b.state.SyncStatusRaw),
			slices.Compare(a.state.SyncErrors, b.state.SyncErrors),
			cmp.Compare(a.state.Category, b.state.Category), cmp.Compare(a.state.CategoryRaw, b.state.CategoryRaw),
			cmp.Compare(a.state.Type, b.state.Type), cmp.Compare(a.state.TypeRaw, b.state.TypeRaw),
		)
	})
	return slices.CompactFunc(rows, func(a, b row) bool { return a.id == b.id && sameType(a.state, b.state) })
}

func rank(s events.Status) int {
	switch {
	case s == events.Connected:
		return 0
	case s.Broken():
		return 1
	default:
		return 2
	}
}

func stateOf(c bwell.Connection) events.ConnectionState {
	return events.ConnectionState{
		Status: events.Status(c.Status.Value), StatusRaw: c.Status.Raw,
		IntegrationType: events.IntegrationType(c.IntegrationType.Value), IntegrationTypeRaw: c.IntegrationType.Raw,
		Category: c.Category.Value, CategoryRaw: c.Category.Raw,
		Type: c.Type.Value, TypeRaw: c.Type.Raw,
		SyncStatus: c.SyncStatus.Value, SyncStatusRaw: c.SyncStatus.Raw,
		SyncErrors:    c.SyncErrors,
		StatusUpdated: c.StatusUpdated.Time, Created: c.Created.Time, LastSynced: c.LastSynced.Time,
	}
}

func sameType(a, b events.ConnectionState) bool {
	return a.IntegrationType == b.IntegrationType && a.IntegrationTypeRaw == b.IntegrationTypeRaw
}

func vague(s events.ConnectionState) bool {
	return s.IntegrationType == "" || s.IntegrationType == events.Unknown
}

// pair joins a known connection with a row; -1 stands for none.
type pair struct{ known, row int }

// match says which row is which known connection: same id and type first; then
// one known and one new row of an id are the same if either type is null or
// unknown. What was removed comes after what is listed.
func match(known []events.MemberConnection, rows []row) []pair {
	var pairs []pair
	usedKnown, usedRow := make([]bool, len(known)), make([]bool, len(rows))
	take := func(k, r int) {
		usedKnown[k], usedRow[r] = true, true
		pairs = append(pairs, pair{k, r})
	}
	alike := func(gone bool) {
		for r := range rows {
			for k := range known {
				if !usedKnown[k] && !usedRow[r] && known[k].Removed() == gone && known[k].ConnectionID == rows[r].id && sameType(known[k].State, rows[r].state) {
					take(k, r)
				}
			}
		}
	}
	alike(false)
	for r := range rows {
		left := func(k int) bool { return !usedKnown[k] && !known[k].Removed() && known[k].ConnectionID == rows[r].id }
		only := -1
		for k := range known {
			if left(k) {
				if only >= 0 {
					only = -2
					break
				}
				only = k
			}
		}
		others := slices.ContainsFunc(indices(len(rows)), func(o int) bool { return o != r && !usedRow[o] && rows[o].id == rows[r].id })
		if only >= 0 && !usedRow[r] && !others && (vague(known[only].State) || vague(rows[r].state)) {
			take(only, r)
		}
	}
	alike(true)
	for k := range known {
		if !usedKnown[k] {
			pairs = append(pairs, pair{k, -1})
		}
	}
	for r := range rows {
		if !usedRow[r] {
			pairs = append(pairs, pair{-1, r})
		}
	}
	slices.SortFunc(pairs, func(a, b pair) int { return cmp.Or(cmp.Compare(a.known, b.known), cmp.Compare(a.row, b.row)) })
	return pairs
}

func indices(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

func (d *differ) discover(r row, baseline bool) {
	number := 1
	for _, c := range d.head.Connections {
		if c.ConnectionID == r.id && c.Number >= number {
			number = c.Number + 1
		}
	}
	c := events.MemberConnection{
		Token: d.tokens.Connection(d.memberID, r.id, number), ConnectionID: r.id, Number: number, FirstSeen: d.now,
	}
	d.begin(&c, r, baseline)
	d.head.Connections = append(d.head.Connections, c)
}

// rediscover takes back a connection that was gone: it keeps its token. The
// removal has ended its episode, so the next break is another one.
func (d *differ) rediscover(c *events.MemberConnection, r row) {
	c.RemovedAt, c.EpisodeSince, c.FirstSight = time.Time{}, time.Time{}, false
	d.begin(c, r, false)
}

func (d *differ) begin(c *events.MemberConnection, r row, baseline bool) {
	d.turn(c, r.state)
	t := events.ConnectionDiscovered
	if baseline {
		t, c.FirstSight = events.ConnectionBaseline, r.state.Status.Broken()
	}
	d.tellConnection(t, c, nil, &r.state, nil)
	d.watch(c)
	d.expire(c)
}

// turn moves a connection to a state and keeps its clocks: windows, episodes.
func (d *differ) turn(c *events.MemberConnection, to events.ConnectionState) {
	switch {
	case to.Status.Broken() && (c.BrokenSince.IsZero() || to.Status != c.State.Status):
		if c.BrokenSince.IsZero() {
			d.breaks(c, to)
		}
		c.BrokenSince, c.ConfirmedAt = d.now, time.Time{}
		c.ConnectedSince, c.WasConnectedSince = time.Time{}, time.Time{}
	case to.Status == events.Connected && c.ConnectedSince.IsZero():
		c.ConnectedSince, c.WasConnectedSince = cmp.Or(c.WasConnectedSince, d.now), time.Time{}
		c.BrokenSince, c.ConfirmedAt, c.FirstSight = time.Time{}, time.Time{}, false
	case !to.Status.Broken() && to.Status != events.Connected:
		// It may work or not. Since when it worked, if it did, is kept for the
		// next break.
		c.ConnectedSince, c.WasConnectedSince = time.Time{}, cmp.Or(c.ConnectedSince, c.WasConnectedSince)
		c.BrokenSince, c.ConfirmedAt = time.Time{}, time.Time{}
	}
	if to.Status.Broken() {
		c.ExpiresAt, c.WarnedAt = time.Time{}, time.Time{}
	}
	c.State = to
}

// breaks says whether a break is a new episode: the first one is, and one after
// the connection worked for longer than the hold-open. If it worked for less, it
// flaps; if it did not work at all, its status was only not known for a while.
func (d *differ) breaks(c *events.MemberConnection, to events.ConnectionState) {
	worked := cmp.Or(c.ConnectedSince, c.WasConnectedSince)
	switch {
	case c.BreaksAnew(d.now, d.HoldOpen):
		c.Episode, c.EpisodeSince, c.FlapCount = c.Episode+1, d.now, 0
		// Broken since before we first looked: no news, whoever is to be asked.
		c.FirstSight = worked.IsZero() && !to.StatusUpdated.IsZero() && to.StatusUpdated.Before(d.head.Observation.Started)
	case !worked.IsZero():
		c.FlapCount++
	}
}

// compare tells at most one event of a connection: the first kind that fits,
// with every field that differs.
func (d *differ) compare(c *events.MemberConnection, r row) {
	was, now := c.State, r.state
	if !d.believable(c, now) {
		return
	}
	changed := differences(was, now)
	var missed *events.Between
	moved := !was.StatusUpdated.IsZero() && was.StatusUpdated.Before(now.StatusUpdated)
	if was.Status == now.Status && was.StatusRaw == now.StatusRaw && moved {
		missed = &events.Between{After: was.StatusUpdated, Before: now.StatusUpdated}
	}
	var t events.Type
	switch {
	case slices.Contains(changed, "created") && !was.Created.IsZero() && !now.Created.IsZero():
		t = events.ConnectionReplaced
	case slices.Contains(changed, "status") || missed != nil:
		t = events.ConnectionStatusChanged
	case slices.Contains(changed, "syncStatus") || slices.Contains(changed, "syncErrors"):
		t = events.ConnectionSyncChanged
	case slices.Contains(changed, "integrationType") || slices.Contains(changed, "category") || slices.Contains(changed, "type"):
		t = events.ConnectionChanged
	default:
		d.confirm(c)
		if end, due := d.expire(c); due {
			d.warn(c, end)
		}
		return
	}
	d.turn(c, now)
	d.tellConnection(t, c, &was, &now, missed)
	e := d.finding.told[len(d.finding.told)-1].Data.(*events.Connection)
	e.Changed = changed
	d.watch(c)
	d.expire(c)
}

// believable reports whether a row may say anything about what we know. One
// that is older than that, or that contradicts what b.well answered to our own
// action, must first stand for a while; it is believed for as long as it stands.
func (d *differ) believable(c *events.MemberConnection, now events.ConnectionState) bool {
	older := !now.StatusUpdated.IsZero() && now.StatusUpdated.Before(c.State.StatusUpdated)
	act, acted := d.finding.memory.acted[c.Token]
	if !older && (!acted || act.status == now.Status) {
		return true
	}
	since := d.now
	if b, ok := d.before.doubtful[c.Token]; ok && b.status == now.Status {
		since = b.since
	}
	d.finding.memory.doubtful[c.Token] = doubt{now.Status, since}
	if d.now.Before(since.Add(d.Settle)) {
		d.again(since.Add(d.Settle))
		return false
	}
	return true
}

// confirm tells once that a break still stands after its window.
func (d *differ) confirm(c *events.MemberConnection) {
	if c.BrokenSince.IsZero() || !c.ConfirmedAt.IsZero() || !d.seen.Connections.Whole {
		return
	}
	if !d.now.After(c.BrokenSince.Add(d.window(c.State.Status))) {
		d.watch(c)
		return
	}
	c.ConfirmedAt = d.now
	state := c.State
	d.tellConnection(events.ConnectionConfirmed, c, &state, &state, nil)
}

// watch asks for a look when the break of c may be confirmed.
func (d *differ) watch(c *events.MemberConnection) {
	if !c.BrokenSince.IsZero() && c.ConfirmedAt.IsZero() {
		d.again(c.BrokenSince.Add(d.window(c.State.Status) + time.Millisecond))
	}
}

// expire asks for a look when it is time to warn that c will expire, and
// reports whether it is that time now. A connection that outlives its end is
// none to warn of.
func (d *differ) expire(c *events.MemberConnection) (end time.Time, due bool) {
	validity, known := d.Validity[c.ConnectionID]
	if !known || c.State.Status != events.Connected {
		return end, false
	}
	end = cmp.Or(c.State.StatusUpdated, c.ConnectedSince).Add(validity)
	for _, lead := range d.Lead {
		at := end.Add(-lead)
		switch {
		case d.now.Before(at):
			d.again(at)
		case d.now.Before(end):
			due = due || !c.ExpiresAt.Equal(end) || c.WarnedAt.Before(at)
		}
	}
	if due {
		d.again(d.now)
	}
	return end, due
}

func (d *differ) warn(c *events.MemberConnection, end time.Time) {
	c.ExpiresAt, c.WarnedAt = end, d.now
	state := c.State
	d.tellConnection(events.ConnectionExpiring, c, &state, &state, nil)
	d.finding.told[len(d.finding.told)-1].Data.(*events.Connection).ExpiresAt = end
}

// miss counts a complete answer without the row. Enough of them, and one read
// that asks for deleted rows, and the connection is gone.
func (d *differ) miss(c *events.MemberConnection) {
	n := d.before.missing[c.Token]
	if d.complete() {
		n++
	}
	if n == 0 {
		return
	}
	enough := d.complete() && n >= d.Vanish
	if !enough || d.deleted == nil || !d.deleted.Whole {
		d.finding.memory.missing[c.Token] = n
		d.finding.askDeleted = d.finding.askDeleted || enough
		return
	}
	was := c.State
	var now *events.ConnectionState
	for _, r := range distinct(d.deleted.Items) {
		if r.id == c.ConnectionID && (sameType(r.state, was) || vague(r.state) || vague(was)) {
			now = &r.state
		}
	}
	c.RemovedAt, c.BrokenSince, c.ConfirmedAt = d.now, time.Time{}, time.Time{}
	c.ConnectedSince, c.WasConnectedSince = time.Time{}, time.Time{}
	c.ExpiresAt, c.WarnedAt = time.Time{}, time.Time{}
	d.tellConnection(events.ConnectionRemoved, c, &was, now, nil)
}

func (d *differ) tellConnection(t events.Type, c *events.MemberConnection, was, now *events.ConnectionState, missed *events.Between) {
	e := events.Event{Type: t, Part: string(c.Token), Data: &events.Connection{
		MemberID: d.memberID, ConnectionID: c.ConnectionID, Previous: was, Current: now,
		Changed: []string{}, MissedBetween: missed, Episode: c.Episode,
	}}
	if c.Episode > 0 {
		e.CorrelationID = events.EpisodeID(c.Token, c.Episode)
	}
	if now != nil && t != events.ConnectionConfirmed && t != events.ConnectionExpiring {
		e.Time = now.StatusUpdated
	}
	d.tell(e)
}

// differences names the fields that differ, sorted. lastSynced alone is no
// change: it moves all the time.
func differences(a, b events.ConnectionState) []string {
	changed := []string{}
	for _, f := range []struct {
		name   string
		differ bool
	}{
		{"category", a.Category != b.Category || a.CategoryRaw != b.CategoryRaw},
		{"created", !a.Created.Equal(b.Created)},
		{"integrationType", !sameType(a, b)},
		{"status", a.Status != b.Status || a.StatusRaw != b.StatusRaw},
		{"statusUpdated", !a.StatusUpdated.Equal(b.StatusUpdated)},
		{"syncErrors", !slices.Equal(a.SyncErrors, b.SyncErrors)},
		{"syncStatus", a.SyncStatus != b.SyncStatus || a.SyncStatusRaw != b.SyncStatusRaw},
		{"type", a.Type != b.Type || a.TypeRaw != b.TypeRaw},
	} {
		if f.differ {
			changed = append(changed, f.name)
		}
	}
	return changed
}

// offered compares the sources b.well recommends. One that the same answer
// shows connected is none: the two reads are not atomic.
func (d *differ) offered() {
	if d.offers == nil || !d.offers.Whole {
		return
	}
	now := map[string]bool{}
	for _, o := range d.offers.Items {
		now[o.Alias] = true
	}
	for _, c := range d.head.Connections {
		if c.State.Status == events.Connected && !c.Removed() {
			delete(now, c.ConnectionID)
		}
	}
	was := map[string]bool{}
	for _, o := range d.head.Recommendations {
		was[o.Alias] = true
	}
	all := maps.Clone(now)
	maps.Copy(all, was)
	kept := []events.Recommendation{}
	for _, alias := range slices.Sorted(maps.Keys(all)) {
		token := string(d.tokens.Recommendation(d.memberID, alias))
		offer := events.Recommendation{MemberID: d.memberID, Alias: alias, OfferID: token}
		if now[alias] {
			kept = append(kept, offer)
		}
		switch {
		case now[alias] && !was[alias]:
			d.tell(events.Event{Type: events.RecommendationFound, Part: token, Data: &offer})
		case was[alias] && !now[alias]:
			d.tell(events.Event{Type: events.RecommendationWithdrawn, Part: token, Data: &offer})
		}
	}
	d.head.Recommendations = kept
}

// Consent returns the member's IAS consent in an answer.
func Consent(list []bwell.Consent) events.MemberConsent { return currentConsent(list) }

// Find returns the state of one connection in an answer: the row of that id and
// type, or the only row of that id if either type says nothing.
func Find(list []bwell.Connection, connectionID string, t events.IntegrationType) (events.ConnectionState, bool) {
	var same []events.ConnectionState
	for _, r := range distinct(list) {
		if r.id != connectionID {
			continue
		}
		if r.state.IntegrationType == t {
			return r.state, true
		}
		same = append(same, r.state)
	}
	if len(same) == 1 && (vague(same[0]) || t == "" || t == events.Unknown) {
		return same[0], true
	}
	return events.ConnectionState{}, false
}
