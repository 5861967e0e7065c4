package bridge

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/smartconnect/connector/internal/conflict"
)

// The stream keeps so many messages of a subject and drops the oldest for a new
// one, whoever has not read it yet. An endpoint that takes nothing for long loses
// events that way, and its durable says nothing of it: it goes on with what is
// kept. So whoever is given an event looks whether the one before it is gone.
//
// Which events a bridge took is remembered by the process that did, and nowhere
// else. After a restart, or beside another bridge, an endpoint that has exactly
// as many to take as the stream keeps may be told to have a gap and have none.

// Losses are what is known of an endpoint's gaps, in the bucket.
type Losses struct {
	Gaps    uint64    `json:"gaps"`
	LastGap time.Time `json:"lastGap,omitzero"`
}

// measure asks how many messages the stream keeps of a subject.
func (e *endpoint) measure(ctx context.Context) error {
	s, err := e.bridge.js.Stream(ctx, e.bridge.config.Stream)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.keeps = s.CachedInfo().Config.MaxMsgsPerSubject
	return nil
}

// take remembers that the events of a subject up to a sequence are dealt with.
func (e *endpoint) take(subject string, sequence uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	key := maphash.String(e.bridge.seed, subject)
	e.taken[key] = max(e.taken[key], sequence)
}

// lookBehind tells if the event before this one on its subject is gone and was
// not taken. The broker is asked where this process took another one last: of a
// subject that is new to it, or that another bridge works on too.
func (e *endpoint) lookBehind(ctx context.Context, msg jetstream.Msg) {
	n := sequence(msg.Headers())
	e.mu.Lock()
	key := maphash.String(e.bridge.seed, msg.Subject())
	if n == 1 {
		delete(e.taken, key) // of a member who was forgotten and enrolled again
	}
	keeps, last, later := e.keeps, e.taken[key], e.askAgain
	e.mu.Unlock()
	if n < 2 || last >= n-1 || keeps < 1 || time.Now().Before(later) {
		return
	}
	log := zerolog.Ctx(ctx)
	newest, stored, err := e.bridge.newest(ctx, msg.Subject())
	if err != nil {
		// A broker that does not answer, or may not, holds up every event by as long
		// as it takes to find that out.
		e.mu.Lock()
		e.askAgain = time.Now().Add(time.Minute)
		e.mu.Unlock()
		log.Warn().Err(err).Msg("not known whether events were gone, asking again in a minute")
		return
	}
	e.take(msg.Subject(), n-1) // it is told once
	if newest < n+uint64(keeps)-1 {
		return // the one before is kept: it was taken, or waits
	}
	if !stored.After(e.since) {
		return // it went before there was anybody to take it
	}
	log.Error().Str("subject", msg.Subject()).Uint64("sequence", n).Msg("events were gone before the endpoint took them")
	e.count(func(s *Stats) { s.Gaps++ })
	if err := e.noteGap(ctx, time.Now()); err != nil {
		log.Warn().Err(err).Msg("a gap is not in bridge list")
	}
}

// newest returns the sequence of the last event of a subject and when it was
// stored, as the leader of the stream has it: a replica that lags would hide a
// gap.
func (b *Bridge) newest(ctx context.Context, subject string) (n uint64, stored time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	body, err := json.Marshal(map[string]string{"last_by_subj": subject})
	if err != nil {
		return 0, stored, err
	}
	api := cmp.Or(strings.TrimSuffix(b.js.Options().APIPrefix, "."), "$JS.API")
	reply, err := b.js.Conn().RequestWithContext(ctx, api+".STREAM.MSG.GET."+b.config.Stream, body)
	if err != nil {
		return 0, stored, fmt.Errorf("read the last of a subject: %w", err)
	}
	var answer struct {
		Message struct {
			Header []byte    `json:"hdrs"`
			Time   time.Time `json:"time"`
		} `json:"message"`
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil || len(answer.Message.Header) == 0 {
		return 0, stored, errors.New("read the last of a subject: there is none with a header")
	}
	h, err := nats.DecodeHeadersMsg(answer.Message.Header)
	if err != nil {
		return 0, stored, fmt.Errorf("read the last of a subject: %w", err)
	}
	return sequence(h), answer.Message.Time, nil
}

// sequence reads the attribute, 0 for none.
func sequence(h nats.Header) uint64 {
	v := h["ce-sequence"]
	if len(v) == 0 {
		return 0
	}
	n, _ := strconv.ParseUint(v[0], 10, 64) // 0 where it is none
	return n
}

func (c Config) gapsKey(endpoint string) string { return c.key(endpoint) + ".gaps" }

// noteGap counts a gap in the bucket, where several bridges count.
func (e *endpoint) noteGap(ctx context.Context, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	key := e.bridge.config.gapsKey(e.Name)
	for {
		g, revision, err := readGaps(ctx, e.bridge.bucket, key)
		if err != nil {
			return err
		}
		g.Gaps, g.LastGap = g.Gaps+1, now.UTC().Truncate(time.Millisecond)
		body, err := json.Marshal(g)
		if err != nil {
			return err
		}
		_, err = e.bridge.bucket.Update(ctx, key, body, revision)
		if !conflict.Is(err) {
			return err
		}
	}
}

func readGaps(ctx context.Context, bucket jetstream.KeyValue, key string) (g Losses, revision uint64, err error) {
	entry, err := bucket.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return g, 0, nil
	}
	if err != nil {
		return g, 0, fmt.Errorf("read gaps: %w", err)
	}
	if err := json.Unmarshal(entry.Value(), &g); err != nil {
		return Losses{}, entry.Revision(), nil // for people only: it is counted anew
	}
	return g, entry.Revision(), nil
}
