package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"reflect"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kong"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/smartconnect/connector/internal/bridge"
	"github.com/smartconnect/connector/internal/console"
)

type bridgeCmd struct {
	Serve  bridgeRunCmd    `cmd:"" name:"run" default:"withargs" help:"Post events to the endpoints of --config. The default."`
	List   bridgeListCmd   `cmd:"" help:"Say how the endpoints are."`
	Test   bridgeTestCmd   `cmd:"" help:"Post one signed, made-up event to an endpoint."`
	Resume bridgeResumeCmd `cmd:"" help:"Let an endpoint have events again that said it is gone."`
}

// Validate is called before the command runs.
func (bridgeCmd) Validate(k *kong.Context) error {
	if c, ok := reflect.TypeAssert[*cli](k.Model.Target.Addr()); ok && c.Config == "" {
		return errors.New("--config: name the file of endpoints; docs/webhooks.md says what is in it")
	}
	return nil
}

// configFlag names a file: of flags, but to the bridge of endpoints.
type configFlag string

// BeforeResolve reads a file of flags.
func (configFlag) BeforeResolve(k *kong.Kong, ctx *kong.Context, trace *kong.Path) error {
	for n := ctx.Selected(); n != nil; n = n.Parent {
		if n.Type == kong.CommandNode && n.Name == "bridge" {
			return nil
		}
	}
	name, ok := ctx.FlagValue(trace.Flag).(configFlag)
	if !ok {
		return errors.New("--config: want a file")
	}
	flags, err := k.LoadConfig(string(name))
	if err != nil {
		return err
	}
	ctx.AddResolver(flags)
	return nil
}

type bridgeRunCmd struct {
	broker     `embed:""`
	HTTPListen string `name:"http-listen" help:"Where /healthz, /readyz and /metrics answer; empty for nowhere." default:"127.0.0.1:8081"`
}

// Run posts events until it is told to stop.
func (c bridgeRunCmd) Run(ctx context.Context, file configFlag) error {
	config, err := bridge.Load(string(file))
	if err != nil {
		return err
	}
	nc, js, log, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	b, err := bridge.New(js, log.Subjects(), config, os.LookupEnv)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return b.Run(ctx) })
	if c.HTTPListen != "" {
		h := console.Handler(brokerChecks(nc, js, config.Stream), bridgeReadings(b))
		g.Go(func() error {
			return flagged("--http-listen", console.Serve(ctx, c.HTTPListen, h, func(a net.Addr) { zerolog.Ctx(ctx).Info().Stringer("address", a).Msg("HTTP answers") }))
		})
	}
	zerolog.Ctx(ctx).Info().Int("endpoints", len(config.Endpoints)).Msg("bridge running")
	err = finish(ctx, g, nc)
	zerolog.Ctx(ctx).Info().AnErr("cause", context.Cause(ctx)).Msg("stopped")
	return err
}

// bridgeReadings are the bridge's metrics. Endpoints are named as in its config,
// in which nobody is.
func bridgeReadings(b *bridge.Bridge) []console.Reading {
	var all []console.Reading
	for i, name := range b.Names() {
		add := func(metric, help string, counter bool, read func(bridge.Stats) float64) {
			all = append(all, console.Reading{
				Name: metric, Help: help, Counter: counter, Labels: map[string]string{"endpoint": name},
				Read: func() float64 { return read(b.Stats()[i]) },
			})
		}
		add("connector_bridge_delivered_total", "Events that an endpoint took.", true, func(s bridge.Stats) float64 { return float64(s.Delivered) })
		add("connector_bridge_failed_total", "Tries that an endpoint did not take; each comes again.", true, func(s bridge.Stats) float64 { return float64(s.Failed) })
		add("connector_bridge_skipped_total", "Messages that were not sent: copies of replays, and what is no event.", true, func(s bridge.Stats) float64 { return float64(s.Skipped) })
		add("connector_bridge_lost_total", "Gaps: times that the stream had dropped events of a subject before an endpoint took them.", true, func(s bridge.Stats) float64 { return float64(s.Gaps) })
		add("connector_bridge_pending", "Events that wait for an endpoint, as of ten seconds ago at most.", false, func(s bridge.Stats) float64 { return float64(s.Pending) })
		add("connector_bridge_paused", "1 while an endpoint that said it is gone is paused.", false, func(s bridge.Stats) float64 {
			if s.Paused {
				return 1
			}
			return 0
		})
		add("connector_bridge_failing_seconds", "For how long an endpoint has taken nothing that was tried; 0 while all is well.", false, func(s bridge.Stats) float64 {
			if s.FailingSince.IsZero() {
				return 0
			}
			return max(0, time.Since(s.FailingSince).Seconds())
		})
	}
	return all
}

type bridgeListCmd struct {
	broker `embed:""`
	JSON   bool `name:"json" help:"Print JSON."`
}

// Run prints how the endpoints are. It reads no secrets.
func (c bridgeListCmd) Run(ctx context.Context, std streams, file configFlag) error {
	config, err := bridge.Load(string(file))
	if err != nil {
		return err
	}
	return c.on(ctx, func(js jetstream.JetStream) error {
		rows, err := bridge.List(ctx, js, config)
		if err != nil {
			return err
		}
		if c.JSON {
			return json.NewEncoder(std.out).Encode(rows)
		}
		table := tabwriter.NewWriter(std.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "ENDPOINT\tSTATE\tPENDING\tLAST DELIVERY\tFAILING SINCE\tGAPS\tLAST GAP\tLAST FAILURE")
		for _, r := range rows {
			failure := orDash(string(r.LastFailure))
			if r.Status != 0 {
				failure += fmt.Sprintf(" (%d)", r.Status)
			}
			fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%s\t%d\t%s\t%s\n", r.Name, r.State, r.Pending, localTime(r.LastDelivery), localTime(r.FailingSince), r.Gaps, localTime(r.LastGap), failure)
		}
		return table.Flush()
	})
}

func localTime(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return at.Local().Format("2006-01-02 15:04:05")
}

type bridgeTestCmd struct {
	Endpoint string `arg:"" help:"Name of the endpoint in the config."`
}

// Run posts and prints what came of it. It needs no NATS.
func (c bridgeTestCmd) Run(ctx context.Context, std streams, file configFlag) error {
	config, err := bridge.Load(string(file))
	if err != nil {
		return err
	}
	r, err := config.Test(ctx, c.Endpoint, os.LookupEnv)
	if err != nil {
		return err
	}
	answer := "no answer"
	if r.Status != 0 {
		answer = fmt.Sprintf("HTTP %d", r.Status)
	}
	fmt.Fprintf(std.out, "%s: %s (%s), webhook-id %s, type %s\n", c.Endpoint, r.Why, answer, r.ID, r.Type)
	if r.Why != bridge.Delivered {
		return fmt.Errorf("bridge: %s did not take the test event", c.Endpoint)
	}
	return nil
}

type bridgeResumeCmd struct {
	broker   `embed:""`
	Endpoint string `arg:"" help:"Name of the endpoint in the config."`
}

// Run resumes an endpoint.
func (c bridgeResumeCmd) Run(ctx context.Context, std streams, file configFlag) error {
	config, err := bridge.Load(string(file))
	if err != nil {
		return err
	}
	return c.on(ctx, func(js jetstream.JetStream) error {
		if err := bridge.Resume(ctx, js, config, c.Endpoint); err != nil {
			return err
		}
		fmt.Fprintln(std.out, "Resumed.")
		return nil
	})
}

// on does something on a connection.
func (b broker) on(ctx context.Context, f func(jetstream.JetStream) error) error {
	nc, js, _, err := b.connect(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	return f(js)
}
