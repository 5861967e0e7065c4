package month

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing/synctest"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/smartconnect/connector/consumer"
	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/replay"
	"github.com/smartconnect/connector/internal/topology"
)

// again has the month read once more, by those who know nothing of it: they come
// to the state that is there, and nobody is asked anything. The clock stands
// meanwhile, so nothing falls due.
func (w *world) again(oracles []*oracle) {
	w.t.Helper()
	before, last := w.agendas(), w.lastSeq()
	w.decideAgain()
	w.serveAgain(oracles)
	w.serveCopies()
	w.addUp()
	if n := w.lastSeq(); n != last {
		w.t.Errorf("reading again wrote %d messages", n-last)
	}
	if after := w.agendas(); !maps.Equal(before, after) {
		w.t.Error("the agendas are not byte for byte what they were")
	}
}

func (w *world) lastSeq() uint64 {
	w.t.Helper()
	s, err := w.js.Stream(w.ctx, events.Stream)
	w.must(err)
	return s.CachedInfo().State.LastSeq
}

// agendas returns the bodies of the last agendas.
func (w *world) agendas() map[string]string {
	w.t.Helper()
	c, err := w.js.OrderedConsumer(w.ctx, events.Stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{w.log.Subjects().Agendas()}, DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy,
	})
	w.must(err)
	all := map[string]string{}
	messages, err := c.Messages()
	w.must(err)
	defer messages.Stop()
	for range c.CachedInfo().NumPending {
		m, err := messages.Next()
		w.must(err)
		all[m.Subject()] = string(m.Data())
	}
	return all
}

// sample is every so manieth member, where all would take too long under the
// race detector.
const sample = 10

// decideAgain starts deciders on durables of their own: one as a new deployment
// begins, with the last of everything, and one that reads the whole month of
// some, each head that ever was. Neither has anything to add, and what the
// second decides from an old head is refused by the broker.
func (w *world) decideAgain() {
	w.t.Helper()
	var some []string
	for _, s := range w.scribes {
		if s.life.number%sample == 0 {
			some = append(some, w.log.Subjects().Member(s.token), w.log.Subjects().Due(s.token))
		}
	}
	live, err := w.js.Consumer(w.ctx, events.Stream, topology.Decider)
	w.must(err)
	latest, every := live.CachedInfo().Config, live.CachedInfo().Config
	latest.Durable, latest.Name, latest.DeliverPolicy = "latest", "", jetstream.DeliverLastPerSubjectPolicy
	every.Durable, every.Name, every.DeliverPolicy, every.FilterSubjects = "every", "", jetstream.DeliverAllPolicy, some
	for _, config := range []jetstream.ConsumerConfig{latest, every} {
		name := config.Durable
		made, err := w.js.CreateConsumer(w.ctx, events.Stream, config)
		w.must(err)
		all := made.CachedInfo().NumPending
		d := w.decide(name)
		synctest.Wait() // until there is nothing left to do
		d.stop()
		info, err := made.Info(w.ctx)
		w.must(err)
		if all < members || info.Delivered.Consumer != all || info.NumPending+uint64(info.NumAckPending) != 0 {
			w.t.Errorf("%s: %d triggers, %d delivered, %d left, %d in hand", name, all, info.Delivered.Consumer, info.NumPending, info.NumAckPending)
		}
		stats := d.log.Stats()
		if stats.Transactions != 0 || name == every.Durable && stats.Missed == 0 {
			w.t.Errorf("%s: %+v", name, stats)
		}
		w.t.Logf("%s: a new decider had %d triggers; %d times the broker refused what it decided from an old head", name, all, stats.Missed)
	}
}

// A service is what a notification service has seen and done.
type service struct {
	mu       sync.Mutex
	open     map[string]string // by the id of the prompt: its body
	pushed   []consumer.Event
	replayed int
}

// serve lets a service read until there is nothing left.
func (w *world) serve(client *consumer.Client, how consumer.Subscription) *service {
	w.t.Helper()
	s := &service{open: map[string]string{}}
	asks := func(_ context.Context, e consumer.Event, p consumer.Prompt) error {
		body, err := json.Marshal(p)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.open[p.PromptID] = string(body)
		if e.Type != consumer.PromptAcknowledged {
			s.pushed = append(s.pushed, e)
		}
		return err
	}
	closes := func(_ context.Context, _ consumer.Event, p consumer.Prompt) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.open, p.PromptID)
		return nil
	}
	how.Handlers = consumer.Handlers{
		PromptOpened: asks, PromptReminded: asks, PromptAcknowledged: asks,
		PromptResolved: closes, PromptWithdrawn: closes, PromptExpired: closes,
		Replayed: func(context.Context, consumer.Event) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.replayed++
			return nil
		},
		Gap:    func(_ context.Context, g consumer.GapError) error { w.t.Error(g); return nil },
		Poison: func(_ context.Context, p consumer.Poison) error { w.t.Error(p); return nil },
	}
	ctx, cancel := context.WithCancel(w.ctx)
	stopped := make(chan error)
	go func() { stopped <- client.Run(ctx, how) }()
	synctest.Wait()
	cancel()
	w.must(<-stopped)
	return s
}

// asked returns what the agendas list as open, as a service reads them.
func (w *world) asked(client *consumer.Client) map[string]string {
	w.t.Helper()
	open := map[string]string{}
	for _, s := range w.scribes {
		agenda, err := client.Agenda(w.ctx, string(s.token))
		if err != nil {
			continue // nothing was ever asked
		}
		for _, p := range agenda.Prompts {
			body, err := json.Marshal(p)
			w.must(err)
			open[p.PromptID] = string(body)
		}
	}
	return open
}

// serveAgain starts services anew. One that builds a state arrives at what is
// open. One that pushes does so for the requests of the last day, which may
// still be news, and for none that is older.
func (w *world) serveAgain(oracles []*oracle) {
	w.t.Helper()
	client := consumer.New(w.js, consumer.Config{})
	want := w.asked(client)
	if s := w.serve(client, consumer.Subscription{Projection: true}); len(want) == 0 || !maps.Equal(s.open, want) {
		w.t.Errorf("%d prompts are open, a projection has %d or others", len(want), len(s.open))
	}
	var fresh, old []string
	for i, o := range oracles {
		for _, s := range o.told {
			switch id := fmt.Sprintf("%s %s %s %d", w.scribes[i].token, s.what, s.id(), s.reminder); {
			case s.what != events.PromptOpened && s.what != events.PromptReminded:
			case whole-s.at > day, s.expires < whole:
				old = append(old, id)
			default:
				fresh = append(fresh, id)
			}
		}
	}
	s := w.serve(client, consumer.Subscription{Durable: "anew"})
	var pushed []string
	for _, e := range s.pushed {
		var p consumer.Prompt
		w.must(json.Unmarshal(e.Data, &p))
		of := w.of[events.MemberToken(e.Member)]
		pushed = append(pushed, fmt.Sprintf("%s %s %s.%d %d", e.Member, e.Type, of.named(p.PromptID), number(p.PromptID), p.Reminder))
	}
	slices.Sort(pushed)
	slices.Sort(fresh)
	if !slices.Equal(pushed, fresh) || s.replayed != len(old) {
		w.t.Errorf("pushed %d times, and %d times told as no news; %d are of the last day, %d are older", len(pushed), s.replayed, len(fresh), len(old))
	}
}

// serveCopies replays the month below another prefix. Whoever reads the copies
// can build the same state, and pushes nobody.
func (w *world) serveCopies() {
	w.t.Helper()
	_, err := w.js.CreateStream(w.ctx, jetstream.StreamConfig{Name: "AGAIN", Subjects: []string{"again.>"}, Storage: jetstream.MemoryStorage})
	w.must(err)
	res, err := replay.Replay{JS: w.js, Subjects: w.log.Subjects(), To: "again", Name: "month", Query: replay.Query{FromSeq: 1, Types: []events.Type{
		events.PromptOpened, events.PromptReminded, events.PromptAcknowledged, events.PromptResolved, events.PromptWithdrawn, events.PromptExpired,
	}}}.Run(w.ctx)
	w.must(err)
	client := consumer.New(w.js, consumer.Config{Prefix: "again", Stream: "AGAIN"})
	s := w.serve(client, consumer.Subscription{Durable: "copies"})
	if !res.Ended || res.Copied == 0 || s.replayed != int(res.Copied) || len(s.pushed) > 0 || len(s.open) > 0 {
		w.t.Errorf("%+v; %d were told as replayed, %d were pushed", res, s.replayed, len(s.pushed))
	}
	s = w.serve(client, consumer.Subscription{Projection: true})
	if want := w.asked(consumer.New(w.js, consumer.Config{})); !maps.Equal(s.open, want) {
		w.t.Errorf("%d prompts are open, a projection of the copies has %d or others", len(want), len(s.open))
	}
}

// addUp adds up the events of some, and of those of whom the stream does not
// keep all: the sums are the heads.
func (w *world) addUp() {
	w.t.Helper()
	short := 0
	for _, s := range w.scribes {
		if s.life.number%sample != 0 && s.life.number%100 < restless {
			continue
		}
		check, err := replay.CheckMember(w.ctx, w.js, w.log.Subjects(), s.token)
		w.must(err)
		if check.Verdict != replay.Same {
			w.t.Errorf("member %d: %s %v", s.life.number, check.Verdict, check.Differences)
		}
		if check.Since > 0 || check.AgendaSince > 0 {
			short++
		}
	}
	if short == 0 {
		w.t.Error("of all of them the whole history is kept")
	}
}
