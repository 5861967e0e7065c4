package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set by the linker in releases.
var version = "dev"

type versionCmd struct{}

// Run prints the version and what it was built from.
func (versionCmd) Run(std streams) error {
	revision := "unknown revision"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = s.Value
			}
		}
	}
	_, err := fmt.Fprintf(std.out, "connector %s (%s, %s)\n", version, revision, runtime.Version())
	return err
}
