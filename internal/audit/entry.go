// Package audit keeps the record of what was asked of members and of what was
// not, for those who must answer for it later: a stream of its own, without any
// identity, kept longer than the events.
//
// Read entry.go first: it says what is recorded and does no I/O. audit.go
// stores entries; project.go copies what the stream of events tells.
package audit

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/smartconnect/connector/internal/events"
)

// What says what an entry is about. What the stream of events tells has the
// words of its type: prompt.opened, access.ended, silence.set. The set grows.
type What string

// What is recorded beyond that.
const (
	Suppressed What = "prompt.suppressed" // a break for which nobody was asked, and why
	Release    What = "prompt.release"    // an operator wants one asked about that is older than our first look
	Started    What = "act.started"       // a tap, or the policy, wants something done at b.well
	Minted     What = "act.minted"        // an OAuth URL was handed out; it is recorded nowhere
	Activated  What = "act.activated"     // b.well took the activation
	Refused    What = "act.refused"       // b.well, or the connector, would not
	Unknown    What = "act.unknown"       // b.well did not answer: it may have done it or not
	LinkMinted What = "link.minted"       // a signed link to a prompt was made
	LinkUsed   What = "link.used"         // and used up
	Unreadable What = "event.unreadable"  // something stood in the stream that is no event
)

// An Entry is one line of the record, and the JSON in the stream SC_AUDIT. It
// has tokens only: no member id, no connection id, no name, no URL.
type Entry struct {
	// ID names what is recorded, not the recording: the same has the same ID
	// after any restart. Readers drop what they have seen.
	ID   string    `json:"id"`
	At   time.Time `json:"at"` // when it happened, by the broker's clock
	What What      `json:"what"`

	Member      events.MemberToken `json:"member,omitempty"`
	Part        string             `json:"part,omitempty"`     // token of the connection, source, recommendation or silence
	PromptID    string             `json:"promptId,omitempty"` // no identity: connection token and number
	Action      events.Action      `json:"action,omitempty"`
	Reason      string             `json:"reason,omitempty"`  // the same words as in events and logs
	Rule        int                `json:"rule,omitempty"`    // row of the decision table
	Outcome     string             `json:"outcome,omitempty"` // of Suppressed: held, spent, nothing
	Urgency     events.Urgency     `json:"urgency,omitempty"`
	Notify      *bool              `json:"notify,omitempty"`    // of prompts: was the member to be pushed
	NotPushed   string             `json:"notPushed,omitempty"` // and why not
	Reminder    int                `json:"reminder,omitempty"`
	Batch       string             `json:"batch,omitempty"`
	Episode     string             `json:"episode,omitempty"`     // the break it belongs to, as in ce-correlationid
	EventType   events.Type        `json:"eventType,omitempty"`   // of the event it was taken from
	Sequence    uint64             `json:"sequence,omitempty"`    // of that event on its subject: a gap here is a gap in the record
	Stream      uint64             `json:"streamSeq,omitempty"`   // where it stands in SC_EVENTS
	Cause       string             `json:"cause,omitempty"`       // id of the event, or of the entry, that led to it
	Until       time.Time          `json:"until,omitzero"`        // of silences, snoozes and links
	By          string             `json:"by,omitempty"`          // of what an operator did
	Scope       map[string]string  `json:"scope,omitempty"`       // of silences: tokens and words
	Share       float64            `json:"share,omitempty"`       // of sources and of our sight of b.well: how much failed
	Members     int                `json:"members,omitempty"`     // of sources and storms
	Changed     int                `json:"changed,omitempty"`     // of storms: members whose connections broke
	Connections int                `json:"connections,omitempty"` // of access events: how many it is about
	Restored    int                `json:"restored,omitempty"`    // and how many of them have come back
}

// Subjects begin with the prefix, what it is about, and the tokens.
const (
	prefix = "sc.audit."
	// All matches every entry.
	All = prefix + ">"
)

// Subject returns the subject of an entry:
// sc.audit.<what>.<member>[.<part>], or sc.audit.<what>[.<part>] where no member
// is concerned.
func (e Entry) Subject() string {
	words := []string{prefix + string(e.What), string(e.Member), e.Part}
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), ".")
}

// OfMember matches the entries about a member.
func OfMember(m events.MemberToken) []string {
	return []string{prefix + "*.*." + string(m), prefix + "*.*." + string(m) + ".>"}
}

// Of returns what an event is recorded as; stream is its stream sequence.
func Of(e events.Event, stream uint64) Entry {
	entry := Entry{
		ID: e.ID, At: e.Recorded, What: what(e.Type), Member: e.Member, Part: e.Part, Episode: e.CorrelationID,
		EventType: e.Type, Sequence: e.Sequence, Stream: stream, Cause: e.CausationID,
	}
	switch d := e.Data.(type) {
	case *events.Prompt:
		notify := d.Notify
		entry.PromptID, entry.Action, entry.Reason, entry.Urgency = d.PromptID, d.Action, d.Reason, d.Urgency
		entry.Notify, entry.NotPushed, entry.Reminder, entry.Batch = &notify, d.NotPushed, d.Reminder, d.Batch
		entry.Until = d.SnoozedUntil
	case *events.Access:
		entry.Action, entry.Reason, entry.Connections = d.Action, d.Reason, len(d.Connections)
		for _, c := range d.Connections {
			if c.Restored {
				entry.Restored++
			}
		}
	case *events.Silence:
		// Not its reason: an operator wrote that, and may have named somebody.
		entry.Until, entry.By, entry.Scope = d.Until, d.By, d.Scope
	case *events.Storm:
		entry.Reason, entry.Members, entry.Changed, entry.By = d.Reason, d.Members, d.Changed, d.By
	case *events.Source:
		entry.Reason, entry.Members, entry.Share = d.Reason, d.Members, d.Share
	case *events.Observer:
		entry.Reason, entry.Share = d.Reason, d.Share
	default: // no other is recorded
	}
	return entry
}

// what returns the middle words of an event's type.
func what(t events.Type) What {
	words := strings.Split(string(t), ".")
	if len(words) != 4 {
		return Unreadable
	}
	return What(words[1] + "." + words[2])
}

// Identify gives an entry the id of what it records, from the words that make it
// what it is.
func (e Entry) Identify(words ...string) Entry {
	h := sha256.New()
	for _, w := range append([]string{string(e.What), string(e.Member), e.Part}, words...) {
		_, _ = fmt.Fprintf(h, "%d:%s", len(w), w)
	}
	e.ID = strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(h.Sum(nil)[:16]))
	return e
}
