package lease

import (
	"context"
	"crypto/rand"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A Replica is one process as leases know it: by a name, which whoever is
// started in its place has too, and by a mark that no other process has. Both
// stand in every lease it holds.
//
// A process that starts takes its name from whoever has it, and may then take
// the leases of that one: they are of a process that was killed. Should that
// one live after all, because two were given one name, it notices that its name
// is gone, and stands aside until the other ends: two of one name must not take
// the same leases from each other for ever.
type Replica struct {
	js         jetstream.JetStream
	kv         jetstream.KeyValue
	name, mark string
	life       time.Duration

	own   *Lease      // the name
	begun bool        // the name was taken once
	named atomic.Bool // the name is this process's
}

// NewReplica returns a replica whose leases last for life unless renewed. name
// must be one token of a subject.
func NewReplica(js jetstream.JetStream, kv jetstream.KeyValue, name string, life time.Duration) *Replica {
	r := &Replica{js: js, kv: kv, name: name, mark: rand.Text(), life: life}
	r.own = r.Lease(names + name)
	return r
}

const names = "replica."

// Names is the filter of the keys that are names of replicas.
const Names = names + "*"

// Lease returns the replica's part in key.
func (r *Replica) Lease(key string) *Lease { return &Lease{replica: r, key: key} }

// Announce takes the replica's name or renews it, and reports whether it is
// this process's. Call it from one goroutine, more often than a lease lives.
func (r *Replica) Announce(ctx context.Context) (ours bool, err error) {
	if !r.begun {
		if err := r.own.seize(ctx); err != nil {
			return false, err
		}
		r.begun = true
		r.named.Store(true)
		return true, nil
	}
	ours, err = r.own.Keep(ctx)
	if err == nil && !ours && r.named.Swap(false) {
		ours, err = r.own.Keep(ctx) // it may only have run out while this process was held up
	}
	if err != nil {
		return false, err
	}
	r.named.Store(ours)
	return ours, nil
}

// Leave gives the name back.
func (r *Replica) Leave(ctx context.Context) {
	r.named.Store(false)
	r.own.Drop(ctx)
}

func (r *Replica) value() []byte { return []byte(r.name + " " + r.mark) }

// inherits reports whether what another wrote into a lease leaves it to this
// process. One that this process wrote itself has lost its acknowledgement.
func (r *Replica) inherits(value []byte) bool {
	name, mark, _ := strings.Cut(string(value), " ")
	return name == r.name && (mark == r.mark || r.named.Load())
}
