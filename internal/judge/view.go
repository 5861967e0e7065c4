package judge

import (
	"context"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/smartconnect/connector/internal/events"
)

// A View is what holds for all members right now, as the stream has it. It is
// safe for concurrent use.
type View struct {
	log  *events.Log
	keys events.Tokenizer

	mu     sync.Mutex
	moved  chan struct{} // closed and made anew whenever seq has moved
	loaded bool
	seq    uint64
	last   map[string]events.Judgement // by subject
	now    standing
}

// NewView returns a view of what is judged on log. It shows nothing until Run
// has caught up.
func NewView(log *events.Log, keys events.Tokenizer) *View {
	return &View{
		log: log, keys: keys, moved: make(chan struct{}), last: map[string]events.Judgement{},
		now: standing{degraded: map[events.SourceToken]bool{}, silences: map[string]events.Silence{}, told: map[string]string{}},
	}
}

// Run follows the stream until ctx ends, and returns nil then.
func (v *View) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := v.follow(ctx); err != nil && ctx.Err() == nil {
			zerolog.Ctx(ctx).Warn().Err(err).Msg("judgements not followed, trying again")
			pause(ctx, time.Second)
		}
	}
	return nil
}

func (v *View) follow(ctx context.Context) error {
	return v.log.Follow(ctx, v.log.Subjects().Judgements(), func(subject string, h nats.Header, body []byte, seq uint64) error {
		j, err := events.JudgementOf(h, body, seq)
		v.mu.Lock()
		defer v.mu.Unlock()
		if err == nil { // the decider's dead letters tell of what is none
			v.last[subject] = j
			v.now.take(j.Event)
		}
		v.seq = max(v.seq, seq)
		close(v.moved)
		v.moved = make(chan struct{})
		return nil
	}, func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.loaded = true
		close(v.moved)
		v.moved = make(chan struct{})
	})
}

// Wait returns when the view has all that was judged up to a stream sequence,
// 0 for all there was at the beginning.
func (v *View) Wait(ctx context.Context, seq uint64) error {
	for {
		v.mu.Lock()
		done, moved := v.loaded && v.seq >= seq, v.moved
		v.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-moved:
		}
	}
}

// take makes s what it is after a judgement.
func (s *standing) take(e events.Event) {
	s.told[e.Type.Kind()+"."+e.Part] = e.ID
	switch e.Type {
	case events.SourceDegraded:
		s.degraded[events.SourceToken(e.Part)] = true
	case events.SourceRestored:
		delete(s.degraded, events.SourceToken(e.Part))
	case events.StormHeld:
		s.storm = true
	case events.StormReleased:
		s.storm, s.released = false, e.Recorded
	case events.ObserverLost:
		s.lost, s.lostAt = true, e.Recorded
	case events.ObserverResumed:
		s.lost = false
	case events.SilenceSet:
		s.silences[e.Part] = *e.Data.(*events.Silence)
	case events.SilenceEnded:
		delete(s.silences, e.Part)
	default:
	}
}

// Holds is what keeps prompts of one member back.
type Holds struct {
	Blind, Storm, Silenced bool
	Degraded, Muted        map[events.ConnectionToken]bool

	// Silences are those that make it so, by id, with their ends: of a
	// connection, under "" of the member as a whole.
	Silences map[events.ConnectionToken]map[string]time.Time

	// Told names the event behind each, in the decider's words: blind, storm,
	// silenced; source_degraded and silenced with a dot and a connection's token.
	// Of several silences it is that of the one that ends last.
	Told map[string]string
}

// silence notes that one covers a connection, or the member as a whole for "",
// as told by an event.
func (h *Holds) silence(c events.ConnectionToken, id string, until time.Time, event string) {
	if h.Silences[c] == nil {
		h.Silences[c] = map[string]time.Time{}
	}
	last := true
	for other, ends := range h.Silences[c] {
		last = last && (until.After(ends) || until.Equal(ends) && id > other)
	}
	h.Silences[c][id] = until
	if last {
		h.Told[strings.TrimSuffix("silenced."+string(c), ".")] = event
	}
}

// Blind reports whether b.well cannot be seen at all.
func (v *View) Blind() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.now.lost
}

// Of returns what holds prompts of a member back at a time.
func (v *View) Of(member *events.Member, now time.Time) Holds {
	v.mu.Lock()
	defer v.mu.Unlock()
	h := Holds{
		Blind: v.now.lost, Storm: v.now.storm, Degraded: map[events.ConnectionToken]bool{}, Muted: map[events.ConnectionToken]bool{},
		Silences: map[events.ConnectionToken]map[string]time.Time{}, Told: map[string]string{},
	}
	if h.Blind {
		h.Told["blind"] = v.now.told["observer."]
	}
	if h.Storm {
		h.Told["storm"] = v.now.told["storm."]
	}
	if len(v.now.degraded) == 0 && len(v.now.silences) == 0 {
		return h
	}
	token := v.keys.Member(member.MemberID)
	for _, c := range member.Connections {
		source := v.keys.Source(c.ConnectionID)
		if v.now.degraded[source] {
			h.Degraded[c.Token] = true
			h.Told["source_degraded."+string(c.Token)] = v.now.told["source."+string(source)]
		}
		for id, s := range v.now.silences {
			if now.Before(s.Until) && covers(s.Scope, token, source, c.State) {
				h.Muted[c.Token] = true
				h.silence(c.Token, id, s.Until, v.now.told["silence."+id])
			}
		}
	}
	for id, s := range v.now.silences {
		if now.Before(s.Until) && len(s.Scope) == 1 && s.Scope[ScopeMember] == string(token) {
			h.Silenced = true
			h.silence("", id, s.Until, v.now.told["silence."+id])
		}
	}
	return h
}

// Silences returns the silences in force at a time, by id. The end of one whose
// time is over may not be told yet.
func (v *View) Silences(now time.Time) map[string]events.Silence {
	v.mu.Lock()
	defer v.mu.Unlock()
	all := map[string]events.Silence{}
	for id, s := range v.now.silences {
		if now.Before(s.Until) {
			all[id] = s
		}
	}
	return all
}

// A Count is what holds for all members, in numbers.
type Count struct {
	Storms, Lost       int // 0 or 1
	Degraded, Silences int
}

// Count counts what holds at a time.
func (v *View) Count(now time.Time) Count {
	silences := len(v.Silences(now))
	v.mu.Lock()
	defer v.mu.Unlock()
	c := Count{Degraded: len(v.now.degraded), Silences: silences}
	if v.now.storm {
		c.Storms = 1
	}
	if v.now.lost {
		c.Lost = 1
	}
	return c
}

// snapshot returns what holds, and the last judgements by subject, for whoever
// judges on.
func (v *View) snapshot() (standing, map[string]events.Judgement) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := v.now
	now.told = nil // nobody who judges needs it
	now.degraded, now.silences = map[events.SourceToken]bool{}, map[string]events.Silence{}
	last := map[string]events.Judgement{}
	maps.Copy(now.degraded, v.now.degraded)
	maps.Copy(now.silences, v.now.silences)
	maps.Copy(last, v.last)
	return now, last
}
