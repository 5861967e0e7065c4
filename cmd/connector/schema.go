package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/schemas"
)

type schemaCmd struct {
	List     schemaListCmd     `cmd:"" help:"List the event types and the schemas."`
	Show     schemaShowCmd     `cmd:"" help:"Print a schema, a sample event, or the AsyncAPI document."`
	Validate schemaValidateCmd `cmd:"" help:"Hold events to their schemas."`
}

type schemaListCmd struct {
	JSON bool `name:"json" help:"Print JSON lines."`
}

// Run lists what there is.
func (c schemaListCmd) Run(std streams) error {
	table := tabwriter.NewWriter(std.out, 0, 8, 2, ' ', 0)
	if !c.JSON {
		fmt.Fprintln(table, "NAME\tTITLE")
	}
	for _, name := range schemaNames() {
		var s struct {
			Title string `json:"title"`
		}
		raw, err := schemaText(name)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(raw, &s); err != nil {
			return fmt.Errorf("list schemas: %w", err)
		}
		if c.JSON {
			err = json.NewEncoder(std.out).Encode(map[string]string{"name": name, "title": s.Title})
		} else {
			_, err = fmt.Fprintf(table, "%s\t%s\n", name, s.Title)
		}
		if err != nil {
			return err
		}
	}
	return table.Flush()
}

// schemaNames lists the schemas: those of event types as the types are called,
// the envelope's, the audit record's, and those of requests and replies.
func schemaNames() []string {
	var names []string
	for _, t := range events.Types() {
		names = append(names, string(t))
	}
	names = append(names, "envelope", "record")
	services, err := fs.Glob(schemas.FS, "services/*.json")
	if err != nil {
		return names // only a bad pattern is an error
	}
	for _, file := range services {
		names = append(names, strings.TrimSuffix(path.Base(file), ".json"))
	}
	return names
}

// schemaText returns the schema with a name of schemaNames.
func schemaText(name string) ([]byte, error) {
	for _, folder := range []string{".", "services"} {
		if raw, err := fs.ReadFile(schemas.FS, path.Join(folder, name+".json")); err == nil {
			return raw, nil
		}
	}
	return nil, fmt.Errorf("there is no schema %.80q; see: connector schema list", name)
}

// fullType returns the type that is meant by its name or by a part of it:
// prompt.opened.
func fullType(name string) string {
	if long := "smartconnect." + name + ".v1"; slices.Contains(events.Types(), events.Type(long)) {
		return long
	}
	return name
}

type schemaShowCmd struct {
	Name       string `arg:"" name:"type" help:"Event type (prompt.opened will do), envelope, a request or reply as listed, or asyncapi."`
	ForReaders bool   `help:"The schema as who reads applies it: fields that it does not name may come."`
	Sample     bool   `help:"A whole event of the type, as it is published."`
}

// Run prints it.
func (c schemaShowCmd) Run(std streams) error {
	name := fullType(c.Name)
	var raw []byte
	var err error
	switch {
	case c.ForReaders && (c.Sample || name == "asyncapi"):
		return errors.New("show schema: --for-readers is for schemas")
	case name == "asyncapi":
		raw, err = fs.ReadFile(schemas.FS, "asyncapi.yaml")
	case c.Sample:
		if raw, err = fs.ReadFile(schemas.FS, "fixtures/"+name+".json"); err != nil {
			err = fmt.Errorf("there is no event type %.80q; see: connector schema list", c.Name)
		}
	default:
		raw, err = schemaText(name)
	}
	if err == nil && c.ForReaders {
		raw, err = schemas.ForReaders(raw)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(std.out, strings.TrimSpace(string(raw)))
	return err
}

type schemaValidateCmd struct {
	File       string `arg:"" optional:"" default:"-" help:"File with events in CloudEvents' JSON format, one or many; - reads standard input."`
	ForReaders bool   `help:"Let fields pass that the schemas do not name, as who reads does."`
}

// Run holds each event to the schema of the envelope and to that of its data.
// What it complains of names places, never what stands there: bodies name
// members.
func (c schemaValidateCmd) Run(_ context.Context, std streams) error {
	in, name := std.in, "standard input"
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return fmt.Errorf("validate: %w", err)
		}
		defer f.Close()
		in, name = f, c.File
	}
	check := newChecker(c.ForReaders)
	seen, bad := 0, 0
	for v, err := range jsonValues(in) {
		if err != nil {
			return fmt.Errorf("validate: %s:%d: this is no JSON; %d events were read before it", name, v.line, seen)
		}
		seen++
		faults := check.event(v.raw)
		if len(faults) > 0 {
			bad++
		}
		for _, fault := range faults {
			fmt.Fprintf(std.err, "%s:%d: %s\n", name, v.line, fault)
		}
	}
	switch {
	case seen == 0:
		return fmt.Errorf("validate: there is no event in %s", name)
	case bad > 0:
		return fmt.Errorf("validate: %d of %d events are not valid", bad, seen)
	}
	_, err := fmt.Fprintf(std.out, "%d events are valid.\n", seen)
	return err
}

// A jsonValue is one of several in a text, with the line it begins on.
type jsonValue struct {
	raw  json.RawMessage
	line int
}

// jsonValues yields the JSON values of a text, whether they stand one a line or
// not. After an error there is nothing more.
func jsonValues(r io.Reader) func(func(jsonValue, error) bool) {
	return func(yield func(jsonValue, error) bool) {
		at := &lineEnds{r: bufio.NewReader(r)}
		for dec := json.NewDecoder(at); ; {
			var v jsonValue
			err := dec.Decode(&v.raw)
			if errors.Is(err, io.EOF) {
				return
			}
			begins := dec.InputOffset() - int64(len(v.raw))
			if wrong, ok := errors.AsType[*json.SyntaxError](err); ok {
				begins = wrong.Offset
			} else if err != nil {
				begins = at.read // it ends in the middle of a value
			}
			v.line = at.line(begins)
			if !yield(v, err) || err != nil {
				return
			}
		}
	}
}

// lineEnds notes where lines end in what passes through it.
type lineEnds struct {
	r     io.Reader
	read  int64
	ends  []int64
	lines int // that ended before ends[0]
}

// Read implements io.Reader.
func (l *lineEnds) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	for i, b := range p[:n] {
		if b == '\n' {
			l.ends = append(l.ends, l.read+int64(i))
		}
	}
	l.read += int64(n)
	return n, err
}

// line returns the line of an offset. Offsets only grow.
func (l *lineEnds) line(offset int64) int {
	n, _ := slices.BinarySearch(l.ends, offset)
	l.ends, l.lines = l.ends[n:], l.lines+n
	return l.lines + 1
}

// A checker holds events to the schemas.
type checker struct {
	forReaders bool
	compiled   map[string]*jsonschema.Schema // by name, as they are needed
}

func newChecker(forReaders bool) checker {
	return checker{forReaders, map[string]*jsonschema.Schema{}}
}

func (c checker) schema(name string) (*jsonschema.Schema, error) {
	if s, ok := c.compiled[name]; ok {
		return s, nil
	}
	raw, err := schemaText(name)
	if err == nil && c.forReaders {
		raw, err = schemas.ForReaders(raw)
	}
	if err != nil {
		return nil, err
	}
	text, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource(name+".json", text); err != nil {
		return nil, err
	}
	s, err := compiler.Compile(name + ".json")
	if err != nil {
		return nil, err
	}
	c.compiled[name] = s
	return s, nil
}

// event returns what is wrong with an event in CloudEvents' JSON format.
func (c checker) event(raw []byte) []string {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return []string{"this is no JSON"}
	}
	faults := c.against("envelope", "", v)
	envelope, _ := v.(map[string]any)
	typ, _ := envelope["type"].(string)
	data, ok := envelope["data"].(map[string]any)
	switch {
	case !ok || typ == "":
		return faults // the envelope's schema has said so
	case !slices.Contains(events.Types(), events.Type(typ)):
		return append(faults, fmt.Sprintf("/type: there is no schema of %.80q here", typ))
	}
	if schema, ok := envelope["dataschema"].(string); ok && !strings.HasSuffix(schema, ":"+typ+".json") {
		faults = append(faults, "/dataschema: is the schema of another type")
	}
	return append(faults, c.against(typ, "/data", data)...)
}

func (c checker) against(name, at string, v any) []string {
	schema, err := c.schema(name)
	if err != nil {
		return []string{fmt.Sprintf("the schema of %s cannot be used", name)}
	}
	err = schema.Validate(v)
	wrong, ok := errors.AsType[*jsonschema.ValidationError](err)
	switch {
	case err == nil:
		return nil
	case !ok:
		return []string{at + ": " + "is not valid"}
	}
	var faults []string
	var leaves func(e *jsonschema.ValidationError)
	leaves = func(e *jsonschema.ValidationError) {
		for _, cause := range e.Causes {
			leaves(cause)
		}
		if len(e.Causes) == 0 {
			place := at
			for _, step := range e.InstanceLocation {
				place += "/" + step
			}
			if place == "" {
				place = "/"
			}
			faults = append(faults, place+": "+fault(e.ErrorKind))
		}
	}
	leaves(wrong)
	slices.Sort(faults)
	return slices.Compact(faults)
}

// fault says what is wrong without saying what is there.
func fault(k jsonschema.ErrorKind) string {
	switch k := k.(type) {
	case *kind.Required:
		return "lacks " + strings.Join(k.Missing, ", ")
	case *kind.AdditionalProperties:
		return fmt.Sprintf("has fields the schema does not name: %.80q", k.Properties)
	case *kind.Type:
		return fmt.Sprintf("is of type %s, want %s", k.Got, strings.Join(k.Want, " or "))
	case *kind.Enum:
		return fmt.Sprintf("is none of %v", k.Want)
	case *kind.Const:
		return fmt.Sprintf("is not %v", k.Want)
	case *kind.Format:
		return "is no " + k.Want
	case *kind.Pattern:
		return "does not look like " + k.Want
	default:
		return "breaks the rule " + strings.Join(k.KeywordPath(), "/")
	}
}
