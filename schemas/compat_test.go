package schemas

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

var release = flag.Bool("release", false, "keep the contract as it is in released/<Version>")

// checksums is the file of a release that says what was in the others.
const checksums = "SHA256SUMS"

// Each released version is kept below released/. What it promised is still so.
func TestCompatibility(t *testing.T) {
	if *release {
		keep(t)
	}
	versions := released(t)
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			before := os.DirFS(filepath.Join("released", version))
			unchanged(t, before)
			found, err := compareContracts(before, FS)
			if err != nil {
				t.Fatal(err)
			}
			additions := 0
			for _, d := range found {
				if d.breaks {
					t.Errorf("%s\nThat breaks who lives by version %s. Add a field or a type that ends in the next .v<n> instead.", d, version)
					continue
				}
				additions++
			}
			// The newest is followed by a higher version as soon as something is
			// added to it.
			if version == versions[len(versions)-1] {
				if got := slices.Compare(number(t, Version), number(t, version)); got < 0 || (additions > 0) != (got > 0) {
					t.Errorf("Version in schemas.go is %s, the last released is %s, and %d things were added to it: %v\nRaise Version above what is released when something is added, and only then; then go test ./internal/events -update.", Version, version, additions, found)
				}
			}
			stillValid(t, before)
		})
	}
}

// keep makes a release of the contract as it is.
func keep(t *testing.T) {
	t.Helper()
	dir := filepath.Join("released", Version)
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("%s was released before: %v", Version, err)
	}
	names, err := contract(FS)
	if err != nil {
		t.Fatal(err)
	}
	var sums bytes.Buffer
	for _, name := range names {
		raw, err := fs.ReadFile(FS, name)
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(to), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(raw), name)
	}
	if err := os.WriteFile(filepath.Join(dir, checksums), sums.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// released lists the released versions, oldest first.
func released(t *testing.T) []string {
	t.Helper()
	dirs, err := os.ReadDir("released")
	if err != nil {
		t.Fatal(err)
	}
	var versions []string
	for _, d := range dirs {
		versions = append(versions, d.Name())
	}
	if len(versions) == 0 {
		t.Fatal("nothing is released, so nothing is held to anything")
	}
	slices.SortFunc(versions, func(a, b string) int { return slices.Compare(number(t, a), number(t, b)) })
	return versions
}

func number(t *testing.T, version string) []int {
	t.Helper()
	var parts []int
	for word := range strings.SplitSeq(version, ".") {
		n, err := strconv.Atoi(word)
		if err != nil {
			t.Fatalf("%s is no version", version)
		}
		parts = append(parts, n)
	}
	if len(parts) != 3 {
		t.Fatalf("%s is no version", version)
	}
	return parts
}

// unchanged holds a release to what it was when it was made.
func unchanged(t *testing.T, before fs.FS) {
	t.Helper()
	names, err := contract(before)
	if err != nil {
		t.Fatal(err)
	}
	var sums bytes.Buffer
	for _, name := range names {
		raw, err := fs.ReadFile(before, name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(raw), name)
	}
	want, err := fs.ReadFile(before, checksums)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(sums.Bytes(), want) {
		t.Errorf("what was released was edited: its files are not those of its %s", checksums)
	}
}

// stillValid reads events as they were written in a release with the schemas of
// today.
func stillValid(t *testing.T, before fs.FS) {
	t.Helper()
	fixtures, err := fs.Glob(before, "fixtures/*.json")
	if err != nil || len(fixtures) == 0 {
		t.Fatalf("%d fixtures, %v", len(fixtures), err)
	}
	for _, name := range fixtures {
		raw, err := fs.ReadFile(before, name)
		if err != nil {
			t.Fatal(err)
		}
		event, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		data := event.(map[string]any)["data"]
		for schema, value := range map[string]any{"envelope.json": event, path.Base(name): data} {
			if err := check(t, schema, value); err != nil {
				t.Errorf("%s as it was written: %v", name, err)
			}
		}
	}
}

func check(t *testing.T, name string, value any) error {
	t.Helper()
	raw, err := fs.ReadFile(FS, name)
	if err != nil {
		return err
	}
	schema, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(name, schema); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile(name)
	if err != nil {
		t.Fatal(err)
	}
	return compiled.Validate(value)
}

// A change is planted in a copy of the contract. In a schema it is a function,
// in the document a replacement.
type change struct {
	name     string
	file     string
	edit     func(object)
	old, new string
}

const (
	prompt  = "smartconnect.prompt.opened.v1.json"
	silence = "smartconnect.silence.set.v1.json"
	request = "services/sc.svc.v1.member.enrol.request.json"
	reply   = "services/sc.svc.v1.member.enrol.reply.json"
	state   = "smartconnect.connection.removed.v1.json"
)

func property(schema object, name string) object {
	properties, _ := schema["properties"].(object)
	p, _ := properties[name].(object)
	return p
}

func set(name, keyword string, value any) func(object) {
	return func(s object) { property(s, name)[keyword] = value }
}

func drop(name string) func(object) {
	return func(s object) { delete(s["properties"].(object), name) }
}

func add(name string, schema object) func(object) {
	return func(s object) { s["properties"].(object)[name] = schema }
}

func require(name string) func(object) {
	return func(s object) { s["required"] = append(s["required"].([]any), name) }
}

func requireNot(name string) func(object) {
	return func(s object) {
		s["required"] = slices.DeleteFunc(s["required"].([]any), func(v any) bool { return v == name })
	}
}

func inState(edit func(object)) func(object) {
	return func(s object) { edit(s["$defs"].(object)["state"].(object)) }
}

// Each kind of break fails, and the line that says so names the place.
func TestBreaksAreFound(t *testing.T) {
	for _, c := range []struct {
		change
		at string
	}{
		{change{name: "a field is gone", file: prompt, edit: drop("batch")}, "batch: is gone"},
		{change{name: "a required field is gone", file: prompt, edit: func(s object) { drop("notify")(s); requireNot("notify")(s) }}, "notify: is gone"},
		{change{name: "a field has another type", file: prompt, edit: set("notify", "type", "string")}, "notify: was of type boolean and is string"},
		{change{name: "a number is no whole one", file: prompt, edit: set("reminder", "type", "number")}, "reminder: was of type integer"},
		{change{name: "null is new", file: prompt, edit: set("reason", "type", []any{"string", "null"})}, "reason: was of type string"},
		{change{name: "null is gone", file: state, edit: inState(func(s object) { s["type"] = "object" })}, "current: was of type"},
		{change{name: "an inner field is gone", file: state, edit: inState(drop("lastSynced"))}, "current.lastSynced: is gone"},
		{change{name: "an inner field is required", file: state, edit: inState(func(s object) { s["required"] = []any{"status"} })}, "current.status: is required now"},
		{change{name: "an optional field is required", file: prompt, edit: require("batch")}, "batch: is required now"},
		{change{name: "a new field is required", file: prompt, edit: func(s object) { add("color", object{"type": "string"})(s); require("color")(s) }}, "color: is required now"},
		{change{name: "a field is required no more", file: prompt, edit: requireNot("notify")}, "notify: is required no more"},
		{change{name: "a closed enum lost a word", file: prompt, edit: set("urgency", "enum", []any{"required"})}, `urgency: the closed enum lost "optional"`},
		{change{name: "a closed enum got a word", file: prompt, edit: set("urgency", "enum", []any{"required", "optional", "never"})}, `urgency: the closed enum got "never"`},
		{change{name: "a closed enum is open", file: prompt, edit: func(s object) { delete(property(s, "urgency"), "enum") }}, "urgency: the enum was closed"},
		{change{name: "an open enum is closed", file: prompt, edit: func(s object) {
			set("reason", "enum", []any{"expired"})(s)
			delete(property(s, "reason"), "x-open-enum")
		}}, "reason: the enum was open"},
		{change{name: "free words are closed", file: silence, edit: set("by", "enum", []any{"me"})}, "by: the words are closed now"},
		{change{name: "an open enum lost a word", file: prompt, edit: set("reason", "examples", []any{"expired"})}, `reason: the open enum no longer tells of "error"`},
		{change{name: "a time is any text", file: prompt, edit: func(s object) { delete(property(s, "openedAt"), "format") }}, "openedAt: its format was date-time"},
		{change{name: "the least is more", file: prompt, edit: set("reminder", "minimum", 1)}, "reminder: its minimum was 0 and is 1"},
		{change{name: "words of a list have another type", file: state, edit: func(s object) { property(s, "changed")["items"] = object{"type": "integer"} }}, "changed[]: was of type string"},
		{change{name: "values of a map have another type", file: silence, edit: func(s object) { property(s, "scope")["additionalProperties"] = object{"type": "integer"} }}, "scope{}: was of type string"},
		{change{name: "a map is closed", file: silence, edit: set("scope", "additionalProperties", false)}, "scope: its additionalProperties was"},
		{change{name: "another $id", file: prompt, edit: func(s object) { s["$id"] = "other.json" }}, "$id: was"},
		{change{name: "a type is gone", file: prompt}, prompt + ": is gone"},
		{change{name: "an attribute is gone", file: "envelope.json", edit: drop("causationid")}, "causationid: is gone"},
		{change{name: "an attribute is required no more", file: "envelope.json", edit: requireNot("sequence")}, "sequence: is required no more"},
		{change{name: "a request wants more", file: request, edit: require("idToken")}, "idToken: is required now"},
		{change{name: "a request has another rule", file: "services/sc.svc.v1.prompt.start.request.json", edit: func(s object) { delete(s, "anyOf") }}, "its anyOf was"},
		{change{name: "a reply has less", file: reply, edit: func(s object) { drop("created")(s); requireNot("created")(s) }}, "created: is gone"},
		{change{name: "a reply promises less", file: reply, edit: requireNot("created")}, "created: is required no more"},
		{change{name: "a subject has another word", file: "asyncapi.yaml", old: "address: sc.v1.prompt.", new: "address: sc.v1.ask."}, "channel prompt: the subject was"},
		{change{name: "a subject has no token", file: "asyncapi.yaml", old: "sc.v1.prompt.{member}.{connection}", new: "sc.v1.prompt.{member}"}, "channel prompt: the subject was"},
		{change{name: "a subject is gone", file: "asyncapi.yaml", old: "\n  prompt:\n", new: "\n  ask:\n"}, "channel prompt: is gone"},
		{change{name: "a type travels elsewhere", file: "asyncapi.yaml", old: "      prompt.opened:\n        $ref", new: "      prompt.other:\n        $ref"}, "channel prompt: carries prompt.opened no more"},
		{change{name: "a type has another name", file: "asyncapi.yaml", old: "name: smartconnect.prompt.opened.v1", new: "name: smartconnect.prompt.opened.v2"}, "message prompt.opened: the type was"},
		{change{name: "another stream", file: "asyncapi.yaml", old: "stream: SC_EVENTS", new: "stream: OTHER"}, "was in stream SC_EVENTS"},
		{change{name: "a head is none", file: "asyncapi.yaml", old: "head: true", new: "head: false"}, "head was true"},
		{change{name: "less is kept", file: "asyncapi.yaml", old: "maxMsgsPerSubject: 64", new: "maxMsgsPerSubject: 8"}, "kept 64 messages"},
		{change{name: "events grow old", file: "asyncapi.yaml", old: "maxAge: 0s", new: "maxAge: 24h"}, "kept 64 messages of a subject for 0s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			found, err := compareContracts(FS, planted(t, c.change))
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(found, func(d difference) bool {
				return d.breaks && d.file == c.file && strings.Contains(d.String(), c.at)
			}) {
				t.Errorf("found %v, want %q", found, c.at)
			}
		})
	}
}

// What readers are told to expect is no break.
func TestAdditionsAreNoBreaks(t *testing.T) {
	for _, c := range []struct {
		change
		additions int
	}{
		{change{name: "nothing"}, 0},
		{change{name: "other descriptions", file: prompt, edit: func(s object) { s["title"] = "Other"; property(s, "reason")["description"] = "Other." }}, 0},
		{change{name: "another example", file: prompt, edit: func(s object) { s["examples"] = []any{} }}, 0},
		{change{name: "a new optional field", file: prompt, edit: add("color", object{"type": "string"})}, 1},
		{change{name: "a new optional field below", file: state, edit: inState(add("color", object{"type": "string"}))}, 2}, // previous and current
		{change{name: "an open enum got a word", file: prompt, edit: func(s object) {
			property(s, "reason")["examples"] = append(property(s, "reason")["examples"].([]any), "weary")
		}}, 1},
		{change{name: "a new attribute", file: "envelope.json", edit: add("tracestate", object{"type": "string"})}, 1},
		{change{name: "a new type", file: "smartconnect.prompt.snoozed.v1.json", edit: func(s object) { s["type"] = "object" }}, 1},
		{change{name: "a new version of a type", file: "smartconnect.prompt.opened.v2.json", edit: func(s object) { s["type"] = "object" }}, 1},
		{change{name: "a new service", file: "services/sc.svc.v1.prompt.snooze.request.json", edit: func(s object) { s["type"] = "object" }}, 1},
		{change{name: "a request wants less", file: request, edit: requireNot("id")}, 1},
		{change{name: "more is kept", file: "asyncapi.yaml", old: "maxMsgsPerSubject: 64", new: "maxMsgsPerSubject: 128"}, 0},
		{change{name: "a subject carries more", file: "asyncapi.yaml", old: "      prompt.opened:\n        $ref", new: "      prompt.snoozed: {}\n      prompt.opened:\n        $ref"}, 1},
		{change{name: "a new subject", file: "asyncapi.yaml", old: "\n  prompt:\n", new: "\n  snooze:\n    address: sc.v1.snooze\n  prompt:\n"}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			found, err := compareContracts(FS, planted(t, c.change))
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range found {
				if d.breaks {
					t.Errorf("%s", d)
				}
			}
			if len(found) != c.additions {
				t.Errorf("%d additions, want %d: %v", len(found), c.additions, found)
			}
		})
	}
}

// planted returns a copy of the contract with a change in it. A file that is
// not there is made, one without an edit is removed.
func planted(t *testing.T, c change) fs.FS {
	t.Helper()
	names, err := contract(FS)
	if err != nil {
		t.Fatal(err)
	}
	copied := fstest.MapFS{}
	for _, name := range names {
		raw, err := fs.ReadFile(FS, name)
		if err != nil {
			t.Fatal(err)
		}
		copied[name] = &fstest.MapFile{Data: raw}
	}
	switch {
	case c.file == "":
	case c.old != "":
		text := strings.Replace(string(copied[c.file].Data), c.old, c.new, 1)
		if text == string(copied[c.file].Data) {
			t.Fatalf("%q is not in %s", c.old, c.file)
		}
		copied[c.file].Data = []byte(text)
	case c.edit == nil:
		delete(copied, c.file)
	default:
		schema := object{}
		if f, ok := copied[c.file]; ok {
			if err := json.Unmarshal(f.Data, &schema); err != nil {
				t.Fatal(err)
			}
		}
		c.edit(schema)
		raw, err := json.Marshal(schema)
		if err != nil {
			t.Fatal(err)
		}
		copied[c.file] = &fstest.MapFile{Data: raw}
	}
	return copied
}

func TestForReaders(t *testing.T) {
	raw, err := ForReaders([]byte(`{"additionalProperties":false,"properties":{"a":{"items":[{"additionalProperties":false}]},"b":{"additionalProperties":{"type":"string"}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, raw); err != nil {
		t.Fatal(err)
	}
	if got, want := compact.String(), `{"properties":{"a":{"items":[{}]},"b":{"additionalProperties":{"type":"string"}}}}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if _, err := ForReaders([]byte("no JSON")); err == nil {
		t.Error("what is no JSON is opened")
	}
}
