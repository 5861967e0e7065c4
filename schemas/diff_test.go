package schemas

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A difference is one thing that two versions of the contract do not have in
// common.
type difference struct {
	file, at string
	why      string
	breaks   bool // somebody who did nothing wrong no longer works
}

// String returns the difference as a line for people.
func (d difference) String() string {
	return strings.TrimSuffix(d.file+": "+d.at, ": ") + ": " + d.why
}

// differ compares two versions of the contract. Events are stored and read
// again for months, so an old event must be a valid new one and a new event a
// valid old one, but for fields and words that readers are told to ignore.
// Requests are written by others and read by us, replies the other way round.
type differ struct {
	file  string
	found []difference

	before, after object // the whole documents, for references

	// request says that others write it: what is asked of them may become less.
	request bool
}

type object = map[string]any

func (d *differ) tell(breaks bool, at, why string, args ...any) {
	d.found = append(d.found, difference{file: d.file, at: at, why: fmt.Sprintf(why, args...), breaks: breaks})
}

// compareContracts returns how after differs from before, by file and field.
func compareContracts(before, after fs.FS) ([]difference, error) {
	d := &differ{}
	names := map[string]bool{}
	for _, version := range []fs.FS{before, after} {
		for _, pattern := range []string{"*.json", "services/*.json"} {
			found, err := fs.Glob(version, pattern)
			if err != nil {
				return nil, err
			}
			for _, name := range found {
				names[name] = true
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if equal(before, after, name) {
			continue
		}
		d.file, d.request = name, strings.HasSuffix(name, ".request.json")
		var errBefore, errAfter error
		d.before, errBefore = readSchema(before, name)
		d.after, errAfter = readSchema(after, name)
		switch {
		case errors.Is(errBefore, fs.ErrNotExist):
			d.tell(false, "", "is new")
		case errors.Is(errAfter, fs.ErrNotExist):
			d.tell(true, "", "is gone: who reads or sends it is left without")
		case errBefore != nil || errAfter != nil:
			return nil, errors.Join(errBefore, errAfter)
		default:
			if d.before["$id"] != d.after["$id"] {
				d.tell(true, "$id", "was %v and is %v", d.before["$id"], d.after["$id"])
			}
			d.schemas("", d.before, d.after)
		}
	}
	return d.found, d.channels(before, after)
}

// equal spares reading what is the same byte for byte.
func equal(before, after fs.FS, name string) bool {
	b, errBefore := fs.ReadFile(before, name)
	a, errAfter := fs.ReadFile(after, name)
	return errBefore == nil && errAfter == nil && bytes.Equal(b, a)
}

func readSchema(from fs.FS, name string) (object, error) {
	raw, err := fs.ReadFile(from, name)
	if err != nil {
		return nil, err
	}
	var v object
	if err := json.Unmarshal(raw, &v); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return v, nil
}

func resolve(root, schema object) object {
	if ref, ok := schema["$ref"].(string); ok {
		defs, _ := root["$defs"].(object)
		to, _ := defs[strings.TrimPrefix(ref, "#/$defs/")].(object)
		return to
	}
	return schema
}

// rules lists the keywords of which any change is a change of the rule.
func rules() []string {
	return []string{
		"const", "format", "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems",
		"anyOf", "allOf", "oneOf", "not", "if", "then", "else",
	}
}

func (d *differ) schemas(at string, before, after object) {
	before, after = resolve(d.before, before), resolve(d.after, after)
	if !reflect.DeepEqual(before["type"], after["type"]) {
		d.tell(true, at, "was of type %v and is %v", before["type"], after["type"])
		return
	}
	for _, rule := range rules() {
		if !reflect.DeepEqual(before[rule], after[rule]) {
			d.tell(true, at, "its %s was %v and is %v", rule, before[rule], after[rule])
		}
	}
	d.words(at, before, after)
	d.required(at, list(before["required"]), list(after["required"]))
	was, _ := before["properties"].(object)
	is, _ := after["properties"].(object)
	for _, name := range slices.Sorted(maps.Keys(both(was, is))) {
		field := strings.TrimPrefix(at+"."+name, ".")
		b, there := was[name].(object)
		a, stays := is[name].(object)
		switch {
		case !there:
			d.tell(false, field, "is new")
		case !stays:
			d.tell(true, field, "is gone: who reads it finds nothing")
		default:
			d.schemas(field, b, a)
		}
	}
	for keyword, step := range map[string]string{"items": "[]", "additionalProperties": "{}"} {
		b, there := before[keyword].(object)
		a, stays := after[keyword].(object)
		switch {
		case there && stays:
			d.schemas(at+step, b, a)
		case there != stays || !reflect.DeepEqual(before[keyword], after[keyword]):
			d.tell(true, at, "its %s was %v and is %v", keyword, before[keyword], after[keyword])
		}
	}
}

func (d *differ) required(at string, before, after []string) {
	for _, name := range after {
		if !slices.Contains(before, name) {
			d.tell(true, strings.TrimPrefix(at+"."+name, "."), "is required now: who writes as before, and what is stored, does not have it")
		}
	}
	for _, name := range before {
		if !slices.Contains(after, name) {
			d.tell(!d.request, strings.TrimPrefix(at+"."+name, "."), "is required no more: who reads relies on it")
		}
	}
}

// words compares enums: closed ones by enum, open ones by the words they tell
// of.
func (d *differ) words(at string, before, after object) {
	if was, is := before["x-open-enum"] == true, after["x-open-enum"] == true; was && !is {
		d.tell(true, at, "the enum was open and is not: who had a branch for the rest is misled")
	}
	_, wasClosed := before["enum"]
	_, isClosed := after["enum"]
	switch was, is := list(before["enum"]), list(after["enum"]); {
	case wasClosed && !isClosed:
		d.tell(!d.request, at, "the enum was closed and is not: who reads has no branch for other words")
	case !wasClosed && isClosed:
		d.tell(true, at, "the words are closed now: who writes others is refused")
	default:
		for _, word := range was {
			if !slices.Contains(is, word) {
				d.tell(true, at, "the closed enum lost %q: who writes it is refused, and what is stored", word)
			}
		}
		for _, word := range is {
			if !slices.Contains(was, word) {
				d.tell(!d.request, at, "the closed enum got %q: who reads has no branch for it", word)
			}
		}
	}
	if before["x-open-enum"] != true || after["x-open-enum"] != true {
		return
	}
	was, is := list(before["examples"]), list(after["examples"])
	for _, word := range was {
		if !slices.Contains(is, word) {
			d.tell(true, at, "the open enum no longer tells of %q", word)
		}
	}
	for _, word := range is {
		if !slices.Contains(was, word) {
			d.tell(false, at, "the open enum tells of %q", word)
		}
	}
}

// A document is what of AsyncAPI others rely on.
type document struct {
	Channels map[string]struct {
		Address  string               `yaml:"address"`
		Messages map[string]yaml.Node `yaml:"messages"`
		Stream   struct {
			Name      string `yaml:"stream"`
			Head      bool   `yaml:"head"`
			Retention struct {
				MaxAge            string `yaml:"maxAge"`
				MaxMsgsPerSubject int64  `yaml:"maxMsgsPerSubject"`
			} `yaml:"retention"`
		} `yaml:"x-jetstream"`
	} `yaml:"channels"`
	Components struct {
		Messages map[string]struct {
			Name string `yaml:"name"`
		} `yaml:"messages"`
	} `yaml:"components"`
}

func readDocument(from fs.FS) (v document, err error) {
	raw, err := fs.ReadFile(from, "asyncapi.yaml")
	if err != nil {
		return v, err
	}
	if err := yaml.Unmarshal(raw, &v); err != nil {
		return v, fmt.Errorf("asyncapi.yaml: %w", err)
	}
	return v, nil
}

func (d *differ) channels(before, after fs.FS) error {
	d.file = "asyncapi.yaml"
	if equal(before, after, d.file) {
		return nil
	}
	was, err := readDocument(before)
	if err != nil {
		return err
	}
	is, err := readDocument(after)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(both(was.Channels, is.Channels))) {
		b, there := was.Channels[name]
		a, stays := is.Channels[name]
		at := "channel " + name
		switch {
		case !there:
			d.tell(false, at, "is new")
			continue
		case !stays:
			d.tell(true, at, "is gone: who subscribes to %s hears nothing", b.Address)
			continue
		case a.Address != b.Address:
			d.tell(true, at, "the subject was %s and is %s: who subscribes to it hears nothing", b.Address, a.Address)
		}
		if a.Stream.Name != b.Stream.Name {
			d.tell(true, at, "was in stream %s and is in %s", b.Stream.Name, a.Stream.Name)
		}
		if a.Stream.Head != b.Stream.Head {
			d.tell(true, at, "head was %v and is %v", b.Stream.Head, a.Stream.Head)
		}
		if r, o := a.Stream.Retention, b.Stream.Retention; r.MaxMsgsPerSubject < o.MaxMsgsPerSubject || r.MaxAge != o.MaxAge {
			d.tell(true, at, "kept %d messages of a subject for %s and keeps %d for %s", o.MaxMsgsPerSubject, o.MaxAge, r.MaxMsgsPerSubject, r.MaxAge)
		}
		for _, message := range slices.Sorted(maps.Keys(both(b.Messages, a.Messages))) {
			_, there := b.Messages[message]
			_, stays := a.Messages[message]
			switch {
			case !there:
				d.tell(false, at, "carries %s", message)
			case !stays:
				d.tell(true, at, "carries %s no more", message)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(was.Components.Messages)) {
		if b, a := was.Components.Messages[name].Name, is.Components.Messages[name].Name; b != a {
			d.tell(true, "message "+name, "the type was %s and is %s", b, cmp.Or(a, "gone"))
		}
	}
	return nil
}

func list(v any) []string {
	all, _ := v.([]any)
	words := make([]string, len(all))
	for i, w := range all {
		words[i] = fmt.Sprint(w)
	}
	return words
}

func both[V any](a, b map[string]V) map[string]V {
	union := maps.Clone(a)
	if union == nil {
		union = map[string]V{}
	}
	maps.Copy(union, b)
	return union
}

// contract lists the files of a version: what others rely on, and the fixtures
// as samples of what is stored.
func contract(from fs.FS) ([]string, error) {
	var names []string
	for _, pattern := range []string{"asyncapi.yaml", "*.json", "services/*.json", "fixtures/*.json"} {
		found, err := fs.Glob(from, pattern)
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("there is no %s", path.Clean(pattern))
		}
		names = append(names, found...)
	}
	slices.Sort(names)
	return names, nil
}
