// Package week runs the poller and the decider against a real JetStream and a
// whole simulated b.well for a week of a bubble's time: nothing is faked but
// the clock and the network between.
//
// One test, one bubble: nats.go keeps timers in a pool for the whole process,
// and a timer from one bubble is fatal in another. Other tests live elsewhere.
package week

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server/ats"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/smartconnect/connector/internal/audit"
	"github.com/smartconnect/connector/internal/bwell"
	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/members"
	"github.com/smartconnect/connector/internal/natstest"
	"github.com/smartconnect/connector/internal/poller"
	"github.com/smartconnect/connector/internal/reconnect"
	"github.com/smartconnect/connector/internal/secret"
	"github.com/smartconnect/connector/internal/simulator"
	"github.com/smartconnect/connector/internal/topology"
)

// The server's clock goroutine belongs to the process. Start it out here: one
// that is born in a bubble would keep the bubble awake.
func TestMain(m *testing.M) {
	ats.Register()
	m.Run()
}

// handed is a network without a network: the request is handed to the server.
// A goroutine that waits for a socket would hold the bubble's clock.
type handed struct{ http.Handler }

func (h handed) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result(), nil
}

// world is everything that outlives a restart of the connector.
type world struct {
	t     *testing.T
	js    jetstream.JetStream
	log   *events.Log
	keys  members.Keys
	sim   *simulator.Simulator
	store *members.Store
	born  time.Time
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// registry is the members store as the poller sees it.
type registry struct {
	*members.Store
	grants *members.Grants
}

func (r registry) Identity(ctx context.Context, m events.MemberToken) (memberID, incarnation string, err error) {
	record, err := r.Get(ctx, m)
	return record.MemberID, record.Incarnation, err
}

func (r registry) Tokens(m events.MemberToken) bwell.Tokens { return r.grants.For(m) }

// start runs a connector with the settings that real members get.
func (w *world) start(ctx context.Context) (stop func()) {
	w.t.Helper()
	client, err := bwell.New(bwell.Config{
		BaseURL: "http://127.0.0.1", ClientKey: secret.New("a2V5"), HTTP: &http.Client{Transport: handed{w.sim.Handler()}},
	})
	w.must(err)
	bucket, err := w.js.KeyValue(ctx, topology.Leases)
	w.must(err)
	// The shortest that does not make a week of renewing leases.
	leases := poller.NewLeases(w.js, bucket, "week", 6*time.Hour)
	p, err := poller.New(poller.Config{
		Log: w.log, Tokenizer: w.keys.Tokenizer(), Registry: registry{w.store, members.NewGrants(w.store, bucket, client)},
		Upstream: client, Leases: leases, Rules: poller.DefaultRules(), Pace: poller.DefaultPace(),
	})
	w.must(err)
	durable, err := w.js.Consumer(ctx, topology.Events, topology.Decider)
	w.must(err)
	decider, err := reconnect.New(reconnect.Config{
		Log: w.log, Source: patient{durable}, DeadLetters: reconnect.Letters{JS: w.js}, Ledger: audit.NewLedger(w.js), Policy: reconnect.DefaultPolicy(),
	})
	w.must(err)
	ctx, cancel := context.WithCancel(ctx)
	stopped := make(chan error, 3)
	for _, run := range []func(context.Context) error{leases.Run, p.Run, decider.Run} {
		go func() { stopped <- run(ctx) }()
	}
	return func() {
		cancel()
		for range 3 {
			w.must(<-stopped)
		}
	}
}

// patient is a durable that is asked for messages every six hours. Asking twice a
// minute, as is the default, adds up in a week.
type patient struct{ jetstream.Consumer }

func (p patient) Consume(h jetstream.MessageHandler, opts ...jetstream.PullConsumeOpt) (jetstream.ConsumeContext, error) {
	return p.Consumer.Consume(h, append(opts, jetstream.PullExpiry(6*time.Hour))...)
}

// until lets the week go on to a time.
func (w *world) until(after time.Duration) { time.Sleep(time.Until(w.born.Add(after))) }

// set changes a member's connection of a type.
func (w *world) set(m simulator.MemberView, integration, status string) {
	w.t.Helper()
	for _, c := range m.Connections {
		if c["integrationType"] == integration {
			id, _ := c["id"].(string)
			w.must(w.sim.SetConnection(m.ID, id, simulator.Row{"status": status, "integrationType": integration}))
			return
		}
	}
	w.t.Fatalf("no %s connection", integration)
}

// told returns what the stream says of prompts, access and sight of a member,
// each with its day, and checks that no sequence has a gap. Within a day the
// poller spreads its polls by chance.
func (w *world) told(ctx context.Context, memberID string) []string {
	w.t.Helper()
	s, err := w.js.Stream(ctx, events.Stream)
	w.must(err)
	info, err := s.Info(ctx)
	w.must(err)
	m := w.keys.Tokenizer().Member(memberID)
	last := map[string]uint64{}
	var told []string
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq; seq++ {
		raw, err := s.GetMsg(ctx, seq)
		if err != nil {
			continue // more than the stream keeps of a subject
		}
		kind, of, _ := w.log.Subjects().Parse(raw.Subject)
		if of != m || kind == "timer" || kind == "due" {
			continue
		}
		e, err := events.Decode(raw.Header, raw.Data)
		w.must(err)
		if was := last[raw.Subject]; was != 0 && e.Sequence != was+1 {
			w.t.Errorf("sequence %d after %d", e.Sequence, was)
		}
		last[raw.Subject] = e.Sequence
		if !slices.Contains([]string{"prompt", "access", "observation"}, kind) {
			continue
		}
		after := e.Recorded.Sub(w.born)
		line := fmt.Sprintf("day %d %s", int(after.Hours())/24,
			strings.TrimSuffix(strings.TrimPrefix(string(e.Type), "smartconnect."), ".v1"))
		switch d := e.Data.(type) {
		case *events.Prompt:
			line += fmt.Sprintf(" %s", d.Action)
			if d.Notify {
				line += " pushed"
			}
			if d.Downtime != nil {
				line += fmt.Sprintf(" after %d days", *d.Downtime/(24*3600))
			}
		case *events.Observation:
			line += " " + d.Reason
		default:
		}
		told = append(told, line)
	}
	return told
}

func TestWeek(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		log, js := natstest.Log(t)
		w := &world{t: t, js: js, log: log, born: time.Now(), sim: simulator.New(simulator.Config{Seed: 3, Members: 3})}
		keyFile := filepath.Join(t.TempDir(), "key")
		w.must(members.GenerateKeys(keyFile))
		var err error
		w.keys, err = members.LoadKeys(keyFile)
		w.must(err)
		bucket, err := js.KeyValue(ctx, topology.Members)
		w.must(err)
		w.store = members.NewStore(bucket, w.keys)
		all := w.sim.Members()
		enrol := func(e members.Enrolment) {
			_, _, err := w.store.Enrol(ctx, e)
			w.must(err)
		}
		for _, m := range all {
			enrol(members.Enrolment{ID: m.ID, RefreshToken: secret.New(m.RefreshToken)})
		}
		ignores, revokes, flaps := all[0], all[1], all[2]

		const hour, day = time.Hour, 24 * time.Hour
		stop := w.start(ctx)
		w.until(5 * hour)
		w.set(ignores, "PROA", "EXPIRED") // and the member does not answer until day 5
		w.until(8*hour + 2*time.Minute)
		w.set(flaps, "INDIRECT_IAS", "EXPIRED")
		w.until(8*hour + 9*time.Minute)
		w.set(flaps, "INDIRECT_IAS", "CONNECTED") // healed by itself, seen or not
		w.until(day + 2*hour)
		w.must(w.sim.SetConsent(revokes.ID, "deny"))
		w.until(2 * day)
		w.must(w.sim.SetConsent(revokes.ID, "permit"))
		w.until(3 * day)
		stop() // all that was in memory is gone
		w.until(3*day + hour)
		stop = w.start(ctx)
		w.until(4 * day)
		w.must(w.sim.SetToken(flaps.ID, simulator.TokenChange{Access: "expired", Refresh: "revoked"}))
		w.until(5 * day)
		enrol(members.Enrolment{ID: flaps.ID, IDToken: secret.New(w.sim.Members()[2].IDToken)}) // signs in again
		w.until(5*day + hour)
		w.set(flaps, "DIRECT_IAS", "EXPIRED")
		w.until(5*day + 12*hour)
		w.set(ignores, "PROA", "CONNECTED")
		w.until(7 * day)
		stop()

		for who, want := range map[string][]string{
			ignores.ID: {
				"day 0 observation.started enrolled",
				"day 0 prompt.opened oauth pushed",
				"day 1 prompt.reminded oauth pushed",
				"day 4 prompt.reminded oauth pushed",
				"day 5 prompt.resolved oauth after 5 days",
			},
			revokes.ID: {
				"day 0 observation.started enrolled",
				"day 1 access.ended",
				"day 2 access.restored",
			},
			flaps.ID: {
				"day 0 observation.started enrolled",
				"day 4 observation.lost reauthenticate",
				"day 5 observation.resumed recovered",
				"day 5 prompt.opened activate_direct pushed",
				"day 6 prompt.reminded activate_direct pushed",
			},
		} {
			if got := w.told(ctx, who); !slices.Equal(got, want) {
				t.Errorf("told:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
	})
}
