package events

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// DefaultSource is the CloudEvents source of a connector.
const DefaultSource = "urn:smartconnect:connector"

// schemaBase precedes the file name of a schema in dataschema.
const schemaBase = "urn:smartconnect:schema:"

// All data names members and their sources of health records.
const (
	classification = "restricted"
	regulation     = "HIPAA"
)

const (
	specVersion = "1.0"
	jsonType    = "application/json"
)

// encode returns the header and body of e in CloudEvents' binary mode for
// NATS. The NATS binding of the specification reads ce-datacontenttype, the
// official Go SDK an unprefixed content-type: both are there. Values are
// printable ASCII without space, quote and percent sign, so that they mean the
// same to a reader who percent-decodes and to one who does not.
func encode(e Event, source string) (nats.Header, []byte, error) {
	body := e.body
	if body == nil {
		var err error
		if body, err = json.Marshal(e.Data); err != nil {
			return nil, nil, fmt.Errorf("encode %s: %w", e.Type, err)
		}
	}
	for _, at := range []time.Time{e.Time, e.Recorded} {
		if at.IsZero() || at.UTC().Year() < 0 || at.UTC().Year() > 9999 {
			return nil, nil, fmt.Errorf("encode %s: it has no time, or one that RFC 3339 cannot write", e.Type)
		}
	}
	if e.ID == "" || e.Sequence == 0 {
		return nil, nil, fmt.Errorf("encode %s: it has no id or no sequence", e.Type)
	}
	if err := new(Event{Type: e.Type}).setTokens(e.Tokens()); err != nil {
		return nil, nil, fmt.Errorf("encode: %w", err)
	}
	h := nats.Header{}
	for name, value := range map[string]string{
		"ce-specversion":        specVersion,
		"ce-id":                 e.ID,
		"ce-source":             cmp.Or(e.Source, source),
		"ce-type":               string(e.Type),
		"ce-subject":            e.Tokens(),
		"ce-time":               stampTime(e.Time),
		"ce-recordedtime":       stampTime(e.Recorded),
		"ce-sequence":           strconv.FormatUint(e.Sequence, 10),
		"ce-partitionkey":       string(e.Member),
		"ce-dataschema":         schemaBase + e.Type.SchemaFile(),
		"ce-dataclassification": classification,
		"ce-dataregulation":     regulation,
		"ce-causationid":        e.CausationID,
		"ce-correlationid":      e.CorrelationID,
		"ce-expirytime":         stampTime(e.Expires),
		"ce-traceparent":        e.TraceParent,
		"ce-replay":             e.Replay,
		"ce-datacontenttype":    jsonType,
		"content-type":          jsonType,
	} {
		if value == "" {
			continue
		}
		if i := strings.IndexFunc(value, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '%' }); i >= 0 {
			return nil, nil, fmt.Errorf("encode %s: attribute %s has a character at %d that headers may not carry", e.Type, name, i)
		}
		h[name] = []string{value}
	}
	return h, body, nil
}

func stampTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// Decode reads an event from a message of the stream. An error wraps
// ErrMalformed; an unknown type is such an error too.
func Decode(header nats.Header, body []byte) (Event, error) {
	e, err := decode(header, body)
	if err != nil {
		return Event{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return e, nil
}

func decode(header nats.Header, body []byte) (Event, error) {
	if v := attribute(header, "ce-specversion"); v != specVersion {
		return Event{}, fmt.Errorf("ce-specversion is %.20q, want %q", v, specVersion)
	}
	if v := attribute(header, "ce-datacontenttype"); v != "" && v != jsonType {
		return Event{}, errors.New("ce-datacontenttype is not application/json")
	}
	e := Event{
		ID:            attribute(header, "ce-id"),
		Source:        attribute(header, "ce-source"),
		Type:          Type(attribute(header, "ce-type")),
		CausationID:   attribute(header, "ce-causationid"),
		CorrelationID: attribute(header, "ce-correlationid"),
		TraceParent:   attribute(header, "ce-traceparent"),
		Replay:        attribute(header, "ce-replay"),
		Data:          newData(Type(attribute(header, "ce-type"))),
	}
	if e.ID == "" || e.Source == "" {
		return Event{}, errors.New("no ce-id, or no ce-source")
	}
	if e.Data == nil || !knownType(e.Type) {
		return Event{}, fmt.Errorf("unknown ce-type %.80q", e.Type)
	}
	var err error
	if e.Sequence, err = strconv.ParseUint(attribute(header, "ce-sequence"), 10, 64); err != nil || e.Sequence == 0 {
		return Event{}, errors.New("ce-sequence is no positive decimal number")
	}
	for name, at := range map[string]*time.Time{"ce-time": &e.Time, "ce-recordedtime": &e.Recorded, "ce-expirytime": &e.Expires} {
		v := attribute(header, name)
		if v == "" && name == "ce-expirytime" {
			continue
		}
		if *at, err = time.Parse(time.RFC3339Nano, v); err != nil {
			return Event{}, fmt.Errorf("%s is no RFC 3339 time", name)
		}
	}
	if err := e.setTokens(attribute(header, "ce-subject")); err != nil {
		return Event{}, err
	}
	if err := json.Unmarshal(body, e.Data); err != nil {
		// The decoder's own words may quote the body.
		return Event{}, fmt.Errorf("data of %s is not what its schema says", e.Type)
	}
	if err := complete(e.Type, e.Data, body); err != nil {
		return Event{}, err
	}
	return e, nil
}

// complete reports a field that the data of t must have and body has not. To
// the decoder an absent field and an empty one are the same, to the schema not.
func complete(t Type, data Data, body []byte) error {
	var there map[string]json.RawMessage
	if err := json.Unmarshal(body, &there); err != nil {
		return fmt.Errorf("data of %s is no object", t)
	}
	for name, null := range required(t, data) {
		switch value, ok := there[name]; {
		case !ok:
			return fmt.Errorf("data of %s has no %s", t, name)
		case !null && string(value) == "null":
			return fmt.Errorf("data of %s has a %s that is null", t, name)
		}
	}
	return nil
}

// required yields the names of the fields that the data of t always has, each
// with whether it may be null.
func required(t Type, data Data) iter.Seq2[string, bool] {
	return func(yield func(string, bool) bool) {
		for _, f := range reflect.VisibleFields(reflect.TypeOf(data).Elem()) {
			name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "" || options != "" && !slices.Contains(closing(t), name) {
				continue
			}
			if !yield(name, f.Type.Kind() == reflect.Pointer && options == "") {
				return
			}
		}
	}
}

// closing names the fields that only some types of a kind have, and these
// always.
func closing(t Type) []string {
	switch t {
	case ConnectionExpiring:
		return []string{"expiresAt"}
	case PromptResolved:
		return []string{"closedAt", "downtime"}
	case PromptWithdrawn, PromptExpired:
		return []string{"closedAt"}
	default:
		return nil
	}
}

// setTokens reads the CloudEvents subject back.
func (e *Event) setTokens(subject string) error {
	member, part, ok := about(e.Type.Kind())
	if !ok {
		return fmt.Errorf("ce-type %.80q is of no kind of ours", e.Type)
	}
	var tokens []string
	if subject != "" {
		tokens = strings.Split(subject, ".")
	}
	var err error
	if e.Member, e.Part, err = readTokens(tokens, member, part); err != nil {
		return fmt.Errorf("ce-subject of %s: %w", e.Type, err)
	}
	return nil
}

func knownType(t Type) bool {
	return slices.Contains(Types(), t)
}

func attribute(h nats.Header, name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// MarshalJSON returns the event in CloudEvents' JSON format, as a file or a
// terminal shows it.
func (e Event) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		SpecVersion   string    `json:"specversion"`
		ID            string    `json:"id"`
		Source        string    `json:"source"`
		Type          Type      `json:"type"`
		Subject       string    `json:"subject,omitempty"`
		Time          time.Time `json:"time"`
		Recorded      time.Time `json:"recordedtime"`
		Sequence      string    `json:"sequence"`
		PartitionKey  string    `json:"partitionkey,omitempty"`
		CausationID   string    `json:"causationid,omitempty"`
		CorrelationID string    `json:"correlationid,omitempty"`
		Expires       time.Time `json:"expirytime,omitzero"`
		TraceParent   string    `json:"traceparent,omitempty"`
		Replay        string    `json:"replay,omitempty"`
		ContentType   string    `json:"datacontenttype"`
		Schema        string    `json:"dataschema"`
		Class         string    `json:"dataclassification"`
		Regulation    string    `json:"dataregulation"`
		Data          Data      `json:"data"`
	}{
		specVersion, e.ID, cmp.Or(e.Source, DefaultSource), e.Type, e.Tokens(), e.Time.UTC(), e.Recorded.UTC(), strconv.FormatUint(e.Sequence, 10),
		string(e.Member), e.CausationID, e.CorrelationID, e.Expires, e.TraceParent, e.Replay, jsonType, schemaBase + e.Type.SchemaFile(), classification, regulation, e.Data,
	})
}
