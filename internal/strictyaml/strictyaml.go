// Package strictyaml reads configuration files of one YAML document, and
// refuses what they say that nobody asked for.
package strictyaml

import (
	"errors"
	"io"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Decode reads one document into v. What the document leaves out stays as it
// was in v. Errors give the line and quote no value: one may be a secret.
func Decode(r io.Reader, v any) error {
	d := yaml.NewDecoder(r)
	d.KnownFields(true)
	if err := d.Decode(v); err != nil {
		if errors.Is(err, io.EOF) {
			return errors.New("it is empty")
		}
		return plain(err)
	}
	if !errors.Is(d.Decode(new(yaml.Node)), io.EOF) {
		return errors.New("it holds more than one document")
	}
	return nil
}

var (
	value   = regexp.MustCompile("`[^`]*`")
	unknown = regexp.MustCompile(`field (\S+) not found in type \S+`)
	tag     = regexp.MustCompile(`!!(\w+)`)
	list    = regexp.MustCompile(`cannot unmarshal \S+ a value into \[\]\S+`)
	goType  = regexp.MustCompile(`into [a-z]+\.(\w+)`)
)

// plain returns what the YAML library complains of, without the values it
// quotes and without the names of our types.
func plain(err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	text = strings.TrimPrefix(text, "unmarshal errors:\n")
	text = value.ReplaceAllString(text, "a value")
	text = unknown.ReplaceAllString(text, "there is no setting called $1")
	text = tag.ReplaceAllString(text, "$1")
	text = list.ReplaceAllString(text, "want a list, as [a, b]")
	text = goType.ReplaceAllString(text, "into $1")
	return errors.New(strings.Join(strings.Fields(text), " "))
}
