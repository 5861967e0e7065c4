package main

import (
	"context"
	"encoding/json"
	"fmt"
	_ "time/tzdata" // quiet hours have a zone, and the image has no files of zones

	"github.com/smartconnect/connector/internal/policy"
)

// policyFlags choose when and how members are asked.
type policyFlags struct {
	Policy string `help:"YAML file of when and how members are asked; what it leaves out has its default. See: connector policy show." type:"existingfile" placeholder:"FILE"`
}

// settings returns what the file says; the rest is as always, or fast. What a
// file says counts with --fast too.
func (f policyFlags) settings(fast bool) (policy.Settings, error) {
	s := policy.Defaults()
	if fast {
		s = policy.Fast()
	}
	if f.Policy == "" {
		return s, s.Validate()
	}
	return policy.Load(f.Policy, s)
}

type policyCmd struct {
	Check policyCheckCmd `cmd:"" help:"Say what is wrong with a policy file."`
	Show  policyShowCmd  `cmd:"" help:"Print the policy that holds, with the reason of each key."`
}

type policyCheckCmd struct {
	File string `arg:"" help:"YAML file." type:"existingfile"`
	Fast bool   `help:"For a connector that runs with the short times of --fast."`
}

// Run reads the file and says that it is good, or the first thing that is not.
func (c policyCheckCmd) Run(_ context.Context, std streams) error {
	if _, err := (policyFlags{Policy: c.File}).settings(c.Fast); err != nil {
		return err
	}
	fmt.Fprintln(std.out, "the policy is good; run takes it with --policy")
	return nil
}

type policyShowCmd struct {
	policyFlags `embed:""`
	Fast        bool `help:"With the short times of --fast."`
	JSON        bool `name:"json" help:"Print one JSON object."`
}

// Run prints the policy in the form of a file.
func (c policyShowCmd) Run(_ context.Context, std streams) error {
	s, err := c.settings(c.Fast)
	if err != nil {
		return err
	}
	if !c.JSON {
		return policy.Write(std.out, s)
	}
	values, err := policy.Values(s)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(std.out)
	enc.SetIndent("", "  ")
	return enc.Encode(values)
}
