package consumer

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/schemas"
)

// The package has a handler for each type of the contract, and no other.
func TestHandlersCoverTheContract(t *testing.T) {
	var types []events.Type
	for _, e := range new(Handlers).table() {
		types = append(types, events.Type(e.typ))
	}
	want := events.Types()
	slices.Sort(types)
	slices.Sort(want)
	if !slices.Equal(types, want) {
		t.Errorf("handlers for\n%q, want\n%q", types, want)
	}
	handlers := reflect.TypeFor[Handlers]()
	for _, e := range new(Handlers).table() {
		var name strings.Builder
		for word := range strings.FieldsFuncSeq(strings.TrimSuffix(strings.TrimPrefix(string(e.typ), "smartconnect."), ".v1"), func(r rune) bool { return r == '.' || r == '_' }) {
			name.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
		if _, ok := handlers.FieldByName(name.String()); !ok {
			t.Errorf("%s: no handler is called %s", e.typ, &name)
		}
	}
}

// setAll sets every typed handler of h to one that counts into called, and
// that fails if the data does not survive being written again.
func setAll(t *testing.T, called *int) Handlers {
	var h Handlers
	for _, f := range reflect.ValueOf(&h).Elem().Fields() {
		if f.Type().NumIn() != 3 {
			continue
		}
		f.Set(reflect.MakeFunc(f.Type(), func(args []reflect.Value) []reflect.Value {
			*called++
			e := args[1].Interface().(Event)
			body, err := json.Marshal(args[2].Interface())
			if err != nil || !sameJSON(t, body, e.Data) {
				t.Errorf("%s: read as\n%s, was\n%s", e.Type, body, e.Data)
			}
			return []reflect.Value{reflect.Zero(reflect.TypeFor[error]())}
		}))
	}
	return h
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	if err := json.Unmarshal(a, &x); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &y); err != nil {
		t.Fatal(err)
	}
	return reflect.DeepEqual(x, y)
}

// Every published example reaches its handler with all that it says.
func TestFixturesAreReadWhole(t *testing.T) {
	called := 0
	h := setAll(t, &called)
	for i, e := range h.table() {
		body, err := schemas.FS.ReadFile("fixtures/" + string(e.typ) + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var fixture struct{ Data json.RawMessage }
		if err := json.Unmarshal(body, &fixture); err != nil {
			t.Fatal(err)
		}
		if err := e.handle(t.Context(), Event{Type: e.typ, Data: fixture.Data}); err != nil {
			t.Errorf("%s: %v", e.typ, err)
		}
		if called != i+1 {
			t.Fatalf("%s did not reach its own handler", e.typ)
		}
		schema, err := schemaOf(string(e.typ))
		if err != nil || len(schema.Required) == 0 {
			t.Fatalf("%s requires %q: %v", e.typ, schema.Required, err)
		}
		for _, name := range schema.Required {
			var data map[string]json.RawMessage
			if err := json.Unmarshal(fixture.Data, &data); err != nil {
				t.Fatal(err)
			}
			delete(data, name)
			less, err := json.Marshal(data)
			if err != nil {
				t.Fatal(err)
			}
			if err := e.handle(t.Context(), Event{Type: e.typ, Data: less}); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s without %s: %v", e.typ, name, err)
			}
		}
		for _, broken := range []string{"", "null", "[]", "{", "{}", `"text"`} {
			if err := e.handle(t.Context(), Event{Type: e.typ, Data: []byte(broken)}); err == nil {
				t.Errorf("%s: a body of %q is read", e.typ, broken)
			}
		}
	}
}

// What the schemas close is closed: words, bounds, ids and times, in whatever
// depth. Each published example is spoilt at each such place.
func TestSpoiltFixturesAreRefused(t *testing.T) {
	spoilt := 0
	for _, e := range new(Handlers).table() {
		s, err := schemaOf(string(e.typ))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := schemas.FS.ReadFile("fixtures/" + string(e.typ) + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var fixture struct{ Data map[string]any }
		if err := json.Unmarshal(raw, &fixture); err != nil {
			t.Fatal(err)
		}
		spoil(s, s.Defs, fixture.Data, func(name string, was, is any) {
			spoilt++
			data, err := json.Marshal(fixture.Data)
			if err != nil {
				t.Fatal(err)
			}
			if err := e.check(Event{Type: e.typ, Data: data}); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), name) {
				t.Errorf("%s with %s %v instead of %v: %v", e.typ, name, is, was, err)
			}
		})
	}
	if spoilt < 150 {
		t.Errorf("only %d places were spoilt", spoilt)
	}
}

// spoil gives each field of object that its schema closes another value, one
// after the other, and puts the old one back.
func spoil(s schema, defs map[string]schema, object map[string]any, try func(name string, was, is any)) {
	if to, ok := defs[strings.TrimPrefix(s.Ref, "#/$defs/")]; ok {
		s = to
	}
	for name, value := range object {
		of := s.Properties[name]
		set := func(is any) {
			object[name] = is
			try(name, value, is)
			object[name] = value
		}
		switch value := value.(type) {
		case string:
			if of.Enum != nil {
				set("BOGUS")
			}
			if strings.HasSuffix(name, "Id") && slices.Contains(s.Required, name) {
				set("")
			}
			if _, err := time.Parse(time.RFC3339Nano, value); err == nil && slices.Contains(s.Required, name) {
				set("0001-01-01T00:00:00Z")
			}
		case float64:
			if of.Minimum != nil {
				set(*of.Minimum - 1)
			}
			if of.Maximum != nil {
				set(*of.Maximum + 1)
			}
		case map[string]any:
			spoil(of, defs, value, try)
		case []any:
			for _, item := range value {
				if inner, ok := item.(map[string]any); ok && of.Items != nil {
					spoil(*of.Items, defs, inner, try)
				}
			}
		}
	}
}

// The types of this package say what the connector's own say, field by field.
func TestTypesAreTheConnectors(t *testing.T) {
	for ours, theirs := range map[reflect.Type]reflect.Type{
		reflect.TypeFor[Connection]():     reflect.TypeFor[events.Connection](),
		reflect.TypeFor[Task]():           reflect.TypeFor[events.Task](),
		reflect.TypeFor[Consent]():        reflect.TypeFor[events.Consent](),
		reflect.TypeFor[Recommendation](): reflect.TypeFor[events.Recommendation](),
		reflect.TypeFor[Observation]():    reflect.TypeFor[events.Observation](),
		reflect.TypeFor[Prompt]():         reflect.TypeFor[events.Prompt](),
		reflect.TypeFor[Access]():         reflect.TypeFor[events.Access](),
		reflect.TypeFor[Source]():         reflect.TypeFor[events.Source](),
		reflect.TypeFor[Observer]():       reflect.TypeFor[events.Observer](),
		reflect.TypeFor[Storm]():          reflect.TypeFor[events.Storm](),
		reflect.TypeFor[Silence]():        reflect.TypeFor[events.Silence](),
		reflect.TypeFor[Member]():         reflect.TypeFor[events.Member](),
		reflect.TypeFor[Agenda]():         reflect.TypeFor[events.Agenda](),
	} {
		sameShape(t, ours.Name(), ours, theirs)
	}
}

func sameShape(t *testing.T, path string, a, b reflect.Type) {
	t.Helper()
	if a.Kind() != b.Kind() {
		t.Errorf("%s is a %s, the connector's a %s", path, a.Kind(), b.Kind())
		return
	}
	switch {
	case a == b:
	case a.Kind() == reflect.Struct:
		fields := func(typ reflect.Type) map[string]reflect.Type {
			m := map[string]reflect.Type{}
			for _, f := range reflect.VisibleFields(typ) {
				if tag := f.Tag.Get("json"); tag != "" {
					m[tag] = f.Type
				}
			}
			return m
		}
		x, y := fields(a), fields(b)
		for tag := range y {
			if x[tag] == nil {
				t.Errorf("%s has no %s", path, tag)
				continue
			}
			sameShape(t, path+"."+tag, x[tag], y[tag])
		}
		if len(x) != len(y) {
			t.Errorf("%s has %d fields, the connector's %d", path, len(x), len(y))
		}
	case slices.Contains([]reflect.Kind{reflect.Pointer, reflect.Slice, reflect.Map}, a.Kind()):
		sameShape(t, path+"[]", a.Elem(), b.Elem())
	}
}

// The words of closed lists are those of the schema.
func TestWords(t *testing.T) {
	body, err := schemas.FS.ReadFile(string(PromptOpened) + ".json")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []Action{ActOAuth, ActDirect, ActReenter, ActVerifyIdentity, ActRestoreConsent, ActReconnectInApp, ActSignIn, ActWait, ActNone, ActUnknown} {
		if !bytes.Contains(body, []byte(`"`+string(a)+`"`)) {
			t.Errorf("%s is no action of the schema", a)
		}
	}
}
