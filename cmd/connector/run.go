package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/smartconnect/connector/internal/acting"
	"github.com/smartconnect/connector/internal/audit"
	"github.com/smartconnect/connector/internal/bwell"
	"github.com/smartconnect/connector/internal/console"
	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/judge"
	"github.com/smartconnect/connector/internal/members"
	"github.com/smartconnect/connector/internal/policy"
	"github.com/smartconnect/connector/internal/poller"
	"github.com/smartconnect/connector/internal/reconnect"
	"github.com/smartconnect/connector/internal/secret"
	"github.com/smartconnect/connector/internal/topology"
)

type runCmd struct {
	broker      `embed:""`
	BWell       string  `name:"bwell" help:"Base URL of b.well; plain http only on loopback." required:"" placeholder:"URL"`
	ClientKey   string  `help:"b.well client key. Better in the environment than on the command line." required:"" placeholder:"KEY"`
	KeyFile     string  `help:"Key file of the deployment; make one with: connector keygen." required:"" type:"existingfile" placeholder:"FILE"`
	HTTPListen  string  `name:"http-listen" help:"Where /healthz, /readyz and /metrics answer; empty for nowhere." default:"127.0.0.1:8080"`
	Replicas    int     `help:"Replicas every stream should have." default:"1" enum:"1,3,5"`
	Fast        bool    `help:"Poll twice a second and confirm within seconds, to try things out."`
	Rate        float64 `help:"Ceiling of requests to b.well per second." default:"10"`
	HTTPToken   string  `name:"http-token-file" help:"File of bearer tokens, one a line, that open POST /v1/…; without it these are off." type:"existingfile" placeholder:"FILE"`
	linkFlags   `embed:""`
	policyFlags `embed:""`
	Replica     string `help:"Name of this replica, which no other has; default the host's name and some random letters." placeholder:"NAME"`
}

// Validate is called before the command runs.
func (c runCmd) Validate() error {
	if math.IsNaN(c.Rate) || math.IsInf(c.Rate, 0) || c.Rate <= 0 {
		return errors.New("--rate: want a number above 0")
	}
	if c.Replica != strings.Map(safe, c.Replica) {
		return errors.New("--replica: want lower-case letters, digits and -")
	}
	return c.broker.Validate()
}

// Run is the connector. It returns nil after a requested stop.
//
// It is one straight line on purpose: each step needs the ones above it, and
// the defers undo them in reverse order.
func (c runCmd) Run(ctx context.Context) (err error) {
	defer func() { err = unlessStopped(ctx, err) }()
	keys, err := members.LoadKeys(c.KeyFile)
	if err != nil {
		return err
	}
	set, err := c.settings(c.Fast)
	if err != nil {
		return err
	}
	var bearers *acting.Bearers
	if c.HTTPToken != "" {
		loaded, err := acting.LoadBearers(c.HTTPToken)
		if err != nil {
			return err
		}
		bearers = &loaded
	}
	nc, js, log, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	if err := checkVersion(nc); err != nil {
		return err
	}
	report := func(change topology.Change) {
		zerolog.Ctx(ctx).Warn().Str("drift", change.String()).Bool("fatal", change.Fatal).Msg("the streams differ")
	}
	if err := checkTopology(ctx, js, c.topology(c.Replicas), report); err != nil {
		return err
	}
	if err := checkBroker(ctx, nc, js, log); err != nil {
		return err
	}
	s := service{
		nc: nc, js: js, log: log, keys: keys, bwell: c.BWell, clientKey: secret.New(c.ClientKey), httpListen: c.HTTPListen,
		bearers: bearers, links: c.linkFlags, set: set, fast: c.Fast, rate: c.Rate, replica: c.Replica,
	}
	return s.run(ctx)
}

// service is the connector on a connection, as run and dev start it.
type service struct {
	nc         *nats.Conn
	js         jetstream.JetStream
	log        *events.Log
	keys       members.Keys
	bwell      string
	clientKey  secret.Value
	httpListen string
	links      linkFlags
	bearers    *acting.Bearers // who may call POST /v1/…; nil: nobody
	set        policy.Settings
	fast       bool
	dev        bool // everything is in this process
	rate       float64
	replica    string
	now        func() time.Time // this machine's clock; nil for time.Now
	listening  func(net.Addr)   // told where HTTP answers; may be nil
	ready      func()           // told when everything is wired; may be nil
}

// How long a replica that died keeps its members unpolled, unless it is started
// again under the same name.
const (
	leaseTTL     = 10 * time.Second
	leaseTTLFast = 2 * time.Second // where people wait, and pauses do no harm
)

func (s service) run(ctx context.Context) error {
	log := zerolog.Ctx(ctx)
	tokens := s.keys.Tokenizer()
	client, err := bwell.New(bwell.Config{BaseURL: s.bwell, ClientKey: s.clientKey})
	if err != nil {
		return err
	}
	store, grants, leaseBucket, err := openMembers(ctx, s.js, s.keys, client)
	if err != nil {
		return err
	}
	if err := store.Bind(ctx); err != nil {
		return err
	}
	pace := poller.DefaultPace()
	if s.fast {
		pace, s.rate = poller.FastPace(), max(s.rate, 1000)
	}
	if s.replica == "" {
		host, _ := os.Hostname()
		s.replica = strings.Map(safe, host) + "-" + rand.Text()[:6]
	}
	durable, err := s.js.Consumer(ctx, topology.Events, topology.Decider)
	if err != nil {
		return fmt.Errorf("decider's consumer: %w", err)
	}
	recorded, err := s.js.Consumer(ctx, topology.Events, topology.Auditor)
	if err != nil {
		return fmt.Errorf("auditor's consumer: %w", err)
	}
	w := &watch{clock: events.NewClock(s.log, s.now), decider: durable, auditor: recorded}
	if err := w.measure(ctx); err != nil { // nobody may decide on a clock that was never compared
		return err
	}
	view := judge.NewView(s.log, tokens)
	ttl := leaseTTL
	if s.fast || s.dev {
		ttl = leaseTTLFast
	}
	leases := poller.NewLeases(s.js, leaseBucket, s.replica, ttl)
	heard := newListener(client)
	p, err := poller.New(poller.Config{
		Log: s.log, Tokenizer: tokens, Registry: registry{store, grants}, Upstream: heard, Leases: leases,
		Rules: s.set.Rules, Pace: pace, Rate: s.rate, Now: w.clock.Now, Blind: view.Blind,
	})
	if err != nil {
		return err
	}
	ledger := audit.NewLedger(s.js)
	ours := actor{client, grants, looks{s.nc, servicePrefix + ".look"}}
	decider, err := reconnect.New(reconnect.Config{
		Log: s.log, Source: durable, DeadLetters: reconnect.Letters{JS: s.js}, Ledger: ledger, Policy: s.set.Policy, Now: w.clock.Now,
		Held: heldBy(view), Judged: view.Wait, Fresh: view.CatchUp, Actor: ours,
	})
	if err != nil {
		return err
	}
	every := 5 * time.Second
	if s.fast {
		every = 200 * time.Millisecond
	}
	judging, err := judge.New(judge.Config{
		Log: s.log, Keys: tokens, View: view, Rules: s.set.Judge, Every: every, Now: w.clock.Now, Pulse: p.Pulse, Sweep: decider.Overdue,
		Lease: leases.Replica().Lease("judge"),
	})
	if err != nil {
		return err
	}

	sub, err := ours.looks.serve(ctx, p)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }()
	acts := reconnect.NewActions(reconnect.ActionsConfig{Log: s.log, Tokens: tokens, Actor: ours, Notes: decider, Ledger: ledger, Now: w.clock.Now})
	ask := polls{store, tokens, ours.looks}
	if s.links.Links && s.httpListen == "" {
		return errors.New("--links: nobody would answer them; give --http-listen")
	}
	links, err := s.links.open(ctx, s.js, s.keys, acts, ledger, w.clock.Now)
	if err != nil {
		return err
	}
	stopMicro, err := serveMicro(ctx, s.nc, acts, links, grants, ask)
	if err != nil {
		return err
	}

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		<-ctx.Done()
		stopMicro()
		return nil
	})
	g.Go(func() error { return w.Run(ctx) })
	g.Go(func() error { return leases.Run(ctx) })
	g.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-leases.Begun(): // or it would say that it polls nobody
			return p.Run(ctx)
		}
	})
	g.Go(func() error { return view.Run(ctx) })
	g.Go(func() error {
		if err := view.Wait(ctx, 0); err != nil {
			return nil // asked to stop before anything was decided
		}
		return decider.Run(ctx)
	})
	g.Go(func() error { return judging.Run(ctx) })
	g.Go(func() error { return audit.NewProjector(recorded, ledger).Run(ctx) })
	if s.httpListen != "" {
		h := http.NewServeMux()
		h.Handle("/", console.Handler(append(s.checks(), console.Check{Name: "leases", Ask: leases.Ready}), slices.Concat(s.readings(p, leases, decider, w), judgedReadings(view, w.clock.Now), heard.readings())))
		if s.bearers != nil {
			h.Handle("/v1/", acting.API(*s.bearers, acts, ask.now))
		}
		if links != nil {
			h.Handle("/go/", links.Handler())
		}
		g.Go(func() error {
			return flagged("--http-listen", console.Serve(ctx, s.httpListen, h, func(a net.Addr) {
				log.Info().Stringer("address", a).Msg("HTTP answers")
				if s.listening != nil {
					s.listening(a)
				}
			}))
		})
	}
	log.Info().Str("replica", s.replica).Msg("running")
	if s.ready != nil {
		s.ready()
	}
	err = finish(ctx, g, s.nc)
	log.Info().AnErr("cause", context.Cause(ctx)).Msg("stopped")
	return err
}

// withoutBroker is how long a stop waits for a broker that is gone: longer than
// a reconnection takes.
const withoutBroker = 5 * time.Second

// finish waits for what runs on a connection until ctx ends. If that finds the
// broker gone, and it does not come back, the connection is closed: what is in
// hand would wait, for a minute, for answers that do not come. Nothing of it can
// be stored, and it is found again after the next start.
func finish(ctx context.Context, g *errgroup.Group, nc *nats.Conn) error {
	stopped := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() { abandon(ctx, nc, stopped) })
	err := g.Wait()
	close(stopped)
	watching.Wait()
	return err
}

func abandon(ctx context.Context, nc *nats.Conn, stopped <-chan struct{}) {
	select {
	case <-ctx.Done():
	case <-stopped:
		return
	}
	const every = 200 * time.Millisecond
	for gone := time.Duration(0); gone < withoutBroker; gone += every {
		select {
		case <-stopped:
			return
		case <-time.After(every):
		}
		if nc.IsConnected() {
			gone = -every
		}
	}
	zerolog.Ctx(ctx).Warn().Msg("NATS is gone, stopping without it; what was in hand is looked at again after the next start")
	nc.Close()
}

// unlessStopped returns err, unless it is what a requested stop makes of whatever
// was being done, as at the start.
func unlessStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.Cause(ctx))) {
		return nil
	}
	return err
}

// flagged names the flag that an error is about.
func flagged(flag string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", flag, err)
}

// safe keeps what may stand in a subject.
func safe(r rune) rune {
	switch {
	case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-':
		return r
	case r >= 'A' && r <= 'Z':
		return r + 'a' - 'A'
	default:
		return '-'
	}
}

func (s service) checks() []console.Check { return brokerChecks(s.nc, s.js, topology.Events) }

func brokerChecks(nc *nats.Conn, js jetstream.JetStream, stream string) []console.Check {
	return []console.Check{
		{Name: "nats", Ask: func(context.Context) error {
			if !nc.IsConnected() {
				return errors.New("not connected")
			}
			return nil
		}},
		{Name: "stream", Ask: func(ctx context.Context) error {
			_, err := js.Stream(ctx, stream)
			return err
		}},
	}
}

func (s service) readings(p *poller.Poller, leases *poller.Leases, d *reconnect.Consumer, w *watch) []console.Reading {
	counter := func(name, help string, read func(poller.Stats) int64) console.Reading {
		return console.Reading{Name: name, Help: help, Counter: true, Read: func() float64 { return float64(read(p.Stats())) }}
	}
	logged := func(name, help string, read func(events.Stats) int64) console.Reading {
		return console.Reading{Name: name, Help: help, Counter: true, Read: func() float64 { return float64(read(s.log.Stats())) }}
	}
	var said []console.Reading
	for _, outcome := range reconnect.Outcomes() {
		said = append(said, console.Reading{
			Name: "connector_decided_total", Help: "What decisions came to, by outcome, in the words of explain.", Counter: true,
			Labels: map[string]string{"outcome": outcome}, Read: func() float64 { return float64(d.Decided(outcome)) },
		})
	}
	for _, reason := range reconnect.Holds() {
		said = append(said, console.Reading{
			Name: "connector_held_back_total", Help: "Looks that left a broken connection alone, by reason, in the words of explain.", Counter: true,
			Labels: map[string]string{"reason": reason}, Read: func() float64 { return float64(d.HeldFor(reason)) },
		})
	}
	return append(said, []console.Reading{
		{Name: "connector_members", Help: "Members enrolled.", Read: func() float64 { return float64(p.Stats().Members) }},
		{Name: "connector_requests_per_second", Help: "Requests to b.well that polling may make right now.", Read: func() float64 { return p.Stats().Rate }},
		{Name: "connector_shards_held", Help: "Shards this replica polls.", Read: func() float64 { return float64(leases.Held()) }},
		counter("connector_polls_total", "Polls of members.", func(s poller.Stats) int64 { return s.Polls }),
		counter("connector_polls_unchanged_total", "Polls that found nothing new.", func(s poller.Stats) int64 { return s.Unchanged }),
		counter("connector_polls_committed_total", "Polls that wrote a change.", func(s poller.Stats) int64 { return s.Committed }),
		counter("connector_polls_missed_total", "Polls overtaken by another writer.", func(s poller.Stats) int64 { return s.Missed }),
		counter("connector_polls_failed_total", "Polls that did not come back whole.", func(s poller.Stats) int64 { return s.Failed }),
		logged("connector_transactions_total", "Transactions stored.", func(s events.Stats) int64 { return s.Transactions }),
		logged("connector_transactions_missed_total", "Transactions refused since a head had moved.", func(s events.Stats) int64 { return s.Missed }),
		logged("connector_transactions_recognised_total", "Transactions found stored after their outcome was unknown.", func(s events.Stats) int64 { return s.Recognised }),
		logged("connector_batches_total", "Batches stored; each holds the transactions of one moment.", func(s events.Stats) int64 { return s.Batches }),
		{Name: "connector_overdue_looks_total", Help: "Looks that did not come when they were due and had to be found.", Counter: true, Read: func() float64 { return float64(d.OverdueLooks()) }},
		{Name: "connector_decider_pending", Help: "Triggers the decider was not yet given, of all replicas.", Read: func() float64 { return float64(w.pending.Load()) }},
		{Name: "connector_decider_unacknowledged", Help: "Triggers the decider was given and has not settled, of all replicas.", Read: func() float64 { return float64(w.unacknowledged.Load()) }},
		{Name: "connector_decider_redelivered", Help: "Unsettled triggers that were given more than once, of all replicas.", Read: func() float64 { return float64(w.redelivered.Load()) }},
		{Name: "connector_audit_pending", Help: "Events that are not yet on record in the audit stream, of all replicas.", Read: func() float64 { return float64(w.unrecorded.Load()) }},
		{Name: "connector_clock_offset_seconds", Help: "By how much the broker's clock is ahead of this machine's.", Read: func() float64 { return w.clock.Offset().Seconds() }},
	}...)
}
