package events

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path"
	"reflect"
	"regexp"
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
		found, err := fs.Glob(schemas.FS, path.Join(dir, "smartconnect.*.json"))
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
	known, _ := schema["examples"].([]any)
	for _, word := range openWords(typ) {
		if schema["x-open-enum"] != true || !slices.Contains(known, word) {
			t.Errorf("%s: the schema does not say that the enum is open and knows %v", at, word)
		}
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
	if schema["additionalProperties"] != false {
		t.Errorf("%s: additionalProperties is %v: who writes a field that is not here makes a mistake", at, schema["additionalProperties"])
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
		text, _ := p["description"].(string)
		if text == "" {
			t.Errorf("%s.%s has no description", at, name)
		}
		if marked := p["x-open-enum"] == true; marked != openText.MatchString(text) || marked && p["enum"] != nil {
			t.Errorf("%s.%s: x-open-enum is %v, its description %q", at, name, p["x-open-enum"], text)
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

// openText finds in a description that the words of an enum may grow.
var openText = regexp.MustCompile(`\bOpen\b`)

// openWords returns the words of an enum that is b.well's and therefore open.
func openWords(typ reflect.Type) []any {
	switch typ {
	case reflect.TypeFor[Status]():
		return words(Connected, Expired, Disconnected, Deleted, AccessIsOver, Failing, Unknown)
	case reflect.TypeFor[IntegrationType]():
		return words(PROA, DirectIAS, IndirectIAS, Unknown)
	default:
		return nil
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
		// A field that nobody knows is a mistake of who writes, and for who reads
		// one that came later.
		later := parse(t, data).(map[string]any)
		later["addedLater"] = true
		if schema.Validate(later) == nil {
			t.Errorf("%s passes with a field nobody knows", typ)
		}
		opened, err := schemas.ForReaders(file(t, typ.SchemaFile()))
		if err != nil {
			t.Fatal(err)
		}
		schema, _ = compile(t, typ.SchemaFile(), opened)
		if err := schema.Validate(later); err != nil {
			t.Errorf("%s refuses, for readers, a field that came later: %v", typ, err)
		}
		delete(later, "memberId")
		if raw["properties"].(map[string]any)["memberId"] != nil && schema.Validate(later) == nil {
			t.Errorf("%s passes, for readers, without memberId", typ)
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
	return compile(t, typ.SchemaFile(), file(t, typ.SchemaFile()))
}

func compile(t *testing.T, name string, raw []byte) (*jsonschema.Schema, map[string]any) {
	t.Helper()
	doc := parse(t, raw)
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(name, doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile(name)
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

// Nine schemas of connection events describe one Go type: what they say of a
// field is the same in all.
func TestSchemasSayTheSameOfTheSameField(t *testing.T) {
	said := map[string]string{}
	where := map[string]string{}
	var walk func(file, at string, root, schema map[string]any, typ reflect.Type)
	walk = func(file, at string, root, schema map[string]any, typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
			if items, ok := schema["items"].(map[string]any); ok {
				schema = items
			}
			typ = typ.Elem()
		}
		if to, ok := schema["$ref"].(string); ok {
			defs, _ := root["$defs"].(map[string]any)
			schema, _ = defs[strings.TrimPrefix(to, "#/$defs/")].(map[string]any)
		}
		if typ.Kind() != reflect.Struct || typ == reflect.TypeFor[time.Time]() {
			return
		}
		properties, _ := schema["properties"].(map[string]any)
		for f := range fieldsOf(typ) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			p, _ := properties[name].(map[string]any)
			field := typ.Name() + "." + name
			text := string(marshal(t, p))
			if before, ok := said[field]; ok && before != text {
				t.Errorf("%s is in %s\n%s\nand in %s\n%s", field, where[field], before, file, text)
			}
			said[field], where[field] = text, file
			walk(file, field, root, p, f.Type)
		}
	}
	for _, typ := range Types() {
		raw := object(t, typ.SchemaFile())
		walk(typ.SchemaFile(), "", raw, raw, reflect.TypeOf(newData(typ)).Elem())
	}
}

// The envelope schema is what we write, as headers and in the JSON format.
func TestEnvelopeSchema(t *testing.T) {
	schema, raw := compile(t, "envelope.json", file(t, "envelope.json"))
	properties := raw["properties"].(map[string]any)
	if raw["$id"] != "envelope.json" || raw["additionalProperties"] != false {
		t.Error("its $id or additionalProperties is wrong")
	}
	known, _ := properties["type"].(map[string]any)["examples"].([]any)
	if got, want := sorted(known), sorted(words(Types()...)); !slices.Equal(got, want) {
		t.Errorf("it knows the types %q, want %q", got, want)
	}
	written := map[string]bool{}
	for _, typ := range Types() {
		e := fixtureEvent(t, typ)
		if err := schema.Validate(parse(t, marshal(t, e))); err != nil {
			t.Errorf("%s: %v", typ, err)
		}
		e.TraceParent, e.Replay = fixtureEvent(t, ConnectionStatusChanged).TraceParent, "monday"
		header, _, err := encode(e, DefaultSource)
		if err != nil {
			t.Fatal(err)
		}
		var printed map[string]any
		if err := json.Unmarshal(marshal(t, e), &printed); err != nil {
			t.Fatal(err)
		}
		delete(printed, "data")
		for name := range header {
			if name, ok := strings.CutPrefix(name, "ce-"); ok {
				written[name] = true
				if printed[name] == nil {
					t.Errorf("%s: %s is a header and not in the JSON format", typ, name)
				}
				delete(printed, name)
			}
		}
		if len(printed) > 0 {
			t.Errorf("%s: in the JSON format and no header: %v", typ, printed)
		}
		// One fault after the other.
		for name := range properties {
			faulty := parse(t, marshal(t, e)).(map[string]any)
			faulty[name] = json.Number("1")
			if schema.Validate(faulty) == nil {
				t.Errorf("%s passes with %s = 1", typ, name)
			}
		}
		for _, name := range raw["required"].([]any) {
			faulty := parse(t, marshal(t, e)).(map[string]any)
			delete(faulty, name.(string))
			if schema.Validate(faulty) == nil {
				t.Errorf("%s passes without %s", typ, name)
			}
		}
	}
	delete(properties, "data")
	for name, p := range properties {
		if !written[name] {
			t.Errorf("%s is never written", name)
		}
		if text, _ := p.(map[string]any)["description"].(string); (p.(map[string]any)["x-open-enum"] == true) != openText.MatchString(text) {
			t.Errorf("%s: open or not? %q", name, text)
		}
		delete(written, name)
	}
	if len(written) > 0 {
		t.Errorf("written and not in the schema: %v", written)
	}
}

func sorted(list []any) []string {
	var all []string
	for _, v := range list {
		all = append(all, v.(string))
	}
	slices.Sort(all)
	return all
}

// TestServiceSchemas holds the schemas of requests, replies and entries of the
// audit record to the rules of the others. That the service keeps to them is tested where it runs.
func TestServiceSchemas(t *testing.T) {
	found, err := fs.Glob(schemas.FS, "services/*.json")
	if err != nil {
		t.Fatal(err)
	}
	if want := 2*len(services(t)) + 1; len(found) != want {
		t.Errorf("%d schemas, want a request and a reply each, and the refusal: %d", len(found), want)
	}
	for _, name := range append(found, "record.json") {
		schema, raw := compile(t, path.Base(name), file(t, name))
		if raw["$id"] != path.Base(name) || raw["title"] == nil || raw["description"] == nil || raw["additionalProperties"] != false {
			t.Errorf("%s: its $id, title, description or additionalProperties is wrong", name)
		}
		examples, _ := raw["examples"].([]any)
		if len(examples) == 0 {
			t.Errorf("%s has no example", name)
		}
		for _, example := range examples {
			if err := schema.Validate(example); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		for field, p := range raw["properties"].(map[string]any) {
			text, _ := p.(map[string]any)["description"].(string)
			if text == "" || (p.(map[string]any)["x-open-enum"] == true) != openText.MatchString(text) {
				t.Errorf("%s: %s is described as %q", name, field, text)
			}
		}
		if schema.Validate(map[string]any{"addedLater": true}) == nil {
			t.Errorf("%s passes with a field nobody knows", name)
		}
	}
}

// docs/events.md lists every type, every subject and every attribute, and no
// others.
func TestDocs(t *testing.T) {
	raw, err := os.ReadFile("../../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	first := func(heading string) (cells []string) {
		_, after, ok := strings.Cut(string(raw), "\n## "+heading+"\n")
		if !ok {
			t.Fatalf("docs/events.md has no section %s", heading)
		}
		section, _, _ := strings.Cut(after, "\n## ")
		for line := range strings.Lines(section) {
			if cell, ok := strings.CutPrefix(line, "| `"); ok {
				cell, _, _ = strings.Cut(cell, " | ")
				for name := range strings.FieldsSeq(strings.NewReplacer("`", " ", ",", " ").Replace(cell)) {
					cells = append(cells, name)
				}
			}
		}
		slices.Sort(cells)
		return cells
	}
	var types, subjects, attributes []string
	for _, typ := range Types() {
		types = append(types, short(typ))
	}
	for _, kind := range Kinds() {
		var subject strings.Builder
		subject.WriteString(DefaultPrefix + "." + kind)
		for _, name := range tokenNames(kind) {
			letter := name[:1]
			if name == "silence" {
				letter = "id"
			}
			subject.WriteString(".<" + letter + ">")
		}
		subjects = append(subjects, subject.String())
	}
	subjects = append(subjects, DefaultPrefix+".timer.<m>.<n>", DefaultPrefix+".due.<m>", DefaultPrefix+".probe.>")
	for name := range object(t, "envelope.json")["properties"].(map[string]any) {
		if name != "data" {
			attributes = append(attributes, name)
		}
	}
	for heading, want := range map[string][]string{"Types": types, "Subjects": subjects, "Attributes": attributes} {
		slices.Sort(want)
		if got := first(heading); !slices.Equal(got, want) {
			t.Errorf("%s in docs/events.md:\n got %q\nwant %q", heading, got, want)
		}
	}
}

// The section on data names every field that the data of a kind has, and no
// other.
func TestDocsNameEveryField(t *testing.T) {
	raw, err := os.ReadFile("../../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(raw), "\n## Data\n")
	section, _, ok := strings.Cut(after, "\n## ")
	if !ok {
		t.Fatal("docs/events.md has no section Data")
	}
	for _, kind := range Kinds() {
		_, said, ok := strings.Cut(section, "\n- **"+kind+"**: ")
		if !ok {
			t.Errorf("docs/events.md says nothing of the data of %s", kind)
			continue
		}
		said, _, _ = strings.Cut(said, "\n- **")
		said, _, _ = strings.Cut(said, "\n\n")
		fields, spoken := map[string]bool{}, ""
		for _, typ := range Types() {
			if typ.Kind() == kind {
				spoken += string(file(t, typ.SchemaFile()))
				for name := range object(t, typ.SchemaFile())["properties"].(map[string]any) {
					fields[name] = true
				}
			}
		}
		for _, word := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(said, -1) {
			delete(fields, word[1])
			// What is written like a field is one the schema speaks of.
			if regexp.MustCompile(`^[a-z]+[A-Z]\w*$`).MatchString(word[1]) && !strings.Contains(spoken, word[1]) {
				t.Errorf("docs/events.md: the data of %s has no %s", kind, word[1])
			}
		}
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			t.Errorf("docs/events.md does not say that the data of %s has %s", kind, name)
		}
	}
}

// Kinds are exactly the second words of the types.
func TestKinds(t *testing.T) {
	seen := map[string]bool{}
	for _, typ := range Types() {
		seen[typ.Kind()] = true
	}
	if got, want := slices.Sorted(slices.Values(Kinds())), slices.Sorted(maps.Keys(seen)); !slices.Equal(got, want) {
		t.Errorf("kinds %q, want %q", got, want)
	}
	for _, kind := range Kinds() {
		if _, _, ok := about(kind); !ok {
			t.Errorf("%s: nobody knows its tokens", kind)
		}
	}
}
