// Package simulator is a b.well that can be made to do anything: GraphQL, token
// exchange, an OAuth provider a browser can click through, b.well's own rules
// about consent, and a control API that breaks whatever a test wants broken.
//
// It is written from b.well's public documentation. It is not b.well, and where
// the documentation is silent it guesses; docs/simulator.md says where.
package simulator

import (
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
)

// SDL is the schema the simulator answers by.
//
//go:embed schema.graphql
var SDL string

// Config says what the simulator starts with. The zero value is an empty b.well.
type Config struct {
	Seed      uint64           // equal seeds give equal members
	Members   int              // members there are from the start
	TokenLife time.Duration    // of access tokens; default 1 h
	Now       func() time.Time // default time.Now
	Stop      <-chan struct{}  // once closed, no answer waits any more; may be nil
}

// A Simulator is one simulated b.well. It is safe for concurrent use. New
// starts nothing; Handler serves it.
type Simulator struct {
	now    func() time.Time
	stop   <-chan struct{}
	secret []byte
	life   time.Duration // of access tokens

	seeded uint64
	past   time.Time // when all was that was before the start

	mu      sync.Mutex
	chance  *rand.Rand // of faults, which must not change what members are
	members map[string]*member
	order   []string // ids, as they were added
	made    int      // members ever made
	grants  map[string]*grant
	once    map[string]once
	faults  Faults
	failing dialect // what faults say of requests that fail
	calls   map[string]map[string]int
	queries queryCache
}

// A Row is a connection as getMemberConnections lists it. Values may be
// anything, also nothing: the simulator exists to send what nobody expects.
type Row map[string]any

func (r Row) text(field string) string {
	s, _ := r[field].(string)
	return s
}

// check refuses names that no field of a connection has: misspelt, a field would
// change nothing, and nobody would know.
func (r Row) check() error {
	fields := row("", "", "", time.Time{})
	for _, name := range slices.Sorted(maps.Keys(r)) {
		if _, ok := fields[name]; !ok {
			return fmt.Errorf("simulator: connection: there is no field %q; want %s", name, strings.Join(slices.Sorted(maps.Keys(fields)), ", "))
		}
	}
	return nil
}

func (r Row) ias() bool { return strings.HasSuffix(r.text("integrationType"), "_IAS") }

func (r Row) byOAuth() bool {
	return r.text("integrationType") != "DIRECT_IAS" && r.text("category") != "BASIC"
}

type member struct {
	id  string
	rng *rand.Rand

	state
	before   []snapshot // what changed of late, for reads that lag
	taskAt   time.Time  // when the search goes on
	erasures []erasure  // what goes next, in order
	idToken  string
	refresh  string
	deletion *deletion

	generation int // of access tokens: those of earlier ones are refused
}

// A state is all that can be read of a member.
type state struct {
	rows     []Row
	consents []map[string]any
	tasks    []map[string]any
	offers   []offer
	identity Identity
}

func (s state) copy() state {
	s.rows = copies(s.rows)
	s.tasks = copies(s.tasks)
	s.consents = slices.Clone(s.consents) // those that were given are never changed
	return s
}

// A snapshot is a state as it was until a change.
type snapshot struct {
	until time.Time
	state
}

// An Identity is how far a member's identity is proven: what verificationStatus
// answers. Only "validated" is IAL2.
type Identity struct {
	Status    string `json:"status"`
	ErrorCode string `json:"errorCode,omitempty"`

	since time.Time
}

const validated = "validated"

func (i Identity) validate() error {
	if !slices.Contains([]string{"attested", validated, "in-process", "req-revalid", "val-fail", "reval-fail"}, i.Status) {
		return errors.New("simulator: identity: want attested, validated, in-process, req-revalid, val-fail or reval-fail")
	}
	return nil
}

type offer struct{ Alias, Name string }

// ErrNoMember reports an id that no member has.
var ErrNoMember = errors.New("simulator: there is no member of this id")

// ErrNoConnection reports an id that no connection of the member has.
var ErrNoConnection = errors.New("simulator: the member has no connection of this id")

// ErrConsentEnded reports a login to an IAS connection of a member who has
// revoked their consent: it must be given first.
var ErrConsentEnded = errors.New("simulator: consent is revoked, and no login brings an IAS connection back without it")

// ErrNoLogin reports a connection that no OAuth login connects.
var ErrNoLogin = errors.New("simulator: DIRECT_IAS connections are activated, and BASIC ones take a password: no login connects them")

// New returns a simulator with c.Members members.
func New(c Config) *Simulator {
	if c.Now == nil {
		c.Now = time.Now
	}
	s := &Simulator{
		now: c.Now, stop: c.Stop, secret: fmt.Appendf(nil, "simulated signing key %d", c.Seed),
		life: cmp.Or(c.TokenLife, time.Hour), seeded: c.Seed, past: past(c.Now()),
		chance:  rand.New(rand.NewPCG(c.Seed, 0xfa017)), //nolint:gosec // it makes up errors
		members: map[string]*member{}, grants: map[string]*grant{}, once: map[string]once{},
		calls: map[string]map[string]int{},
	}
	for range c.Members {
		s.mu.Lock()
		s.seed(NewMember{})
		s.mu.Unlock()
	}
	return s
}

// past returns the day before which everything was that was before the start.
// It is the same day for all, so that a simulator that is started again has the
// connections it had. A clock that has not got there has its own now.
func past(now time.Time) time.Time {
	day := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	if now.Before(day) {
		return now.UTC()
	}
	return day
}

// sources are the places the seeded members have records at.
func sources() []offer {
	return []offer{
		{"river-clinic_fhir", "River Clinic"},
		{"hill-hospital_fhir", "Hill Hospital"},
		{"lakeside_health", "Lakeside Health"},
		{"northern-lab_01", "Northern Lab"},
		{"oak-street-pharmacy_rx", "Oak Street Pharmacy"},
		{"cedar_family-care", "Cedar Family Care"},
		{"harbor-insurance_plan", "Harbor Insurance"},
		{"meadow_pediatrics-1", "Meadow Pediatrics"},
	}
}

// seed adds one member as every seeded one is: a PROA, an INDIRECT_IAS and a
// DIRECT_IAS connection, sometimes one source by two ways, a recommendation. The
// caller holds the lock.
func (s *Simulator) seed(n NewMember) *member {
	number := s.made + 1
	for s.members[fmt.Sprintf("member-%04d", number)] != nil { // somebody took the name
		number++
	}
	m := s.add(fmt.Sprintf("member-%04d", number))
	all := sources()
	m.rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for i, t := range []string{"PROA", "INDIRECT_IAS", "DIRECT_IAS"} {
		m.rows = append(m.rows, s.old(m, all[i].Alias, all[i].Name, t))
	}
	if m.rng.IntN(4) == 0 {
		m.rows = append(m.rows, s.old(m, all[0].Alias, all[0].Name, "INDIRECT_IAS"))
	}
	m.offers = []offer{all[4]}
	s.settle(m, n)
	return m
}

// settle gives a new member consent and a search of long ago, if nothing else is
// wanted.
func (s *Simulator) settle(m *member, n NewMember) {
	m.identity = n.identity(s.past)
	switch strings.ToLower(n.Consent) {
	case "none":
	case "deny":
		s.consent(m, "DENY", s.past)
	default:
		m.give(s.past, "ACTIVE", "PERMIT", iasCategory)
		s.task(m, "completed", s.past)
	}
}

// old is a connection of a source that has worked for a while before the start.
func (s *Simulator) old(m *member, id, name, integration string) Row {
	r := row(id, name, integration, s.past.Add(-time.Duration(24+m.rng.IntN(1000))*time.Hour))
	r["lastSynced"] = zoneless(s.past.Add(-time.Hour))
	return r
}

// row is a connection as it is made. It has all fields there are.
func row(id, name, integration string, born time.Time) Row {
	return Row{
		"id": id, "name": name, "category": "OAUTH", "integrationType": integration, "type": "CLINICAL",
		"status": "CONNECTED", "syncStatus": "RETRIEVED", "syncErrors": nil,
		"statusUpdated": zoneless(born), "lastSynced": zoneless(born), "created": zoneless(born),
	}
}

// zoneless is how b.well dates connections: microseconds, no zone.
func zoneless(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000") }

// instant is how b.well dates FHIR resources.
func instant(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// add makes an empty member. The caller holds the lock.
func (s *Simulator) add(id string) *member {
	m := &member{
		id: id,
		// A source of chance of its own: what happens to one member changes no other.
		rng: rand.New(rand.NewPCG(s.seeded, 0x5ca1ab1e+uint64(s.made))), //nolint:gosec // it makes up test data
	}
	m.idToken = s.jwt(m, 365*24*time.Hour, "id")
	m.refresh = s.grant(id)
	s.members[id] = m
	s.order = append(s.order, id)
	s.made++
	return m
}

// A MemberView is a member as the control API shows one.
type MemberView struct {
	ID              string           `json:"id"`
	Connections     []Row            `json:"connections"`
	Consent         string           `json:"consent"`  // permit, deny, none
	Identity        string           `json:"identity"` // as verificationStatus has it
	Tasks           []map[string]any `json:"tasks"`
	Recommendations []string         `json:"recommendations"`
	IDToken         string           `json:"idToken"`
	RefreshToken    string           `json:"refreshToken"`
}

// Members returns all members as they are now.
func (s *Simulator) Members() []MemberView {
	s.mu.Lock()
	defer s.mu.Unlock()
	views := make([]MemberView, 0, len(s.order))
	for _, id := range s.order {
		views = append(views, s.view(s.members[id]))
	}
	return views
}

func (s *Simulator) view(m *member) MemberView {
	s.advance(m)
	v := MemberView{
		ID: m.id, Connections: copies(m.rows), Consent: m.provision(), Identity: m.identity.Status, Tasks: []map[string]any{}, Recommendations: []string{},
		IDToken: m.idToken, RefreshToken: m.refresh,
	}
	for _, t := range m.tasks {
		v.Tasks = append(v.Tasks, maps.Clone(t))
	}
	for _, o := range m.open() {
		v.Recommendations = append(v.Recommendations, o.Alias)
	}
	return v
}

func copies[M ~map[string]any](all []M) []M {
	out := make([]M, len(all))
	for i, m := range all {
		out[i] = maps.Clone(m)
	}
	return out
}

// open returns the sources that are recommended: those not connected.
func (s *state) open() []offer {
	return slices.DeleteFunc(slices.Clone(s.offers), func(o offer) bool {
		return slices.ContainsFunc(s.rows, func(r Row) bool { return r.text("id") == o.Alias && r.text("status") == "CONNECTED" })
	})
}

// A NewMember is one to add. Connections are fields of getMemberConnections;
// those left out are those of a healthy PROA connection.
type NewMember struct {
	ID          string `json:"id"` // without control characters
	Connections []Row  `json:"connections"`
	Identity    string `json:"identity"` // default validated
	Consent     string `json:"consent"`  // permit, the default, deny or none, in any case
}

// AddMembers adds seeded members and returns their ids. Of n, only what is not
// their ids and connections counts.
func (s *Simulator) AddMembers(count int, n NewMember) ([]string, error) {
	if err := n.validate(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make([]string, 0, count)
	for range count {
		ids = append(ids, s.seed(n).id)
	}
	return ids, nil
}

func (n NewMember) validate() error {
	if err := n.identity(time.Time{}).validate(); err != nil {
		return err
	}
	if !slices.Contains([]string{"", "permit", "deny", "none"}, strings.ToLower(n.Consent)) {
		return errors.New("simulator: consent: want permit, deny or none")
	}
	for _, fields := range n.Connections {
		if err := fields.check(); err != nil {
			return err
		}
		if fields.text("id") == "" {
			return errors.New("simulator: add member: a connection has no id")
		}
	}
	return nil
}

func (n NewMember) identity(since time.Time) Identity {
	return Identity{Status: cmp.Or(n.Identity, validated), since: since}
}

// AddMember adds a member with connections of one's own.
func (s *Simulator) AddMember(n NewMember) error {
	if err := n.validate(); err != nil {
		return err
	}
	if strings.ContainsFunc(n.ID, unicode.IsControl) {
		return errors.New("simulator: add member: the id has a control character")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n.ID == "" || s.members[n.ID] != nil {
		return errors.New("simulator: add member: the id is empty or taken")
	}
	m := s.add(n.ID)
	for _, fields := range n.Connections {
		r := s.old(m, fields.text("id"), "Clinic "+fields.text("id"), "PROA")
		maps.Copy(r, fields)
		m.rows = append(m.rows, r)
	}
	s.settle(m, n)
	return nil
}

// SetIdentity sets how far the member's identity is proven.
func (s *Simulator) SetIdentity(memberID string, i Identity) error {
	if err := i.validate(); err != nil {
		return err
	}
	return s.with(memberID, func(m *member) error {
		i.since = s.now()
		m.identity = i
		return nil
	})
}

// with calls f with a member under the lock. f changes nothing if it fails.
func (s *Simulator) with(id string, f func(m *member) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.members[id]
	if m == nil {
		return ErrNoMember
	}
	s.advance(m)
	s.remember(m, s.now())
	return f(m)
}

// remember keeps the state as it is before a change, for reads that lag. The
// caller holds the lock.
func (s *Simulator) remember(m *member, at time.Time) {
	s.seen(m) // forgets what no read will show any more
	if s.faults.Lag > 0 {
		m.before = append(m.before, snapshot{at, m.copy()})
	}
}

// seen returns the state that reads show: what is true, or what was a while ago.
func (s *Simulator) seen(m *member) *state {
	lag := time.Duration(s.faults.Lag)
	if lag == 0 {
		m.before = nil
		return &m.state
	}
	then := s.now().Add(-lag)
	for len(m.before) > 0 && !m.before[0].until.After(then) {
		m.before = m.before[1:]
	}
	if len(m.before) == 0 {
		return &m.state
	}
	return &m.before[0].state
}

// rowsOf returns the rows with an id; integration, if given, narrows them.
func (s *state) rowsOf(id, integration string) []Row {
	var found []Row
	for _, r := range s.rows {
		if r.text("id") == id && (integration == "" || r.text("integrationType") == integration) {
			found = append(found, r)
		}
	}
	return found
}

// SetConnection sets any field of a connection to anything; one that is not
// there is made. A changed status sets statusUpdated to now unless it is given.
// Where the id stands twice, the first row of the given integrationType counts,
// else the first.
func (s *Simulator) SetConnection(memberID, connectionID string, fields Row) error {
	if err := fields.check(); err != nil {
		return err
	}
	return s.with(memberID, func(m *member) error {
		found := m.rowsOf(connectionID, fields.text("integrationType"))
		if len(found) == 0 {
			found = m.rowsOf(connectionID, "")
		}
		if len(found) == 0 {
			r := row(connectionID, "Clinic "+connectionID, "PROA", s.now())
			m.rows = append(m.rows, r)
			found = []Row{r}
		}
		r := found[0]
		status, changes := fields["status"]
		if _, given := fields["statusUpdated"]; changes && !given && !reflect.DeepEqual(status, r["status"]) {
			r["statusUpdated"] = zoneless(s.now())
		}
		maps.Copy(r, fields)
		r["id"] = connectionID
		return nil
	})
}

// RemoveConnection takes a connection off the list, both of them if its id
// stands twice.
func (s *Simulator) RemoveConnection(memberID, connectionID string) error {
	return s.RemoveConnectionOf(memberID, connectionID, "")
}

// RemoveConnectionOf does so for the rows of one integrationType, if it is given.
func (s *Simulator) RemoveConnectionOf(memberID, connectionID, integrationType string) error {
	return s.with(memberID, func(m *member) error {
		left := slices.DeleteFunc(slices.Clone(m.rows), func(r Row) bool {
			return r.text("id") == connectionID && (integrationType == "" || r.text("integrationType") == integrationType)
		})
		if len(left) == len(m.rows) {
			return ErrNoConnection
		}
		m.rows = left
		return nil
	})
}

// Login finishes an OAuth login without a browser: the connection works again,
// or is made if it was only recommended. Where the id stands twice, both do.
func (s *Simulator) Login(memberID, connectionID string) error {
	return s.with(memberID, func(m *member) error { return s.login(m, connectionID) })
}

func (s *Simulator) login(m *member, connectionID string) error {
	revoked := m.provision() == "deny"
	if rows := m.rowsOf(connectionID, ""); len(rows) > 0 {
		rows = slices.DeleteFunc(rows, func(r Row) bool { return !r.byOAuth() })
		if len(rows) == 0 {
			return ErrNoLogin
		}
		open := slices.DeleteFunc(slices.Clone(rows), func(r Row) bool { return r.ias() && revoked })
		if len(open) == 0 || len(open) < len(rows) && !slices.ContainsFunc(open, func(r Row) bool { return r.text("status") != "CONNECTED" }) {
			return ErrConsentEnded // what the member came for does not work
		}
		for _, r := range open {
			s.connect(r)
		}
		return nil
	}
	i := slices.IndexFunc(m.offers, func(o offer) bool { return o.Alias == connectionID })
	switch {
	case i < 0:
		return ErrNoConnection
	case revoked:
		return ErrConsentEnded
	}
	m.rows = append(m.rows, row(connectionID, m.offers[i].Name, "INDIRECT_IAS", s.now()))
	return nil
}

func (s *Simulator) connect(r Row) {
	if r.text("status") != "CONNECTED" {
		r["statusUpdated"] = zoneless(s.now())
	}
	r["status"], r["syncStatus"], r["syncErrors"] = "CONNECTED", "RETRIEVED", nil
}

// SetTask sets the status of the member's network search.
func (s *Simulator) SetTask(memberID, status string) error {
	if status == "" {
		return errors.New("simulator: status: want a task status, as in-progress")
	}
	return s.with(memberID, func(m *member) error {
		s.task(m, status, s.now())
		m.taskAt = time.Time{}
		return nil
	})
}

func (s *Simulator) task(m *member, status string, now time.Time) {
	if len(m.tasks) == 0 {
		m.tasks = []map[string]any{{
			"id": m.uuid(), "resourceType": "Task", "for": map[string]any{"reference": "Patient/" + m.id},
			"code":       map[string]any{"coding": []any{map[string]any{"system": "https://www.icanbwell.com/activityType", "code": "network-data-retrieval"}}},
			"authoredOn": instant(now), "performerType": []any{map[string]any{"coding": []any{map[string]any{"code": "system"}}}},
		}}
	}
	t := m.tasks[len(m.tasks)-1]
	t["status"], t["lastModified"], t["meta"] = status, instant(now), map[string]any{"lastUpdated": instant(now), "versionId": "1"}
}

// step is how long b.well takes for the next thing it does by itself.
const step = 2 * time.Second

// An erasure is what follows a deletion: the data goes.
type erasure struct {
	at  time.Time
	row Row
}

// advance lets happen what b.well does by itself, each at its time: a search is
// ready, in progress, completed; what is being deleted is deleted. The caller
// holds the lock.
func (s *Simulator) advance(m *member) {
	for {
		searches := !m.taskAt.IsZero()
		erases := len(m.erasures) > 0 && (!searches || !m.taskAt.Before(m.erasures[0].at))
		switch {
		case erases && !s.now().Before(m.erasures[0].at):
			e := m.erasures[0]
			m.erasures = m.erasures[1:]
			s.remember(m, e.at)
			if e.row["status"] == "DELETED" && e.row["syncStatus"] == "DELETING" {
				e.row["syncStatus"] = "DATA_DELETED"
			}
		case !erases && searches && !s.now().Before(m.taskAt):
			s.remember(m, m.taskAt)
			s.search(m)
		default:
			return
		}
	}
}

// search lets the search take its next step.
func (s *Simulator) search(m *member) {
	at := m.taskAt
	m.taskAt = time.Time{}
	switch m.tasks[len(m.tasks)-1]["status"] {
	case "ready":
		s.task(m, "in-progress", at)
		m.taskAt = at.Add(step)
	case "in-progress":
		s.task(m, "completed", at)
	}
}

// A TokenChange spoils a member's tokens: Access "expired", or Refresh
// "revoked", which ends access, too.
type TokenChange struct {
	Access  string `json:"access,omitempty"`
	Refresh string `json:"refresh,omitempty"`
}

// SetToken expires the member's access tokens or revokes their refresh tokens.
// Members then shows a new one, so that who was lost can be enrolled again.
func (s *Simulator) SetToken(memberID string, c TokenChange) error {
	if c.Access != "" && c.Access != "expired" || c.Refresh != "" && c.Refresh != "revoked" || c == (TokenChange{}) {
		return errors.New(`simulator: token: want {"access":"expired"} or {"refresh":"revoked"}`)
	}
	return s.with(memberID, func(m *member) error {
		m.generation++
		if c.Refresh != "" {
			maps.DeleteFunc(s.grants, func(_ string, g *grant) bool { return g.member == memberID })
			m.refresh = s.grant(memberID) // what the app has after the next login
		}
		return nil
	})
}

// What Calls counts beside root fields.
const (
	refused = "refused" // no token, one that is not accepted, or no client key
	faulted = "faulted" // requests that a fault spoilt
)

// Calls returns how often each root field was called, by member; what is nobody's
// is under "". Requests that never got to their fields count as "refused" or
// "faulted".
func (s *Simulator) Calls() map[string]map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]map[string]int{}
	for m, ops := range s.calls {
		out[m] = maps.Clone(ops)
	}
	return out
}

// uuid makes an id as FHIR resources have one.
func (m *member) uuid() string {
	a, b := m.rng.Uint64(), m.rng.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", a>>32, a>>16&0xffff, a&0xfff, b>>48&0x3fff|0x8000, b&0xffffffffffff)
}

// Name returns the display name of a source as a member knows it, else its id.
func (s *Simulator) Name(memberID, connectionID string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.name(memberID, connectionID)
}

func (s *Simulator) name(memberID, connectionID string) string {
	if m := s.members[memberID]; m != nil {
		if rows := m.rowsOf(connectionID, ""); len(rows) > 0 && rows[0].text("name") != "" {
			return rows[0].text("name")
		}
		for _, o := range m.offers {
			if o.Alias == connectionID {
				return o.Name
			}
		}
	}
	return connectionID
}
