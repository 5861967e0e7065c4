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

// target returns what a schema refers to, nil if it refers to nothing, and what
// stands beside the reference, which holds too.
func target(root, schema object) (to, beside object, err error) {
	ref, ok := schema["$ref"].(string)
	if !ok {
		return nil, schema, nil
	}
	defs, _ := root["$defs"].(object)
	name, local := strings.CutPrefix(ref, "#/$defs/")
	to, ok = defs[name].(object)
	if !local || !ok {
		return nil, nil, fmt.Errorf("its $ref leads nowhere: %s", ref)
	}
	beside = maps.Clone(schema)
	delete(beside, "$ref")
	return to, beside, nil
}

// whole returns a value of a rule with what it refers to in place of references:
// who changes that changes the rule.
func whole(root object, v any) any {
	switch v := v.(type) {
	case object:
		all := object{}
		for k, inner := range v {
			all[k] = whole(root, inner)
		}
		if to, _, err := target(root, v); err == nil && to != nil {
			all["$ref"] = whole(root, to)
		}
		return all
	case []any:
		all := make([]any, len(v))
		for i, inner := range v {
			all[i] = whole(root, inner)
		}
		return all
	default:
		return v
	}
}

// told lists the keywords that only tell something to people. Every other one is
// a rule, of which any change is a break: also one that this test has never
// heard of.
func told() []string {
	return []string{"title", "description", "$comment", "examples", "default", "deprecated"}
}

// compared lists the keywords that are compared by what they mean.
func compared() []string {
	return []string{"$defs", "$ref", "enum", "x-open-enum", "required", "properties", "items", "additionalProperties"}
}

// schemas compares two schemas, and what they refer to.
func (d *differ) schemas(at string, before, after object) {
	was, besideBefore, err := target(d.before, before)
	is, besideAfter, errAfter := target(d.after, after)
	if err = errors.Join(err, errAfter); err != nil {
		d.tell(true, at, "%v", err)
		return
	}
	switch {
	case was == nil && is == nil:
		d.rules(at, before, after)
	case was != nil && is != nil:
		d.schemas(at, was, is)
		d.rules(at, besideBefore, besideAfter)
	case was != nil: // it stood elsewhere, and stands here now
		d.schemas(at, was, after)
		d.rules(at, besideBefore, object{})
	default:
		d.schemas(at, before, is)
		d.rules(at, object{}, besideAfter)
	}
}

// rules compares two schemas that refer to nothing.
func (d *differ) rules(at string, before, after object) {
	if !reflect.DeepEqual(before["type"], after["type"]) {
		d.tell(true, at, "was of type %v and is %v", before["type"], after["type"])
		return
	}
	for _, rule := range slices.Sorted(maps.Keys(both(before, after))) {
		if slices.Contains(told(), rule) || slices.Contains(compared(), rule) {
			continue
		}
		if !reflect.DeepEqual(whole(d.before, before[rule]), whole(d.after, after[rule])) {
			d.tell(true, at, "its %s was %v and is %v", rule, before[rule], after[rule])
		}
	}
	d.words(at, before, after)
	d.required(at, list(before["required"]), list(after["required"]))
	was, _ := before["properties"].(object)
	is, _ := after["properties"].(object)
	for _, name := range slices.Sorted(maps.Keys(both(was, is))) {
		field := strings.TrimPrefix(at+"."+name, ".")
		b, there := was[name]
		a, stays := is[name]
		beforeOf, okBefore := b.(object)
		afterOf, okAfter := a.(object)
		switch {
		case !there:
			d.tell(before["additionalProperties"] != false, field, "is new")
		case !stays:
			d.tell(true, field, "is gone: who reads it finds nothing")
		case okBefore && okAfter:
			d.schemas(field, beforeOf, afterOf)
		case !reflect.DeepEqual(b, a):
			d.tell(true, field, "was %v and is %v", b, a)
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

func readDocument(from fs.FS) (v object, err error) {
	raw, err := fs.ReadFile(from, "asyncapi.yaml")
	if err != nil {
		return v, err
	}
	if err := yaml.Unmarshal(raw, &v); err != nil {
		return v, fmt.Errorf("asyncapi.yaml: %w", err)
	}
	return v, nil
}

// channels compares the AsyncAPI documents: all of them but what only tells
// something to people. Who subscribes, asks or answers by one relies on the rest.
func (d *differ) channels(before, after fs.FS) error {
	d.file, d.request = "asyncapi.yaml", false
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
	d.document(nil, was, is)
	return nil
}

// grows reports a place of the document that may get more: subjects, what they
// carry, what is asked and answered.
func grows(path []string) bool {
	switch {
	case len(path) == 1:
		return path[0] == "channels" || path[0] == "operations"
	case len(path) == 2:
		return path[0] == "components"
	default:
		return len(path) == 3 && path[0] == "channels" && path[2] == "messages"
	}
}

// prose lists the keys of the document that only tell something to people.
func prose() []string {
	return []string{"info", "title", "summary", "description", "examples", "note", "replay"}
}

func (d *differ) document(path []string, before, after any) {
	at := strings.Join(path, ".")
	was, okBefore := before.(object)
	is, okAfter := after.(object)
	if okBefore && okAfter && at == "components.schemas.headers" {
		// Headers of others' making pass, so the schema is open; attributes come all
		// the same, and who reads ignores those it does not know.
		d.before, d.after = closed(was), closed(is)
		d.schemas(at, d.before, d.after)
		return
	}
	if !okBefore || !okAfter {
		if !reflect.DeepEqual(before, after) && !keepsMore(path, before, after) {
			d.tell(true, at, "was %v and is %v", before, after)
		}
		return
	}
	for _, name := range slices.Sorted(maps.Keys(both(was, is))) {
		if slices.Contains(prose(), name) && !grows(path) {
			continue
		}
		inner := append(slices.Clone(path), name)
		b, there := was[name]
		a, stays := is[name]
		switch {
		case !there && strings.HasSuffix(at, ".headers") && name == "type" && a == "object":
			// They are, whether the document says so or not.
		case !there:
			d.tell(!grows(path), strings.Join(inner, "."), "is new")
		case !stays:
			d.tell(true, strings.Join(inner, "."), "is gone: who relies on it finds nothing")
		default:
			d.document(inner, b, a)
		}
	}
}

func closed(schema object) object {
	c := maps.Clone(schema)
	c["additionalProperties"] = cmp.Or(c["additionalProperties"], any(false))
	return c
}

// keepsMore reports that the stream keeps more of a subject than before. A
// number below 1 is no limit.
func keepsMore(path []string, before, after any) bool {
	was, okBefore := before.(int)
	is, okAfter := after.(int)
	return path[len(path)-1] == "maxMsgsPerSubject" && okBefore && okAfter && was > 0 && (is < 1 || is > was)
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
