package events

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/smartconnect/connector/schemas"
)

// The schemas and fixtures are the contract, the Go types one implementation of
// it. Nothing may be in one and not in the other.

func TestEveryTypeHasASchemaAndAFixture(t *testing.T) {
	var want []string
	for _, typ := range Types() {
		want = append(want, typ.SchemaFile())
	}
	slices.Sort(want)
	for _, dir := range []string{".", "fixtures"} {
		found, err := fs.Glob(schemas.FS, path.Join(dir, "*.json"))
		if err != nil {
			t.Fatal(err)
		}
		for i := range found {
			found[i] = path.Base(found[i])
		}
		if !slices.Equal(found, want) {
			t.Errorf("%s:\n got %q\nwant %q", dir, found, want)
		}
	}
}

func TestContract(t *testing.T) {
	for _, typ := range Types() {
		t.Run(string(typ), func(t *testing.T) {
			schema, raw := schemaOf(t, typ)
			for _, key := range []string{"title", "description", "$schema"} {
				if raw[key] == nil {
					t.Errorf("the schema has no %s", key)
				}
			}
			if raw["$id"] != typ.SchemaFile() {
				t.Errorf("$id is %v", raw["$id"])
			}
			envelope := readFixture(t, typ)
			if envelope.DataSchema != schemaBase+typ.SchemaFile() {
				t.Errorf("dataschema is %s", envelope.DataSchema)
			}
			examples, _ := raw["examples"].([]any)
			if len(examples) == 0 {
				t.Error("the schema has no example")
			}
			for _, example := range append(examples, parse(t, envelope.Data)) {
				if err := schema.Validate(example); err != nil {
					t.Error(err)
				}
				throughGo(t, typ, example)
			}
			data := reflect.TypeOf(newData(typ)).Elem()
			compare(t, raw, raw, data, false, data.Name())
		})
	}
}

// throughGo reads v into the Go type, which must know every field, and back.
func throughGo(t *testing.T, typ Type, v any) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(marshal(t, v)))
	dec.DisallowUnknownFields()
	data := newData(typ)
	if err := dec.Decode(data); err != nil {
		t.Fatal(err)
	}
	if got := parse(t, marshal(t, data)); !reflect.DeepEqual(got, v) {
		t.Errorf("came back from Go as\n%s\nfrom\n%s", marshal(t, got), marshal(t, v))
	}
}

// compare holds a schema to the Go type it describes, in both directions.
func compare(t *testing.T, root, schema map[string]any, typ reflect.Type, null bool, at string) {
	t.Helper()
	if ref, ok := schema["$ref"].(string); ok {
		defs, _ := root["$defs"].(map[string]any)
		if schema, ok = defs[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any); !ok {
			t.Errorf("%s: there is no %s", at, ref)
			return
		}
	}
	var kind string
	switch typ.Kind() {
	case reflect.Struct, reflect.Map:
		kind = "object"
	case reflect.Slice:
		kind = "array"
	case reflect.String:
		kind = "string"
	case reflect.Bool:
		kind = "boolean"
	case reflect.Float64:
		kind = "number"
	default:
		kind = "integer"
	}
	if typ == reflect.TypeFor[time.Time]() {
		kind = "string"
		if schema["format"] != "date-time" {
			t.Errorf("%s is a time without format date-time", at)
		}
	}
	var want any = kind
	if null {
		want = []any{kind, "null"}
	}
	if !reflect.DeepEqual(schema["type"], want) {
		t.Errorf("%s: the schema says %v, Go has %v", at, schema["type"], want)
	}
	if got, _ := schema["enum"].([]any); !slices.Equal(got, wordsOf(typ, at)) {
		t.Errorf("%s: the schema allows %v, Go %v", at, got, wordsOf(typ, at))
	}
	switch below := map[string]string{"array": "items", "object": "additionalProperties"}[kind]; {
	case typ.Kind() == reflect.Struct && kind == "object":
		compareFields(t, root, schema, typ, at)
	case below != "":
		items, ok := schema[below].(map[string]any)
		if !ok {
			t.Errorf("%s: the schema has no %s", at, below)
			return
		}
		compare(t, root, items, typ.Elem(), false, at+"[]")
	}
}

func compareFields(t *testing.T, root, schema map[string]any, typ reflect.Type, at string) {
	t.Helper()
	properties, _ := schema["properties"].(map[string]any)
	required, _ := schema["required"].([]any)
	if open, ok := schema["additionalProperties"]; ok {
		t.Errorf("%s: additionalProperties is %v: readers must stand fields that come later", at, open)
	}
	inGo := map[string]bool{}
	for f := range fieldsOf(typ) {
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		inGo[name] = true
		p, ok := properties[name].(map[string]any)
		if !ok {
			t.Errorf("%s.%s is not in the schema", at, name)
			continue
		}
		if p["description"] == nil {
			t.Errorf("%s.%s has no description", at, name)
		}
		if opts == "" && !slices.Contains(required, any(name)) {
			t.Errorf("%s.%s is always there, and not required", at, name)
		}
		// A pointer that is not left out when nil is written as null.
		inner, null := f.Type, false
		if inner.Kind() == reflect.Pointer {
			inner, null = inner.Elem(), opts == ""
		}
		compare(t, root, p, inner, null, at+"."+name)
	}
	for name := range properties {
		if !inGo[name] {
			t.Errorf("%s.%s is in the schema and not in Go", at, name)
		}
	}
	for _, name := range required {
		if !inGo[name.(string)] {
			t.Errorf("%s.%s is required and not in Go", at, name)
		}
	}
}

// fieldsOf yields the fields of a struct as encoding/json sees them: those of an
// embedded struct are its own.
func fieldsOf(typ reflect.Type) func(func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for f := range typ.Fields() {
			if f.Anonymous {
				for inner := range fieldsOf(f.Type) {
					if !yield(inner) {
						return
					}
				}
				continue
			}
			if !yield(f) {
				return
			}
		}
	}
}

// wordsOf returns the words of an enum that is ours and therefore closed.
func wordsOf(typ reflect.Type, at string) []any {
	switch {
	case typ == reflect.TypeFor[Provision]():
		return words(Permit, Deny, None)
	case typ == reflect.TypeFor[Urgency]():
		return words(Required, Optional)
	case at == "Observation.action":
		return words(ActSignIn, ActNone)
	case at == "Access.action":
		return words(ActRestoreConsent, ActNone)
	case typ == reflect.TypeFor[Action]():
		return words(ActOAuth, ActDirect, ActReenter, ActVerifyIdentity, ActRestoreConsent, ActReconnectInApp,
			ActSignIn, ActWait, ActNone, ActUnknown)
	default:
		return nil
	}
}

func words[W ~string](all ...W) []any {
	list := make([]any, len(all))
	for i, w := range all {
		list[i] = string(w)
	}
	return list
}

// TestLeastData holds what Go writes of nearly empty values to the schemas.
func TestLeastData(t *testing.T) {
	for _, typ := range Types() {
		schema, _ := schemaOf(t, typ)
		if err := schema.Validate(parse(t, marshal(t, least(typ)))); err != nil {
			t.Errorf("%s: %v", typ, err)
		}
	}
}

// least returns the emptiest data that the connector may publish as typ.
func least(typ Type) Data {
	at := time.Unix(0, 0).UTC()
	switch d := newData(typ).(type) {
	case *Connection:
		fill(d)
		if typ == ConnectionExpiring {
			d.ExpiresAt = at
		}
		return d
	case *Consent:
		d.Current = None
		return d
	case *Observation:
		d.Action = ActNone
		return d
	case *Prompt:
		d.Action, d.Urgency = ActNone, Optional
		switch typ {
		case PromptResolved:
			d.ClosedAt, d.Downtime = at, new(int64)
		case PromptWithdrawn, PromptExpired:
			d.ClosedAt = at
		default: // still open
		}
		return d
	case *Access:
		d.Action = ActNone
		fill(d)
		return d
	default:
		fill(d)
		return d
	}
}

// TestSchemasRefuse plants one fault after the other in every fixture.
func TestSchemasRefuse(t *testing.T) {
	for _, typ := range Types() {
		schema, raw := schemaOf(t, typ)
		data := readFixture(t, typ).Data
		for _, name := range raw["required"].([]any) {
			faulty := parse(t, data).(map[string]any)
			delete(faulty, name.(string))
			if schema.Validate(faulty) == nil {
				t.Errorf("%s passes without %s", typ, name)
			}
		}
		for name, p := range raw["properties"].(map[string]any) {
			for _, bad := range faultsFor(p.(map[string]any)) {
				faulty := parse(t, data).(map[string]any)
				faulty[name] = bad
				if schema.Validate(faulty) == nil {
					t.Errorf("%s passes with %s = %v", typ, name, bad)
				}
			}
		}
		later := parse(t, data).(map[string]any)
		later["addedLater"] = true
		if err := schema.Validate(later); err != nil {
			t.Errorf("%s refuses a field that came later: %v", typ, err)
		}
	}
}

// faultsFor returns values that a property may not have.
func faultsFor(p map[string]any) []any {
	bad := []any{[]any{[]any{}}}
	if p["enum"] != nil {
		bad = append(bad, "", "NONE")
	}
	if p["format"] == "date-time" {
		bad = append(bad, "yesterday", "2026-03-01T08:00:00")
	}
	if p["type"] == "integer" {
		bad = append(bad, json.Number("-1"), json.Number("0.5"))
	}
	return bad
}

// An envelope is an event in CloudEvents' JSON format.
type envelope struct {
	SpecVersion        string          `json:"specversion"`
	ID                 string          `json:"id"`
	Source             string          `json:"source"`
	Type               Type            `json:"type"`
	Subject            string          `json:"subject"`
	Time               time.Time       `json:"time"`
	RecordedTime       time.Time       `json:"recordedtime"`
	Sequence           string          `json:"sequence"`
	PartitionKey       MemberToken     `json:"partitionkey"`
	DataSchema         string          `json:"dataschema"`
	DataClassification string          `json:"dataclassification"`
	DataRegulation     string          `json:"dataregulation"`
	DataContentType    string          `json:"datacontenttype"`
	CausationID        string          `json:"causationid"`
	CorrelationID      string          `json:"correlationid"`
	ExpiryTime         time.Time       `json:"expirytime"`
	TraceParent        string          `json:"traceparent"`
	Data               json.RawMessage `json:"data"`
}

func readFixture(t *testing.T, typ Type) envelope {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(file(t, "fixtures/"+typ.SchemaFile())))
	dec.DisallowUnknownFields()
	var v envelope
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("fixture of %s: %v", typ, err)
	}
	if v.Type != typ {
		t.Fatalf("fixture of %s is a %s", typ, v.Type)
	}
	return v
}

// fixtureEvent returns the fixture of a type as the Event it tells of.
func fixtureEvent(t *testing.T, typ Type) Event {
	t.Helper()
	v := readFixture(t, typ)
	e := Event{
		ID: v.ID, Type: v.Type, Source: v.Source, Time: v.Time, Recorded: v.RecordedTime,
		CausationID: v.CausationID, CorrelationID: v.CorrelationID, Expires: v.ExpiryTime,
		TraceParent: v.TraceParent, Data: newData(typ),
	}
	var err error
	if e.Sequence, err = strconv.ParseUint(v.Sequence, 10, 64); err != nil {
		t.Fatal(err)
	}
	if err := e.setTokens(v.Subject); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(v.Data, e.Data); err != nil {
		t.Fatal(err)
	}
	return e
}

func schemaOf(t *testing.T, typ Type) (*jsonschema.Schema, map[string]any) {
	t.Helper()
	doc := parse(t, file(t, typ.SchemaFile()))
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(typ.SchemaFile(), doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile(typ.SchemaFile())
	if err != nil {
		t.Fatal(err)
	}
	return schema, doc.(map[string]any)
}

func file(t *testing.T, name string) []byte {
	t.Helper()
	raw, err := fs.ReadFile(schemas.FS, name)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func parse(t *testing.T, raw []byte) any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
