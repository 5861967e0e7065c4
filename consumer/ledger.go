package consumer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A Mark is how far a consumer is with one subject. Keep all of it.
type Mark struct {
	Stream   uint64 `json:"stream"`   // stream sequence of the last message that is done
	Sequence uint64 `json:"sequence"` // its sequence; 0 if none was ever done
	ID       string `json:"id"`       // its id

	// Stored is when the stream stored it, in UTC. A stream that is restored
	// from a backup numbers what comes next as it numbered what was lost, and
	// has its name and its time of creation: only this tells the two apart.
	Stored time.Time `json:"stored,omitzero"`
}

// A Ledger remembers, per subject, the last event that is done. Events of a
// subject are done in order, so one mark per subject says of every event
// whether it was handled.
//
// Done is called after the handler returned and before the broker hears of it.
// A crash between the handler and Done calls the handler again; only a handler
// that writes its effect and [Event.Mark] in one transaction is safe from that.
type Ledger interface {
	// Last returns the mark of a subject, the zero Mark if there is none. It
	// must see what Done wrote before, by whatever process.
	Last(ctx context.Context, subject string) (Mark, error)
	// Done sets the mark of a subject. A process that stood still while another
	// took over may be late with its own: whoever can should leave a mark alone
	// that is further on and was stored later.
	Done(ctx context.Context, subject string, m Mark) error
}

// MemoryLedger is a ledger of one process's life. Within it, events are told
// once and gaps are found. After a restart nothing is lost and no gap is
// reported falsely, but events that were in hand may be handled again, and with
// them what was done while an older event was still in hand; a gap that opened
// meanwhile is not seen. It is not for several replicas.
type MemoryLedger struct {
	mu    sync.Mutex
	marks map[string]Mark
}

// NewMemoryLedger returns an empty ledger.
func NewMemoryLedger() *MemoryLedger { return &MemoryLedger{marks: map[string]Mark{}} }

// Last implements Ledger.
func (l *MemoryLedger) Last(_ context.Context, subject string) (Mark, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.marks[subject], nil
}

// Done implements Ledger.
func (l *MemoryLedger) Done(_ context.Context, subject string, m Mark) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.marks[subject] = m
	return nil
}

// KVLedger keeps the marks in a NATS key-value bucket, so that they survive
// restarts and are shared by replicas: duplicates and gaps are known whatever
// happens to the process. An effect is repeated only if the process dies
// between the effect and the mark, so act under [Event.ID] where that matters.
type KVLedger struct {
	kv   jetstream.KeyValue
	name string
}

// markAge is how long the mark of a subject that has no more events is kept.
const markAge = 400 * 24 * time.Hour

// NewKVLedger returns the ledger of the consumer called name, in a bucket that
// is made if it is not there: with so many replicas (1 to 5), and without
// direct reads, so that the leader answers and a mark is never an old one.
func NewKVLedger(ctx context.Context, js jetstream.JetStream, bucket, name string, replicas int) (*KVLedger, error) {
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(".*>$\\\"%", r) }) {
		return nil, fmt.Errorf("consumer: %.80q is no name for a ledger: letters, digits, - and _", name)
	}
	kv, err := js.KeyValue(ctx, bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		_, err = js.CreateStream(ctx, jetstream.StreamConfig{
			Name: "KV_" + bucket, Description: "marks of consumers of the connector's events", Subjects: []string{"$KV." + bucket + ".>"},
			Storage: jetstream.FileStorage, Replicas: max(1, replicas), MaxMsgsPerSubject: 1, MaxAge: markAge,
			Discard: jetstream.DiscardNew, AllowRollup: true, DenyDelete: true,
		})
		if err == nil {
			kv, err = js.KeyValue(ctx, bucket)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("consumer: ledger %s: %w", bucket, err)
	}
	status, err := kv.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("consumer: ledger %s: %w", bucket, err)
	}
	if s, ok := status.(*jetstream.KeyValueBucketStatus); ok {
		if c := s.StreamInfo().Config; c.AllowDirect && c.Replicas > 1 {
			return nil, fmt.Errorf("consumer: ledger %s: its replicas answer (direct reads), and one that lags says of what is done that it is not: turn them off", bucket)
		}
	}
	return &KVLedger{kv, name}, nil
}

// Last implements Ledger.
func (l *KVLedger) Last(ctx context.Context, subject string) (Mark, error) {
	m, _, err := l.last(ctx, subject)
	return m, err
}

func (l *KVLedger) last(ctx context.Context, subject string) (m Mark, revision uint64, err error) {
	entry, err := l.kv.Get(ctx, l.name+"."+subject)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return Mark{}, 0, nil
	}
	if err == nil {
		revision, err = entry.Revision(), json.Unmarshal(entry.Value(), &m)
	}
	if err != nil {
		return Mark{}, 0, fmt.Errorf("consumer: read a mark: %w", err)
	}
	return m, revision, nil
}

// Done implements Ledger.
func (l *KVLedger) Done(ctx context.Context, subject string, m Mark) error {
	have, revision, err := l.last(ctx, subject)
	if err != nil {
		return err
	}
	if have.Stream > m.Stream && have.Stored.After(m.Stored) {
		return nil // this process stood still, and another went on
	}
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if _, err := l.kv.Update(ctx, l.name+"."+subject, body, revision); err != nil {
		return fmt.Errorf("consumer: write a mark: %w", err)
	}
	return nil
}
