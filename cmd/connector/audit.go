package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/smartconnect/connector/internal/audit"
	"github.com/smartconnect/connector/internal/events"
)

type auditCmd struct {
	broker  `embed:""`
	KeyFile string        `help:"Key file of the deployment; needed for a member." type:"existingfile" placeholder:"FILE"`
	Member  string        `arg:"" optional:"" help:"Member id; everybody if left out."`
	Since   time.Duration `help:"Only what was recorded since this long ago." placeholder:"DURATION"`
	What    string        `help:"Only entries of this kind, as prompt.suppressed." placeholder:"WHAT"`
	JSON    bool          `name:"json" help:"Print JSON lines."`
}

// Run prints the record. It has tokens only, so it may be handed on; that it is
// about a certain member is known to whoever asked for one.
func (c auditCmd) Run(ctx context.Context, std streams) error {
	if c.Member != "" && c.KeyFile == "" {
		return errors.New("audit: a member is found by the deployment's keys; give --key-file")
	}
	nc, js, log, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	var subjects []string
	if c.Member != "" {
		m, err := memberOf(ctx, js, c.KeyFile, c.Member)
		if err != nil {
			return err
		}
		subjects = audit.OfMember(m)
	}
	var since time.Time
	if c.Since > 0 {
		clock := events.NewClock(log, nil)
		if err := clock.Measure(ctx); err != nil {
			return err
		}
		since = clock.Now().Add(-c.Since)
	}
	table := tabwriter.NewWriter(std.out, 0, 8, 2, ' ', 0)
	if !c.JSON {
		fmt.Fprintln(table, "AT\tWHAT\tREASON\tACTION\tRULE\tABOUT")
	}
	err = audit.Read(ctx, js, subjects, since, func(e audit.Entry) error {
		if c.What != "" && string(e.What) != c.What {
			return nil
		}
		if c.JSON {
			return json.NewEncoder(std.out).Encode(e)
		}
		rule := "-"
		if e.Rule > 0 {
			rule = strconv.Itoa(e.Rule)
		}
		_, err := fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", e.At.Local().Format("2006-01-02 15:04:05"), e.What,
			orDash(e.Reason), orDash(string(e.Action)), rule, orDash(cmp.Or(e.PromptID, e.Part, string(e.Member))))
		return err
	})
	return errors.Join(err, table.Flush())
}
