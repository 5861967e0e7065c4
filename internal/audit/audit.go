package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Stream is the name of the stream of entries.
const Stream = "SC_AUDIT"

// storeWithin is how long storing one entry may take.
const storeWithin = 5 * time.Second

// A Ledger stores entries. It is safe for concurrent use.
type Ledger struct {
	js     jetstream.JetStream
	recent recent
}

// NewLedger returns the ledger on js's stream.
func NewLedger(js jetstream.JetStream) *Ledger { return &Ledger{js: js} }

// Record stores entries and returns when the broker has them. Storing one again
// is harmless; what this process stored lately is not even sent. After an error
// the caller must come again with the same entries, or some are lost.
func (l *Ledger) Record(ctx context.Context, entries ...Entry) error {
	for _, e := range entries {
		if l.recent.has(e.ID) {
			continue
		}
		body, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("record %s: %w", e.What, err)
		}
		if err := l.store(ctx, e, body); err != nil {
			return fmt.Errorf("record %s: %w", e.What, err)
		}
		l.recent.add(e.ID)
	}
	return nil
}

func (l *Ledger) store(ctx context.Context, e Entry, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	// The id lets the broker drop what comes twice within minutes. No
	// correctness hangs on it: readers drop doubles themselves.
	_, err := l.js.Publish(ctx, e.Subject(), body, jetstream.WithMsgID(e.ID), jetstream.WithExpectStream(Stream))
	return err
}

// recent remembers ids that were stored lately, between one and two times
// remembered of them. A look that is repeated for as long as something is held
// would else be recorded as often.
type recent struct {
	mu       sync.Mutex
	now, old map[string]struct{}
}

const remembered = 50_000

func (r *recent) has(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, now := r.now[id]
	_, old := r.old[id]
	return now || old
}

func (r *recent) add(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.now == nil || len(r.now) >= remembered {
		r.old, r.now = r.now, map[string]struct{}{}
	}
	r.now[id] = struct{}{}
}
