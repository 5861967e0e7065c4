package consumer

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// reading is what an ordered run hears: messages, and nothing for a while where
// there is nil.
type reading []*jetstream.MsgMetadata

func (r *reading) Next(...jetstream.NextOpt) (jetstream.Msg, error) {
	if len(*r) == 0 {
		return nil, jetstream.ErrMsgIteratorClosed
	}
	meta := (*r)[0]
	if *r = (*r)[1:]; meta == nil {
		return nil, nats.ErrTimeout
	}
	return read{meta: meta}, nil
}
func (r *reading) Stop()  {}
func (r *reading) Drain() {}

type read struct {
	jetstream.Msg
	meta *jetstream.MsgMetadata
}

func (m read) Metadata() (*jetstream.MsgMetadata, error) { return m.meta, nil }
func (m read) Subject() string                           { return "sc.v1.task.m" }
func (m read) Headers() nats.Header                      { return nil }
func (m read) Data() []byte                              { return nil }

// An ordered run that hears nothing asks whether it listens at the right place:
// a restored stream may have anything before it.
func TestAnIdleRunLooksAtTheStream(t *testing.T) {
	at := func(seq uint64, second int64) *jetstream.MsgMetadata {
		return &jetstream.MsgMetadata{Consumer: "x_1", Sequence: jetstream.SequencePair{Stream: seq}, Timestamp: time.Unix(second, 0)}
	}
	for name, c := range map[string]struct {
		last *jetstream.MsgMetadata
		want error
	}{
		"nothing new":                {at(7, 100), jetstream.ErrMsgIteratorClosed},
		"the last was purged":        {at(5, 90), jetstream.ErrMsgIteratorClosed},
		"restored, and nothing new":  {at(3, 80), jetstream.ErrMsgIteratorClosed},
		"restored, and written anew": {at(5, 200), errRestored},
		"empty":                      {nil, jetstream.ErrMsgIteratorClosed},
	} {
		t.Run(name, func(t *testing.T) {
			m := NewMemory(time.Unix(1000, 0))
			if c.last != nil {
				m.msgs = []message{{subject: "sc.v1.task.m", seq: c.last.Sequence.Stream, stored: c.last.Timestamp}}
			}
			in := &reader{runner: &runner{broker: memory{m}, envelope: m.envelope, Subscription: Subscription{Timeout: time.Second}}, messages: &reading{at(7, 100), nil, nil}}
			if _, err := in.next(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := in.next(t.Context()); !errors.Is(err, c.want) {
				t.Errorf("it says %v, want %v", err, c.want)
			}
		})
	}
}

// missing is a durable that the broker does not know, after some questions that
// it did not hear.
type missing struct {
	jetstream.Consumer
	unheard int
}

func (d *missing) Info(context.Context) (*jetstream.ConsumerInfo, error) {
	if d.unheard--; d.unheard >= 0 {
		return nil, nats.ErrNoResponders
	}
	return nil, jetstream.ErrConsumerNotFound
}

// hush is a reading in which no heartbeat comes.
type hush struct{ reading }

func (*hush) Next(...jetstream.NextOpt) (jetstream.Msg, error) { return nil, jetstream.ErrNoHeartbeat }

// Where the durable went while nobody could be told, as when a broker comes back
// without it, a run ends that would wait for ever.
func TestARunThatHearsNothingLooksForItsDurable(t *testing.T) {
	in := &reader{runner: &runner{}, messages: &hush{}, durable: &missing{unheard: 3}}
	if _, err := in.next(t.Context()); !errors.Is(err, jetstream.ErrConsumerNotFound) {
		t.Errorf("it says %v", err)
	}
}
