package events

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

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
	Token        ConnectionToken `json:"connection"`
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

// BreaksAnew reports whether a break at a time would begin another episode: the
// first one does, and one after the connection worked for longer than the
// hold-open. A status that said nothing in between is as if it had not been.
func (c MemberConnection) BreaksAnew(now time.Time, holdOpen time.Duration) bool {
	worked := cmp.Or(c.ConnectedSince, c.WasConnectedSince)
	return c.EpisodeSince.IsZero() || !worked.IsZero() && now.Sub(worked) > holdOpen
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
	DateTime  time.Time `json:"dateTime,omitzero"` // b.well's time

	// Permitted: since we look there was a permit, this one or one before.
	Permitted bool `json:"permitted,omitempty"`
}

// After returns c as what follows before: it knows whether there was a permit.
// A head that was written before it said so says it by the permit that it holds.
func (c MemberConsent) After(before MemberConsent) MemberConsent {
	c.Permitted = before.Permitted || before.Provision == Permit || c.Provision == Permit
	return c
}

// Effective returns the provision in force. The task supports a guess while no
// consent was read (rejected: deny; ready, in-progress: permit) and never
// overrules one that was. Empty means not known.
func (m *Member) Effective() Provision {
	switch {
	case m.Consent.Read:
		return m.Consent.Provision
	case m.Task == nil:
		return ""
	case m.Task.Status == "rejected":
		return Deny
	case m.Task.Status == "ready", m.Task.Status == "in-progress":
		return Permit
	default:
		return ""
	}
}

// DenialKey names the denial in force: the consent's id and time, or, where
// b.well gives neither, how many consents we have seen.
func (m *Member) DenialKey() string {
	consent := m.Consent
	if consent.ConsentID == "" && consent.DateTime.IsZero() {
		return fmt.Sprintf("#%d", m.Sequences["consent"])
	}
	at := ""
	if !consent.DateTime.IsZero() {
		at = consent.DateTime.UTC().Format(time.RFC3339Nano)
	}
	return consent.ConsentID + "@" + at
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

// Connection returns the connection with a token.
func (m *Member) Connection(c ConnectionToken) (MemberConnection, bool) {
	i := slices.IndexFunc(m.Connections, func(known MemberConnection) bool { return known.Token == c })
	if i < 0 {
		return MemberConnection{}, false
	}
	return m.Connections[i], true
}

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
	Connection ConnectionToken `json:"connection"`
	Openings   int             `json:"openings"` // prompts ever opened; the number in the promptId
	Episode    int             `json:"episode"`  // the break the fields below speak of

	OpeningID      string    `json:"openingId,omitempty"`     // event id of the latest opening
	Reminders      int       `json:"reminders"`               // sent for the open prompt
	RemindAt       time.Time `json:"remindAt,omitzero"`       // when the next is due
	ReadyAt        time.Time `json:"readyAt,omitzero"`        // since when there is reason to ask; others may join
	PushedAt       time.Time `json:"pushedAt,omitzero"`       // the member was pushed in this episode
	AcknowledgedAt time.Time `json:"acknowledgedAt,omitzero"` // no more reminders in this episode
	SnoozedUntil   time.Time `json:"snoozedUntil,omitzero"`   // no reminders before
	Instead        Action    `json:"instead,omitempty"`       // what activating came to: another way is needed
	ActivatedAt    time.Time `json:"activatedAt,omitzero"`    // tried without asking, once in this episode
	Released       bool      `json:"released,omitempty"`      // an operator wants it asked although it broke before we first looked
	ExpiresAt      time.Time `json:"expiresAt,omitzero"`      // of the open prompt
	ExpiredAt      time.Time `json:"expiredAt,omitzero"`      // no more prompts in this episode
	OverdueAt      time.Time `json:"overdueAt,omitzero"`      // restore_overdue was told
}

// AgendaAccess is one denial and what followed.
type AgendaAccess struct {
	Key         string            `json:"key"` // the consent's id and time: one event per denial
	Connections []ConnectionToken `json:"connections"`
	EndedAt     time.Time         `json:"endedAt"`
	PermittedAt time.Time         `json:"permittedAt,omitzero"` // consent was given again
	OverdueAt   time.Time         `json:"overdueAt,omitzero"`
	RestoredAt  time.Time         `json:"restoredAt,omitzero"`
}

// Open returns the open prompt of a connection.
func (a *Agenda) Open(promptID string) (Prompt, bool) {
	i := slices.IndexFunc(a.Prompts, func(p Prompt) bool { return p.PromptID == promptID })
	if i < 0 {
		return Prompt{}, false
	}
	return a.Prompts[i], true
}
