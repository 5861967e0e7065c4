package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

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

// Run prints the differences; there being some is no failure.
func (c topologyPlanCmd) Run(ctx context.Context, std streams) error {
	nc, js, _, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	changes, err := topology.Plan(ctx, js, c.topology(c.Replicas))
	if err != nil {
		return err
	}
	if c.JSON {
		if changes == nil {
			changes = []topology.Change{}
		}
		return json.NewEncoder(std.out).Encode(changes)
	}
	for _, change := range changes {
		fmt.Fprintln(std.out, change)
	}
	if len(changes) == 0 {
		fmt.Fprintln(std.out, "Everything is as it should be.")
		return nil
	}
	fmt.Fprintln(std.out, "Mend what is missing with: connector topology apply")
	if c.Replicas == 1 {
		fmt.Fprintln(std.out, "With one replica, what the server acknowledged in its last two minutes can be lost with the power. Use --replicas 3 in production.")
	}
	return nil
}

type topologyApplyCmd struct {
	broker   `embed:""`
	Replicas int  `help:"Replicas of every stream." default:"1" enum:"1,3,5"`
	Mend     bool `help:"Also change what exists and differs."`
}

// Run creates what is missing.
func (c topologyApplyCmd) Run(ctx context.Context, std streams) error {
	nc, js, _, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	if err := topology.Apply(ctx, js, c.topology(c.Replicas), c.Mend); err != nil {
		return err
	}
	fmt.Fprintln(std.out, "Applied.")
	return nil
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
		return errors.New("the streams are not what the connector needs; see them with: connector topology plan; create them with: connector topology apply")
	}
	return nil
}
