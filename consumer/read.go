package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// errRestored ends a run that remembers nothing: the next begins anew.
var errRestored = errors.New("the stream was restored: what it holds now was not all read")

// idle is how long a run that remembers nothing waits before it asks whether
// the stream is still the same.
const idle = time.Minute

// A position is how far an ordered run has read.
type position struct {
	consumer string // the client library makes another when it lost the thread
	seq      uint64
	stored   time.Time
}

// A reader brings the messages of one run.
type reader struct {
	*runner
	messages jetstream.MessagesContext
	room     int      // for messages that are read and not done
	at       position // of an ordered run

	durable   jetstream.Consumer // nil for an ordered run
	release   func()             // lets another replica take over at once; nil if there is nothing to let go
	pin       string             // which turn of ours it is
	delivered uint64             // deliveries of the durable that were seen
	standing  *standing
}

// A delivery is a message and who is to hear what became of it.
type delivery struct {
	message
	from jetstream.Msg
	lane string // one member's events stay in order
}

// next waits for the next message.
func (in *reader) next(ctx context.Context) (delivery, error) {
	read := in.ofDurable
	if in.durable == nil {
		read = in.inOrder
	}
	m, meta, err := read(ctx)
	if err != nil {
		return delivery{}, err
	}
	_, member := in.about(m.Subject())
	return delivery{
		message: message{m.Subject(), meta.Sequence.Stream, meta.Timestamp.UTC(), m.Headers(), m.Data(), in.standing},
		from:    m, lane: cmp.Or(member, m.Subject()),
	}, nil
}

// inOrder waits for the next message of an ordered run. The client library goes
// on behind the last place it has seen, whatever happened to the stream
// meanwhile; if it was restored, what comes up to that place would be passed
// over.
func (in *reader) inOrder(ctx context.Context) (jetstream.Msg, *jetstream.MsgMetadata, error) {
	for {
		m, err := in.messages.Next(jetstream.NextMaxWait(idle))
		if errors.Is(err, nats.ErrTimeout) {
			last, err := in.last(ctx)
			if err == nil && last != nil && in.at.seq > 0 && last.seq <= in.at.seq && last.stored.After(in.at.stored) {
				return nil, nil, errRestored
			}
			continue // if it does not answer, there is another time
		}
		if err != nil {
			return nil, nil, err
		}
		meta, err := m.Metadata()
		if err != nil {
			return nil, nil, err
		}
		if in.at.seq > 0 && meta.Consumer != in.at.consumer {
			was, err := in.find(ctx, in.prefix+".>", in.at.seq)
			if err != nil {
				return nil, nil, err
			}
			if was != nil && was.seq == in.at.seq && !was.stored.Equal(in.at.stored) {
				return nil, nil, errRestored
			}
		}
		in.at = position{meta.Consumer, meta.Sequence.Stream, meta.Timestamp.UTC()}
		return m, meta, nil
	}
}

// last returns the last message of the stream, nil if there is none.
func (in *reader) last(ctx context.Context) (*message, error) {
	ctx, cancel := context.WithTimeout(ctx, in.Timeout)
	defer cancel()
	return in.broker.last(ctx, in.prefix+".>")
}

// ofDurable waits for the next message of the durable. Its deliveries are
// counted, across all replicas; where the count goes back, the durable was
// moved. Where the turn is a new one, somebody else had messages in hand.
func (in *reader) ofDurable(ctx context.Context) (jetstream.Msg, *jetstream.MsgMetadata, error) {
	m, err := in.messages.Next()
	for errors.Is(err, jetstream.ErrNoHeartbeat) {
		// The broker is away and will come back, or the durable is gone and will
		// not: then nothing would ever come.
		if _, err := in.durable.Info(ctx); gone(err) {
			return nil, nil, err
		}
		m, err = in.messages.Next()
	}
	if err != nil {
		return nil, nil, err
	}
	meta, err := m.Metadata()
	if err != nil {
		return nil, nil, err
	}
	if pin := attribute(m.Headers(), "Nats-Pin-Id"); pin != in.pin || meta.Sequence.Consumer <= in.delivered {
		if err := in.look(ctx, meta.Sequence.Consumer); err != nil {
			return nil, nil, err
		}
		in.pin = pin
	}
	in.delivered = meta.Sequence.Consumer
	return m, meta, nil
}

// look finds out how the durable stands. Without that no message can be judged,
// so it does not give up before ctx does.
func (in *reader) look(ctx context.Context, delivery uint64) error {
	for tries := 1; ; tries++ {
		info, err := in.durable.Info(ctx)
		if err == nil {
			in.standing, err = standingOf(info, delivery)
			return err
		}
		if gone(err) {
			return err
		}
		select {
		case <-time.After(in.Delay(tries)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// gone reports that there is no such durable any more.
func gone(err error) bool {
	return errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound)
}

// A standing is how a durable stands. It is not changed, but replaced.
type standing struct {
	// floor is the stream sequence up to which everything is acknowledged, if
	// somebody else has or had messages in hand; else nil.
	floor *uint64
	moved moved
}

// standingOf reads how a durable stood when its delivery of that number came;
// 0: before any.
func standingOf(info *jetstream.ConsumerInfo, delivery uint64) (*standing, error) {
	s := &standing{}
	if delivery == 0 && info.NumAckPending > 0 || info.AckFloor.Consumer+1 < delivery {
		s.floor = &info.AckFloor.Stream
	}
	var err error
	s.moved, err = movedBy(info.Config.Metadata)
	return s, err
}

// What connector events replay --to-consumer leaves in the metadata of a durable
// that it sets back. What stands at or before until, and was stored no later
// than the last message of the stream at that time, had been read before.
const (
	movedName  = "smartconnect.replay"
	movedUntil = "smartconnect.replay.until"
	movedTime  = "smartconnect.replay.stored"
)

// A moved says what a durable that was set back has delivered before.
type moved struct {
	name   string
	until  uint64
	stored time.Time
}

func movedBy(metadata map[string]string) (moved, error) {
	m := moved{name: metadata[movedName]}
	if m.name == "" {
		return moved{}, nil
	}
	var errUntil, errStored error
	m.until, errUntil = strconv.ParseUint(metadata[movedUntil], 10, 64)
	m.stored, errStored = time.Parse(time.RFC3339Nano, metadata[movedTime])
	if errUntil != nil || errStored != nil {
		// To guess would be to push for everything, or for nothing.
		return moved{}, fmt.Errorf("its metadata say that replay %.80q set it back, but not how far; set %s and %s, or remove %s", m.name, movedUntil, movedTime, movedName)
	}
	return m, nil
}

// covers reports whether m was read before the durable was set back.
func (mv moved) covers(m message) bool {
	return mv.name != "" && m.seq <= mv.until && !m.stored.After(mv.stored)
}
