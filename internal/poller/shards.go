package poller

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/smartconnect/connector/internal/events"
)

// shards is into how many parts the members are split. It is part of what the
// replicas of a deployment agree on.
const shards = 32

func shardOf(m events.MemberToken) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(m))
	return int(h.Sum32() % shards)
}

// Leases shares the members among replicas: whoever holds the lease of a shard
// polls its members. A lease is not mutual exclusion, only thrift: two holders
// commit on guards, and one of them misses.
type Leases struct {
	js      jetstream.JetStream
	kv      jetstream.KeyValue
	replica string
	ttl     time.Duration

	mu     sync.Mutex
	held   map[int]lease
	gained func()
}

type lease struct {
	revision uint64
	until    time.Time // by our monotonic clock; after it we hold nothing
	epoch    uint64    // counts gains, so that what was cached under an older one is discarded
}

// NewLeases returns the leases that replica, a name of its own, takes part in.
func NewLeases(js jetstream.JetStream, kv jetstream.KeyValue, replica string, ttl time.Duration) *Leases {
	return &Leases{js: js, kv: kv, replica: replica, ttl: ttl, held: map[int]lease{}, gained: func() {}}
}

// Holds reports whether this replica polls m, and since which gain of m's
// shard.
func (l *Leases) Holds(m events.MemberToken) (epoch uint64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	got, ok := l.held[shardOf(m)]
	return got.epoch, ok && time.Now().Before(got.until)
}

// Notify has gained called whenever a shard was gained. Call it before Run.
func (l *Leases) Notify(gained func()) { l.gained = gained }

// Held returns how many shards are held.
func (l *Leases) Held() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, got := range l.held {
		if time.Now().Before(got.until) {
			n++
		}
	}
	return n
}

// Run takes and renews leases until ctx ends, then gives them back.
func (l *Leases) Run(ctx context.Context) error {
	for {
		if err := l.round(ctx); err != nil && ctx.Err() == nil {
			zerolog.Ctx(ctx).Warn().Err(err).Msg("leases not renewed, next try on schedule")
		}
		select {
		case <-ctx.Done():
			l.release()
			return nil
		case <-time.After(l.ttl / 3):
		}
	}
}

// round announces this replica, renews what it holds, and takes or gives back
// shards until it holds its share.
func (l *Leases) round(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.ttl)
	defer cancel()
	if err := l.announce(ctx); err != nil {
		return err
	}
	replicas, err := l.replicas(ctx)
	if err != nil {
		return err
	}
	share := (shards + replicas - 1) / replicas
	l.mu.Lock()
	mine := make([]int, 0, len(l.held))
	for s := range l.held {
		mine = append(mine, s)
	}
	l.mu.Unlock()
	slices.Sort(mine)
	for i, s := range mine {
		if i >= share {
			l.drop(ctx, s)
			continue
		}
		if err := l.renew(ctx, s); err != nil {
			return err
		}
	}
	offset := shardOf(events.MemberToken(l.replica))
	for i := range shards {
		if l.count() >= share {
			break
		}
		s := (offset + i) % shards
		if l.has(s) {
			continue
		}
		if err := l.take(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (l *Leases) announce(ctx context.Context) error {
	key := "replica." + l.replica
	_, err := l.js.PublishMsg(ctx, &nats.Msg{Subject: l.subject(key), Data: []byte(l.replica)}, jetstream.WithMsgTTL(l.ttl))
	if err != nil {
		return fmt.Errorf("announce the replica: %w", err)
	}
	return nil
}

func (l *Leases) subject(key string) string { return "$KV." + l.kv.Bucket() + "." + key }

func (l *Leases) replicas(ctx context.Context) (int, error) {
	keys, err := l.kv.ListKeysFiltered(ctx, "replica.*")
	if err != nil {
		return 0, fmt.Errorf("count replicas: %w", err)
	}
	n := 0
	for range keys.Keys() {
		n++
	}
	return max(n, 1), nil
}

func (l *Leases) renew(ctx context.Context, shard int) error {
	l.mu.Lock()
	got := l.held[shard]
	l.mu.Unlock()
	started := time.Now()
	// Updating a key drops its TTL, so the message is published as it is stored.
	ack, err := l.js.PublishMsg(ctx, &nats.Msg{Subject: l.subject(shardKey(shard)), Data: []byte(l.replica)},
		jetstream.WithMsgTTL(l.ttl), jetstream.WithExpectLastSequencePerSubject(got.revision))
	if apiErr, ok := errors.AsType[*jetstream.APIError](err); ok {
		zerolog.Ctx(ctx).Info().Int("shard", shard).Int("code", int(apiErr.ErrorCode)).Msg("lease lost")
		l.forget(shard)
		return nil
	}
	if err != nil {
		return fmt.Errorf("renew lease of shard %d: %w", shard, err)
	}
	lapsed := !started.Before(got.until)
	if lapsed {
		got.epoch++ // it had run out: others may have moved the heads meanwhile
	}
	got.revision, got.until = ack.Sequence, started.Add(l.ttl)
	l.mu.Lock()
	l.held[shard] = got
	l.mu.Unlock()
	if lapsed {
		l.gained()
	}
	return nil
}

func (l *Leases) take(ctx context.Context, shard int) error {
	started := time.Now()
	revision, err := l.kv.Create(ctx, shardKey(shard), []byte(l.replica), jetstream.KeyTTL(l.ttl))
	if errors.Is(err, jetstream.ErrKeyExists) {
		return nil
	}
	if _, ok := errors.AsType[*jetstream.APIError](err); ok {
		return nil // another was first
	}
	if err != nil {
		return fmt.Errorf("take lease of shard %d: %w", shard, err)
	}
	l.mu.Lock()
	l.held[shard] = lease{revision: revision, until: started.Add(l.ttl), epoch: uint64(time.Now().UnixNano())}
	l.mu.Unlock()
	l.gained()
	return nil
}

func (l *Leases) drop(ctx context.Context, shard int) {
	l.mu.Lock()
	got, ok := l.held[shard]
	l.mu.Unlock()
	l.forget(shard)
	if ok {
		// If this fails the lease runs out by itself.
		_ = l.kv.Delete(ctx, shardKey(shard), jetstream.LastRevision(got.revision))
	}
}

func (l *Leases) release() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	for s := range shards {
		if l.has(s) {
			l.drop(ctx, s)
		}
	}
	_ = l.kv.Delete(ctx, "replica."+l.replica)
}

func (l *Leases) forget(shard int) {
	l.mu.Lock()
	delete(l.held, shard)
	l.mu.Unlock()
}

func (l *Leases) has(shard int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.held[shard]
	return ok
}

func (l *Leases) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.held)
}

func shardKey(shard int) string { return strings.Join([]string{"shard", strconv.Itoa(shard)}, ".") }
