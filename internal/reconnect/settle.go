package reconnect

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/smartconnect/connector/internal/events"
)

// A verdict is what to tell the broker about a message.
type verdict struct {
	kind   verdictKind
	delay  time.Duration // for later
	reason string        // for drop
}

type verdictKind int

const (
	done  verdictKind = iota // ack
	later                    // nak, deliver again after delay
	drop                     // to the dead letters, never again
)

// settle turns the outcome of a look into a verdict. It is the only place that
// knows which errors are worth another try.
func settle(err error, delivered uint64) verdict {
	early, isEarly := errors.AsType[*earlyError](err)
	switch {
	case err == nil:
		return verdict{kind: done}
	case isEarly:
		return verdict{kind: later, delay: early.wait}
	case errors.Is(err, events.ErrMalformed):
		return verdict{kind: drop, reason: err.Error()}
	default:
		return verdict{kind: later, delay: retryDelay(delivered)}
	}
}

// retryDelay is 1s, 2s, 4s … capped at five minutes.
func retryDelay(delivered uint64) time.Duration {
	const first, most = time.Second, 5 * time.Minute
	return min(first<<min(max(delivered, 1)-1, 20), most)
}

func (v verdict) tell(m jetstream.Msg) error {
	switch v.kind {
	case done:
		return m.Ack()
	case later:
		return m.NakWithDelay(v.delay)
	case drop:
		return m.TermWithReason(v.reason)
	default:
		panic(fmt.Sprintf("reconnect: verdict %d", v.kind)) // unreachable
	}
}
