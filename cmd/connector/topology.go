package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/smartconnect/connector/internal/topology"
)

type topologyCmd struct {
	Plan  topologyPlanCmd  `cmd:"" help:"Say what is missing or different. Changes nothing."`
	Apply topologyApplyCmd `cmd:"" help:"Create what is missing."`
}

type topologyPlanCmd struct {
	broker   `embed:""`
	Replicas int  `help:"Replicas of every stream." default:"1" enum:"1,3,5"`
	JSON     bool `name:"json" help:"Print JSON."`
}

// Run prints the differences. If there are any, the exit code says so.
func (c topologyPlanCmd) Run(ctx context.Context, std streams) error {
	nc, js, _, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	if err := checkVersion(nc); err != nil {
		return err
	}
	changes, err := topology.Plan(ctx, js, c.topology(c.Replicas))
	if err != nil {
		return err
	}
	switch {
	case c.JSON:
		if changes == nil {
			changes = []topology.Change{}
		}
		if err := json.NewEncoder(std.out).Encode(changes); err != nil {
			return err
		}
	case len(changes) == 0:
		fmt.Fprintln(std.out, "Everything is as it should be.")
	default:
		for _, change := range changes {
			fmt.Fprintf(std.out, "%s%s\n", change, stops(change))
		}
		advise(std.out, changes, c.Replicas)
	}
	if len(changes) > 0 {
		return errDiffers
	}
	return nil
}

// errDiffers reports that the streams are not as they should be, which has been
// said.
var errDiffers = errors.New("the streams differ")

func stops(c topology.Change) string {
	if c.Fatal && c.Field != "" { // what is missing needs no words
		return " (the connector does not start)"
	}
	return ""
}

// advise says what makes the changes go away.
func advise(out io.Writer, changes []topology.Change, replicas int) {
	flags := ""
	if replicas != 1 {
		flags = fmt.Sprintf(" --replicas %d", replicas)
	}
	missing := slices.ContainsFunc(changes, func(c topology.Change) bool { return c.Field == "" })
	differs := slices.ContainsFunc(changes, func(c topology.Change) bool { return c.Field != "" })
	if missing {
		fmt.Fprintf(out, "Create what is missing with: connector topology apply%s\n", flags)
	}
	if differs {
		fmt.Fprintf(out, "Change what differs, if nobody wanted it so, with: connector topology apply --mend%s\n", flags)
	}
	if missing && replicas == 1 {
		fmt.Fprintln(out, "With one replica, what the server acknowledged in its last two minutes can be lost with the power. Use --replicas 3 in production.")
	}
}

type topologyApplyCmd struct {
	broker   `embed:""`
	Replicas int  `help:"Replicas of every stream." default:"1" enum:"1,3,5"`
	Mend     bool `help:"Also change what exists and differs."`
}

// Run creates what is missing, and says of each difference what became of it.
func (c topologyApplyCmd) Run(ctx context.Context, std streams) error {
	nc, js, _, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	if err := checkVersion(nc); err != nil {
		return err
	}
	before, err := topology.Plan(ctx, js, c.topology(c.Replicas))
	if err != nil {
		return err
	}
	applyErr := topology.Apply(ctx, js, c.topology(c.Replicas), c.Mend)
	left, err := topology.Plan(ctx, js, c.topology(c.Replicas))
	if err != nil {
		return errors.Join(applyErr, err)
	}
	fatal := false
	for _, change := range before {
		switch {
		case slices.Contains(left, change):
		case change.Field == "":
			fmt.Fprintf(std.out, "%s: created\n", change.Name)
		default:
			fmt.Fprintf(std.out, "%s: %s was %s, is now %s\n", change.Name, change.Field, change.Have, change.Want)
		}
	}
	for _, change := range left {
		fatal = fatal || change.Fatal
		fmt.Fprintf(std.out, "%s: left as it is%s\n", change, stops(change))
	}
	switch {
	case applyErr != nil:
		return applyErr
	case len(left) == 0:
		fmt.Fprintln(std.out, "Everything is as it should be.")
		return nil
	}
	advise(std.out, left, c.Replicas)
	if fatal {
		return errDiffers
	}
	return nil // whoever wanted it so can run the connector
}

// checkTopology refuses to start on streams that cannot keep our promises.
func checkTopology(ctx context.Context, js jetstream.JetStream, c topology.Config, report func(topology.Change)) error {
	changes, err := topology.Plan(ctx, js, c)
	if err != nil {
		return fmt.Errorf("check the streams: %w", err)
	}
	fatal := false
	for _, change := range changes {
		report(change)
		fatal = fatal || change.Fatal
	}
	if fatal {
		return errors.New("the streams are not what the connector needs; see them with: connector topology plan; create what is missing with: connector topology apply; change what differs with: connector topology apply --mend")
	}
	return nil
}
