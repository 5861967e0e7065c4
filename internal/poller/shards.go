package poller

import (
	"context"
	"fmt"
	"hash/fnv"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/lease"
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
// polls its members. Two holders commit on guards, and one of them misses.
type Leases struct {
	js      jetstream.JetStream
	kv      jetstream.KeyValue
	replica string
	ttl     time.Duration
	leases  [shards]*lease.Lease
	gained  func()

	mu     sync.Mutex
	epochs [shards]uint64 // a new one for each gain, so that what was cached under an older one is discarded
}

// NewLeases returns the leases that replica, a name of its own, takes part in.
func NewLeases(js jetstream.JetStream, kv jetstream.KeyValue, replica string, ttl time.Duration) *Leases {
	l := &Leases{js: js, kv: kv, replica: replica, ttl: ttl, gained: func() {}}
	for s := range l.leases {
		l.leases[s] = lease.New(js, kv, "shard."+strconv.Itoa(s), replica, ttl)
	}
	return l
}

// Holds reports whether this replica polls m, and since which gain of m's
// shard.
func (l *Leases) Holds(m events.MemberToken) (epoch uint64, ok bool) {
	shard := shardOf(m)
	l.mu.Lock()
	epoch = l.epochs[shard]
	l.mu.Unlock()
	return epoch, l.leases[shard].Held()
}

// Notify has gained called whenever a shard was gained. Call it before Run.
func (l *Leases) Notify(gained func()) { l.gained = gained }

// Held returns how many shards are held.
func (l *Leases) Held() int {
	n := 0
	for _, one := range l.leases {
		if one.Held() {
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
	share, mine := (shards+replicas-1)/replicas, 0
	for s, one := range l.leases {
		switch {
		case !one.Mine():
			continue
		case mine >= share:
			one.Drop(ctx)
			continue
		}
		held, lapsed, err := one.Renew(ctx)
		switch {
		case err != nil:
			return err
		case !held:
			zerolog.Ctx(ctx).Info().Int("shard", s).Msg("lease lost")
			continue
		case lapsed:
			l.gain(s)
		}
		mine++
	}
	offset := shardOf(events.MemberToken(l.replica))
	for i := range shards {
		s := (offset + i) % shards
		if mine >= share || l.leases[s].Mine() {
			continue
		}
		taken, err := l.leases[s].Take(ctx)
		if err != nil {
			return err
		}
		if taken {
			mine++
			l.gain(s)
		}
	}
	return nil
}

// gain notes that others may have moved the heads of a shard until now.
func (l *Leases) gain(shard int) {
	l.mu.Lock()
	l.epochs[shard]++
	l.mu.Unlock()
	l.gained()
}

func (l *Leases) announce(ctx context.Context) error {
	key := "replica." + l.replica
	_, err := l.js.PublishMsg(ctx, &nats.Msg{Subject: "$KV." + l.kv.Bucket() + "." + key, Data: []byte(l.replica)}, jetstream.WithMsgTTL(l.ttl))
	if err != nil {
		return fmt.Errorf("announce the replica: %w", err)
	}
	return nil
}

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

func (l *Leases) release() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	for _, one := range l.leases {
		one.Drop(ctx)
	}
	_ = l.kv.Delete(ctx, "replica."+l.replica)
}
