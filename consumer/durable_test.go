package consumer_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/smartconnect/connector/consumer"
	"github.com/smartconnect/connector/internal/natstest"
	"github.com/smartconnect/connector/internal/topology"
)

// A replica that stood by takes over from one that died with the first events
// of a subject in hand: the broker brings newer ones first, and no mark says
// that there were others.
func TestATakeoverBeginsWithWhatWasInHand(t *testing.T) {
	_, js := natstest.Log(t)
	ledger, err := consumer.NewKVLedger(t.Context(), js, "LEDGER", "notify", 1)
	if err != nil {
		t.Fatal(err)
	}
	durable, err := js.CreateConsumer(t.Context(), topology.Events, jetstream.ConsumerConfig{
		Durable: "notify", FilterSubjects: []string{"sc.v1.prompt.*.*"}, AckPolicy: jetstream.AckExplicitPolicy, AckWait: 10 * time.Second,
		PriorityPolicy: jetstream.PriorityPolicyPinned, PriorityGroups: []string{"consumer"}, PinnedTTL: 500 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	dies, err := durable.Fetch(2, jetstream.FetchPriorityGroup("consumer"))
	if err != nil {
		t.Fatal(err)
	}
	waitUntil(t, func() bool { info, err := durable.Info(t.Context()); return err == nil && info.NumWaiting > 0 })
	l := newLog()
	s := l.subscription("notify")
	s.Ledger = ledger
	defer start(t, js, s)()
	waitUntil(t, func() bool { info, err := durable.Info(t.Context()); return err == nil && info.NumWaiting > 1 })
	put(t, js, "a", 1)
	put(t, js, "a", 2)
	for range 2 {
		if m := <-dies.Messages(); m == nil {
			t.Fatal("the other took over too early")
		}
	}
	put(t, js, "a", 3)
	l.want(t, "a-1", "a-2", "a-3")
}

// A durable that somebody else made must be one on which nothing is lost, and
// that one replica reads at a time.
func TestADurableOfSomebodyElse(t *testing.T) {
	_, js := natstest.Log(t)
	for want, config := range map[string]jetstream.ConsumerConfig{
		"acknowledge":      {AckPolicy: jetstream.AckAllPolicy},
		"acknowledge ":     {AckPolicy: jetstream.AckNonePolicy},
		"after 5 deliver":  {AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: 5},
		"bodies":           {AckPolicy: jetstream.AckExplicitPolicy, HeadersOnly: true},
		"priority policy ": {AckPolicy: jetstream.AckExplicitPolicy, PriorityPolicy: jetstream.PriorityPolicyOverflow, PriorityGroups: []string{"x"}},
	} {
		config.Durable = "theirs"
		if _, err := js.CreateConsumer(t.Context(), topology.Events, config); err != nil {
			t.Fatal(err)
		}
		l := newLog()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		err := consumer.New(js, consumer.Config{}).Run(ctx, l.subscription("theirs"))
		cancel()
		if err == nil || !strings.Contains(err.Error(), strings.TrimSpace(want)) {
			t.Errorf("it reads a durable of %+v: %v", config, err)
		}
		if err := js.DeleteConsumer(t.Context(), topology.Events, "theirs"); err != nil {
			t.Fatal(err)
		}
	}
	durable, err := js.CreateConsumer(t.Context(), topology.Events, jetstream.ConsumerConfig{Durable: "plain", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 7})
	if err != nil {
		t.Fatal(err)
	}
	l := newLog()
	defer start(t, js, l.subscription("plain"))()
	put(t, js, "a", 1)
	l.want(t, "a-1")
	info, err := durable.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if c := info.Config; c.PriorityPolicy != jetstream.PriorityPolicyPinned || len(info.PriorityGroups) != 1 || info.PriorityGroups[0].PinnedClientID == "" || c.MaxAckPending != 7 {
		t.Errorf("several may read it: %+v", c)
	}
}

// Who stops lets the next take over at once; who only stands by has nothing to
// let go, and must not take it from who reads.
func TestAStopLetsGoOnlyWhatIsHeld(t *testing.T) {
	_, js := natstest.Log(t)
	logs := []log{newLog(), newLog()}
	of := func(l log) consumer.Subscription {
		s := l.subscription("notify")
		s.Takeover = time.Minute // so that nothing but a stop ends a turn here
		return s
	}
	stop := start(t, js, of(logs[0]))
	put(t, js, "a", 1)
	logs[0].want(t, "a-1")
	durable, err := js.Consumer(t.Context(), topology.Events, "notify")
	if err != nil {
		t.Fatal(err)
	}
	pinned := func() string {
		t.Helper()
		info, err := durable.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return info.PriorityGroups[0].PinnedClientID
	}
	defer start(t, js, of(logs[1]))()
	waitUntil(t, func() bool { info, err := durable.Info(t.Context()); return err == nil && info.NumWaiting > 1 })
	// The first lost its turn, as after a pause of the process.
	stream, err := js.Stream(t.Context(), topology.Events)
	if err != nil {
		t.Fatal(err)
	}
	for n, turn := 1, 0; turn == 0; n++ { // whoever asks first has the next turn
		if err := stream.UnpinConsumer(t.Context(), "notify", "consumer"); err != nil {
			t.Fatal(err)
		}
		put(t, js, "b", n)
		select {
		case <-logs[0].lines:
		case <-logs[1].lines:
			turn = 1
		case <-time.After(20 * time.Second):
			t.Fatal("nobody reads")
		}
	}
	second := pinned()
	stop()
	if now := pinned(); now != second {
		t.Errorf("%q reads, and the stop of another made it %q", second, now)
	}
}

// A run whose durable is deleted, or made anew, ends: nothing would ever come.
func TestARunEndsWithItsDurable(t *testing.T) {
	_, js := natstest.Log(t)
	l := newLog()
	ended := make(chan error, 1)
	go func() { ended <- consumer.New(js, consumer.Config{}).Run(t.Context(), l.subscription("notify")) }()
	put(t, js, "a", 1)
	l.want(t, "a-1")
	if err := js.DeleteConsumer(t.Context(), topology.Events, "notify"); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, jetstream.ErrConsumerDeleted) {
		t.Errorf("it ended with %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := consumer.New(js, consumer.Config{}).Run(ctx, l.subscription("notify")); err != nil {
		t.Errorf("a run that is stopped before it begins: %v", err)
	}
}
