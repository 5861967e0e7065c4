package main

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/rs/zerolog"

	"github.com/smartconnect/connector/internal/console"
	"github.com/smartconnect/connector/internal/simulator"
)

type simCmd struct {
	Listen    string        `help:"Where the simulated b.well answers." default:"127.0.0.1:8090"`
	Seed      uint64        `help:"Equal seeds give equal members." default:"1"`
	Members   int           `help:"Members there are from the start; 0 for none." default:"25"`
	TokenLife time.Duration `help:"How long access tokens are good." default:"1h"`
	Story     bool          `help:"Break and heal connections all the time."`
}

// Validate is called before the command runs.
func (c simCmd) Validate() error {
	if c.Members < 0 {
		return errors.New("--members: want 0 or more")
	}
	if c.TokenLife < time.Second {
		return errors.New("--token-life: want 1s or more, as 30s") // exp is in whole seconds
	}
	return nil
}

// Run serves a simulated b.well until it is interrupted.
func (c simCmd) Run(ctx context.Context) error {
	s := simulator.New(simulator.Config{Seed: c.Seed, Members: c.Members, TokenLife: c.TokenLife, Stop: ctx.Done()})
	stopped := make(chan error, 1)
	story, stop := context.WithCancel(ctx)
	go func() {
		if !c.Story {
			stopped <- nil
			return
		}
		stopped <- simulator.Story{Simulator: s, Seed: c.Seed}.Run(story)
	}()
	err := console.Serve(ctx, c.Listen, s.Handler(), func(a net.Addr) {
		zerolog.Ctx(ctx).Info().Stringer("address", a).Int("members", c.Members).Msg("simulated b.well answers")
	})
	stop()
	return errors.Join(err, <-stopped)
}
