package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/alecthomas/kong"
)

// configFile is a file of flags by name, for whichever commands have them. What
// the environment sets is left to it, so that the order is: flags, environment,
// file.
type configFile map[string]string

// readConfig reads a file of flags. Its errors quote no value: one may be a
// secret.
func readConfig(r io.Reader) (kong.Resolver, error) {
	d := json.NewDecoder(r)
	d.UseNumber()
	var values map[string]any
	if d.Decode(&values) != nil || values == nil || d.More() {
		return nil, errors.New("config file: it is no JSON object of flags by name")
	}
	c := configFile{}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		switch v := values[name].(type) {
		case string, json.Number, bool:
			c[name] = fmt.Sprint(v)
		default:
			return nil, fmt.Errorf("config file: %q: want a string, a number, true or false", name)
		}
	}
	return c, nil
}

// Validate implements kong.Resolver. A name that no command knows is a mistake.
func (c configFile) Validate(app *kong.Application) error {
	known := map[string]bool{}
	var visit func(n *kong.Node)
	visit = func(n *kong.Node) {
		for _, f := range n.Flags {
			known[f.Name] = f.Name != "config" && f.Name != "help"
		}
		for _, child := range n.Children {
			visit(child)
		}
	}
	visit(app.Node)
	for _, name := range slices.Sorted(maps.Keys(c)) {
		if !known[name] {
			return fmt.Errorf("config file: %q is no flag that a file may set; names are those of the flags, as \"http-listen\"", name)
		}
	}
	return nil
}

// Resolve implements kong.Resolver.
func (c configFile) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	value, ok := c[flag.Name]
	if !ok {
		return nil, nil
	}
	for _, name := range flag.Envs {
		if _, set := os.LookupEnv(name); set {
			return nil, nil
		}
	}
	return value, nil
}
