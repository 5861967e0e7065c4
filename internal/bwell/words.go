package bwell

import (
	"strings"
	"time"
)

// A vocabulary is a set of words in b.well's spelling, with spaces between.
type vocabulary string

// The sets of b.well's GraphQL schema (SDK 2.x, graphql/schema.d.ts), of its
// page create-connection (DIRECT, IAL2), and of FHIR R4.
const (
	statuses         vocabulary = "CONNECTED EXPIRED DISCONNECTED DELETED ACCESS_ENDED ERROR"
	integrationTypes vocabulary = "PROA DIRECT_IAS INDIRECT_IAS DIRECT IAL2"
	categories       vocabulary = "BASIC OAUTH IDENTITY"
	sourceTypes      vocabulary = "CLINICAL INSURANCE LAB PHARMACY PRACTITIONER"
	syncStatuses     vocabulary = "PENDING RETRIEVING RETRIEVED ERROR DELETING DATA_DELETED"
	taskStatuses     vocabulary = "ready in-progress completed failed rejected draft requested received accepted " +
		"cancelled on-hold entered-in-error"
	consentStatuses vocabulary = "active draft proposed rejected inactive entered-in-error"
	provisions      vocabulary = "permit deny"
	verifications   vocabulary = "attested validated in-process req-revalid val-fail reval-fail"
)

// Fields returns the names, which are ours, of all fields in which a [List] may
// count something unknown.
func Fields() []string {
	return []string{
		"connection.name", "connection.status", "connection.integrationType", "connection.category", "connection.type",
		"connection.syncStatus", "connection.syncErrors", "connection.statusUpdated", "connection.created", "connection.lastSynced",
		"task.status", "task.lastModified", "task.authoredOn", "task.meta.lastUpdated",
		"consent.status", "consent.provision", "consent.dateTime", "consent.meta.lastUpdated",
		"recommendation.name",
	}
}

// fold reduces the spellings of a word to one: in-progress, IN_PROGRESS and In
// Progress to inprogress.
func fold(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '-' || r == '_' || r == ':' || r == ' ':
			return -1
		case 'A' <= r && r <= 'Z':
			return r + 'a' - 'A'
		}
		return r
	}, text)
}

// word finds the word that sent spells. Blank is no word.
func (v vocabulary) word(sent []byte) Word {
	for w := range strings.SplitSeq(string(v), " ") {
		if w == string(sent) {
			return Word{Value: w}
		}
	}
	text := fold(string(sent))
	if text == "" {
		return Word{}
	}
	for w := range strings.SplitSeq(string(v), " ") {
		if fold(w) == text {
			return Word{Value: w}
		}
	}
	return Word{Value: Unknown, Raw: cut(string(sent))}
}

// maxRaw bounds what is kept of a text that nobody understood, in bytes: it
// goes into events.
const maxRaw = 128

func cut(text string) string {
	if len(text) <= maxRaw {
		return text
	}
	return strings.ToValidUTF8(text[:maxRaw], "")
}

// parseTime reads a timestamp in one of the shapes b.well has: FHIR's instants
// and dateTimes, which may be no more than a year, and the zone-less
// microseconds of its connections; one without a zone is taken to be from zone.
func parseTime(text string, zone *time.Location) Time {
	read := Time{Raw: cut(text)}
	if text = strings.TrimSpace(text); text == "" {
		return Time{}
	}
	if strings.HasSuffix(text, "Z") { // spares the errors of what fits not
		if t, err := time.Parse(time.RFC3339, text); err == nil {
			read.Time = writable(t)
			return read
		}
	}
	// A fraction of a second is accepted after every seconds field.
	for _, layout := range [...]string{
		"2006-01-02T15:04:05",
		time.RFC3339,
		"2006-01-02 15:04:05",
		"2006-01-02 15:04:05Z07:00",
		"2006-01-02T15:04:05Z0700",
		"2006-01-02 15:04:05Z0700",
		"2006-01-02T15:04Z07:00",
		"2006-01-02T15:04",
		"2006-01-02",
		"2006-01",
		"2006",
	} {
		if t, err := time.ParseInLocation(layout, text, zone); err == nil {
			read.Time = writable(t)
			break
		}
	}
	return read
}

// writable returns t in UTC, or no time: zones move the ends of the calendar
// into years that RFC 3339, and with it JSON, cannot write.
func writable(t time.Time) time.Time {
	if t = t.UTC(); t.Year() < 1 || t.Year() > 9999 {
		return time.Time{}
	}
	return t
}
