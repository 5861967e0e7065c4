package events

import (
	"errors"
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

// Kinds returns the second words of the types, which are the third words of
// subjects, in the order of the contract.
func Kinds() []string {
	return []string{
		"connection", "task", "consent", "recommendation", "observation", "member",
		"prompt", "access", "agenda", "source", "observer", "storm", "silence",
	}
}

// about says whether the events of a kind are about a member, and whether about
// one part: a connection, a recommendation, a source, a silence. These tokens
// follow the kind in the subject.
func about(kind string) (member, part, ok bool) {
	switch kind {
	case "connection", "recommendation", "prompt":
		return true, true, true
	case "task", "consent", "observation", "member", "access", "agenda":
		return true, false, true
	case "source", "silence":
		return false, true, true
	case "observer", "storm":
		return false, false, true
	default:
		return false, false, false
	}
}

// isToken reports whether s can be a token: letters that mean the same in a
// subject, a header and a URL.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
	})
}

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

// Judgements match what is said of all members, but not of any of them.
func (s Subjects) Judgements() []string {
	return []string{s.prefix + ".source.*", s.prefix + ".storm", s.prefix + ".observer", s.prefix + ".silence.*"}
}

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
	member, part, ok := about(words[0])
	switch words[0] {
	case "timer":
		member, part, ok = true, true, true
	case "due":
		member, ok = true, true
	}
	if !ok {
		return "", "", false
	}
	m, _, err := readTokens(words[1:], member, part)
	return words[0], m, err == nil
}

// readTokens reads the tokens of a member and of a part, where they should be.
func readTokens(tokens []string, member, part bool) (m MemberToken, p string, err error) {
	want := 0
	if member {
		want++
	}
	if part {
		want++
	}
	if len(tokens) != want {
		return "", "", fmt.Errorf("%d tokens, want %d", len(tokens), want)
	}
	for _, t := range tokens {
		if !isToken(t) {
			return "", "", errors.New("a token is no word of a-z, 0-9 and -")
		}
	}
	if member {
		m, tokens = MemberToken(tokens[0]), tokens[1:]
	}
	if part {
		p = tokens[0]
	}
	return m, p, nil
}
