package consumer_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/smartconnect/connector/consumer"
	"github.com/smartconnect/connector/internal/natstest"
)

// A process that stood still while another took over is late with its mark. If
// the mark went back, what the other did would be done once more.
func TestAMarkDoesNotGoBack(t *testing.T) {
	js := natstest.JetStream(t)
	ledger, err := consumer.NewKVLedger(t.Context(), js, "LEDGER", "notify", 1)
	if err != nil {
		t.Fatal(err)
	}
	at := func(second int64) time.Time { return time.Unix(second, 0).UTC() }
	fifth := consumer.Mark{Stream: 50, Sequence: 5, ID: "e", Stored: at(100)}
	seventh := consumer.Mark{Stream: 70, Sequence: 7, ID: "g", Stored: at(200)}
	for _, step := range []struct {
		name       string
		done, want consumer.Mark
	}{
		{"the first", fifth, fifth},
		{"again", fifth, fifth},
		{"two further, by another", seventh, seventh},
		{"the one that stood still", fifth, seventh},
		{"the stream was restored", consumer.Mark{Stored: at(200)}, consumer.Mark{Stored: at(200)}},
		{"and goes on", consumer.Mark{Stream: 60, Sequence: 5, ID: "x", Stored: at(300)}, consumer.Mark{Stream: 60, Sequence: 5, ID: "x", Stored: at(300)}},
		{"by a clock that is behind", consumer.Mark{Stream: 61, Sequence: 6, ID: "y", Stored: at(299)}, consumer.Mark{Stream: 61, Sequence: 6, ID: "y", Stored: at(299)}},
	} {
		if err := ledger.Done(t.Context(), "sc.v1.task.m", step.done); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if got, err := ledger.Last(t.Context(), "sc.v1.task.m"); err != nil || got != step.want {
			t.Errorf("%s: the mark is %+v, %v; want %+v", step.name, got, err, step.want)
		}
	}
}

func TestLedgersThatMakeNoSense(t *testing.T) {
	js := natstest.JetStream(t)
	for _, name := range []string{"", "two words", "a.b", "*", ">", "t\u00e9am"} {
		if _, err := consumer.NewKVLedger(t.Context(), js, "LEDGER", name, 1); err == nil {
			t.Errorf("a ledger called %q", name)
		}
	}
	// What the nats CLI makes has direct reads: on one server they do no harm.
	if _, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "THEIRS"}); err != nil {
		t.Fatal(err)
	}
	if _, err := consumer.NewKVLedger(t.Context(), js, "THEIRS", "notify", 1); err != nil {
		t.Error(err)
	}
}

// On three servers a read of a bucket with direct reads may be answered by one
// that lags, and an event that is done would be done once more.
func TestALedgerThatLagsIsRefused(t *testing.T) {
	c := natstest.ThreeServers(t)
	js := c.JetStream(0)
	if _, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "THEIRS", Replicas: 3}); err != nil {
		t.Fatal(err)
	}
	if _, err := consumer.NewKVLedger(t.Context(), js, "THEIRS", "notify", 3); err == nil || !strings.Contains(err.Error(), "direct reads") {
		t.Errorf("it is taken: %v", err)
	}
	if _, err := consumer.NewKVLedger(t.Context(), js, "OURS", "notify", 3); err != nil {
		t.Error(err)
	}
}
