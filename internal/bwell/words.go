package bwell

import (
	"strings"
	"time"
)

// A vocabulary is a set of words and every spelling they come in.
type vocabulary struct {
	spelled map[string]Word // as b.well's pages and schemas spell them
	folded  map[string]Word // by fold
}

func words(all ...string) vocabulary {
	v := vocabulary{make(map[string]Word), make(map[string]Word)}
	for _, w := range all {
		v.spelled[w] = Word{Value: w}
		v.folded[fold(w)] = Word{Value: w}
	}
	return v
}

// The sets of b.well's GraphQL schema (SDK 2.x, graphql/schema.d.ts), of its
// page create-connection (DIRECT, IAL2), and of FHIR R4.
var (
	statuses         = words("CONNECTED", "EXPIRED", "DISCONNECTED", "DELETED", "ACCESS_ENDED", "ERROR")
	integrationTypes = words("PROA", "DIRECT_IAS", "INDIRECT_IAS", "DIRECT", "IAL2")
	categories       = words("BASIC", "OAUTH", "IDENTITY")
	sourceTypes      = words("CLINICAL", "INSURANCE", "LAB", "PHARMACY", "PRACTITIONER")
	syncStatuses     = words("PENDING", "RETRIEVING", "RETRIEVED", "ERROR", "DELETING", "DATA_DELETED")
	taskStatuses     = words("draft", "requested", "received", "accepted", "rejected", "ready", "cancelled",
		"in-progress", "on-hold", "failed", "completed", "entered-in-error")
	consentStatuses = words("draft", "proposed", "active", "rejected", "inactive", "entered-in-error")
	provisions      = words("permit", "deny")
	verifications   = words("attested", "validated", "in-process", "req-revalid", "val-fail", "reval-fail")
)

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
	if w, ok := v.spelled[string(sent)]; ok {
		return w
	}
	text := strings.TrimSpace(string(sent))
	if text == "" {
		return Word{}
	}
	if w, ok := v.folded[fold(text)]; ok {
		return w
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

// layouts are the shapes b.well's timestamps come in: FHIR instants and
// dateTimes, which may be no more than a year, and the zone-less microseconds of
// its connections. A fraction of a second is accepted after every seconds field.
var layouts = [...]string{
	time.RFC3339,
	"2006-01-02T15:04:05",
	"2006-01-02 15:04:05",
	"2006-01-02 15:04:05Z07:00",
	"2006-01-02T15:04:05Z0700",
	"2006-01-02 15:04:05Z0700",
	"2006-01-02T15:04Z07:00",
	"2006-01-02T15:04",
	"2006-01-02",
	"2006-01",
	"2006",
}

// parseTime reads a timestamp; one without a zone is taken to be from zone.
func parseTime(text string, zone *time.Location) Time {
	read := Time{Raw: cut(text)}
	if text = strings.TrimSpace(text); text == "" {
		return Time{}
	}
	for _, layout := range likely(text) {
		t, err := time.ParseInLocation(layout, text, zone)
		if err != nil {
			continue
		}
		// Time zones move the ends of the calendar to years that RFC 3339, and
		// with it JSON, cannot write.
		if t = t.UTC(); t.Year() >= 1 && t.Year() <= 9999 {
			read.Time = t
		}
		break
	}
	return read
}

// likely returns the layouts worth trying on text, the one it will have first:
// an error of package time costs more than a timestamp.
func likely(text string) []string {
	if len(text) >= len("2006-01-02T15:04:05") && text[10] == 'T' && text[16] == ':' {
		if last := text[len(text)-1]; last != 'Z' && !strings.ContainsAny(text[19:], "+-") {
			return layouts[1:2]
		}
	}
	return layouts[:]
}
