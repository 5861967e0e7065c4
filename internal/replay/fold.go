package replay

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/smartconnect/connector/internal/events"
)

// Verdicts of a check.
const (
	Same      = "same"               // the events add up to the heads
	Differs   = "differs"            // they do not
	TooShort  = "not_enough_history" // too few of the events are kept to say
	NoHeads   = "no_heads"           // nothing is known of the member
	Broken    = "broken_head"        // the last message of a head cannot be read
	Forgotten = "forgotten"          // what is left are tombstones
)

// A Check says whether the events that are kept of a member add up to the
// heads.
type Check struct {
	Member  events.MemberToken `json:"member"`
	Verdict string             `json:"verdict"`

	// Since and AgendaSince are the sequences of the older heads that the events
	// were added to; 0: to nothing, the whole history is kept.
	Since       uint64 `json:"since"`
	AgendaSince uint64 `json:"agendaSince"`

	Differences []string `json:"differences,omitempty"` // fields, without their values
	Broken      []string `json:"broken,omitempty"`      // member, agenda: the heads that cannot be read
}

// A Kept is a message that is kept of a member.
type Kept struct {
	Event events.Event

	// Broken is the kind of head whose subject it stands on, member or agenda, if
	// it cannot be read. Then there is no Event.
	Broken string
}

// Fold adds up the events of one member, in the order of the stream, and
// compares the sum with the last heads. What no event tells of is left out of
// the comparison: see untoldMember and untoldAgenda.
func Fold(m events.MemberToken, all []Kept) Check {
	c := Check{Member: m, Verdict: NoHeads}
	if c.Broken = broken(all); len(c.Broken) > 0 {
		c.Verdict = Broken
		return c
	}
	var kept []events.Event
	for _, k := range all {
		if k.Broken == "" {
			kept = append(kept, k.Event)
		}
	}
	known, since, okKnown := rebuild(kept, events.MemberSnapshot, addMember, events.Member{})
	asked, agendaSince, okAsked := rebuild(kept, events.AgendaSnapshot, addAgenda, events.Agenda{})
	if known.head == nil {
		return c
	}
	if !okKnown || asked.head != nil && !okAsked {
		c.Verdict = TooShort
		return c
	}
	c.Since, c.AgendaSince = since, agendaSince
	sortMember(known.sum)
	c.Differences = differences("member", untoldMember(*known.sum), untoldMember(*known.head))
	if asked.head != nil {
		week := asked.at.Add(-7 * 24 * time.Hour)
		asked.sum.Pushes = slices.DeleteFunc(asked.sum.Pushes, func(t time.Time) bool { return !t.After(week) })
		c.Differences = append(c.Differences, differences("agenda", untoldAgenda(*asked.sum), untoldAgenda(*asked.head))...)
	}
	c.Verdict = Same
	if len(c.Differences) > 0 {
		c.Verdict = Differs
	}
	return c
}

// broken names the heads whose last message cannot be read. An older one that
// cannot is history: it is missing from it.
func broken(all []Kept) []string {
	last := map[string]bool{}
	for _, k := range all {
		if k.Broken != "" {
			last[k.Broken] = true
		} else {
			delete(last, k.Event.Type.Kind())
		}
	}
	return slices.Sorted(maps.Keys(last))
}

// A sum is what events add up to, and the head that should be equal to it.
type sum[T any] struct {
	sum, head *T
	at        time.Time // of the head
}

// rebuild adds the events up to the last head of a type: from nothing if all
// are kept, else from the oldest head after which all are.
func rebuild[T any](kept []events.Event, t events.Type, add func(*T, events.Event), none T) (s sum[T], since uint64, ok bool) {
	last := -1
	var bases []int
	for i, e := range kept {
		if e.Type == t {
			if last >= 0 {
				bases = append(bases, last)
			}
			last = i
		}
	}
	if last < 0 {
		return s, 0, false
	}
	head, _ := any(kept[last].Data).(*T)
	book := bookOf(head)
	s.head, s.at = head, kept[last].Recorded
	try := func(from int, start T, began events.Book) bool {
		if began.Incarnation != book.Incarnation || !whole(kept[from+1:last], *book, began, t.Kind()) {
			return false
		}
		total := events.Book{Incarnation: book.Incarnation, Sequences: maps.Clone(began.Sequences), Latest: maps.Clone(began.Latest)}
		for _, e := range kept[from+1 : last] {
			if key := keyOf(e); book.Sequences[key] >= e.Sequence && e.Type != t && began.Sequences[key] < e.Sequence {
				total.Sequences[key], total.Latest[key] = e.Sequence, e.ID
				add(&start, e)
			}
		}
		total.Sequences[t.Kind()] = kept[last].Sequence
		*bookOf(&start) = total
		s.sum = &start
		return true
	}
	if try(-1, none, events.NewBook(book.Incarnation)) {
		return s, 0, true
	}
	for _, i := range bases {
		base, _ := any(kept[i].Data).(*T)
		if try(i, clone(base), *bookOf(base)) {
			return s, kept[i].Sequence, true
		}
	}
	return s, 0, false
}

// whole reports whether kept has every event that book counts after began.
func whole(kept []events.Event, book, began events.Book, own string) bool {
	have := map[string]uint64{}
	for _, e := range kept {
		key := keyOf(e)
		if _, counted := book.Sequences[key]; counted && key != own && e.Sequence > began.Sequences[key] {
			if e.Sequence != max(have[key], began.Sequences[key])+1 {
				return false
			}
			have[key] = e.Sequence
		}
	}
	for key, n := range book.Sequences {
		if key != own && n > began.Sequences[key] && have[key] < n {
			return false
		}
	}
	return true
}

func bookOf(head any) *events.Book {
	switch h := head.(type) {
	case *events.Member:
		return &h.Book
	case *events.Agenda:
		return &h.Book
	default:
		return new(events.Book)
	}
}

// keyOf names the subject of e as books do.
func keyOf(e events.Event) string {
	if e.Part == "" {
		return e.Type.Kind()
	}
	return e.Type.Kind() + "." + e.Part
}

// clone copies a head by its JSON: the sum must not write into the events.
func clone[T any](v *T) T {
	var c T
	if body, err := json.Marshal(v); err == nil {
		_ = json.Unmarshal(body, &c)
	}
	return c
}

// addMember adds one fact to what is known.
func addMember(m *events.Member, e events.Event) {
	switch d := e.Data.(type) {
	case *events.Connection:
		m.MemberID = d.MemberID
		addConnection(m, e, d)
	case *events.Task:
		m.MemberID = d.MemberID
		m.Task = &events.MemberTask{TaskID: d.TaskID, Status: d.Current, Raw: d.CurrentRaw, Reason: d.Reason, Updated: theirTime(e)}
	case *events.Consent:
		m.MemberID = d.MemberID
		m.Consent = events.MemberConsent{Read: true, ConsentID: d.ConsentID, Provision: d.Current, DateTime: theirTime(e), Permitted: m.Consent.Permitted || d.Current == events.Permit}
	case *events.Recommendation:
		m.MemberID = d.MemberID
		m.Recommendations = slices.DeleteFunc(m.Recommendations, func(r events.Recommendation) bool { return r.Alias == d.Alias })
		if e.Type == events.RecommendationFound {
			m.Recommendations = append(m.Recommendations, *d)
		}
	case *events.Observation:
		m.MemberID = d.MemberID
		o := &m.Observation
		if e.Type == events.ObservationLost {
			if !o.Blind() {
				o.LostSince = e.Recorded
			}
			o.Reason = d.Reason
			return
		}
		if e.Type == events.ObservationStarted {
			o.Started = e.Recorded
		}
		o.LostSince, o.Reason = time.Time{}, ""
	default: // claims and heads are no facts
	}
}

// theirTime is b.well's time of an event, zero where b.well gave none and ours
// stands for it.
func theirTime(e events.Event) time.Time {
	if e.Time.Equal(e.Recorded) {
		return time.Time{}
	}
	return e.Time
}

func addConnection(m *events.Member, e events.Event, d *events.Connection) {
	i := slices.IndexFunc(m.Connections, func(c events.MemberConnection) bool { return string(c.Token) == e.Part })
	if i < 0 {
		number := 1
		for _, c := range m.Connections {
			if c.ConnectionID == d.ConnectionID {
				number = max(number, c.Number+1)
			}
		}
		i = len(m.Connections)
		m.Connections = append(m.Connections, events.MemberConnection{
			Token: events.ConnectionToken(e.Part), ConnectionID: d.ConnectionID, Number: number, FirstSeen: e.Recorded,
		})
	}
	c := &m.Connections[i]
	switch e.Type {
	case events.ConnectionRemoved:
		c.RemovedAt, c.BrokenSince, c.ConfirmedAt = e.Recorded, time.Time{}, time.Time{}
		c.ConnectedSince, c.WasConnectedSince = time.Time{}, time.Time{}
		c.ExpiresAt, c.WarnedAt = time.Time{}, time.Time{}
	case events.ConnectionConfirmed:
		c.ConfirmedAt = e.Recorded
	case events.ConnectionExpiring:
		c.ExpiresAt, c.WarnedAt = d.ExpiresAt, e.Recorded
	default:
		if d.Current == nil {
			return
		}
		if e.Type == events.ConnectionDiscovered { // perhaps again
			c.RemovedAt, c.EpisodeSince, c.FirstSight = time.Time{}, time.Time{}, false
		}
		turn(c, *d.Current, d.Episode, e.Recorded, m.Observation.Started)
		if e.Type == events.ConnectionBaseline {
			c.FirstSight = d.Current.Status.Broken()
		}
	}
}

// turn moves a connection to a state. The event's episode says whether a break
// is a new one; started is when we first looked.
func turn(c *events.MemberConnection, to events.ConnectionState, episode int, at, started time.Time) {
	switch {
	case to.Status.Broken() && (c.BrokenSince.IsZero() || to.Status != c.State.Status):
		if c.BrokenSince.IsZero() {
			worked := !c.ConnectedSince.IsZero() || !c.WasConnectedSince.IsZero()
			switch {
			case episode != c.Episode:
				c.Episode, c.EpisodeSince, c.FlapCount = episode, at, 0
				c.FirstSight = !worked && !to.StatusUpdated.IsZero() && to.StatusUpdated.Before(started)
			case worked:
				c.FlapCount++
			}
		}
		c.BrokenSince, c.ConfirmedAt = at, time.Time{}
		c.ConnectedSince, c.WasConnectedSince = time.Time{}, time.Time{}
	case to.Status == events.Connected && c.ConnectedSince.IsZero():
		c.ConnectedSince, c.WasConnectedSince = cmp.Or(c.WasConnectedSince, at), time.Time{}
		c.BrokenSince, c.ConfirmedAt, c.FirstSight = time.Time{}, time.Time{}, false
	case !to.Status.Broken() && to.Status != events.Connected:
		c.ConnectedSince, c.WasConnectedSince = time.Time{}, cmp.Or(c.ConnectedSince, c.WasConnectedSince)
		c.BrokenSince, c.ConfirmedAt = time.Time{}, time.Time{}
	}
	if to.Status.Broken() {
		c.ExpiresAt, c.WarnedAt = time.Time{}, time.Time{}
	}
	c.State = to
}

func sortMember(m *events.Member) {
	slices.SortFunc(m.Connections, func(a, b events.MemberConnection) int {
		return cmp.Or(cmp.Compare(a.ConnectionID, b.ConnectionID), cmp.Compare(a.Number, b.Number))
	})
	slices.SortFunc(m.Recommendations, func(a, b events.Recommendation) int { return cmp.Compare(a.Alias, b.Alias) })
}

// addAgenda adds one claim to what is asked.
func addAgenda(a *events.Agenda, e events.Event) {
	switch d := e.Data.(type) {
	case *events.Prompt:
		a.MemberID = d.MemberID
		addPrompt(a, e, d)
	case *events.Access:
		a.MemberID = d.MemberID
		switch {
		case e.Type == events.AccessEnded:
			a.Access = &events.AgendaAccess{EndedAt: e.Recorded}
		case a.Access != nil && e.Type == events.AccessRestored:
			a.Access.RestoredAt = e.Recorded
		case a.Access != nil:
			a.Access.OverdueAt = e.Recorded
		}
	default: // facts and heads ask nothing
	}
}

func addPrompt(a *events.Agenda, e events.Event, d *events.Prompt) {
	i := slices.IndexFunc(a.Asked, func(x events.Asked) bool { return string(x.Connection) == e.Part })
	if i < 0 {
		i = len(a.Asked)
		a.Asked = append(a.Asked, events.Asked{Connection: events.ConnectionToken(e.Part)})
	}
	asked := &a.Asked[i]
	// What is told in one moment is one push.
	if d.Notify && !slices.ContainsFunc(a.Pushes, e.Recorded.Equal) {
		a.Pushes = append(a.Pushes, e.Recorded)
	}
	open := slices.IndexFunc(a.Prompts, func(p events.Prompt) bool { return p.PromptID == d.PromptID })
	switch e.Type {
	case events.PromptOpened:
		asked.Openings++
		asked.Reminders, asked.ExpiresAt = 0, e.Expires
		a.Prompts = append(a.Prompts, *d)
	case events.PromptReminded, events.PromptAcknowledged:
		asked.Reminders = d.Reminder
		if open >= 0 {
			a.Prompts[open] = *d
		}
	default:
		asked.Reminders, asked.ExpiresAt = 0, time.Time{}
		if open >= 0 {
			a.Prompts = slices.Delete(a.Prompts, open, open+1)
		}
	}
}

// untoldMember clears what changes without an event: when the last answer that
// changed something was complete.
func untoldMember(m events.Member) events.Member {
	m.Observation.LastComplete = time.Time{}
	m.Connections = append([]events.MemberConnection{}, m.Connections...)
	m.Recommendations = append([]events.Recommendation{}, m.Recommendations...)
	return m
}

// untoldAgenda clears what changes without an event: when the next look is and
// what it was decided from, what is remembered of an episode besides its
// prompts, and how a denial is told from another.
func untoldAgenda(a events.Agenda) events.Agenda {
	a.Decided, a.NextLook = "", time.Time{}
	asked := []events.Asked{}
	for _, x := range a.Asked {
		if x.Openings > 0 {
			asked = append(asked, events.Asked{Connection: x.Connection, Openings: x.Openings, Reminders: x.Reminders, ExpiresAt: x.ExpiresAt})
		}
	}
	slices.SortFunc(asked, func(x, y events.Asked) int { return strings.Compare(string(x.Connection), string(y.Connection)) })
	a.Asked = asked
	a.Prompts = append([]events.Prompt{}, a.Prompts...)
	a.Pushes = append([]time.Time{}, a.Pushes...)
	if a.Access != nil {
		a.Access = &events.AgendaAccess{EndedAt: a.Access.EndedAt, OverdueAt: a.Access.OverdueAt, RestoredAt: a.Access.RestoredAt}
	}
	return a
}

// differences compares two heads by their bytes, and names the fields where
// they differ.
func differences(name string, sum, head any) []string {
	a, errA := json.Marshal(sum)
	b, errB := json.Marshal(head)
	if errA != nil || errB != nil {
		return []string{name}
	}
	if bytes.Equal(a, b) {
		return nil
	}
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return []string{name}
	}
	return walk(name, x, y)
}

func walk(path string, a, b any) []string {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok {
			return []string{path}
		}
		all := maps.Clone(x)
		maps.Copy(all, y)
		var paths []string
		for _, k := range slices.Sorted(maps.Keys(all)) {
			paths = append(paths, walk(path+"."+k, x[k], y[k])...)
		}
		return paths
	case []any:
		y, ok := b.([]any)
		if !ok || len(x) != len(y) {
			return []string{path}
		}
		var paths []string
		for i := range x {
			paths = append(paths, walk(fmt.Sprintf("%s[%d]", path, i), x[i], y[i])...)
		}
		return paths
	default:
		if reflect.DeepEqual(a, b) || sameInstant(a, b) {
			return nil
		}
		return []string{path}
	}
}

// sameInstant reports whether two values are one time: events carry theirs in
// UTC, heads in the zone of who wrote them.
func sameInstant(a, b any) bool {
	x, okX := a.(string)
	y, okY := b.(string)
	if !okX || !okY {
		return false
	}
	s, errS := time.Parse(time.RFC3339Nano, x)
	t, errT := time.Parse(time.RFC3339Nano, y)
	return errS == nil && errT == nil && s.Equal(t)
}
