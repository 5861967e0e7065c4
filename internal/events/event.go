// Package events is the contract between the connector and everyone who reads
// its stream: event types, what they carry, the subjects they travel on, the
// CloudEvents form, and the one transaction by which anything is ever written.
//
// Read event.go (the envelope), data.go (what events tell), head.go (the two
// snapshots per member that are the state), then log.go (the transaction).
package events

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"
)

// ErrMalformed reports a message that is no event of ours and will never
// become one, however often it is delivered. Its reader puts it aside.
var ErrMalformed = errors.New("events: malformed")

// Type is the CloudEvents type of an event: smartconnect.<kind>.<what>.v1.
// Its values are part of the public contract; a change of meaning is a new
// version.
type Type string

// Facts: what b.well says, told at once.
const (
	ConnectionBaseline      Type = "smartconnect.connection.baseline.v1"
	ConnectionDiscovered    Type = "smartconnect.connection.discovered.v1"
	ConnectionStatusChanged Type = "smartconnect.connection.status_changed.v1"
	ConnectionConfirmed     Type = "smartconnect.connection.confirmed.v1"
	ConnectionSyncChanged   Type = "smartconnect.connection.sync_changed.v1"
	ConnectionChanged       Type = "smartconnect.connection.changed.v1"
	ConnectionReplaced      Type = "smartconnect.connection.replaced.v1"
	ConnectionRemoved       Type = "smartconnect.connection.removed.v1"
	ConnectionExpiring      Type = "smartconnect.connection.expiring.v1"
	TaskBaseline            Type = "smartconnect.task.baseline.v1"
	TaskStatusChanged       Type = "smartconnect.task.status_changed.v1"
	ConsentBaseline         Type = "smartconnect.consent.baseline.v1"
	ConsentGranted          Type = "smartconnect.consent.granted.v1"
	ConsentRevoked          Type = "smartconnect.consent.revoked.v1"
	RecommendationFound     Type = "smartconnect.recommendation.found.v1"
	RecommendationWithdrawn Type = "smartconnect.recommendation.withdrawn.v1"
	ObservationStarted      Type = "smartconnect.observation.started.v1"
	ObservationLost         Type = "smartconnect.observation.lost.v1"
	ObservationResumed      Type = "smartconnect.observation.resumed.v1"
)

// Claims: what we ask of the member, told after thought.
const (
	PromptOpened         Type = "smartconnect.prompt.opened.v1"
	PromptReminded       Type = "smartconnect.prompt.reminded.v1"
	PromptAcknowledged   Type = "smartconnect.prompt.acknowledged.v1"
	PromptResolved       Type = "smartconnect.prompt.resolved.v1"
	PromptWithdrawn      Type = "smartconnect.prompt.withdrawn.v1"
	PromptExpired        Type = "smartconnect.prompt.expired.v1"
	AccessEnded          Type = "smartconnect.access.ended.v1"
	AccessRestored       Type = "smartconnect.access.restored.v1"
	AccessRestoreOverdue Type = "smartconnect.access.restore_overdue.v1"
)

// Judgements over all members, and the operators' silences.
const (
	SourceDegraded  Type = "smartconnect.source.degraded.v1"
	SourceRestored  Type = "smartconnect.source.restored.v1"
	ObserverLost    Type = "smartconnect.observer.lost.v1"
	ObserverResumed Type = "smartconnect.observer.resumed.v1"
	StormHeld       Type = "smartconnect.storm.held.v1"
	StormReleased   Type = "smartconnect.storm.released.v1"
	SilenceSet      Type = "smartconnect.silence.set.v1"
	SilenceEnded    Type = "smartconnect.silence.ended.v1"
)

// The two heads of a member.
const (
	MemberSnapshot Type = "smartconnect.member.snapshot.v1"
	AgendaSnapshot Type = "smartconnect.agenda.snapshot.v1"
)

// Types returns every type of the contract, in the order of this file.
func Types() []Type {
	return []Type{
		ConnectionBaseline, ConnectionDiscovered, ConnectionStatusChanged, ConnectionConfirmed, ConnectionSyncChanged,
		ConnectionChanged, ConnectionReplaced, ConnectionRemoved, ConnectionExpiring, TaskBaseline, TaskStatusChanged,
		ConsentBaseline, ConsentGranted, ConsentRevoked, RecommendationFound, RecommendationWithdrawn,
		ObservationStarted, ObservationLost, ObservationResumed,
		PromptOpened, PromptReminded, PromptAcknowledged, PromptResolved, PromptWithdrawn, PromptExpired,
		AccessEnded, AccessRestored, AccessRestoreOverdue,
		SourceDegraded, SourceRestored, ObserverLost, ObserverResumed, StormHeld, StormReleased, SilenceSet, SilenceEnded,
		MemberSnapshot, AgendaSnapshot,
	}
}

// Kind returns the second word of the type, which is also the third word of
// the subject it travels on: "connection", "prompt", "member".
func (t Type) Kind() string {
	words := strings.Split(string(t), ".")
	if len(words) != 4 {
		return ""
	}
	return words[1]
}

// SchemaFile returns the name of the JSON Schema of the type's data, below
// schemas/.
func (t Type) SchemaFile() string { return string(t) + ".json" }

// An Event is one CloudEvent of ours.
type Event struct {
	// ID names the change, not the attempt to publish it: the same change has
	// the same ID after any restart. See stamp.
	ID   string
	Type Type

	// Source names the deployment that says it; empty until the event is
	// written, which is when its log's source is entered.
	Source string

	Member MemberToken // empty in judgements over all members
	Part   string      // the connection, recommendation or source token, where the kind has one

	// Sequence counts the events of one subject, from 1, without a gap.
	Sequence uint64

	// Time is when it happened, by b.well's clock where b.well says; Recorded
	// is when we saw it, by ours.
	Time, Recorded time.Time

	CausationID   string    // the event that led to this one
	CorrelationID string    // the episode it belongs to
	Expires       time.Time // when a prompt becomes inert; zero for others
	TraceParent   string    // W3C trace context of the look that wrote it, if it was traced

	// Replay names the replay that made this copy; empty for the event itself.
	Replay string

	Data Data

	// body is Data as JSON, once the event is numbered: the id is a hash of it,
	// and what is written must be what was hashed.
	body []byte
}

// Tokens returns the CloudEvents subject: the tokens of whom the event is
// about, joined by a dot.
func (e Event) Tokens() string {
	if e.Part == "" {
		return string(e.Member)
	}
	if e.Member == "" {
		return e.Part
	}
	return string(e.Member) + "." + e.Part
}

// key names the event's subject within the member's book: "connection.<c>",
// "task".
func (e Event) key() string {
	if e.Part == "" {
		return e.Type.Kind()
	}
	return e.Type.Kind() + "." + e.Part
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

// NewBook returns the empty book of an incarnation.
func NewBook(incarnation string) Book {
	return Book{Incarnation: incarnation, Sequences: map[string]uint64{}, Latest: map[string]string{}}
}

// enter gives e its sequence and its id and remembers both.
//
// id = hash(incarnation, subject, sequence, data). Data has no time of ours
// where an event tells a fact of b.well's, so a poll that is repeated after a
// crash finds the same change under the same id.
func (b *Book) enter(e *Event, subject string) error {
	e.Sequence = b.Sequences[e.key()] + 1
	if err := e.stamp(b.Incarnation, subject); err != nil {
		return err
	}
	b.Sequences[e.key()] = e.Sequence
	b.Latest[e.key()] = e.ID
	return nil
}

// stamp gives a numbered event its id.
func (e *Event) stamp(incarnation, subject string) error {
	utc(reflect.ValueOf(e.Data))
	body, err := json.Marshal(e.Data)
	if err != nil {
		return fmt.Errorf("number %s: %w", e.Type, err)
	}
	h := sha256.New()
	for _, part := range []string{incarnation, subject} {
		_, _ = h.Write([]byte(part))
		_, _ = h.Write([]byte{0})
	}
	_, _ = h.Write(binary.BigEndian.AppendUint64(nil, e.Sequence))
	_, _ = h.Write(body)
	e.ID, e.body = base32lower(h.Sum(nil)[:16]), body
	return nil
}

// utc puts the times in v into UTC, so that one moment has one spelling: what
// events tell and what heads say can be compared byte for byte, and an id does
// not depend on where who wrote it runs.
func utc(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		utc(v.Elem())
	case reflect.Slice:
		for i := range v.Len() {
			utc(v.Index(i))
		}
	case reflect.Struct:
		if at, ok := reflect.TypeAssert[*time.Time](v.Addr()); !ok {
			for _, field := range v.Fields() {
				utc(field)
			}
		} else if at.Location() != time.UTC { // what is so already may be read by others meanwhile
			*at = at.UTC()
		}
	default: // holds no time
	}
}

func base32lower(b []byte) string {
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b))
}
