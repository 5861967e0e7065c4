// Package lease shares work among replicas by keys with a life in a bucket. A
// lease is thrift, not mutual exclusion: a holder that is stopped for long goes
// on believing for a moment. What must not happen twice is guarded elsewhere.
//
// So whoever starts under the name of a process that died may take its leases
// at once, without waiting for their end. Read replica.go for who is who.
package lease

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/smartconnect/connector/internal/conflict"
)

// A Lease is one replica's part in a key that one holds at a time. It is safe
// for concurrent use, but only one goroutine should take and renew it.
type Lease struct {
	replica *Replica
	key     string

	mu       sync.Mutex
	revision uint64    // 0: not held
	until    time.Time // by our monotonic clock; after it we hold nothing
}

// Life returns how long the lease lasts that nobody renews.
func (l *Lease) Life() time.Duration { return l.replica.life }

// Mine reports whether the lease was taken and not lost since; it may have
// lapsed.
func (l *Lease) Mine() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.revision != 0
}

// Held reports whether nobody else can hold the lease right now, but an heir of
// this process.
func (l *Lease) Held() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.revision != 0 && time.Now().Before(l.until)
}

// Keep takes the lease or renews it, and reports whether it is held.
func (l *Lease) Keep(ctx context.Context) (held bool, err error) {
	if l.Mine() {
		held, _, err = l.Renew(ctx)
		return held, err
	}
	return l.Take(ctx)
}

// Take takes the lease if it is free, or held by a process whose heir this one
// is.
func (l *Lease) Take(ctx context.Context) (taken bool, err error) {
	started := time.Now()
	revision, err := l.replica.kv.Create(ctx, l.key, l.replica.value(), jetstream.KeyTTL(l.replica.life))
	if err == nil {
		l.set(revision, started)
		return true, nil
	}
	if !conflict.Is(err) {
		return false, fmt.Errorf("take lease %s: %w", l.key, err)
	}
	held, err := l.replica.kv.Get(ctx, l.key)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return false, nil // it ended just now; the next try takes it
	case err != nil:
		return false, fmt.Errorf("take lease %s: %w", l.key, err)
	case !l.replica.inherits(held.Value()):
		return false, nil
	}
	return l.write(ctx, jetstream.WithExpectLastSequencePerSubject(held.Revision()))
}

// Renew prolongs a lease that is Mine. lapsed reports that it had run out, also
// if only while the renewal was under way: others may have worked meanwhile, and
// whoever asked was told that nothing is held.
func (l *Lease) Renew(ctx context.Context) (held, lapsed bool, err error) {
	l.mu.Lock()
	revision, until := l.revision, l.until
	l.mu.Unlock()
	held, err = l.write(ctx, jetstream.WithExpectLastSequencePerSubject(revision))
	return held, err == nil && (!held || !time.Now().Before(until)), err
}

// seize takes the lease whoever holds it.
func (l *Lease) seize(ctx context.Context) error {
	_, err := l.write(ctx)
	return err
}

// write stores this process as the holder, if what is expected is so.
func (l *Lease) write(ctx context.Context, expected ...jetstream.PublishOpt) (held bool, err error) {
	started := time.Now()
	// Updating a key drops its TTL, so the message is published as it is stored.
	ack, err := l.replica.js.PublishMsg(ctx,
		&nats.Msg{Subject: "$KV." + l.replica.kv.Bucket() + "." + l.key, Data: l.replica.value()},
		append(expected, jetstream.WithMsgTTL(l.replica.life))...)
	if conflict.Is(err) {
		l.Forget()
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("write lease %s: %w", l.key, err)
	}
	l.set(ack.Sequence, started)
	return true, nil
}

// Drop gives the lease back. If that fails it runs out by itself.
func (l *Lease) Drop(ctx context.Context) {
	l.mu.Lock()
	revision := l.revision
	l.mu.Unlock()
	l.Forget()
	if revision != 0 {
		_ = l.replica.kv.Delete(ctx, l.key, jetstream.LastRevision(revision))
	}
}

// Forget is to hold the lease no longer, and to leave it to whoever has it.
func (l *Lease) Forget() { l.set(0, time.Time{}) }

func (l *Lease) set(revision uint64, started time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.revision, l.until = revision, started.Add(l.replica.life)
}
