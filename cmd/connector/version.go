package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set by the linker in releases.
var version = "dev"

type versionCmd struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// Run prints the version and what it was built from.
func (c versionCmd) Run(std streams) error {
	revision := "unknown revision"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = s.Value
			}
		}
	}
	if c.JSON {
		return json.NewEncoder(std.out).Encode(map[string]string{"version": version, "revision": revision, "go": runtime.Version()})
	}
	_, err := fmt.Fprintf(std.out, "connector %s (%s, %s)\n", version, revision, runtime.Version())
	return err
}
