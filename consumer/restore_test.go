package consumer_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/smartconnect/connector/consumer"
	"github.com/smartconnect/connector/internal/natstest"
	"github.com/smartconnect/connector/internal/topology"
)

// A backup is what the nats CLI keeps of a stream: what the server sends.
type backup struct {
	Config json.RawMessage `json:"config"`
	State  json.RawMessage `json:"state"`
	Error  json.RawMessage `json:"error,omitempty"`
	chunks [][]byte
}

func backUp(t *testing.T, nc *nats.Conn, stream string) backup {
	t.Helper()
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	var b backup
	request(t, nc, "$JS.API.STREAM.SNAPSHOT."+stream, map[string]any{"deliver_subject": inbox, "chunk_size": 64 << 10}, &b)
	for b.Error == nil {
		msg, err := sub.NextMsg(5 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if len(msg.Data) == 0 {
			return b
		}
		b.chunks = append(b.chunks, msg.Data)
		if msg.Reply != "" {
			if err := nc.Publish(msg.Reply, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Fatalf("back up: %s", b.Error)
	return b
}

// restore puts a backup in the place of a stream, with the durables it had.
func (b backup) restore(t *testing.T, js jetstream.JetStream, stream string) {
	t.Helper()
	if err := js.DeleteStream(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Deliver string          `json:"deliver_subject"`
		Error   json.RawMessage `json:"error"`
	}
	request(t, js.Conn(), "$JS.API.STREAM.RESTORE."+stream, b, &answer)
	for _, chunk := range append(b.chunks, nil) {
		last, err := js.Conn().Request(answer.Deliver, chunk, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if len(chunk) == 0 {
			if err := json.Unmarshal(last.Data, &answer); err != nil {
				t.Fatal(err)
			}
		}
	}
	if answer.Error != nil {
		t.Fatalf("restore: %s", answer.Error)
	}
}

// request sends a request of JetStream's API.
func request(t *testing.T, nc *nats.Conn, subject string, question, answer any) {
	t.Helper()
	body, err := json.Marshal(question)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := nc.Request(subject, body, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(reply.Data, answer); err != nil {
		t.Fatal(err)
	}
}

// The client library goes on behind the last place it has seen, and would pass
// over what a restored stream puts there.
func TestRestoredWhileItIsRead(t *testing.T) {
	_, js := natstest.Log(t)
	l := newLog()
	put(t, js, "a", 1)
	b := backUp(t, js.Conn(), topology.Events)
	put(t, js, "a", 2)
	put(t, js, "a", 3)
	ended := make(chan error, 1)
	run := func(ctx context.Context) { ended <- consumer.New(js, consumer.Config{}).Run(ctx, l.subscription("")) }
	go run(t.Context())
	l.want(t, "a-1", "a-2", "a-3")
	b.restore(t, js, topology.Events)
	for n := 2; n <= 4; n++ {
		put(t, js, "a", n, fmt.Sprintf("another-a-%d", n))
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "restored") {
		t.Fatalf("it read on: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go run(ctx)
	l.want(t, "a-1", "another-a-2", "another-a-3", "another-a-4")
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// What docs/operations.md tells operators to do. The broker gives a restored
// stream the time of creation it had, and its durables stand where they stood.
func TestRestoredFromBackup(t *testing.T) {
	_, js := natstest.Log(t)
	ledger, err := consumer.NewKVLedger(t.Context(), js, "LEDGER", "notify", 1)
	if err != nil {
		t.Fatal(err)
	}
	l := newLog()
	s := l.subscription("notify")
	s.Ledger = ledger
	s.Handlers.Gap = func(_ context.Context, g consumer.GapError) error { l.lines <- g.Error(); return nil }

	stop := start(t, js, s)
	put(t, js, "a", 1)
	put(t, js, "b", 1)
	l.wantInAnyOrder(t, "a-1", "b-1")
	stop()
	b := backUp(t, js.Conn(), topology.Events)
	put(t, js, "b", 2) // stands in no backup
	put(t, js, "a", 2)
	put(t, js, "a", 3)
	stop = start(t, js, s)
	l.wantInAnyOrder(t, "a-2", "a-3", "b-2")
	stop()

	b.restore(t, js, topology.Events)
	put(t, js, "a", 2, "another-a-2")
	put(t, js, "c", 1)
	put(t, js, "a", 3, "another-a-3")
	stop = start(t, js, s)
	l.wantInAnyOrder(t, "consumer: sc.v1.prompt.ma.a: the stream was restored: events 2 to 3 are others now", "another-a-2", "another-a-3", "c-1")
	stop()
}

// A stream that was lost and made anew has neither events nor durables.
func TestMadeAnew(t *testing.T) {
	_, js := natstest.Log(t)
	ledger, err := consumer.NewKVLedger(t.Context(), js, "LEDGER", "notify", 1)
	if err != nil {
		t.Fatal(err)
	}
	l := newLog()
	s := l.subscription("notify")
	s.Ledger = ledger
	s.Handlers.Gap = func(_ context.Context, g consumer.GapError) error { l.lines <- g.Error(); return nil }
	for n := range 3 {
		put(t, js, "a", n+1)
	}
	stop := start(t, js, s)
	l.want(t, "a-1", "a-2", "a-3")
	stop()
	if err := js.DeleteStream(t.Context(), topology.Events); err != nil {
		t.Fatal(err)
	}
	if err := topology.Apply(t.Context(), js, topology.Config{Prefix: "sc.v1"}, false); err != nil {
		t.Fatal(err)
	}
	if seq := put(t, js, "a", 1, "another-a-1"); seq != 1 {
		t.Fatalf("the test makes nothing anew: the first message is number %d", seq)
	}
	defer start(t, js, s)()
	l.want(t, "consumer: sc.v1.prompt.ma.a: the stream was restored: events 1 to 3 are others now", "another-a-1")
}
