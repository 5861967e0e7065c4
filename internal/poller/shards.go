package poller

import (
	"context"
	"fmt"
	"hash/fnv"
	"strconv"
	"sync"
	"time"

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
	kv      jetstream.KeyValue
	replica *lease.Replica
	name    string
	ttl     time.Duration
	leases  [shards]*lease.Lease
	gained  func()
	aside   bool // another process has this replica's name
	begun   chan struct{}

	mu      sync.Mutex
	epochs  [shards]uint64 // a new one for each gain, so that what was cached under an older one is discarded
	kept    time.Time      // when the last round that went well began
	trouble error          // of the rounds since; nil: none
}

// NewLeases returns the leases that replica, a name of its own, takes part in.
func NewLeases(js jetstream.JetStream, kv jetstream.KeyValue, replica string, ttl time.Duration) *Leases {
	l := &Leases{kv: kv, replica: lease.NewReplica(js, kv, replica, ttl), name: replica, ttl: ttl, gained: func() {}, begun: make(chan struct{}), kept: time.Now()}
	for s := range l.leases {
		l.leases[s] = l.replica.Lease("shard." + strconv.Itoa(s))
	}
	return l
}

// Replica returns this process as leases know it. Its other leases can be taken
// while Run runs.
func (l *Leases) Replica() *lease.Replica { return l.replica }

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

// Begun is closed when Run has taken what was free at its start, or has tried.
func (l *Leases) Begun() <-chan struct{} { return l.begun }

// Run takes and renews leases until ctx ends, then gives them back. It runs
// once.
func (l *Leases) Run(ctx context.Context) error {
	for begun := false; ; begun = true {
		started := time.Now()
		if err := l.round(ctx); ctx.Err() == nil {
			l.note(ctx, started, err)
		}
		if !begun {
			close(l.begun)
		}
		select {
		case <-ctx.Done():
			l.release()
			return nil
		case <-time.After(l.ttl / 3):
		}
	}
}

// note keeps how a round went, and says once when rounds begin to fail and when
// that is over.
func (l *Leases) note(ctx context.Context, started time.Time, err error) {
	l.mu.Lock()
	before := l.trouble
	l.trouble = err
	if err == nil {
		l.kept = started
	}
	l.mu.Unlock()
	switch log := zerolog.Ctx(ctx); {
	case err != nil && before == nil:
		log.Warn().Err(err).Msg("leases not renewed, trying again")
	case err == nil && before != nil:
		log.Info().Msg("leases are renewed again")
	}
}

// Ready returns what has kept this replica from its leases for longer than they
// last, nil if nothing has. One that holds none since others do is ready.
func (l *Leases) Ready(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.trouble == nil || time.Since(l.kept) < l.ttl {
		return nil
	}
	return l.trouble
}

// round announces this replica, renews what it holds, and takes or gives back
// shards until it holds its share.
func (l *Leases) round(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.ttl)
	defer cancel()
	if ours, err := l.announce(ctx); err != nil || !ours {
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
	offset := shardOf(events.MemberToken(l.name))
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

// announce says that this replica is there. If another process has taken its
// name, this one leaves all shards to it.
func (l *Leases) announce(ctx context.Context) (ours bool, err error) {
	ours, err = l.replica.Announce(ctx)
	if err != nil {
		return false, fmt.Errorf("announce the replica: %w", err)
	}
	switch log := zerolog.Ctx(ctx); {
	case !ours && !l.aside:
		for _, one := range l.leases {
			one.Forget()
		}
		log.Error().Str("replica", l.name).Msg("another process runs under the name of this replica, so this one polls nobody; give each its own --replica, or none")
	case ours && l.aside:
		log.Info().Str("replica", l.name).Msg("the other process of this replica's name is gone")
	}
	l.aside = !ours
	return ours, nil
}

func (l *Leases) replicas(ctx context.Context) (int, error) {
	keys, err := l.kv.ListKeysFiltered(ctx, lease.Names)
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
	l.replica.Leave(ctx)
}
