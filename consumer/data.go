package consumer

import (
	"slices"
	"time"
)

// The types here are the data of events, one Go type per kind, as the schemas
// say. Ignore what you do not need; new fields may come at any time. Lists that
// are words of b.well's are open: have a branch for what you do not know.

// Status is b.well's word for a connection's state. Empty means that b.well
// sent none. The enum is open: a word we do not know is Unknown.
type Status string

// The statuses of b.well's schema.
const (
	Connected    Status = "CONNECTED"
	Expired      Status = "EXPIRED"
	Disconnected Status = "DISCONNECTED"
	Deleted      Status = "DELETED"
	AccessIsOver Status = "ACCESS_ENDED"
	Failing      Status = "ERROR"
)

// Unknown stands for a word of b.well's that we do not know, in any of its
// enums; the word itself is beside it.
const Unknown = "UNKNOWN"

// Broken reports whether s says that the connection does not work. Neither no
// status nor an unknown one says so.
func (s Status) Broken() bool {
	switch s {
	case Expired, Disconnected, Deleted, AccessIsOver, Failing:
		return true
	default:
		return false
	}
}

// IntegrationType is b.well's word for how a source is reached; it decides how
// a member reconnects. The enum is open, and b.well sends null too.
type IntegrationType string

// The integration types of Smart Connect.
const (
	PROA        IntegrationType = "PROA"
	DirectIAS   IntegrationType = "DIRECT_IAS"
	IndirectIAS IntegrationType = "INDIRECT_IAS"
)

// IAS reports whether the member's IAS consent governs the connection.
func (t IntegrationType) IAS() bool { return t == DirectIAS || t == IndirectIAS }

// ConnectionState is what b.well says of a connection, in its own words, upper
// case. A field b.well left out is left out here. "…Raw" holds the word as it
// was sent where ours is UNKNOWN.
type ConnectionState struct {
	Status             Status          `json:"status,omitempty"`
	StatusRaw          string          `json:"statusRaw,omitempty"`
	IntegrationType    IntegrationType `json:"integrationType,omitempty"`
	IntegrationTypeRaw string          `json:"integrationTypeRaw,omitempty"`
	Category           string          `json:"category,omitempty"`
	CategoryRaw        string          `json:"categoryRaw,omitempty"`
	Type               string          `json:"type,omitempty"`
	TypeRaw            string          `json:"typeRaw,omitempty"`
	SyncStatus         string          `json:"syncStatus,omitempty"`
	SyncStatusRaw      string          `json:"syncStatusRaw,omitempty"`
	SyncErrors         []string        `json:"syncErrors,omitempty"` // codes, sorted
	StatusUpdated      time.Time       `json:"statusUpdated,omitzero"`
	Created            time.Time       `json:"created,omitzero"`
	LastSynced         time.Time       `json:"lastSynced,omitzero"`
}

// Connection is the data of connection.* events.
type Connection struct {
	MemberID      string           `json:"memberId"`
	ConnectionID  string           `json:"connectionId"`
	Previous      *ConnectionState `json:"previous"` // null when first seen
	Current       *ConnectionState `json:"current"`  // null when gone
	Changed       []string         `json:"changed"`  // names of the fields that differ, sorted
	MissedBetween *Between         `json:"missedBetween,omitempty"`
	Episode       int              `json:"episode"`            // number of the break it belongs to, 0 if none
	ExpiresAt     time.Time        `json:"expiresAt,omitzero"` // connection.expiring only
}

// Between bounds the time in which something came and went unseen.
type Between struct {
	After  time.Time `json:"after"`
	Before time.Time `json:"before"`
}

// Task is the data of task.* events: the member's newest network search. Words
// are FHIR task status codes ("ready", "in-progress", "completed", "failed",
// "rejected", …); "none" means there was no task.
type Task struct {
	MemberID   string `json:"memberId"`
	TaskID     string `json:"taskId"`
	Previous   string `json:"previous,omitempty"`
	Current    string `json:"current"`
	CurrentRaw string `json:"currentRaw,omitempty"`
	Reason     string `json:"reason,omitempty"`
}

// Provision is what the member said about their IAS records.
type Provision string

// The provisions. None means never asked, or no consent in force.
const (
	Permit Provision = "permit"
	Deny   Provision = "deny"
	None   Provision = "none"
)

// Consent is the data of consent.* events.
type Consent struct {
	MemberID  string    `json:"memberId"`
	ConsentID string    `json:"consentId,omitempty"`
	Previous  Provision `json:"previous,omitempty"`
	Current   Provision `json:"current"`
}

// Recommendation is the data of recommendation.* events: a source the network
// search found, to which the member may connect.
type Recommendation struct {
	MemberID string `json:"memberId"`
	Alias    string `json:"alias"`   // b.well's connectionId of the source
	OfferID  string `json:"offerId"` // for prompt.start
}

// Observation is the data of observation.* events: whether we can see the
// member at all.
type Observation struct {
	MemberID     string    `json:"memberId"`
	Reason       string    `json:"reason"`                // reauthenticate, forbidden, unreachable, identity_mismatch; enrolled, recovered
	LastComplete time.Time `json:"lastComplete,omitzero"` // last complete answer that changed something
	Action       Action    `json:"action"`                // sign_in or none
}

// Action is what the member, or their app, should do.
type Action string

// The actions of prompts, access events and observations.
const (
	ActOAuth          Action = "oauth"
	ActDirect         Action = "activate_direct"
	ActReenter        Action = "reenter_credentials"
	ActVerifyIdentity Action = "verify_identity"
	ActRestoreConsent Action = "restore_consent"
	ActReconnectInApp Action = "reconnect_in_app"
	ActSignIn         Action = "sign_in"
	ActWait           Action = "wait"
	ActNone           Action = "none"
	ActUnknown        Action = "unknown"
)

// Urgency says how much a prompt matters.
type Urgency string

// The urgencies.
const (
	Required Urgency = "required"
	Optional Urgency = "optional"
)

// Prompt is the data of prompt.* events: one request to reconnect one
// connection. A closed prompt is told with the same fields as it was opened.
type Prompt struct {
	MemberID         string          `json:"memberId"`
	ConnectionID     string          `json:"connectionId"`
	PromptID         string          `json:"promptId"` // connection token and number of the opening
	Action           Action          `json:"action"`
	Reason           string          `json:"reason"`
	Urgency          Urgency         `json:"urgency"`
	Notify           bool            `json:"notify"`              // push to the member now
	NotPushed        string          `json:"notPushed,omitempty"` // why not: policy, pushed_before, weekly_cap
	ConnectionStatus Status          `json:"connectionStatus"`
	IntegrationType  IntegrationType `json:"integrationType,omitempty"`
	OpenedAt         time.Time       `json:"openedAt"`
	Reminder         int             `json:"reminder"` // 0 for the opening, then 1, 2, …
	FlapCount        int             `json:"flapCount"`
	Batch            string          `json:"batch,omitempty"`       // shared by prompts that are told together
	NotBefore        time.Time       `json:"notBefore,omitzero"`    // quiet hours: do not push before
	SnoozedUntil     time.Time       `json:"snoozedUntil,omitzero"` // the member asked to be reminded then
	ClosedAt         time.Time       `json:"closedAt,omitzero"`
	Downtime         *int64          `json:"downtime,omitempty"` // whole seconds from the break that began the episode to the recovery
}

// Access is the data of access.* events.
type Access struct {
	MemberID    string             `json:"memberId"`
	Action      Action             `json:"action"` // restore_consent or none
	Reason      string             `json:"reason"`
	Connections []AccessConnection `json:"connections"`
}

// AccessConnection is a connection whose access ended with the consent.
type AccessConnection struct {
	ConnectionID    string          `json:"connectionId"`
	IntegrationType IntegrationType `json:"integrationType"`
	Restored        bool            `json:"restored"`
}

// Source is the data of source.* events: a data source that fails for many.
type Source struct {
	Reason  string  `json:"reason"`
	Members int     `json:"members"` // members with a connection there
	Share   float64 `json:"share"`   // of them failing, 0 to 1
}

// Observer is the data of observer.* events: whether we see b.well at all.
type Observer struct {
	Reason string    `json:"reason"`
	Share  float64   `json:"share"` // of polls failing, 0 to 1
	Since  time.Time `json:"since"`
}

// Storm is the data of storm.* events: so many members changed at once that
// prompts are held until an operator looked.
type Storm struct {
	Reason  string `json:"reason"`
	Changed int    `json:"changed"`
	Members int    `json:"members"`
	By      string `json:"by,omitempty"` // who released it
}

// Silence is the data of silence.* events.
type Silence struct {
	Scope  map[string]string `json:"scope"` // member, source, integrationType, reason → token or word
	Until  time.Time         `json:"until"`
	By     string            `json:"by"`
	Reason string            `json:"reason"`
}

// A Book numbers the events of one member. Each head holds the book of the
// subjects that are written together with it.
type Book struct {
	// Incarnation is minted at enrolment. A member who is forgotten and
	// enrolled again has a new one, so that no id ever names two changes.
	Incarnation string `json:"incarnation"`

	// Sequences holds the last sequence of each subject, and Latest the last
	// event id, by kind and token: "connection.<c>", "task".
	Sequences map[string]uint64 `json:"sequences"`
	Latest    map[string]string `json:"latest"`
}

// Member is the head of what is known of a member, and the data of
// member.snapshot: everything b.well last said, whole.
type Member struct {
	Book
	MemberID        string             `json:"memberId"`
	Connections     []MemberConnection `json:"connections"` // by connection id, then by number
	Task            *MemberTask        `json:"task"`        // null: there is none, or not read yet
	Consent         MemberConsent      `json:"consent"`
	Recommendations []Recommendation   `json:"recommendations"`
	Observation     MemberObservation  `json:"observation"`
}

// MemberConnection is one connection of a member. Times are ours.
type MemberConnection struct {
	Token        string          `json:"connection"`
	ConnectionID string          `json:"connectionId"`
	Number       int             `json:"number"` // tells connections of one id apart
	State        ConnectionState `json:"state"`

	FirstSeen         time.Time `json:"firstSeen"`
	ConnectedSince    time.Time `json:"connectedSince,omitzero"`    // since when CONNECTED, zero while it is not
	WasConnectedSince time.Time `json:"wasConnectedSince,omitzero"` // the same, of what it was before its status became unknown
	BrokenSince       time.Time `json:"brokenSince,omitzero"`       // since when this broken status, zero while it is not
	ConfirmedAt       time.Time `json:"confirmedAt,omitzero"`       // when the break was confirmed
	RemovedAt         time.Time `json:"removedAt,omitzero"`
	ExpiresAt         time.Time `json:"expiresAt,omitzero"` // the end that connection.expiring told, zero once it is broken
	WarnedAt          time.Time `json:"warnedAt,omitzero"`  // when it was told last

	// Episode numbers the breaks of the connection; one lasts from leaving
	// CONNECTED until CONNECTED has held for longer than the hold-open, or until
	// the connection is removed.
	Episode      int       `json:"episode"`
	EpisodeSince time.Time `json:"episodeSince,omitzero"` // zero, too, for what came back after it was removed, until it breaks
	FlapCount    int       `json:"flapCount"`

	// FirstSight: it was broken when we first looked, and has not been CONNECTED since.
	FirstSight bool `json:"firstSight,omitempty"`
}

// Removed reports whether b.well has stopped listing the connection.
func (c MemberConnection) Removed() bool { return !c.RemovedAt.IsZero() }

// MemberTask is the member's newest network search.
type MemberTask struct {
	TaskID  string    `json:"taskId"`
	Status  string    `json:"status"`
	Raw     string    `json:"statusRaw,omitempty"`
	Reason  string    `json:"reason,omitempty"`
	Updated time.Time `json:"updated,omitzero"` // b.well's time
}

// MemberConsent is the member's IAS consent. Not yet read is not None.
type MemberConsent struct {
	Read      bool      `json:"read"`
	ConsentID string    `json:"consentId,omitempty"`
	Provision Provision `json:"provision,omitempty"`
	DateTime  time.Time `json:"dateTime,omitzero"`   // b.well's time
	Permitted bool      `json:"permitted,omitempty"` // since the connector looks there was a permit
}

// MemberObservation says whether we can see the member.
type MemberObservation struct {
	Started      time.Time `json:"started,omitzero"` // first complete answer
	LastComplete time.Time `json:"lastComplete,omitzero"`
	LostSince    time.Time `json:"lostSince,omitzero"` // zero while we see
	Reason       string    `json:"reason,omitempty"`   // why we do not
}

// Blind reports whether the member cannot be seen at present.
func (o MemberObservation) Blind() bool { return !o.LostSince.IsZero() }

// Agenda is the head of what is asked of a member, and the data of
// agenda.snapshot. A service that reads only the last of these per member has
// the whole truth about its prompts.
type Agenda struct {
	Book
	MemberID string        `json:"memberId"`
	Prompts  []Prompt      `json:"prompts"` // the open ones
	Asked    []Asked       `json:"asked"`   // by connection: what was asked in its latest episode
	Access   *AgendaAccess `json:"access"`  // the latest end of access
	Pushes   []time.Time   `json:"pushes"`  // of the last seven days
	Decided  string        `json:"decided"` // id of the member head it was decided from
	NextLook time.Time     `json:"nextLook,omitzero"`
}

// Asked is what we asked about one connection. Times are ours.
type Asked struct {
	Connection string `json:"connection"`
	Openings   int    `json:"openings"` // prompts ever opened; the number in the promptId
	Episode    int    `json:"episode"`  // the break the fields below speak of

	OpeningID      string    `json:"openingId,omitempty"`     // event id of the latest opening
	Reminders      int       `json:"reminders"`               // sent for the open prompt
	RemindAt       time.Time `json:"remindAt,omitzero"`       // when the next is due
	PushedAt       time.Time `json:"pushedAt,omitzero"`       // the member was pushed in this episode
	AcknowledgedAt time.Time `json:"acknowledgedAt,omitzero"` // no more reminders in this episode
	ExpiresAt      time.Time `json:"expiresAt,omitzero"`      // of the open prompt
	ExpiredAt      time.Time `json:"expiredAt,omitzero"`      // no more prompts in this episode
	OverdueAt      time.Time `json:"overdueAt,omitzero"`      // restore_overdue was told
	ReadyAt        time.Time `json:"readyAt,omitzero"`        // since when there is reason to ask; others may join
	SnoozedUntil   time.Time `json:"snoozedUntil,omitzero"`   // no reminders before
	Instead        Action    `json:"instead,omitempty"`       // what activating came to: another way is needed
	ActivatedAt    time.Time `json:"activatedAt,omitzero"`    // tried without asking, once in this episode
	Released       bool      `json:"released,omitempty"`      // an operator wants it asked although it broke before we first looked
}

// AgendaAccess is one denial and what followed.
type AgendaAccess struct {
	Key         string    `json:"key"` // the consent's id and time: one event per denial
	Connections []string  `json:"connections"`
	EndedAt     time.Time `json:"endedAt"`
	PermittedAt time.Time `json:"permittedAt,omitzero"` // consent was given again
	OverdueAt   time.Time `json:"overdueAt,omitzero"`
	RestoredAt  time.Time `json:"restoredAt,omitzero"`
}

// Ended returns the end of access that e, an access.ended, told of, as long as
// it asks something of the member: until consent is given again. A later end has
// an event of its own.
func (a *Agenda) Ended(e Event) (AgendaAccess, bool) {
	if a.Access == nil || !a.Access.PermittedAt.IsZero() || !a.Access.RestoredAt.IsZero() || a.Access.EndedAt.After(e.Recorded) {
		return AgendaAccess{}, false
	}
	return *a.Access, true
}

// Open returns the open prompt of a connection.
func (a *Agenda) Open(promptID string) (Prompt, bool) {
	i := slices.IndexFunc(a.Prompts, func(p Prompt) bool { return p.PromptID == promptID })
	if i < 0 {
		return Prompt{}, false
	}
	return a.Prompts[i], true
}
