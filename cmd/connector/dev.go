package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/smartconnect/connector/internal/console"
	"github.com/smartconnect/connector/internal/embednats"
	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/members"
	"github.com/smartconnect/connector/internal/secret"
	"github.com/smartconnect/connector/internal/simulator"
	"github.com/smartconnect/connector/internal/topology"
)

type devCmd struct {
	NATSListen  string `name:"nats-listen" help:"Where the embedded NATS answers, without a password." default:"127.0.0.1:4222"`
	SimListen   string `name:"sim-listen" help:"Where the simulated b.well answers." default:"127.0.0.1:8090"`
	HTTPListen  string `name:"http-listen" help:"Where /healthz, /readyz and /metrics answer." default:"127.0.0.1:8080"`
	DataDir     string `help:"Where streams and the key file are kept; default a directory that is removed at the end." placeholder:"DIR"`
	Seed        uint64 `help:"Equal seeds give equal members." default:"1"`
	Members     int    `help:"Simulated members." default:"25"`
	policyFlags `embed:""`
	Story       bool `help:"Break and heal connections all the time."`
	Fast        bool `help:"Poll twice a second and confirm within seconds." default:"true" negatable:""`
}

// Validate is called before the command runs.
func (c devCmd) Validate() error {
	const open = "dev has no passwords, so it answers on loopback only, as 127.0.0.1:4222"
	switch {
	case !loopback(c.NATSListen):
		return errors.New("--nats-listen: " + open)
	case !loopback(c.SimListen):
		return errors.New("--sim-listen: " + open)
	case c.Members < 0:
		return errors.New("--members: want 0 or more")
	}
	return nil
}

// Run is everything in one process. It returns nil after a requested stop.
func (c devCmd) Run(ctx context.Context, std streams) (err error) {
	defer func(stopped context.Context) { err = unlessStopped(stopped, err) }(ctx)
	set, err := c.settings(c.Fast)
	if err != nil {
		return err
	}
	dir, forget, err := c.dir()
	if err != nil {
		return err
	}
	defer forget()
	keyPath := filepath.Join(dir, "connector.key")
	if _, err := os.Stat(keyPath); errors.Is(err, os.ErrNotExist) {
		if err := members.GenerateKeys(keyPath); err != nil {
			return err
		}
	}
	keys, err := members.LoadKeys(keyPath)
	if err != nil {
		return err
	}
	server, err := embednats.Start(embednats.Config{Dir: filepath.Join(dir, "jetstream"), Listen: c.NATSListen})
	if err != nil {
		return flagged("--nats-listen", err)
	}
	defer server.Stop()
	nc, err := server.Connect(nats.Name("connector dev"))
	if err != nil {
		return fmt.Errorf("connect to the embedded NATS: %w", err)
	}
	defer nc.Close()
	b := broker{Prefix: events.DefaultPrefix}
	js, log, err := b.open(nc)
	if err != nil {
		return err
	}
	// The streams are dev's own: what an older version made otherwise is changed.
	if err := topology.Apply(ctx, js, b.topology(1), true); err != nil {
		return fmt.Errorf("%w; name another --data-dir", err)
	}
	sim := simulator.New(simulator.Config{Seed: c.Seed, Members: c.Members, Stop: ctx.Done()})
	if err := consentAgain(ctx, sim, log, keys.Tokenizer()); err != nil {
		return err
	}
	store, _, _, err := openMembers(ctx, js, keys, nil)
	if err != nil {
		return err
	}
	if err := store.Bind(ctx); err != nil {
		return fmt.Errorf("%w, as %s, or name another --data-dir", err, keyPath)
	}

	// The simulated b.well outlives the connector, as the real one would.
	upstream, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	g, ctx := errgroup.WithContext(ctx)
	at := make(chan net.Addr, 1)
	g.Go(func() error {
		return flagged("--sim-listen", console.Serve(upstream, c.SimListen, sim.Handler(), func(a net.Addr) { at <- a }))
	})
	var simAt net.Addr
	select {
	case simAt = <-at:
	case <-ctx.Done():
		end()
		return g.Wait()
	}
	fmt.Fprintf(std.out, "NATS %s · b.well (simulated) http://%s · http://%s/metrics · key file %s\nCtrl-C ends it.\n\n",
		server.URL(), simAt, c.HTTPListen, keyPath)
	g.Go(func() error { return enrolSimulated(ctx, sim, store) })
	g.Go(func() error { return feed{std.out, sim}.run(ctx, js, log) })
	if c.Story {
		g.Go(func() error { return simulator.Story{Simulator: sim, Seed: c.Seed}.Run(ctx) })
	}
	links := linkFlags{Links: loopback(c.HTTPListen) && !strings.HasSuffix(c.HTTPListen, ":0"), LinksBaseURL: "http://" + c.HTTPListen, LinksMaxTTL: 24 * time.Hour}
	g.Go(func() error {
		defer end()
		return service{
			nc: nc, js: js, log: log, keys: keys, bwell: "http://" + simAt.String(), clientKey: secret.New("c2ltdWxhdGVk"),
			httpListen: c.HTTPListen, links: links, set: set, fast: c.Fast, dev: true, rate: 10, replica: "dev",
		}.run(ctx)
	})
	return g.Wait()
}

// dir returns where to keep things, and what to do with it at the end.
func (c devCmd) dir() (string, func(), error) {
	if c.DataDir != "" {
		if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
			return "", nil, fmt.Errorf("data directory: %w", err)
		}
		return c.DataDir, func() {}, nil
	}
	dir, err := os.MkdirTemp("", "connector-dev-")
	if err != nil {
		return "", nil, fmt.Errorf("data directory: %w", err)
	}
	return dir, func() { _ = os.RemoveAll(dir) }, nil
}

func loopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// consentAgain has members consent today whose consent or search the streams of
// an earlier run remember otherwise: the simulated b.well starts anew, all
// consent given and all searches completed, but long ago, and what is older than
// what is known is no news.
func consentAgain(ctx context.Context, sim *simulator.Simulator, log *events.Log, tokens events.Tokenizer) error {
	for _, m := range sim.Members() {
		head, err := log.Member(ctx, tokens.Member(m.ID))
		if err != nil {
			return err
		}
		known := head.Snapshot
		if known == nil || known.Consent.Provision != events.Deny && (known.Task == nil || known.Task.Status == "completed") {
			continue
		}
		if err := sim.SetConsent(m.ID, "permit"); err != nil {
			return err
		}
	}
	return nil
}

// enrolSimulated enrols the simulator's members, and those added later too.
func enrolSimulated(ctx context.Context, sim *simulator.Simulator, store *members.Store) error {
	known := map[string]bool{}
	for {
		for _, m := range sim.Members() {
			if known[m.ID] {
				continue
			}
			_, _, err := store.Enrol(ctx, members.Enrolment{ID: m.ID, RefreshToken: secret.New(m.RefreshToken)})
			if err != nil && ctx.Err() == nil {
				zerolog.Ctx(ctx).Warn().Err(err).Msg("simulated member not enrolled, trying again")
				continue
			}
			known[m.ID] = true
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
	}
}
