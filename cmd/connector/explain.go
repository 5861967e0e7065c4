package main

import (
	"context"
	"encoding/json"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/smartconnect/connector/internal/reconnect"
)

type explainCmd struct {
	keyed      `embed:""`
	Member     string `arg:"" help:"Member id."`
	Connection string `arg:"" optional:"" help:"Connection id; all if left out."`
}

// Run prints the rule that holds for each connection right now.
func (c explainCmd) Run(ctx context.Context, std streams) error {
	_, known, asked, err := c.heads(ctx, c.Member)
	if err != nil {
		return err
	}
	verdicts := reconnect.Explain(reconnect.DefaultPolicy(), known, asked, time.Now())
	if c.JSON {
		return json.NewEncoder(std.out).Encode(verdicts)
	}
	table := tabwriter.NewWriter(std.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "CONNECTION\tSTATUS\tRULE\tREASON\tACTION\tOUTCOME")
	for _, v := range verdicts {
		k, _ := known.Connection(v.Connection)
		if c.Connection != "" && k.ConnectionID != c.Connection {
			continue
		}
		fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%s\t%s\n", k.ConnectionID, orDash(string(k.State.Status)), v.Row, v.Reason, v.Action, v.Outcome)
	}
	return table.Flush()
}
