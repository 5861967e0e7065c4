package main

import (
	"context"
	"maps"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/rs/zerolog"

	"github.com/smartconnect/connector/internal/bwell"
	"github.com/smartconnect/connector/internal/console"
	"github.com/smartconnect/connector/internal/secret"
)

// A listener is b.well as the poller sees it, and counts what b.well says that
// nobody here understands: an API that has grown is noticed by that first.
type listener struct {
	*bwell.Client
	unknown map[string]*atomic.Int64 // by field
	skipped map[string]*atomic.Int64 // by list

	mu   sync.Mutex
	said map[[2]string]bool // field and word: those that were logged
}

// listNames are the lists whose rows may hold nothing.
func listNames() []string {
	return []string{"connections", "tasks", "consents", "recommendations"}
}

func newListener(client *bwell.Client) *listener {
	l := &listener{Client: client, unknown: map[string]*atomic.Int64{}, skipped: map[string]*atomic.Int64{}, said: map[[2]string]bool{}}
	for _, field := range bwell.Fields() {
		l.unknown[field] = &atomic.Int64{}
	}
	for _, list := range listNames() {
		l.skipped[list] = &atomic.Int64{}
	}
	return l
}

// Observe implements poller.Upstream.
func (l *listener) Observe(ctx context.Context, access secret.Value, want bwell.Want) (bwell.Observation, error) {
	seen, err := l.Client.Observe(ctx, access, want)
	hear(ctx, l, "connections", seen.Connections, connectionWords)
	hear(ctx, l, "tasks", seen.Tasks, func(t bwell.Task) map[string]bwell.Word {
		return map[string]bwell.Word{"task.status": t.Status}
	})
	hear(ctx, l, "consents", seen.Consents, func(c bwell.Consent) map[string]bwell.Word {
		return map[string]bwell.Word{"consent.status": c.Status, "consent.provision": c.Provision}
	})
	return seen, err
}

// DeletedConnections implements poller.Upstream.
func (l *listener) DeletedConnections(ctx context.Context, access secret.Value) (bwell.List[bwell.Connection], error) {
	list, err := l.Client.DeletedConnections(ctx, access)
	hear(ctx, l, "connections", list, connectionWords)
	return list, err
}

// Recommendations implements poller.Upstream.
func (l *listener) Recommendations(ctx context.Context, access secret.Value) (bwell.List[bwell.Recommendation], error) {
	list, err := l.Client.Recommendations(ctx, access)
	hear(ctx, l, "recommendations", list, func(bwell.Recommendation) map[string]bwell.Word { return nil })
	return list, err
}

func connectionWords(c bwell.Connection) map[string]bwell.Word {
	return map[string]bwell.Word{
		"connection.status": c.Status, "connection.integrationType": c.IntegrationType, "connection.category": c.Category,
		"connection.type": c.Type, "connection.syncStatus": c.SyncStatus,
	}
}

// hear counts what is unknown in a list, and logs what is new.
func hear[T any](ctx context.Context, l *listener, name string, list bwell.List[T], words func(T) map[string]bwell.Word) {
	if n := l.skipped[name]; n != nil {
		n.Add(int64(list.Skipped))
	}
	if len(list.Unknown) == 0 {
		return
	}
	wordless := map[string]bool{}
	for field, n := range list.Unknown {
		if count := l.unknown[field]; count != nil {
			count.Add(int64(n))
			wordless[field] = true
		}
	}
	for _, item := range list.Items {
		for field, w := range words(item) {
			if w.Value == bwell.Unknown && enumWord.MatchString(w.Raw) {
				l.say(ctx, field, w.Raw)
				delete(wordless, field)
			}
		}
	}
	for _, field := range slices.Sorted(maps.Keys(wordless)) {
		l.say(ctx, field, "")
	}
}

// enumWord matches what looks like a word of an API. Whatever else stands where
// such a word should could name somebody, and is not logged.
var enumWord = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,39}$`)

// saidMost bounds what is logged, should b.well say something new all the time.
const saidMost = 100

// say logs a word of a field, or that the field holds something unknown, once.
func (l *listener) say(ctx context.Context, field, word string) {
	l.mu.Lock()
	key := [2]string{field, word}
	news := !l.said[key] && len(l.said) < saidMost
	if news {
		l.said[key] = true
	}
	l.mu.Unlock()
	if !news {
		return
	}
	line := zerolog.Ctx(ctx).Warn().Str("field", field)
	if word != "" {
		line = line.Str("word", word)
	}
	line.Msg("b.well says something that is not known; the event has a word as it was said, and no time where none could be read")
}

func (l *listener) readings() []console.Reading {
	var all []console.Reading
	for _, field := range slices.Sorted(slices.Values(bwell.Fields())) {
		all = append(all, console.Reading{
			Name: "connector_unknown_words_total", Help: "Values in b.well's answers that the connector does not know, by field.", Counter: true,
			Labels: map[string]string{"field": field}, Read: func() float64 { return float64(l.unknown[field].Load()) },
		})
	}
	for _, list := range listNames() {
		all = append(all, console.Reading{
			Name: "connector_skipped_rows_total", Help: "Rows in b.well's answers that hold nothing, by list.", Counter: true,
			Labels: map[string]string{"list": list}, Read: func() float64 { return float64(l.skipped[list].Load()) },
		})
	}
	return all
}
