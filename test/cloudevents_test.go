package test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/binding/spec"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/schemas"
)

// Two kinds of readers meet our messages: those by the CloudEvents binding for
// NATS, and those by the NATS module of the official Go SDK, which differs from
// it. Both must find in every message the same event, and in the golden message
// of each type what the fixture says.

type decoder func(nats.Header, []byte) (event.Event, error)

func decoders() map[string]decoder {
	return map[string]decoder{"the binding": readByBinding, "the SDK": readBySDK}
}

func TestBothDecodersReadTheGoldenMessages(t *testing.T) {
	for _, typ := range events.Types() {
		raw, err := os.ReadFile(filepath.Join("..", "internal", "events", "testdata", "nats", string(typ)+".msg"))
		if err != nil {
			t.Fatal(err)
		}
		header, body := parseWire(t, raw)
		fixture, err := fs.ReadFile(schemas.FS, "fixtures/"+typ.SchemaFile())
		if err != nil {
			t.Fatal(err)
		}
		var want event.Event
		if err := json.Unmarshal(fixture, &want); err != nil {
			t.Fatal(err)
		}
		for rules, decode := range decoders() {
			if err := same(decode, header, body, want); err != nil {
				t.Errorf("%s by the rules of %s: %v", typ, rules, err)
			}
		}
	}
}

// same reports in what the message, by decode, is not the event wanted.
func same(decode decoder, header nats.Header, body []byte, want event.Event) error {
	got, err := decode(header, body)
	if err != nil {
		return err
	}
	if err := got.Validate(); err != nil {
		return err
	}
	g, err := plain(got)
	if err != nil {
		return err
	}
	w, err := plain(want)
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(g, w) {
		return fmt.Errorf("\n got %v\nwant %v", g, w)
	}
	return nil
}

func plain(v any) (object map[string]any, err error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return object, json.Unmarshal(raw, &object)
}

// A decoder that finds nothing wrong in anything proves nothing.
func TestBothDecodersRefuse(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("..", "internal", "events", "testdata", "nats", string(events.PromptOpened)+".msg"))
	if err != nil {
		t.Fatal(err)
	}
	for what, spoil := range map[string]func(nats.Header){
		"no id":           func(h nats.Header) { delete(h, "ce-id") },
		"no type":         func(h nats.Header) { delete(h, "ce-type") },
		"no source":       func(h nats.Header) { delete(h, "ce-source") },
		"no specversion":  func(h nats.Header) { delete(h, "ce-specversion") },
		"another version": func(h nats.Header) { h["ce-specversion"] = []string{"7.0"} },
		"no time":         func(h nats.Header) { h["ce-time"] = []string{"yesterday"} },
	} {
		header, body := parseWire(t, raw)
		spoil(header)
		for rules, decode := range decoders() {
			e, err := decode(header, body)
			if err == nil {
				err = e.Validate()
			}
			if err == nil {
				t.Errorf("%s passes by the rules of %s", what, rules)
			}
		}
	}
}

// parseWire reads a message as the NATS protocol writes one.
func parseWire(t *testing.T, raw []byte) (nats.Header, []byte) {
	t.Helper()
	head, body, ok := bytes.Cut(raw, []byte("\r\n\r\n"))
	lines := strings.Split(string(head), "\r\n")
	if !ok || lines[0] != "NATS/1.0" {
		t.Fatalf("no message: %.40q", raw)
	}
	header := nats.Header{}
	for _, line := range lines[1:] {
		name, value, ok := strings.Cut(line, ": ")
		if !ok {
			t.Fatalf("no header: %q", line)
		}
		header[name] = append(header[name], value)
	}
	return header, body
}

// readByBinding is written from the text of the NATS Protocol Binding for
// CloudEvents 1.0 and of the HTTP binding that it names for header values. It
// uses nothing of the SDK but the event it fills.
//
// 3: the content mode is structured if the content type of the message begins
// with application/cloudevents, else binary. 3.1: in binary mode the body is
// the data, each attribute a header of its name after "ce-"; datacontenttype
// too. Values: a quoted one is unquoted, then percent-encoding is undone.
func readByBinding(header nats.Header, body []byte) (event.Event, error) {
	attributes := map[string]string{}
	for name, values := range header {
		name = strings.ToLower(name)
		if name == "content-type" && strings.HasPrefix(strings.ToLower(values[0]), "application/cloudevents") {
			return event.Event{}, errors.New("this is structured mode")
		}
		attribute, ok := strings.CutPrefix(name, "ce-")
		if !ok {
			continue
		}
		value := values[0]
		if inner, ok := strings.CutPrefix(value, `"`); ok {
			value = strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(strings.TrimSuffix(inner, `"`))
		}
		value, err := url.PathUnescape(value)
		if err != nil {
			return event.Event{}, err
		}
		attributes[attribute] = value
	}
	if v := attributes["specversion"]; v != "1.0" {
		return event.Event{}, fmt.Errorf("specversion is %q", v)
	}
	e := event.New("1.0")
	for name, value := range attributes {
		switch name {
		case "specversion":
		case "id":
			e.SetID(value)
		case "source":
			e.SetSource(value)
		case "type":
			e.SetType(value)
		case "subject":
			e.SetSubject(value)
		case "dataschema":
			e.SetDataSchema(value)
		case "datacontenttype":
			e.SetDataContentType(value)
		case "time":
			at, err := time.Parse(time.RFC3339Nano, value)
			if err != nil {
				return event.Event{}, err
			}
			e.SetTime(at)
		default:
			e.SetExtension(name, value)
		}
	}
	e.DataEncoded = body
	return e, nil
}

// readBySDK reads a message as github.com/cloudevents/sdk-go/protocol/nats/v2
// does, on the SDK's own machinery.
func readBySDK(header nats.Header, body []byte) (event.Event, error) {
	e, err := binding.ToEvent(context.Background(), sdkMessage{header, body})
	if err != nil {
		return event.Event{}, err
	}
	return *e, nil
}

type sdkMessage struct {
	header nats.Header
	body   []byte
}

func (m sdkMessage) ReadEncoding() binding.Encoding {
	if m.header.Get("ce-specversion") != "" {
		return binding.EncodingBinary
	}
	return binding.EncodingStructured
}

func (sdkMessage) ReadStructured(context.Context, binding.StructuredWriter) error {
	return binding.ErrNotStructured
}

func (m sdkMessage) ReadBinary(_ context.Context, w binding.BinaryWriter) error {
	version := spec.WithPrefix("ce-").Version(m.header.Get("ce-specversion"))
	if version == nil {
		return errors.New("unknown ce-specversion")
	}
	for name, values := range m.header {
		var err error
		switch attribute := version.Attribute(name); {
		case attribute != nil:
			err = w.SetAttribute(attribute, values[0])
		case strings.HasPrefix(name, "ce-"):
			err = w.SetExtension(strings.TrimPrefix(name, "ce-"), values[0])
		case name == "content-type":
			err = w.SetAttribute(version.AttributeFromKind(spec.DataContentType), values[0])
		}
		if err != nil {
			return err
		}
	}
	return w.SetData(bytes.NewReader(m.body))
}

func (m sdkMessage) GetAttribute(kind spec.Kind) (spec.Attribute, any) {
	attribute := spec.WithPrefix("ce-").Version(m.header.Get("ce-specversion")).AttributeFromKind(kind)
	if attribute == nil || m.header.Get(attribute.PrefixedName()) == "" {
		return attribute, nil
	}
	return attribute, m.header.Get(attribute.PrefixedName())
}

func (m sdkMessage) GetExtension(name string) any {
	if v := m.header.Get("ce-" + name); v != "" {
		return v
	}
	return nil
}
