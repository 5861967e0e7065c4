package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"text/tabwriter"

	"github.com/smartconnect/connector/internal/reconnect"
)

type explainCmd struct {
	keyed       `embed:""`
	policyFlags `embed:""`
	Fast        bool   `help:"The connector runs with --fast."`
	Member      string `arg:"" help:"Member id."`
	Connection  string `arg:"" optional:"" help:"Connection id; all if left out."`
}

// Run prints the rule that holds for each connection right now.
func (c explainCmd) Run(ctx context.Context, std streams) error {
	set, err := c.settings(c.Fast)
	if err != nil {
		return err
	}
	at, err := c.standing(ctx, c.Member)
	if err != nil {
		return err
	}
	known := at.known
	verdicts := reconnect.Explain(set.Policy, known, at.asked, at.held, at.now)
	if c.Connection != "" {
		verdicts = slices.DeleteFunc(verdicts, func(v reconnect.Verdict) bool {
			k, _ := known.Connection(v.Connection)
			return k.ConnectionID != c.Connection
		})
		if len(verdicts) == 0 {
			return errors.New("explain: the member has no connection of that id; see: connector members show")
		}
	}
	if c.JSON {
		return json.NewEncoder(std.out).Encode(verdicts)
	}
	table := tabwriter.NewWriter(std.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "CONNECTION\tSTATUS\tRULE\tREASON\tACTION\tOUTCOME")
	for _, v := range verdicts {
		k, _ := known.Connection(v.Connection)
		fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%s\t%s\n", k.ConnectionID, orDash(string(k.State.Status)), v.Row, v.Reason, v.Action, v.Outcome)
	}
	return table.Flush()
}
