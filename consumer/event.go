package consumer

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// ErrMalformed reports a message that is no event of the contract and will
// never become one, however often it is delivered.
var ErrMalformed = errors.New("consumer: malformed")

// ErrUnknownType reports a whole event of a type that this version of the
// package does not know: a newer connector speaks, or a newer major version.
var ErrUnknownType = errors.New("consumer: unknown type")

// Type is the CloudEvents type of an event: smartconnect.<kind>.<what>.v1.
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

// Kind returns the second word of the type: "connection", "prompt".
func (t Type) Kind() string {
	_, rest, _ := strings.Cut(string(t), ".")
	kind, rest, _ := strings.Cut(rest, ".")
	if strings.Count(rest, ".") != 1 {
		return ""
	}
	return kind
}

// An Event is the envelope of what a handler gets: a CloudEvent with the
// attributes of the contract.
type Event struct {
	ID     string // names the change: the same change has the same ID, whatever happens
	Type   Type
	Source string // the deployment that says it

	Member string // token of the member; empty in judgements over all members
	Part   string // token of the connection, recommendation or source, if any

	Sequence uint64    // counts the events of one subject, from 1
	Time     time.Time // when it happened
	Recorded time.Time // when the connector saw it
	Expires  time.Time // prompts: when it becomes inert; zero for others

	CausationID   string // the event that led to this one
	CorrelationID string // the episode
	TraceParent   string // W3C trace context, if it was traced

	// Replay names the replay that has this read again, as a copy or by a
	// durable that was set back; empty for news.
	Replay string

	Subject        string    // the NATS subject it came on
	StreamSequence uint64    // its place in the stream
	Stored         time.Time // when the stream stored it, by the broker's clock, in UTC

	Data []byte // the body, JSON
}

// Mark returns what a [Ledger] is to remember once e is done. A handler that
// keeps its effects and the marks in one database writes both in one
// transaction: its effects then happen exactly once.
func (e Event) Mark() Mark {
	return Mark{Stream: e.StreamSequence, Sequence: e.Sequence, ID: e.ID, Stored: e.Stored}
}

// An envelope is what every event of a stream has.
type envelope struct {
	prefix   string   // of the subjects
	required []string // headers
}

// readEnvelope returns the envelope that the contract asks for.
func readEnvelope(prefix string) (envelope, error) {
	v := envelope{prefix: prefix}
	s, err := schemaOf("envelope")
	if err != nil {
		return v, err
	}
	for _, name := range s.Required {
		if name != "data" { // the body
			v.required = append(v.required, "ce-"+name)
		}
	}
	return v, nil
}

// decode reads the envelope of a message. What it says of itself must be what
// its subject says: readers trust the subject, which the broker checks. Its
// errors wrap ErrMalformed and quote no value but the type.
func (v envelope) decode(m message) (Event, error) {
	h := m.header
	e := Event{
		ID: attribute(h, "ce-id"), Type: Type(attribute(h, "ce-type")), Source: attribute(h, "ce-source"),
		CausationID: attribute(h, "ce-causationid"), CorrelationID: attribute(h, "ce-correlationid"),
		TraceParent: attribute(h, "ce-traceparent"), Replay: m.replay(),
		Subject: m.subject, StreamSequence: m.seq, Stored: m.stored, Data: m.data,
	}
	malformed := func(format string, args ...any) (Event, error) {
		return e, fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
	}
	if version := attribute(h, "ce-specversion"); version != "1.0" {
		return malformed("ce-specversion is %.20q, want \"1.0\"", version)
	}
	for _, name := range v.required {
		if attribute(h, name) == "" {
			return malformed("no %s", name)
		}
	}
	if attribute(h, "ce-datacontenttype") != "application/json" {
		return malformed("ce-datacontenttype is not application/json")
	}
	var err error
	sequence := attribute(h, "ce-sequence")
	if e.Sequence, err = strconv.ParseUint(sequence, 10, 64); err != nil || sequence[0] == '0' {
		return malformed("ce-sequence is no positive decimal number")
	}
	for _, t := range []struct {
		name string
		at   *time.Time
	}{{"ce-time", &e.Time}, {"ce-recordedtime", &e.Recorded}, {"ce-expirytime", &e.Expires}} {
		value := attribute(h, t.name)
		if value == "" && t.at == &e.Expires {
			continue
		}
		if *t.at, err = time.Parse(time.RFC3339Nano, value); err != nil || t.at.IsZero() {
			return malformed("%s is no RFC 3339 time", t.name)
		}
	}
	about, below := strings.CutPrefix(m.subject, v.prefix+".")
	kind, tokens, _ := strings.Cut(about, ".")
	switch {
	case !below:
		return malformed("its subject is not below %s", v.prefix)
	case e.Type.Kind() != kind:
		return malformed("ce-type %.80q is none of the kind %s, which its subject says", e.Type, kind)
	case attribute(h, "ce-subject") != tokens:
		return malformed("ce-subject is not what its subject says")
	case !strings.HasSuffix(attribute(h, "ce-dataschema"), ":"+string(e.Type)+".json"):
		return malformed("ce-dataschema is none of ce-type %.80q", e.Type)
	}
	first, second, _ := strings.Cut(tokens, ".")
	switch kind {
	case "source", "silence":
		e.Part = first
	default:
		e.Member, e.Part = first, second
	}
	return e, nil
}

func attribute(h nats.Header, name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}
