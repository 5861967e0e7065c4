package judge

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/smartconnect/connector/internal/events"
)

// The words of a silence's scope. All that are there must fit.
const (
	ScopeMember = "member"          // token
	ScopeSource = "source"          // token
	ScopeType   = "integrationType" // b.well's word
	ScopeReason = "reason"          // of the prompt, such as expired
)

// The reasons with which prompts open; those that go by the status are its word
// in lower case.
const (
	reasonUnknownType = "unknown_type"
	reasonOverdue     = "restore_overdue"
)

// ReasonOf returns the reason with which a prompt about a connection in a state
// opens, if it opens at all, empty for a state in which nobody is asked. It is
// the last column of the decision table: a silence is looked up before the
// table says whether there is anything to ask.
func ReasonOf(s events.ConnectionState) string {
	switch {
	case !s.Status.Broken():
		return ""
	case s.Status == events.AccessIsOver:
		return reasonOverdue
	case isType(string(s.IntegrationType)),
		(s.IntegrationType == "" || s.IntegrationType == events.Unknown) && s.Category == "BASIC":
		return strings.ToLower(string(s.Status))
	default:
		return reasonUnknownType
	}
}

func types() []string {
	return []string{string(events.PROA), string(events.DirectIAS), string(events.IndirectIAS)}
}

func isType(s string) bool { return slices.Contains(types(), s) }

func reasons() []string {
	known := events.ConnectionState{IntegrationType: events.PROA}
	var all []string
	for _, s := range []events.Status{events.Expired, events.Disconnected, events.Deleted, events.Failing} {
		known.Status = s
		all = append(all, ReasonOf(known))
	}
	return append(all, reasonUnknownType, reasonOverdue)
}

// CheckSilence says what is wrong with a silence that is to be set. A silence
// that can fit nothing is refused: it would look as if somebody were spared.
// What was given is not quoted, since it may be a member's id.
func CheckSilence(id string, s events.Silence, now time.Time) error {
	switch {
	case !isSilenceID(id):
		return fmt.Errorf("silence: an id is at most %d characters of a-z, 0-9 and -; leave it out, and one is made up", longestID)
	case s.Until.IsZero():
		return errors.New("silence: say until when, like 2026-03-14T06:00:00Z")
	case !now.Before(s.Until):
		return fmt.Errorf("silence: it would end at %s, which is past", s.Until.Format(time.RFC3339))
	case s.By == "":
		return errors.New("silence: say who sets it")
	case len(s.Scope) == 0:
		return errors.New("silence: say what it is for: a member, a source, an integration type or a reason")
	}
	for _, word := range slices.Sorted(maps.Keys(s.Scope)) {
		if err := checkScope(word, s.Scope[word]); err != nil {
			return fmt.Errorf("silence: scope: %w", err)
		}
	}
	return nil
}

func checkScope(word, is string) error {
	switch word {
	case ScopeMember, ScopeSource:
		if !isToken(is) {
			return fmt.Errorf("%s: want a token, %d characters of a-z and 2-7; connector silence add makes it of an id", word, tokenLength)
		}
	case ScopeType:
		if !isType(is) {
			return fmt.Errorf("%s: want one of %s", word, strings.Join(types(), ", "))
		}
	case ScopeReason:
		if !slices.Contains(reasons(), is) {
			return fmt.Errorf("%s: want one with which prompts open: %s", word, strings.Join(reasons(), ", "))
		}
	default:
		return fmt.Errorf("it has a word that is none of %s, %s, %s, %s", ScopeMember, ScopeSource, ScopeType, ScopeReason)
	}
	return nil
}

// tokenLength is that of 128 bits in base32.
const tokenLength = 26

func isToken(s string) bool {
	return len(s) == tokenLength && !strings.ContainsFunc(s, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '2' || r > '7') })
}

// longestID leaves room in a subject.
const longestID = 64

// isSilenceID reports whether s can be the last word of a subject.
func isSilenceID(s string) bool {
	return s != "" && len(s) <= longestID &&
		!strings.ContainsFunc(s, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' })
}

// covers reports whether a silence holds prompts about a connection.
func covers(scope map[string]string, m events.MemberToken, source events.SourceToken, s events.ConnectionState) bool {
	for word, want := range scope {
		is := ""
		switch word {
		case ScopeMember:
			is = string(m)
		case ScopeSource:
			is = string(source)
		case ScopeType:
			is = string(s.IntegrationType)
		case ScopeReason:
			is = ReasonOf(s)
		}
		if is != want {
			return false
		}
	}
	return len(scope) > 0
}
