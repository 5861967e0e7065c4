package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
)

// Bucket is the key-value bucket in which bridges say how their endpoints are.
// Nothing hangs on it: it is for people.
const Bucket = "SC_BRIDGE"

// Health is how an endpoint is.
type Health struct {
	LastDelivery time.Time `json:"lastDelivery,omitzero"`
	FailingSince time.Time `json:"failingSince,omitzero"` // first failure since the last delivery; zero while all is well
	LastFailure  Why       `json:"lastFailure,omitempty"` // stays when all is well again
	Status       int       `json:"status,omitempty"`      // of the HTTP answer to that, if there was one
	LastFailed   time.Time `json:"lastFailed,omitzero"`
}

// after returns the health after a try.
func (h Health) after(v verdict, status int, now time.Time) Health {
	now = now.UTC().Truncate(time.Millisecond)
	if v.why == Delivered {
		h.LastDelivery, h.FailingSince = now, time.Time{}
		return h
	}
	if h.FailingSince.IsZero() {
		h.FailingSince = now
	}
	h.LastFailure, h.Status, h.LastFailed = v.why, status, now
	return h
}

// openHealth opens the bucket, or makes it, as safe as the stream is.
func openHealth(ctx context.Context, js jetstream.JetStream, stream string) (jetstream.KeyValue, error) {
	bucket, err := js.KeyValue(ctx, Bucket)
	if err == nil {
		return bucket, nil
	}
	if !errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil, fmt.Errorf("bridge: bucket %s: %w", Bucket, err)
	}
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return nil, fmt.Errorf("bridge: stream %s: %w; create it with: connector topology apply", stream, err)
	}
	bucket, err = js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: Bucket, Description: "connector bridge: how endpoints are", Storage: jetstream.FileStorage, Replicas: s.CachedInfo().Config.Replicas,
	})
	if errors.Is(err, jetstream.ErrBucketExists) { // another bridge was quicker
		bucket, err = js.KeyValue(ctx, Bucket)
	}
	if err != nil {
		return nil, fmt.Errorf("bridge: bucket %s: %w", Bucket, err)
	}
	return bucket, nil
}

func (c Config) key(endpoint string) string { return c.Stream + "." + endpoint }

func (c Config) health(ctx context.Context, bucket jetstream.KeyValue, endpoint string) (Health, error) {
	var h Health
	entry, err := bucket.Get(ctx, c.key(endpoint))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return h, nil
	}
	if err != nil {
		return h, fmt.Errorf("bridge: health of %s: %w", endpoint, err)
	}
	if err := json.Unmarshal(entry.Value(), &h); err != nil {
		return Health{}, nil // for people only: it is written anew
	}
	return h, nil
}

// recall reads what was said of the endpoint last: since when it fails outlives
// a restart.
func (e *endpoint) recall(ctx context.Context, bucket jetstream.KeyValue) error {
	h, err := e.bridge.config.health(ctx, bucket, e.Name)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.now = h
	return nil
}

// note remembers what became of a try.
func (e *endpoint) note(v verdict, status int, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.now = e.now.after(v, status, now)
	if v.why == Delivered {
		e.stats.Delivered++
	} else {
		e.stats.Failed++
	}
}

// report writes the endpoint's health, when it changed, about once a second,
// and looks at the durable now and then. It ends after done, when all has been
// said.
func (e *endpoint) report(ctx context.Context, bucket jetstream.KeyValue, done <-chan struct{}) {
	e.mu.Lock()
	said := e.now
	e.mu.Unlock()
	say := func(ctx context.Context) {
		e.mu.Lock()
		h := e.now
		e.mu.Unlock()
		if h == said {
			return
		}
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		body, err := json.Marshal(h)
		if err == nil {
			_, err = bucket.Put(ctx, e.bridge.config.key(e.Name), body)
		}
		if err != nil {
			zerolog.Ctx(ctx).Warn().Err(err).Str("endpoint", e.Name).Msg("health of an endpoint not written, trying again")
			return
		}
		said = h
	}
	e.lookAt(ctx)
	if e.stoodStill() {
		zerolog.Ctx(ctx).Warn().Str("endpoint", e.Name).Msg("endpoint is paused and gets nothing; resume it with: connector bridge resume")
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-tick.C:
			say(ctx)
			if n%int(look/time.Second) == 0 {
				e.lookAt(ctx)
			}
		case <-done:
			say(context.WithoutCancel(ctx))
			return
		}
	}
}

func (e *endpoint) stoodStill() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.stats.Paused
}

// State is how an endpoint is, in one word.
type State string

// The states.
const (
	OK      State = "ok"
	Failing State = "failing" // the last try failed
	Paused  State = "paused"  // it is gone; see bridge resume
	Unread  State = "unread"  // no bridge runs
	Unknown State = "new"     // no bridge ever ran
)

// A Row is an endpoint as bridge list prints it.
type Row struct {
	Name    string `json:"name"`
	State   State  `json:"state"`
	Pending uint64 `json:"pending"`
	Health
	Losses
}

// List says how the endpoints of c are, by what the broker knows; it need not
// run where the bridge runs.
func List(ctx context.Context, js jetstream.JetStream, c Config) ([]Row, error) {
	bucket, err := js.KeyValue(ctx, Bucket)
	if err != nil && !errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil, fmt.Errorf("bridge: bucket %s: %w", Bucket, err)
	}
	rows := make([]Row, 0, len(c.Endpoints))
	durables := make([]jetstream.Consumer, 0, len(c.Endpoints))
	for _, e := range c.Endpoints {
		r := Row{Name: e.Name, State: Unknown}
		if bucket != nil {
			if r.Health, err = c.health(ctx, bucket, e.Name); err != nil {
				return nil, err
			}
			if r.Losses, _, err = readGaps(ctx, bucket, c.gapsKey(e.Name)); err != nil {
				return nil, fmt.Errorf("bridge: %s: %w", e.Name, err)
			}
		}
		durable, err := js.Consumer(ctx, c.Stream, e.Durable())
		if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return nil, fmt.Errorf("bridge: durable of %s: %w", e.Name, err)
		}
		rows, durables = append(rows, r), append(durables, durable)
	}
	return rows, describe(ctx, rows, durables)
}

// asks is how long nobody may have asked for an endpoint's events before it is
// said that no bridge runs. One that runs asks every five seconds; what it asked
// before is forgotten when an endpoint is paused. What is in hand says nothing:
// an event that was not taken stays so when the bridge is killed.
const asks = 6 * time.Second

// describe says in the rows how the durables are. One that was never made is nil.
func describe(ctx context.Context, rows []Row, durables []jetstream.Consumer) error {
	for deadline := time.Now().Add(asks); ; {
		unread := false
		for i, durable := range durables {
			if durable == nil {
				continue
			}
			info := durable.CachedInfo()
			rows[i].Pending, rows[i].State = pending(info), state(info, rows[i].Health)
			unread = unread || rows[i].State == Unread
		}
		if !unread || time.Now().After(deadline) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(asks / 20):
		}
		for i, durable := range durables {
			if rows[i].State != Unread {
				continue
			}
			if _, err := durable.Info(ctx); err != nil {
				return fmt.Errorf("bridge: durable of %s: %w", rows[i].Name, err)
			}
		}
	}
}

func state(i *jetstream.ConsumerInfo, h Health) State {
	switch {
	case i.Paused:
		return Paused
	case i.NumWaiting == 0:
		return Unread
	case !h.FailingSince.IsZero():
		return Failing
	default:
		return OK
	}
}
