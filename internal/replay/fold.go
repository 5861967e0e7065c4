package replay

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
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
	Body  []byte // as it is stored

	// Broken is the kind of head whose subject it stands on, member or agenda, if
	// it cannot be read. Then there is no Event.
	Broken string
}

// Fold adds up the events of one member, in the order of the stream, and
// compares the sum with the last heads, byte for byte. What no event tells is
// taken from the heads: see untoldMember and untoldAgenda.
func Fold(m events.MemberToken, all []Kept) Check {
	c := Check{Member: m, Verdict: NoHeads}
	if c.Broken = broken(all); len(c.Broken) > 0 {
		c.Verdict = Broken
		return c
	}
	h := historyOf(all)
	known, since, okKnown := rebuild(h, events.MemberSnapshot, func() adder[events.Member] { return addMember }, events.Member{})
	asked, agendaSince, okAsked := rebuild(h, events.AgendaSnapshot, func() adder[events.Agenda] { return new(gathering).add }, events.Agenda{})
	if known.head == nil {
		return c
	}
	c.Since, c.AgendaSince, c.Verdict = since, agendaSince, Same
	if okKnown {
		sortMember(known.sum)
		untoldMember(known)
		c.Differences = differences("member", known.sum, known.body)
	}
	if okAsked {
		untoldAgenda(asked)
		c.Differences = append(c.Differences, differences("agenda", asked.sum, asked.body)...)
	}
	switch {
	case len(c.Differences) > 0:
		c.Verdict = Differs
	case !okKnown || asked.head != nil && !okAsked:
		c.Verdict = TooShort
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

// A history is what can be read of what is kept.
type history struct {
	kept []Kept

	// known holds for each the member head that stood before it, nil if that is
	// not kept. What is asked of a member was decided from that head: the
	// transaction asserts that no other came between.
	known []*events.Event
}

func historyOf(all []Kept) (h history) {
	var known *events.Event
	for _, k := range all {
		if k.Broken != "" {
			continue
		}
		h.kept, h.known = append(h.kept, k), append(h.known, known)
		if k.Event.Type == events.MemberSnapshot {
			known = &k.Event
		}
	}
	return h
}

// A sum is what events add up to, and the head that should be equal to it.
type sum[T any] struct {
	sum, head *T
	body      []byte        // of the head
	start     T             // what the events were added to
	told      []Kept        // the events
	known     *events.Event // the member head before the head
}

// An adder adds an event to what is known or asked. known is the member head
// that stood before it. It reports whether it could: some events mean something
// only beside that head, which may not be kept.
type adder[T any] func(total *T, e events.Event, known *events.Event) bool

// rebuild adds the events up to the last head of a type: from nothing if all
// are kept, else from the oldest head after which all are.
func rebuild[T any](h history, t events.Type, adding func() adder[T], none T) (s sum[T], since uint64, ok bool) {
	last := -1
	var bases []int
	for i, k := range h.kept {
		if k.Event.Type == t {
			if last >= 0 {
				bases = append(bases, last)
			}
			last = i
		}
	}
	if last < 0 {
		return s, 0, false
	}
	head, _ := any(h.kept[last].Event.Data).(*T)
	book := bookOf(head)
	s.head, s.body, s.known = head, h.kept[last].Body, h.known[last]
	try := func(from int, start T) bool {
		began := *bookOf(&start)
		told := h.kept[from+1 : last]
		if began.Incarnation != book.Incarnation || !whole(told, *book, began, t.Kind()) {
			return false
		}
		s.start, s.told = clone(&start), nil
		add := adding()
		own := bookOf(&start)
		own.Sequences, own.Latest = maps.Clone(began.Sequences), maps.Clone(began.Latest)
		for i, k := range told {
			key := keyOf(k.Event)
			head := k.Event.Type == t && bookOf(k.Event.Data).Incarnation == book.Incarnation
			event := k.Event.Type != t && k.Event.Sequence > began.Sequences[key] && k.Event.Sequence <= book.Sequences[key]
			if (head || event) && !add(&start, k.Event, h.known[from+1+i]) {
				return false
			}
			if event {
				own.Sequences[key], own.Latest[key] = k.Event.Sequence, k.Event.ID
				s.told = append(s.told, k)
			}
		}
		add(&start, h.kept[last].Event, h.known[last])
		own.Sequences[t.Kind()] = h.kept[last].Event.Sequence
		s.sum = &start
		return true
	}
	*bookOf(&none) = events.NewBook(book.Incarnation)
	if try(-1, none) {
		return s, 0, true
	}
	for _, i := range bases {
		base, _ := any(h.kept[i].Event.Data).(*T)
		if try(i, clone(base)) {
			return s, h.kept[i].Event.Sequence, true
		}
	}
	return s, 0, false
}

// whole reports whether kept has every event that book counts after began.
func whole(kept []Kept, book, began events.Book, own string) bool {
	have := map[string]uint64{}
	for _, k := range kept {
		e, key := k.Event, keyOf(k.Event)
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
func addMember(m *events.Member, e events.Event, _ *events.Event) bool {
	switch d := e.Data.(type) {
	case *events.Connection:
		m.MemberID = d.MemberID
		addConnection(m, e, d)
	case *events.Task:
		m.MemberID = d.MemberID
		m.Task = &events.MemberTask{TaskID: d.TaskID, Status: d.Current, Raw: d.CurrentRaw, Reason: d.Reason, Updated: theirTime(e)}
	case *events.Consent:
		m.MemberID = d.MemberID
		m.Consent = events.MemberConsent{Read: true, ConsentID: d.ConsentID, Provision: d.Current, DateTime: theirTime(e)}.After(m.Consent)
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
			return true
		}
		if e.Type == events.ObservationStarted {
			o.Started = e.Recorded
		}
		o.LostSince, o.Reason = time.Time{}, ""
	default: // claims and heads are no facts
	}
	return true
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

// sortMember puts what is known into the order in which it is written.
func sortMember(m *events.Member) {
	m.Connections, m.Recommendations = append([]events.MemberConnection{}, m.Connections...), append([]events.Recommendation{}, m.Recommendations...)
	slices.SortFunc(m.Connections, func(a, b events.MemberConnection) int {
		return cmp.Or(cmp.Compare(a.ConnectionID, b.ConnectionID), cmp.Compare(a.Number, b.Number))
	})
	slices.SortFunc(m.Recommendations, func(a, b events.Recommendation) int { return cmp.Compare(a.Alias, b.Alias) })
}

// A gathering adds up what is asked. What is told in one decision is one push.
type gathering struct{ pushed time.Time }

// add adds one claim. An agenda on the way ends a decision, and tells when
// pushes were last counted.
func (g *gathering) add(a *events.Agenda, e events.Event, known *events.Event) bool {
	switch d := e.Data.(type) {
	case *events.Agenda:
		g.pushed = time.Time{}
		a.Pushes = slices.DeleteFunc(a.Pushes, func(t time.Time) bool { return e.Recorded.Sub(t) >= week })
	case *events.Prompt:
		a.MemberID = d.MemberID
		g.addPrompt(a, e, d)
	case *events.Access:
		a.MemberID = d.MemberID
		if e.Type == events.AccessRestored {
			if a.Access != nil {
				a.Access.RestoredAt = e.Recorded
			}
			return true
		}
		if known == nil {
			return false // its tokens are not those of the event
		}
		member, _ := known.Data.(*events.Member)
		addAccess(a, e, member.DenialKey(), listed(member, d))
	default: // facts ask nothing
	}
	return true
}

// week is for how long pushes are counted.
const week = 7 * 24 * time.Hour

// listed returns the connections that an event lists, as the member's head
// knows them.
func listed(m *events.Member, d *events.Access) []events.MemberConnection {
	var found []events.MemberConnection
	for _, l := range d.Connections {
		i := slices.IndexFunc(m.Connections, func(c events.MemberConnection) bool {
			return !c.Removed() && c.ConnectionID == l.ConnectionID && c.State.IntegrationType == l.IntegrationType
		})
		if i >= 0 {
			found = append(found, m.Connections[i])
		}
	}
	return found
}

// addAccess adds the end of access, or that it is overdue.
func addAccess(a *events.Agenda, e events.Event, key string, about []events.MemberConnection) {
	if e.Type == events.AccessEnded {
		a.Access = &events.AgendaAccess{Key: key, Connections: []events.ConnectionToken{}, EndedAt: e.Recorded}
		for _, c := range about {
			a.Access.Connections = append(a.Access.Connections, c.Token)
		}
		return
	}
	if a.Access != nil {
		a.Access.OverdueAt = e.Recorded
	}
	for _, c := range about {
		askedOf(a, c.Token, c.Episode).OverdueAt = e.Recorded
	}
}

// askedOf returns what was asked about a connection in an episode. It begins
// anew with each.
func askedOf(a *events.Agenda, c events.ConnectionToken, episode int) *events.Asked {
	i := slices.IndexFunc(a.Asked, func(x events.Asked) bool { return x.Connection == c })
	if i < 0 {
		i = len(a.Asked)
		a.Asked = append(a.Asked, events.Asked{Connection: c, Episode: episode})
	}
	if a.Asked[i].Episode != episode {
		a.Asked[i] = events.Asked{Connection: c, Openings: a.Asked[i].Openings, Episode: episode}
	}
	return &a.Asked[i]
}

func (g *gathering) addPrompt(a *events.Agenda, e events.Event, d *events.Prompt) {
	number, _ := strings.CutPrefix(e.CorrelationID, e.Part+".")
	episode, _ := strconv.Atoi(number) // 0 is none: that shows as a difference
	asked := askedOf(a, events.ConnectionToken(e.Part), episode)
	if d.Notify {
		asked.PushedAt = cmp.Or(asked.PushedAt, e.Recorded)
		if !e.Recorded.Equal(g.pushed) {
			a.Pushes = append(a.Pushes, e.Recorded)
		}
		g.pushed = e.Recorded
	}
	open := slices.IndexFunc(a.Prompts, func(p events.Prompt) bool { return p.PromptID == d.PromptID })
	switch e.Type {
	case events.PromptOpened:
		asked.Openings++
		asked.OpeningID, asked.Reminders, asked.SnoozedUntil, asked.ExpiresAt = "", 0, time.Time{}, e.Expires
		a.Prompts = append(a.Prompts, *d)
		return
	case events.PromptReminded, events.PromptAcknowledged:
		// The book knows the opening until this second event of the prompt.
		asked.OpeningID = cmp.Or(asked.OpeningID, a.Latest[keyOf(e)])
		asked.Reminders, asked.SnoozedUntil = d.Reminder, d.SnoozedUntil
		if e.Type == events.PromptAcknowledged {
			asked.AcknowledgedAt = time.Time{}
			if d.SnoozedUntil.IsZero() {
				asked.AcknowledgedAt = e.Recorded
			}
		}
		if open >= 0 {
			a.Prompts[open] = *d
		}
		return
	case events.PromptExpired:
		asked.ExpiredAt = e.Recorded
	default: // resolved or withdrawn
	}
	asked.OpeningID, asked.Reminders, asked.ExpiresAt = "", 0, time.Time{}
	if open >= 0 {
		a.Prompts = slices.Delete(a.Prompts, open, open+1)
	}
}

// untoldMember takes from the head what no event tells: whether the last
// answer that changed something was complete. When that may have been is told.
func untoldMember(s sum[events.Member]) {
	may := []time.Time{s.start.Observation.LastComplete}
	for _, k := range s.told {
		switch d := k.Event.Data.(type) {
		case *events.Observation:
			may = []time.Time{k.Event.Recorded} // only a complete answer begins or resumes
			if k.Event.Type == events.ObservationLost {
				may = []time.Time{d.LastComplete}
			}
		default:
			may = append(may, k.Event.Recorded)
		}
	}
	s.sum.Observation.LastComplete = may[len(may)-1]
	if slices.ContainsFunc(may, s.head.Observation.LastComplete.Equal) {
		s.sum.Observation.LastComplete = s.head.Observation.LastComplete
	}
}

// untoldAgenda takes from the head what no event tells: when the next look is;
// when it was seen that consent was given again; and of each connection when a
// reminder is due, since when there is reason to ask, and what was tried
// without asking or noted by others.
func untoldAgenda(s sum[events.Agenda]) {
	s.sum.NextLook = s.head.NextLook
	s.sum.Decided = s.head.Decided
	if s.sum.MemberID == "" { // nothing was told so far
		s.sum.MemberID = s.head.MemberID
	}
	if s.known != nil {
		m, _ := s.known.Data.(*events.Member)
		s.sum.Decided, s.sum.MemberID = s.known.ID, m.MemberID
	}
	if s.sum.Access != nil && s.head.Access != nil {
		s.sum.Access.PermittedAt = s.head.Access.PermittedAt
	}
	// The order is that in which something was first remembered of a connection.
	told := s.sum.Asked
	s.sum.Asked = []events.Asked{}
	for _, h := range s.head.Asked {
		i := slices.IndexFunc(told, func(x events.Asked) bool { return x.Connection == h.Connection })
		of := events.Asked{Connection: h.Connection}
		if i >= 0 {
			of = told[i]
			told = slices.Delete(told, i, i+1)
		}
		remembered := (!h.ReadyAt.IsZero() || !h.ActivatedAt.IsZero() || h.Released) && h.Episode > of.Episode && began(s.known, h)
		if remembered { // of an episode in which nothing was asked so far
			of = events.Asked{Connection: h.Connection, Openings: of.Openings, Episode: h.Episode}
		} else if i < 0 {
			continue
		}
		of.RemindAt, of.ReadyAt, of.Instead, of.ActivatedAt, of.Released = h.RemindAt, h.ReadyAt, h.Instead, h.ActivatedAt, h.Released
		s.sum.Asked = append(s.sum.Asked, of)
	}
	s.sum.Asked = append(s.sum.Asked, told...)
	s.sum.Prompts, s.sum.Pushes = append([]events.Prompt{}, s.sum.Prompts...), append([]time.Time{}, s.sum.Pushes...)
}

// began reports whether the member's head, if it is kept, knows of the episode.
func began(known *events.Event, a events.Asked) bool {
	if known == nil {
		return true
	}
	m, _ := known.Data.(*events.Member)
	c, ok := m.Connection(a.Connection)
	return ok && a.Episode <= c.Episode
}

// differences compares what events add up to with a head as it is stored, byte
// for byte, and names the fields where they differ.
func differences(name string, sum any, stored []byte) []string {
	added, err := json.Marshal(sum)
	if err != nil {
		return []string{name}
	}
	if bytes.Equal(added, stored) {
		return nil
	}
	x, errX := parse(added)
	y, errY := parse(stored)
	if errX != nil || errY != nil {
		return []string{name}
	}
	if paths := walk(name, x, y); len(paths) > 0 {
		return paths
	}
	return []string{name} // it says the same in other bytes
}

// parse reads JSON and keeps numbers as they are written.
func parse(body []byte) (v any, err error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	return v, dec.Decode(&v)
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
		if reflect.DeepEqual(a, b) {
			return nil
		}
		return []string{path}
	}
}
