// Command connector watches members' b.well connections, publishes every change
// on NATS JetStream, and decides when a member should be asked to reconnect.
//
// Each command has a file of its own; run.go wires the service.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
	"github.com/rs/zerolog"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
	exitPartly = 3 // or there are differences, for whoever asked for them
)

// errPartly reports that some of the work was done and some refused; what was
// refused has been said.
var errPartly = errors.New("partly done")

type cli struct {
	Dev      devCmd      `cmd:"" help:"Run everything in one process: NATS, a simulated b.well, the connector."`
	Run      runCmd      `cmd:"" help:"Run the connector on a NATS cluster."`
	Sim      simCmd      `cmd:"" help:"Run the simulated b.well alone."`
	Keygen   keygenCmd   `cmd:"" help:"Make the key file of a deployment."`
	Members  membersCmd  `cmd:"" help:"Enrol and look at members."`
	Events   eventsCmd   `cmd:"" help:"Read the stream."`
	Schema   schemaCmd   `cmd:"" help:"Look at the contract of the events, and hold events to it."`
	Prompts  promptsCmd  `cmd:"" help:"Look at prompts and act on them."`
	Silence  silenceCmd  `cmd:"" help:"Hold prompts back for a while."`
	Storm    stormCmd    `cmd:"" help:"Look at and release a storm: prompts held since too much changed at once."`
	Explain  explainCmd  `cmd:"" help:"Say why a member is prompted, or is not."`
	Audit    auditCmd    `cmd:"" help:"Print the record of what members were asked, what they were not, and why."`
	Policy   policyCmd   `cmd:"" help:"Check and show the policy: when and how members are asked."`
	State    stateCmd    `cmd:"" help:"Print what is known and asked of members, or check that the events add up to it."`
	Topology topologyCmd `cmd:"" help:"Compare and create the streams the connector needs."`
	Bridge   bridgeCmd   `cmd:"" help:"Post events to HTTPS endpoints, signed, for teams that have no NATS."`
	Version  versionCmd  `cmd:"" help:"Print the version."`

	LogLevel string     `help:"Least level that is logged: debug, info, warn, error; default info, and warn for dev." default:"" enum:"debug,info,warn,error,"`
	Config   configFlag `help:"JSON file with flags by name; flags and environment come first. To bridge: YAML file of endpoints." type:"existingfile" placeholder:"FILE"`
}

// streams are the terminal as commands see it.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills at once
	os.Exit(program(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}))
}

// grammar is what the command line may say.
func grammar(c *cli, std streams, exit func(int)) (*kong.Kong, error) {
	return kong.New(c,
		kong.Name("connector"),
		kong.Description("Tells what happens to b.well record connections, and when to ask members to reconnect."),
		kong.Writers(std.out, std.err),
		kong.Exit(exit),
		kong.DefaultEnvars("CONNECTOR"),
		kong.Configuration(readConfig),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
}

// program is the whole program but for signals. It returns the exit code.
func program(ctx context.Context, args []string, std streams) int {
	var c cli
	exited := -1
	parser, err := grammar(&c, std, func(code int) { exited = code })
	if err != nil {
		fmt.Fprintln(std.err, "connector:", err)
		return exitFailed
	}
	parsed, err := parser.Parse(args)
	if exited >= 0 {
		return exited // --help
	}
	if err != nil {
		fmt.Fprintf(std.err, "connector: %s\nTry: connector --help\n", err)
		return exitUsage
	}
	byDefault := "info"
	if parsed.Command() == "dev" {
		byDefault = "warn" // it prints what happens, and people read that
	}
	level, err := zerolog.ParseLevel(cmp.Or(c.LogLevel, byDefault))
	if err != nil {
		level = zerolog.InfoLevel // the enum of the flag leaves no other
	}
	log := zerolog.New(zerolog.SyncWriter(std.err)).Level(level).With().Timestamp().Logger()
	ctx = log.WithContext(ctx)
	parsed.BindTo(ctx, (*context.Context)(nil))
	parsed.Bind(std, c.Config)
	switch err := parsed.Run(); {
	case err == nil:
		return exitOK
	case errors.Is(err, errPartly), errors.Is(err, errDiffers):
		return exitPartly
	default:
		fmt.Fprintln(std.err, "connector:", err)
		return exitFailed
	}
}
