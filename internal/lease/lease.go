// Package lease shares work among replicas by keys with a life in a bucket. A
// lease is thrift, not mutual exclusion: a holder that is stopped for long goes
// on believing for a moment. What must not happen twice is guarded elsewhere.
package lease

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A Lease is one replica's part in a key that one holds at a time. It is safe
// for concurrent use, but only one goroutine should take and renew it.
type Lease struct {
	js    jetstream.JetStream
	kv    jetstream.KeyValue
	key   string
	owner string
	life  time.Duration

	mu       sync.Mutex
	revision uint64    // 0: not held
	until    time.Time // by our monotonic clock; after it we hold nothing
}

// New returns the part of owner in key, which lasts for life unless renewed.
func New(js jetstream.JetStream, kv jetstream.KeyValue, key, owner string, life time.Duration) *Lease {
	return &Lease{js: js, kv: kv, key: key, owner: owner, life: life}
}

// Life returns how long the lease lasts that nobody renews.
func (l *Lease) Life() time.Duration { return l.life }

// Mine reports whether the lease was taken and not lost since; it may have
// lapsed.
func (l *Lease) Mine() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.revision != 0
}

// Held reports whether nobody else can hold the lease right now.
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

// Take takes the lease if it is free.
func (l *Lease) Take(ctx context.Context) (taken bool, err error) {
	started := time.Now()
	revision, err := l.kv.Create(ctx, l.key, []byte(l.owner), jetstream.KeyTTL(l.life))
	if errors.Is(err, jetstream.ErrKeyExists) {
		return false, nil
	}
	if _, ok := errors.AsType[*jetstream.APIError](err); ok {
		return false, nil // another was first
	}
	if err != nil {
		return false, fmt.Errorf("take lease %s: %w", l.key, err)
	}
	l.set(revision, started)
	return true, nil
}

// Renew prolongs a lease that is Mine. lapsed reports that it had run out, also
// if only while the renewal was under way: others may have worked meanwhile, and
// whoever asked was told that nothing is held.
func (l *Lease) Renew(ctx context.Context) (held, lapsed bool, err error) {
	l.mu.Lock()
	revision, until := l.revision, l.until
	l.mu.Unlock()
	started := time.Now()
	// Updating a key drops its TTL, so the message is published as it is stored.
	ack, err := l.js.PublishMsg(ctx, &nats.Msg{Subject: "$KV." + l.kv.Bucket() + "." + l.key, Data: []byte(l.owner)},
		jetstream.WithMsgTTL(l.life), jetstream.WithExpectLastSequencePerSubject(revision))
	if _, ok := errors.AsType[*jetstream.APIError](err); ok {
		l.set(0, time.Time{})
		return false, true, nil
	}
	if err != nil {
		return false, false, fmt.Errorf("renew lease %s: %w", l.key, err)
	}
	l.set(ack.Sequence, started)
	return true, !time.Now().Before(until), nil
}

// Drop gives the lease back. If that fails it runs out by itself.
func (l *Lease) Drop(ctx context.Context) {
	l.mu.Lock()
	revision := l.revision
	l.mu.Unlock()
	l.set(0, time.Time{})
	if revision != 0 {
		_ = l.kv.Delete(ctx, l.key, jetstream.LastRevision(revision))
	}
}

func (l *Lease) set(revision uint64, started time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.revision, l.until = revision, started.Add(l.life)
}
