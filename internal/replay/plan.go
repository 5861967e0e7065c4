// Package replay lets events of the stream be read again: as copies under
// other subjects, or by a durable that stands further back. It also folds what
// is kept of a member's events into the state they add up to.
//
// Read plan.go (what is replayed where, decided without a broker), then
// replay.go (the doing), and fold.go.
package replay

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/smartconnect/connector/internal/events"
)

// Mark is the attribute of a copy: the name of the replay that made it. Readers
// push nobody for an event that has it.
const Mark = "ce-replay"

// A Query says which events are replayed. Empty fields ask for nothing.
type Query struct {
	FromSeq  uint64    // in the stream
	From     time.Time // stored since then; not together with FromSeq
	UntilSeq uint64    // the last, in the stream
	Until    time.Time // the last that was stored by then
	Types    []events.Type
	Member   events.MemberToken
}

// Check says what is wrong with q.
func (q Query) Check() error {
	switch {
	case q.FromSeq == 0 && q.From.IsZero():
		return errors.New("say where to begin: a time or a sequence")
	case q.FromSeq != 0 && !q.From.IsZero():
		return errors.New("begin at a time or at a sequence, not at both")
	case q.UntilSeq != 0 && q.UntilSeq < q.FromSeq, !q.Until.IsZero() && q.Until.Before(q.From):
		return errors.New("it ends before it begins")
	}
	for _, t := range q.Types {
		if !slices.Contains(events.Types(), t) {
			return fmt.Errorf("%.80q is no event type; see: connector schema list", t)
		}
	}
	if m := string(q.Member); m != "" && strings.ContainsFunc(m, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' }) {
		return errors.New("the member is no token; give the key file to name a member by id")
	}
	return nil
}

// Filters returns the subjects of the events q asks for, without the timers:
// they are no events.
func (q Query) Filters(s events.Subjects) []string {
	var subjects []string
	for _, kind := range events.Kinds() {
		if len(q.Types) > 0 && !slices.ContainsFunc(q.Types, func(t events.Type) bool { return t.Kind() == kind }) {
			continue
		}
		subject := s.Prefix() + "." + kind
		switch kind {
		case "observer", "storm", "source", "silence":
			if q.Member != "" {
				continue // about nobody
			}
			if kind == "source" || kind == "silence" {
				subject += ".*"
			}
		case "connection", "recommendation", "prompt":
			subject += "." + orAny(q.Member) + ".*"
		default:
			subject += "." + orAny(q.Member)
		}
		subjects = append(subjects, subject)
	}
	return subjects
}

func orAny(m events.MemberToken) string {
	if m == "" {
		return "*"
	}
	return string(m)
}

// wants reports whether an event of a type is asked for.
func (q Query) wants(t events.Type) bool {
	return len(q.Types) == 0 || slices.Contains(q.Types, t)
}

// over reports whether a message is past the end.
func (q Query) over(seq uint64, stored time.Time) bool {
	return q.UntilSeq != 0 && seq > q.UntilSeq || !q.Until.IsZero() && stored.After(q.Until)
}

// Refuse says why copies may not go below prefix: live is what carries live
// messages, patterns of subjects of this deployment.
func Refuse(prefix string, live []string) error {
	if _, err := events.NewSubjects(prefix); err != nil || prefix == "" || strings.HasPrefix(prefix, "_") {
		return fmt.Errorf("%.80q is no prefix for copies: words joined by dots, and not one of the broker's own", prefix)
	}
	below := strings.Split(prefix+".>", ".")
	if overlap(below, strings.Split(events.TestPrefix+".>", ".")) {
		return fmt.Errorf("copies below %s would land among made-up events: who reads those must never meet real members", prefix)
	}
	for _, pattern := range live {
		if overlap(below, strings.Split(pattern, ".")) {
			return fmt.Errorf("copies below %s would land in %s, which is live: a replay never goes there", prefix, pattern)
		}
	}
	return nil
}

// overlap reports whether a subject can match both patterns.
func overlap(a, b []string) bool {
	for i := range min(len(a), len(b)) {
		switch {
		case a[i] == ">" || b[i] == ">":
			return true
		case a[i] != b[i] && a[i] != "*" && b[i] != "*":
			return false
		}
	}
	return len(a) == len(b)
}

// Unsettled says what counts as news of what a durable was given and may not
// have acknowledged. The broker tells only up to where all is acknowledged.
type Unsettled string

// What it can count as.
const (
	AsNews     Unsettled = "news"     // what was acknowledged may be pushed a second time
	AsReplayed Unsettled = "replayed" // nothing of it is pushed unasked, also what was never acknowledged
)

// until returns up to which stream sequence what a durable has read is no news:
// up to floor it is not, last is the last that it was given, and of what stands
// between it has some in hand.
func (u Unsettled) until(floor, last uint64, inHand int) (uint64, error) {
	switch {
	case inHand == 0 || last <= floor:
		return floor, nil
	case u == AsReplayed:
		return last, nil
	case u == AsNews:
		return floor, nil
	default:
		return 0, fmt.Errorf("%d events are in hand, and which of the others from sequence %d to %d are acknowledged is not known; "+
			"say how all of these count, with --unsettled news (they may be pushed a second time) or --unsettled replayed "+
			"(they are not pushed unasked, also what was never acknowledged), or wait until nothing is in hand", inHand, floor+1, last)
	}
}

// Copy returns the subject and the header of the copy that a replay called
// name makes of a stored message: the same event under another prefix, marked,
// and without the headers that instructed the broker when it was stored.
func Copy(subject string, header map[string][]string, from, to, name string) (string, map[string][]string) {
	h := map[string][]string{}
	for k, v := range header {
		if !strings.HasPrefix(strings.ToLower(k), "nats-") {
			h[k] = v
		}
	}
	h[Mark] = []string{name}
	return to + strings.TrimPrefix(subject, from), h
}
