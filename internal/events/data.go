package events

import "time"

// Data is what an event tells, one Go type per kind of event. The set is
// closed.
//
//sumtype:decl
type Data interface{ data() }

func (*Connection) data()     {}
func (*Task) data()           {}
func (*Consent) data()        {}
func (*Recommendation) data() {}
func (*Observation) data()    {}
func (*Prompt) data()         {}
func (*Access) data()         {}
func (*Source) data()         {}
func (*Observer) data()       {}
func (*Storm) data()          {}
func (*Silence) data()        {}
func (*Member) data()         {}
func (*Agenda) data()         {}

// newData returns an empty value of the data type that t carries, nil if t is
// none of ours.
func newData(t Type) Data {
	switch t.Kind() {
	case "connection":
		return &Connection{}
	case "task":
		return &Task{}
	case "consent":
		return &Consent{}
	case "recommendation":
		return &Recommendation{}
	case "observation":
		return &Observation{}
	case "prompt":
		return &Prompt{}
	case "access":
		return &Access{}
	case "source":
		return &Source{}
	case "observer":
		return &Observer{}
	case "storm":
		return &Storm{}
	case "silence":
		return &Silence{}
	case "member":
		return &Member{}
	case "agenda":
		return &Agenda{}
	default:
		return nil
	}
}

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
