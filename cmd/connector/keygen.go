package main

import (
	"fmt"

	"github.com/smartconnect/connector/internal/members"
)

type keygenCmd struct {
	KeyFile string `help:"File to make, readable by its owner only. An existing file is never overwritten." required:"" placeholder:"FILE"`
}

// Run makes a key file.
func (c keygenCmd) Run(std streams) error {
	if err := members.GenerateKeys(c.KeyFile); err != nil {
		return err
	}
	fmt.Fprintf(std.out, "Made %s. Keep a copy where you keep secrets: without it, enrolled members must sign in again and all tokens change.\n", c.KeyFile)
	return nil
}
