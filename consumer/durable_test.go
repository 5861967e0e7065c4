package consumer_test

import (
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
