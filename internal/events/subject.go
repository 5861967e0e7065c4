package events

import (
	"fmt"
	"strconv"
	"strings"
)

// DefaultPrefix begins every subject of the stream.
const DefaultPrefix = "sc.v1"

// Subjects names the subjects of one deployment (a cell has its own prefix).
type Subjects struct{ prefix string }

// NewSubjects returns the subjects below prefix; empty means DefaultPrefix.
func NewSubjects(prefix string) (Subjects, error) {
	if prefix == "" {
		prefix = DefaultPrefix
	}
	for word := range strings.SplitSeq(prefix, ".") {
		if word == "" || strings.ContainsAny(word, "*> \t\r\n$") {
			return Subjects{}, fmt.Errorf("events: %q is no subject prefix: words of letters and digits joined by dots", prefix)
		}
	}
	return Subjects{prefix}, nil
}

// Prefix returns what all subjects begin with.
func (s Subjects) Prefix() string { return s.prefix }

// All matches every subject of the stream.
func (s Subjects) All() string { return s.prefix + ".>" }

// Of returns the subject e travels on.
func (s Subjects) Of(e Event) string {
	subject := s.prefix + "." + e.Type.Kind()
	if tokens := e.Tokens(); tokens != "" {
		subject += "." + tokens
	}
	return subject
}

// Member returns the subject of the head of what is known of m.
func (s Subjects) Member(m MemberToken) string { return s.prefix + ".member." + string(m) }

// Agenda returns the subject of the head of what is asked of m.
func (s Subjects) Agenda(m MemberToken) string { return s.prefix + ".agenda." + string(m) }

// Timer returns the subject of the n-th message schedule of m. Each is used
// once: a schedule that is published anew while it fires is lost.
func (s Subjects) Timer(m MemberToken, n uint64) string {
	return s.prefix + ".timer." + string(m) + "." + strconv.FormatUint(n, 10)
}

// Due returns the subject on which the schedules of m fire.
func (s Subjects) Due(m MemberToken) string { return s.prefix + ".due." + string(m) }

// Members matches the member heads of all members.
func (s Subjects) Members() string { return s.prefix + ".member.*" }

// Agendas matches the agenda heads of all members.
func (s Subjects) Agendas() string { return s.prefix + ".agenda.*" }

// Dues matches the fired schedules of all members.
func (s Subjects) Dues() string { return s.prefix + ".due.*" }

// Kind matches the events of one kind, of all members.
func (s Subjects) Kind(kind string) string { return s.prefix + "." + kind + ".>" }

// Parse returns the kind and the member of a subject, the member empty in
// subjects of judgements. It reports whether subject is one of ours.
func (s Subjects) Parse(subject string) (kind string, m MemberToken, ok bool) {
	rest, ok := strings.CutPrefix(subject, s.prefix+".")
	if !ok {
		return "", "", false
	}
	words := strings.Split(rest, ".")
	switch words[0] {
	case "connection", "task", "consent", "recommendation", "observation", "member", "prompt", "access", "agenda", "timer", "due":
		if len(words) < 2 {
			return "", "", false
		}
		return words[0], MemberToken(words[1]), true
	case "source", "storm", "observer", "silence":
		return words[0], "", true
	default:
		return "", "", false
	}
}
