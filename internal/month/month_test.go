// Package month holds two deciders to a whole month of a thousand members: what
// they tell must be what an oracle predicts, to the second and to the last
// prompt.
//
// Facts are written to a real JetStream as a poller writes them; all waits are
// timers of the broker. Read history_test.go (what happens to members), then
// oracle_test.go (what should be told of it), then this file.
//
// One test, one bubble: nats.go keeps timers in a pool for the whole process,
// and a timer from one bubble is fatal in another.
package month

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats-server/v2/server/ats"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/smartconnect/connector/internal/audit"
	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/reconnect"
	"github.com/smartconnect/connector/internal/topology"
)

// The server's clock goroutine belongs to the process. Start it out here: one
// that is born in a bubble would keep the bubble awake.
func TestMain(m *testing.M) {
	ats.Register()
	m.Run()
}

const (
	members = 1000
	seed    = 7
)

// A world is the broker, the members and those who decide.
type world struct {
	t       *testing.T
	ctx     context.Context
	began   time.Time
	server  *server.Server
	js      jetstream.JetStream
	log     *events.Log
	scribes []*scribe
	of      map[events.MemberToken]*scribe

	deciders [2]*decider
	told     map[events.MemberToken][]saying
	last     map[string]uint64 // by subject, the sequence of the last event that was read
	read     uint64            // of the stream
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// rare is how often the broker does what does not matter here, as asking whether
// a silent connection lives. In a month the usual pace comes to a lot.
const rare = 1000 * time.Hour

// build starts a broker with the connector's stream.
//
// The stream is kept in memory: on files, where each batch waits for the disk,
// the month takes three times as long. Nobody pulls a plug in this story; that is
// tried elsewhere.
func build(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, began: time.Now(), of: map[events.MemberToken]*scribe{}, told: map[events.MemberToken][]saying{}, last: map[string]uint64{}}
	w.ctx = zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel).WithContext(t.Context())
	var err error
	w.server, err = server.NewServer(&server.Options{
		JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true, DontListen: true, SyncInterval: rare, PingInterval: rare,
	})
	w.must(err)
	w.server.Start()
	t.Cleanup(func() {
		w.server.Shutdown()
		w.server.WaitForShutdown()
	})
	if !w.server.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not start")
	}
	w.js, w.log = w.connect()
	all := topology.Desired(topology.Config{Prefix: w.log.Subjects().Prefix()})
	stream := all[slices.IndexFunc(all, func(s topology.Stream) bool { return s.Config.Name == events.Stream })]
	stream.Config.Storage, stream.Config.Compression = jetstream.MemoryStorage, jetstream.NoCompression
	_, err = w.js.CreateStream(w.ctx, stream.Config)
	w.must(err)
	for _, c := range stream.Consumers {
		if c.Durable == topology.Decider {
			_, err = w.js.CreateConsumer(w.ctx, events.Stream, c)
			w.must(err)
		}
	}
	return w
}

// connect returns a connection of its own and the log on it.
func (w *world) connect() (jetstream.JetStream, *events.Log) {
	w.t.Helper()
	nc, err := nats.Connect("", nats.InProcessServer(w.server), nats.PingInterval(rare))
	w.must(err)
	w.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	w.must(err)
	subjects, err := events.NewSubjects("")
	w.must(err)
	return js, events.NewLog(js, subjects, "")
}

// patient is a durable that is asked for messages once a day. Asking twice a
// minute, as is the default, adds up in a month.
type patient struct{ jetstream.Consumer }

func (p patient) Consume(h jetstream.MessageHandler, opts ...jetstream.PullConsumeOpt) (jetstream.ConsumeContext, error) {
	return p.Consumer.Consume(h, append(opts, jetstream.PullExpiry(day))...)
}

// unread fails the test: nothing in this story is poison.
type unread struct{ t *testing.T }

func (u unread) Park(_ context.Context, m jetstream.Msg, reason string) error {
	u.t.Errorf("%s was put aside: %s", m.Subject(), reason)
	return nil
}

// unwritten is the record of what is not asked. It has tests of its own.
type unwritten struct{}

func (unwritten) Record(context.Context, ...audit.Entry) error { return nil }

// A decider is one that runs.
type decider struct {
	*reconnect.Consumer
	log  *events.Log
	stop func()
}

// decide starts a decider on a durable, with nothing in its memory.
func (w *world) decide(durable string) *decider {
	w.t.Helper()
	js, log := w.connect()
	source, err := js.Consumer(w.ctx, events.Stream, durable)
	w.must(err)
	c, err := reconnect.New(reconnect.Config{
		Log: log, Source: patient{source}, DeadLetters: unread{w.t}, Ledger: unwritten{}, Policy: reconnect.DefaultPolicy(),
	})
	w.must(err)
	ctx, cancel := context.WithCancel(w.ctx)
	stopped := make(chan error)
	go func() { stopped <- c.Run(ctx) }()
	return &decider{c, log, func() {
		w.t.Helper()
		cancel()
		w.must(<-stopped)
		js.Conn().Close()
	}}
}

// until lets the month go on to a time.
func (w *world) until(at time.Duration) { time.Sleep(time.Until(w.began.Add(at))) }

// restarts is when each of the deciders is stopped and started anew, while the
// other goes on.
var restarts = [2][]time.Duration{
	{2*day + quiet + time.Second, 13*day + quiet + time.Second, 26*day + quiet + time.Second},
	{5*day + quiet + time.Second, 13*day + quiet + time.Second + grid},
}

// live lets all that happens happen.
func (w *world) live(lives []life) {
	w.t.Helper()
	tokens, err := events.NewTokenizer([]byte("a secret of the test, of 32 bytes"))
	w.must(err)
	happens, does := map[time.Duration][]func(){}, map[time.Duration][]func(){}
	for _, l := range lives {
		s := newScribe(w.log, tokens, w.began, l)
		w.scribes = append(w.scribes, s)
		w.of[s.token] = s
		for _, m := range l.moments {
			happens[m.at] = append(happens[m.at], func() { w.happen(s, m) })
		}
	}
	do := func(at time.Duration, f func()) { does[at] = append(does[at], f) }
	for i := range w.deciders {
		stop := func() { w.deciders[i].stop() }
		start := func() { w.deciders[i] = w.decide(topology.Decider) }
		start()
		for _, a := range away {
			do(a.from, stop)
			do(a.to, start)
		}
		for _, at := range restarts[i] {
			do(at, stop)
			do(at, start)
		}
	}
	for at := day + quiet + 2*time.Second; at < whole; at += day {
		do(at, w.collect)
	}
	times := slices.AppendSeq(slices.Collect(maps.Keys(happens)), maps.Keys(does))
	slices.Sort(times)
	for _, at := range slices.Compact(times) {
		w.until(at)
		for _, f := range does[at] {
			f()
		}
		// What happens at one time is written at once, so that it is committed
		// together. What it leads to is done before the clock moves.
		var all sync.WaitGroup
		for _, f := range happens[at] {
			all.Go(f)
		}
		all.Wait()
	}
	w.until(whole)
	for _, d := range w.deciders {
		d.stop()
	}
	w.collect()
}

func (w *world) happen(s *scribe, m moment) {
	c, said := m.said()
	if !said {
		if err := s.write(w.ctx, m); err != nil {
			w.t.Errorf("member %d: %v", s.life.number, err)
		}
		return
	}
	// The member has whatever is open before them; if nothing is, there is
	// nothing to say.
	agenda, err := w.log.Agenda(w.ctx, s.token)
	if err != nil {
		w.t.Errorf("member %d: %v", s.life.number, err)
		return
	}
	if agenda.Snapshot == nil {
		return
	}
	for _, p := range agenda.Snapshot.Prompts {
		token, _, _ := strings.Cut(p.PromptID, ".")
		if events.ConnectionToken(token) != s.conns[c] {
			continue
		}
		note := reconnect.Note{Kind: reconnect.Acknowledge, Connection: s.conns[c], PromptID: p.PromptID}
		if f, ok := m.facts[0].(snoozed); ok {
			note.Kind, note.For = reconnect.Snooze, f.d
		}
		if err := w.deciders[s.life.number%2].Note(w.ctx, s.token, note); err != nil && !errors.Is(err, reconnect.StalePrompt) {
			w.t.Errorf("member %d: %v", s.life.number, err)
		}
	}
}

// collect reads what was told since the last time. The stream keeps only the
// last 64 messages of a subject, so it is done every day; that nothing was lost
// is seen from the sequences.
func (w *world) collect() {
	w.t.Helper()
	s := w.log.Subjects()
	c, err := w.js.OrderedConsumer(w.ctx, events.Stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{s.Kind("prompt"), s.Kind("access")},
		DeliverPolicy:  jetstream.DeliverByStartSequencePolicy, OptStartSeq: w.read + 1,
	})
	w.must(err)
	left := c.CachedInfo().NumPending
	if left == 0 {
		return
	}
	messages, err := c.Messages()
	w.must(err)
	defer messages.Stop()
	for ; left > 0; left-- {
		m, err := messages.Next()
		w.must(err)
		meta, err := m.Metadata()
		w.must(err)
		e, err := events.Decode(m.Headers(), m.Data())
		w.must(err)
		if e.Sequence != w.last[m.Subject()]+1 {
			w.t.Errorf("sequence %d after %d", e.Sequence, w.last[m.Subject()])
		}
		w.last[m.Subject()], w.read = e.Sequence, meta.Sequence.Stream
		w.told[e.Member] = append(w.told[e.Member], w.say(e))
	}
}

// since is a time in the story. A timer of the broker's may be some thousandths
// late, and what follows from it too.
func (w *world) since(at time.Time) time.Duration {
	if at.IsZero() {
		return 0
	}
	return at.Sub(w.began).Truncate(time.Second)
}

// say is what an event tells.
func (w *world) say(e events.Event) saying {
	s := saying{what: e.Type, at: w.since(e.Recorded), downtime: -1}
	switch d := e.Data.(type) {
	case *events.Prompt:
		w.prompt(&s, *d, w.of[e.Member])
		s.expires, s.episode = w.since(e.Expires), number(e.CorrelationID)
	case *events.Access:
		s.action, s.reason = d.Action, d.Reason
		var listed []string
		for _, c := range d.Connections {
			word := fmt.Sprintf("%s %q", c.ConnectionID, c.IntegrationType)
			if c.Restored {
				word += "+"
			}
			listed = append(listed, word)
		}
		s.listed = strings.Join(listed, ", ")
	default:
	}
	return s
}

func (w *world) prompt(s *saying, d events.Prompt, of *scribe) {
	s.conn, s.number = of.named(d.PromptID), number(d.PromptID)
	s.action, s.reason, s.urgency, s.notify = d.Action, d.Reason, d.Urgency, d.Notify
	s.status, s.kind = d.ConnectionStatus, d.IntegrationType
	s.opened, s.closed, s.snoozed = w.since(d.OpenedAt), w.since(d.ClosedAt), w.since(d.SnoozedUntil)
	s.reminder, s.flaps, s.batch, s.notPushed = d.Reminder, d.FlapCount, d.Batch, d.NotPushed
	if d.Downtime != nil {
		s.downtime = time.Duration(*d.Downtime) * time.Second
	}
}

// number returns what stands behind the token in the id of a prompt, or of an
// episode.
func number(id string) int {
	_, word, _ := strings.Cut(id, ".")
	n, _ := strconv.Atoi(word)
	return n
}

// named returns the name of the connection whose token an id begins with.
func (s *scribe) named(id string) string {
	token, _, _ := strings.Cut(id, ".")
	return s.names[events.ConnectionToken(token)]
}

// batches lists what was told together, by the names of the batches. Which of the
// prompts lends a batch its name is nobody's business, so it is not compared.
func batches(told []saying) map[string]string {
	together := map[string][]string{}
	for _, s := range told {
		if (s.what == events.PromptOpened || s.what == events.PromptReminded) && s.batch != "" {
			together[s.batch] = append(together[s.batch], s.id())
		}
	}
	all := map[string]string{}
	for name, ids := range together {
		all[name] = batch(ids)
	}
	return all
}

// byConnection sorts what was told by connection; what was told of one stays in
// order. Which of two is told of first at the same time is nobody's business
// either.
func byConnection(told []saying) []saying {
	slices.SortStableFunc(told, func(a, b saying) int { return cmp.Compare(a.conn, b.conn) })
	return told
}

// compare holds what was told, and what the agendas say in the end, to what the
// oracles predict.
func (w *world) compare(oracles []*oracle) {
	w.t.Helper()
	agendas := map[events.MemberToken]*events.Agenda{}
	for m := range w.of {
		agendas[m] = &events.Agenda{} // nothing was ever asked
	}
	w.must(w.log.Agendas(w.ctx, func(m events.MemberToken, h events.Head[events.Agenda]) error {
		agendas[m] = h.Snapshot
		return nil
	}))
	wrong := 0
	for i, s := range w.scribes {
		told := w.told[s.token]
		together := batches(told)
		for i := range told {
			told[i].batch = together[told[i].batch]
		}
		var want []saying
		for _, x := range oracles[i].told {
			want = append(want, *x)
		}
		got := append(lines(byConnection(told)), w.standing(agendas[s.token], s, together)...)
		expected := append(lines(byConnection(want)), oracles[i].standing()...)
		// It may look too early, for that costs nothing, but never too late.
		if due := oracles[i].falls(whole); due != 0 {
			if look := w.since(agendas[s.token].NextLook); look <= whole || look > due {
				got, expected = append(got, "looks at "+clock(look)), append(expected, "looks until "+clock(due))
			}
		}
		if slices.Equal(got, expected) {
			continue
		}
		if wrong++; wrong <= 3 { // enough to see what is wrong
			w.t.Errorf("member %d:\n%s\n%s", i, s.life, diff(got, expected))
		}
	}
	if wrong > 0 {
		w.t.Errorf("of %d members %d were told something else than the oracle predicts", members, wrong)
	}
}

func lines(told []saying) []string {
	var all []string
	for _, s := range told {
		all = append(all, s.String())
	}
	return all
}

// standing is what an agenda says.
func (w *world) standing(a *events.Agenda, of *scribe, together map[string]string) []string {
	var all []string
	for _, x := range a.Asked {
		if x.Openings == 0 {
			continue
		}
		line := fmt.Sprintf("asked %s %d times", of.named(string(x.Connection)), x.Openings)
		if p, open := a.Open(fmt.Sprintf("%s.%d", x.Connection, x.Openings)); open {
			s := saying{what: events.AgendaSnapshot, expires: w.since(x.ExpiresAt), episode: x.Episode, downtime: -1}
			w.prompt(&s, p, of)
			s.batch = together[s.batch]
			line += fmt.Sprintf(", reminder at %s: %s", clock(w.since(x.RemindAt)), s)
		}
		all = append(all, line)
	}
	slices.Sort(all)
	if open := len(a.Prompts); open != strings.Count(strings.Join(all, ""), "reminder at") {
		all = append(all, fmt.Sprintf("%d open", open))
	}
	if e := a.Access; e != nil {
		var conns []string
		for _, c := range e.Connections {
			conns = append(conns, of.named(string(c)))
		}
		all = append(all, fmt.Sprintf("access ended %s permitted %s restored %s %v",
			clock(w.since(e.EndedAt)), clock(w.since(e.PermittedAt)), clock(w.since(e.RestoredAt)), conns))
	}
	for _, at := range a.Pushes {
		if d := w.since(at); whole-d < pushSpan {
			all = append(all, "pushed "+clock(d))
		}
	}
	return all
}

// standing is what the agenda should say.
func (o *oracle) standing() []string {
	var all []string
	for _, c := range o.conns {
		if c.openings == 0 {
			continue
		}
		line := fmt.Sprintf("asked %s %d times", c.name, c.openings)
		if c.open != nil {
			s := *c.open
			s.what, s.at = events.AgendaSnapshot, 0
			line += fmt.Sprintf(", reminder at %s: %s", clock(c.due), s)
		}
		all = append(all, line)
	}
	slices.Sort(all)
	if e := o.ending; e != nil {
		var conns []string
		for _, c := range e.conns {
			conns = append(conns, c.name)
		}
		all = append(all, fmt.Sprintf("access ended %s permitted %s restored %s %v", clock(e.at), clock(e.permitted), clock(e.restored), conns))
	}
	for _, at := range o.pushes {
		if whole-at < pushSpan {
			all = append(all, "pushed "+clock(at))
		}
	}
	return all
}

// tame fails the test if the histories leave out what they are for.
func tame(t *testing.T, lives []life, oracles []*oracle) {
	t.Helper()
	happened, told := 0, 0
	seen := map[string]int{}
	for i, o := range oracles {
		happened += len(lives[i].moments)
		told += len(o.told)
		for _, s := range o.told {
			seen[string(s.what)]++
			seen[string(s.action)]++
		}
		for what, n := range o.rare {
			seen[what] += n
		}
	}
	t.Logf("%d members: something happens %d times, and %d prompt and access events are due", members, happened, told)
	wanted := slices.Clone(rarities)
	for row := range 13 {
		wanted = append(wanted, fmt.Sprintf("row %d", row+1))
	}
	for _, t := range events.Types() {
		if t.Kind() == "prompt" || t.Kind() == "access" {
			wanted = append(wanted, string(t))
		}
	}
	for _, what := range append(wanted, string(events.ActOAuth), string(events.ActDirect), string(events.ActReenter)) {
		if seen[what] < 5 {
			t.Errorf("%s: %d times only", what, seen[what])
		}
	}
}

// A thousand members, thirty days, two deciders that are stopped and started
// again and are both away twice: every prompt and every end of access is the one
// that the oracle predicts, and no other is told. Then all of it is read again,
// and nobody is asked anything.
func TestMonth(t *testing.T) {
	var lives []life
	var oracles []*oracle
	for i := range members {
		lives = append(lives, imagine(seed, i))
		oracles = append(oracles, predict(lives[i]))
	}
	tame(t, lives, oracles)
	synctest.Test(t, func(t *testing.T) {
		w := build(t)
		w.live(lives)
		w.compare(oracles)
		w.again(oracles)
	})
}

// diff shows what was told beside what was wanted, in order.
func diff(got, want []string) string {
	var b strings.Builder
	for len(got)+len(want) > 0 {
		switch {
		case len(got) > 0 && len(want) > 0 && got[0] == want[0]:
			fmt.Fprintf(&b, "         %s\n", got[0])
			got, want = got[1:], want[1:]
		case len(got) > 0 && !slices.Contains(want, got[0]):
			fmt.Fprintf(&b, "  told   %s\n", got[0])
			got = got[1:]
		case len(want) > 0:
			fmt.Fprintf(&b, "  wanted %s\n", want[0])
			want = want[1:]
		default:
			fmt.Fprintf(&b, "  again  %s\n", got[0])
			got = got[1:]
		}
	}
	return b.String()
}
