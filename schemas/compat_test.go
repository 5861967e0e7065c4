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

// digests pins each release: the SHA-256 of its checksums, which are those of its
// files. A line that is here never changes and never goes.
var digests = map[string]string{
	"1.0.0": "9690386efa93780585f53f99c56780d188ecbe192bae977e4a65d7b0fccc6f52",
}

// Each released version is kept below released/. What it promised is still so.
func TestCompatibility(t *testing.T) {
	if *release {
		keep(t)
	}
	versions := released(t)
	for version := range digests {
		if !slices.Contains(versions, version) {
			t.Errorf("%s was released and is not kept", version)
		}
	}
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			before := os.DirFS(filepath.Join("released", version))
			if err := unchanged(before, digests[version]); err != nil {
				t.Error(err)
			}
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
	if digests[Version] == "" {
		t.Fatalf("%s is kept. Pin it in digests:\n\t%q: %q,", Version, Version, fmt.Sprintf("%x", sha256.Sum256(sums.Bytes())))
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

// unchanged holds a release to what it was when it was made: its files to its
// checksums, and these to the digest that is pinned here.
func unchanged(release fs.FS, digest string) error {
	names, err := contract(release)
	if err != nil {
		return err
	}
	var sums bytes.Buffer
	for _, name := range names {
		raw, err := fs.ReadFile(release, name)
		if err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(raw), name)
	}
	want, err := fs.ReadFile(release, checksums)
	if err != nil {
		return err
	}
	is := fmt.Sprintf("%x", sha256.Sum256(want))
	switch {
	case !bytes.Equal(sums.Bytes(), want):
		return fmt.Errorf("what was released was edited: its files are not those of its %s", checksums)
	case digest == "":
		return fmt.Errorf("a release is pinned in digests when it is made, this one as %s", is)
	case digest != is:
		return fmt.Errorf("what was released was edited, and its %s with it", checksums)
	}
	return nil
}

// Whoever edits what was released is found, also if the checksums are made anew.
func TestAReleaseIsPinned(t *testing.T) {
	copied := func() fstest.MapFS {
		release := os.DirFS(filepath.Join("released", "1.0.0"))
		names, err := contract(release)
		if err != nil {
			t.Fatal(err)
		}
		files := fstest.MapFS{}
		for _, name := range append(names, checksums) {
			raw, err := fs.ReadFile(release, name)
			if err != nil {
				t.Fatal(err)
			}
			files[name] = &fstest.MapFile{Data: raw}
		}
		return files
	}
	resum := func(files fstest.MapFS) {
		var sums bytes.Buffer
		names, err := contract(files)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(files[name].Data), name)
		}
		files[checksums] = &fstest.MapFile{Data: sums.Bytes()}
	}
	if err := unchanged(copied(), digests["1.0.0"]); err != nil {
		t.Error(err)
	}
	if err := unchanged(copied(), ""); err == nil || !strings.Contains(err.Error(), digests["1.0.0"]) {
		t.Errorf("a release that is not pinned: %v", err)
	}
	for what, edit := range map[string]func(fstest.MapFS){
		"a file is edited":                        func(f fstest.MapFS) { f[prompt].Data = append(f[prompt].Data, ' ') },
		"a file is edited and its checksum":       func(f fstest.MapFS) { f[prompt].Data = append(f[prompt].Data, ' '); resum(f) },
		"a file is taken out":                     func(f fstest.MapFS) { delete(f, prompt) },
		"a file is taken out and its checksum":    func(f fstest.MapFS) { delete(f, prompt); resum(f) },
		"a file is put in, and its checksum":      func(f fstest.MapFS) { f["smartconnect.a.b.v1.json"] = f[prompt]; resum(f) },
		"an example is edited, and its checksums": func(f fstest.MapFS) { f["fixtures/"+prompt].Data = []byte("{}"); resum(f) },
	} {
		files := copied()
		edit(files)
		if unchanged(files, digests["1.0.0"]) == nil {
			t.Errorf("%s, and nobody sees it", what)
		}
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
		{change{name: "a number must be more", file: prompt, edit: set("reminder", "exclusiveMinimum", 0)}, "reminder: its exclusiveMinimum was <nil> and is 0"},
		{change{name: "a number has steps", file: prompt, edit: set("reminder", "multipleOf", 2)}, "reminder: its multipleOf was"},
		{change{name: "a list has no doubles", file: state, edit: set("changed", "uniqueItems", true)}, "changed: its uniqueItems was"},
		{change{name: "a list must hold something", file: state, edit: set("changed", "contains", object{"const": "status"})}, "changed: its contains was"},
		{change{name: "a map must hold something", file: silence, edit: set("scope", "minProperties", 1)}, "scope: its minProperties was"},
		{change{name: "a map has other names", file: silence, edit: set("scope", "propertyNames", object{"pattern": "^m"})}, "scope: its propertyNames was"},
		{change{name: "names are looked at", file: prompt, edit: func(s object) { s["patternProperties"] = object{"^n": object{"type": "string"}} }}, "its patternProperties was"},
		{change{name: "a field wants another", file: prompt, edit: func(s object) { s["dependentRequired"] = object{"batch": []any{"notBefore"}} }}, "its dependentRequired was"},
		{change{name: "a field wants more", file: prompt, edit: func(s object) { s["dependentSchemas"] = object{"batch": object{"required": []any{"notBefore"}}} }}, "its dependentSchemas was"},
		{change{name: "a rule nobody knows", file: prompt, edit: set("reason", "x-shouted", true)}, "reason: its x-shouted was"},
		{change{name: "another language of schemas", file: prompt, edit: func(s object) { s["$schema"] = "http://json-schema.org/draft-07/schema#" }}, "its $schema was"},
		{change{name: "fields are required beside a reference", file: state, edit: set("previous", "required", []any{"status"})}, "previous.status: is required now"},
		{change{name: "words are closed beside a reference", file: state, edit: set("previous", "enum", []any{nil})}, "previous: the words are closed now"},
		{change{name: "a rule beside a reference", file: state, edit: set("previous", "minProperties", 2)}, "previous: its minProperties was"},
		{change{name: "a reference that leads nowhere", file: state, edit: set("previous", "$ref", "#/$defs/nothing")}, "previous: its $ref leads nowhere"},
		{change{name: "nothing is allowed", file: prompt, edit: func(s object) { s["properties"].(object)["batch"] = false }}, "batch: was map["},
		{change{name: "a field of what was open", file: "services/sc.svc.v1.refusal.json", edit: func(s object) { s["additionalProperties"] = true }}, "its additionalProperties was false and is true"},
		{change{name: "another $id", file: prompt, edit: func(s object) { s["$id"] = "other.json" }}, "its $id was"},
		{change{name: "a type is gone", file: prompt}, prompt + ": is gone"},
		{change{name: "an attribute is gone", file: "envelope.json", edit: drop("causationid")}, "causationid: is gone"},
		{change{name: "an attribute is required no more", file: "envelope.json", edit: requireNot("sequence")}, "sequence: is required no more"},
		{change{name: "a request wants more", file: request, edit: require("idToken")}, "idToken: is required now"},
		{change{name: "a request has another rule", file: "services/sc.svc.v1.prompt.start.request.json", edit: func(s object) { delete(s, "anyOf") }}, "its anyOf was"},
		{change{name: "a reply has less", file: reply, edit: func(s object) { drop("created")(s); requireNot("created")(s) }}, "created: is gone"},
		{change{name: "a reply promises less", file: reply, edit: requireNot("created")}, "created: is required no more"},
		{change{name: "a subject has another word", file: "asyncapi.yaml", old: "address: sc.v1.prompt.", new: "address: sc.v1.ask."}, "channels.prompt.address: was sc.v1.prompt.{member}.{connection} and is sc.v1.ask."},
		{change{name: "a subject has no token", file: "asyncapi.yaml", old: "sc.v1.prompt.{member}.{connection}", new: "sc.v1.prompt.{member}"}, "channels.prompt.address: was"},
		{change{name: "a subject is gone", file: "asyncapi.yaml", old: "\n  prompt:\n", new: "\n  ask:\n"}, "channels.prompt: is gone"},
		{change{name: "a type travels elsewhere", file: "asyncapi.yaml", old: "      prompt.opened:\n        $ref", new: "      prompt.other:\n        $ref"}, "channels.prompt.messages.prompt.opened: is gone"},
		{change{name: "a type has another name", file: "asyncapi.yaml", old: "name: smartconnect.prompt.opened.v1", new: "name: smartconnect.prompt.opened.v2"}, "components.messages.prompt.opened.name: was"},
		{change{name: "a type has another schema", file: "asyncapi.yaml", old: "$ref: ./smartconnect.prompt.opened.v1.json", new: "$ref: ./smartconnect.prompt.opened.v2.json"}, "components.messages.prompt.opened.payload.$ref: was"},
		{change{name: "another stream", file: "asyncapi.yaml", old: "stream: SC_EVENTS", new: "stream: OTHER"}, "x-jetstream.stream: was SC_EVENTS"},
		{change{name: "a head is none", file: "asyncapi.yaml", old: "head: true", new: "head: false"}, "x-jetstream.head: was true"},
		{change{name: "less is kept", file: "asyncapi.yaml", old: "maxMsgsPerSubject: 64", new: "maxMsgsPerSubject: 8"}, "retention.maxMsgsPerSubject: was 64 and is 8"},
		{change{name: "events grow old", file: "asyncapi.yaml", old: "maxAge: 0s", new: "maxAge: 24h"}, "retention.maxAge: was 0s"},
		{change{name: "what is read goes", file: "asyncapi.yaml", old: "policy: Limits", new: "policy: WorkQueue"}, "retention.policy: was Limits"},
		{change{name: "bodies are of another kind", file: "asyncapi.yaml", old: "defaultContentType: application/json", new: "defaultContentType: application/xml"}, "defaultContentType: was application/json"},
		{change{name: "who publishes subscribes", file: "asyncapi.yaml", old: "action: send", new: "action: receive"}, "operations.publish.connection.action: was send"},
		{change{name: "another queue", file: "asyncapi.yaml", old: "queue: q", new: "queue: r"}, "bindings.nats.queue: was q"},
		{change{name: "a header has another rule", file: "asyncapi.yaml", old: "        ce-sequence:\n          description", new: "        ce-sequence:\n          minLength: 2\n          description"}, "components.schemas.headers.ce-sequence: its minLength was"},
		{change{name: "headers are none", file: "asyncapi.yaml", old: "      headers:\n        type: object\n", new: "      headers:\n        type: string\n"}, ".headers.type: "},
		{change{name: "something new of a subject", file: "asyncapi.yaml", old: "    address: sc.v1.storm\n", new: "    address: sc.v1.storm\n    servers: []\n"}, "channels.storm.servers: is new"},
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
		{change{name: "a new header", file: "asyncapi.yaml", old: "        ce-sequence:\n          description", new: "        ce-tracestate:\n          type: string\n        ce-sequence:\n          description"}, 1},
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
