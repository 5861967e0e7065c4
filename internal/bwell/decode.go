package bwell

import (
	"slices"
	"strings"
	"time"
)

// A decoder reads one answer.
type decoder struct {
	reader

	zone    *time.Location
	unknown map[string]int // of the list that is being read
}

// count notes a value of a field that no rule understands.
func (d *decoder) count(field string) {
	if d.unknown == nil {
		d.unknown = make(map[string]int)
	}
	d.unknown[field]++
}

// A failure is one element of the errors of an answer.
type failure struct {
	root  string // the first element of its path; empty if it has none
	fault Fault
}

// An envelope is an answer without its data.
type envelope struct {
	data     bool // there is an object of data
	failures []failure
	fault    Fault // the codes that stand beside data and errors, in the dialects without GraphQL
}

// envelope reads an answer: data's members by root, which reads or leaves their
// values, the rest into the result. Of a plain answer the members are data
// themselves. It returns false if nobody can tell what is meant.
func (d *decoder) envelope(plain bool, root func(name []byte)) (envelope, bool) {
	e := envelope{data: plain}
	datas := 0
	for name := range d.fields() {
		switch string(name) {
		case "data":
			datas++
			if d.kind() != '{' {
				continue
			}
			e.data = true
			for name := range d.fields() {
				root(name)
			}
		case "errors":
			e.failures = append(e.failures, d.failures()...)
		case "extensions": // tracing and the like; errors have their own
		default:
			start := d.at
			if plain {
				root(name)
			}
			if d.at == start {
				d.code(name, &e.fault, false)
			}
		}
	}
	return e, datas < 2
}

// failures reads the errors. Whatever stands there in place of a list of objects
// is an error, too, unless it is null or empty.
func (d *decoder) failures() []failure {
	var all []failure
	switch d.kind() {
	case 'n':
	case '[':
		for range d.elements() {
			all = append(all, d.failure())
		}
	default:
		all = append(all, failure{})
	}
	return all
}

func (d *decoder) failure() failure {
	var f failure
	for name := range d.fields() {
		switch string(name) {
		case "path":
			for i := range d.elements() {
				if text, ok := d.text(); ok && i == 0 {
					f.root = string(text)
				}
			}
		case "message", "locations":
		default:
			d.code(name, &f.fault, false)
		}
	}
	return f
}

// maxCodes bounds what is collected of one failure.
const maxCodes = 64

// code collects the codes of the member called name, at whatever depth: routers
// nest the errors of the services behind them. issue says that name stands in an
// OperationOutcome's issue.
func (d *decoder) code(name []byte, f *Fault, issue bool) {
	switch string(name) {
	case "code", "statusCode", "status", "httpStatus", "error", "errorCode":
		code, ok := d.codeWord()
		switch {
		case !ok:
			// Another of the kind may be inside.
		case len(f.Codes)+len(f.Issues) >= maxCodes:
			return
		case issue && string(name) == "code":
			f.Issues = append(f.Issues, code)
			return
		default:
			f.Codes = append(f.Codes, code)
			return
		}
	}
	switch d.kind() {
	case '{':
		issue := string(name) == "issue"
		for name := range d.fields() {
			d.code(name, f, issue)
		}
	case '[':
		for range d.elements() {
			d.code(name, f, issue)
		}
	}
}

// codeWord reads a value that looks like a code, and no other: nothing else of
// an answer may enter an error.
func (d *decoder) codeWord() (string, bool) {
	start, kind := d.at, d.kind()
	var word []byte
	switch {
	case kind == '"':
		word, _ = d.text()
	case '0' <= kind && kind <= '9':
		word = d.raw()
	}
	if !isCode(word) {
		d.at = start
		return "", false
	}
	return string(word), true
}

// isCode reports whether text can be a code: one word, not too long.
func isCode(text []byte) bool {
	if len(text) == 0 || len(text) > 64 {
		return false
	}
	for _, c := range text {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-', c == '.', c == ':':
		default:
			return false
		}
	}
	return true
}

// A page is what one answer says of one list. The zero page is that of a list
// which is not in the answer.
type page[T any] struct {
	there   bool
	items   []T
	rows    int // of any kind: what paging goes by
	skipped int
	unknown map[string]int
	amiss   string // why the page cannot be relied on, a word of ours
}

// A verdict says what to do with a row.
type verdict uint8

const (
	keep       verdict = iota
	leave              // it is not one of those asked for
	skipped            // there is nothing in it
	unreadable         // nobody knows which it is
)

// list reads a list of rows: a FHIR bundle, or a plain list as in the 1.x
// dialect. A bundle whose entry is null is empty (b.well docs,
// consents-typescript-sdk); a list that is null itself is missing.
//
// Nulls among the rows are skipped, as the schema allows them. A row that cannot
// be read makes the list unusable: as nobody knows which it is, nobody could
// tell whether one of the known rows has vanished.
func list[T any](d *decoder, row func(*decoder, *T) verdict) page[T] {
	d.unknown = nil
	p := page[T]{there: true}
	switch d.kind() {
	case '[':
		rows(d, &p, false, row)
	case '{':
		for name := range d.fields() {
			if string(name) != "entry" {
				continue
			}
			p = page[T]{there: true}
			switch d.kind() {
			case '[':
				rows(d, &p, true, row)
			case 'n':
			default:
				p.amiss = "not_a_list"
			}
		}
	case 'n':
		p.there = false
	default:
		p.amiss = "not_a_list"
	}
	p.unknown = d.unknown
	return p
}

func rows[T any](d *decoder, p *page[T], bundle bool, row func(*decoder, *T) verdict) {
	for range d.elements() {
		p.rows++
		if d.null() {
			p.skipped++
			continue
		}
		if d.kind() != '{' {
			p.amiss = "unreadable_row"
			continue
		}
		var item T
		result := skipped
		if !bundle {
			result = row(d, &item)
		} else {
			for name := range d.fields() {
				if string(name) == "resource" && !d.null() {
					result = row(d, &item)
				}
			}
		}
		switch result {
		case keep:
			if p.items == nil && !bundle {
				p.items = make([]T, 0, 8) // most members' connections
			}
			p.items = append(p.items, item)
		case skipped:
			p.skipped++
		case unreadable:
			p.amiss = "unreadable_row"
		case leave:
		}
	}
}

func connection(d *decoder, c *Connection) verdict {
	for name := range d.fields() {
		switch string(name) {
		case "id":
			c.ID = d.id()
		case "name":
			c.Name = d.label("connection.name")
		case "status":
			c.Status = d.word(statuses, "connection.status")
		case "integrationType":
			c.IntegrationType = d.word(integrationTypes, "connection.integrationType")
		case "category":
			c.Category = d.word(categories, "connection.category")
		case "type":
			c.Type = d.word(sourceTypes, "connection.type")
		case "syncStatus":
			c.SyncStatus = d.word(syncStatuses, "connection.syncStatus")
		case "syncErrors", "syncError":
			c.SyncErrors = d.syncErrors("connection.syncErrors")
		case "statusUpdated":
			c.StatusUpdated = d.time("connection.statusUpdated")
		case "created":
			c.Created = d.time("connection.created")
		case "lastSynced":
			c.LastSynced = d.time("connection.lastSynced")
		}
	}
	return identified(c.ID)
}

func identified(id string) verdict {
	if id == "" {
		return unreadable
	}
	return keep
}

func task(d *decoder, t *Task) verdict {
	var codes, reasons, outputs []string
	for name := range d.fields() {
		switch string(name) {
		case "id":
			t.ID = d.id()
		case "status":
			t.Status = d.word(taskStatuses, "task.status")
		case "code":
			codes = d.codes(nil)
		case "statusReason":
			reasons = d.codes(nil)
		case "output":
			outputs = nil
			for range d.elements() {
				for name := range d.fields() {
					switch string(name) {
					case "valueCodeableConcept", "valueString":
						outputs = d.codes(outputs)
					}
				}
			}
		case "lastModified":
			t.LastModified = d.time("task.lastModified")
		case "authoredOn":
			t.AuthoredOn = d.time("task.authoredOn")
		case "meta":
			t.Updated = d.lastUpdated("task.meta.lastUpdated")
		}
	}
	for _, reason := range slices.Concat(reasons, outputs) {
		t.Reason = reason
		break
	}
	// The filter by code was asked for; that it was heeded is not taken on trust.
	if len(codes) > 0 && !slices.ContainsFunc(codes, spells(codeNetworkSearch)) {
		return leave
	}
	return identified(t.ID)
}

func consent(d *decoder, c *Consent) verdict {
	for name := range d.fields() {
		switch string(name) {
		case "id":
			c.ID = d.id()
		case "status":
			c.Status = d.word(consentStatuses, "consent.status")
		case "category":
			c.Category = ""
			for _, code := range d.codes(nil) {
				if code = fold(code); c.Category == "" || code == CategoryIAS {
					c.Category = code
				}
			}
		case "provision":
			c.Provision = d.word(provisions, "consent.provision")
		case "dateTime":
			c.DateTime = d.time("consent.dateTime")
		case "meta":
			c.Updated = d.lastUpdated("consent.meta.lastUpdated")
		}
	}
	return identified(c.ID)
}

// A team is a care team with the sources among its members.
type team struct {
	id      string
	sources []Recommendation
}

// careTeam leaves out teams of another category than that of recommendations:
// the argument that asks for it is documented in three ways.
func careTeam(d *decoder, t *team) verdict {
	recommended := false
	for name := range d.fields() {
		switch string(name) {
		case "id":
			t.id = d.id()
		case "category":
			recommended = slices.ContainsFunc(d.codes(nil), spells(codeRecommended))
		case "participant":
			t.sources = nil
			for range d.elements() {
				for name := range d.fields() {
					if string(name) != "member" {
						continue
					}
					if r, ok := d.member(); ok {
						t.sources = append(t.sources, r)
					}
				}
			}
		}
	}
	if !recommended {
		return leave
	}
	return keep
}

// member reads a participant's member: the organization itself (1.x) or a
// reference to it that holds it as its resource (2.x). Practitioners, bare
// references and whatever has no alias are no sources.
func (d *decoder) member() (Recommendation, bool) {
	var own, resource Recommendation
	organization, referring, found := true, false, false
	for name := range d.fields() {
		switch string(name) {
		case "__typename", "type":
			// An organization's own type is a list of concepts, no text.
			if kind, ok := d.text(); ok {
				organization = string(kind) == "Organization"
			}
		case "name":
			own.Name = d.label("recommendation.name")
		case "alias":
			own.Alias = d.alias()
		case "resource":
			if referring = d.kind() == '{'; referring {
				resource, found = d.member()
			}
		}
	}
	if referring {
		return resource, found
	}
	return own, organization && own.Alias != ""
}

// alias reads a text (1.x) or a list of texts (2.x) and takes the first that is
// not blank.
func (d *decoder) alias() string {
	if text, ok := d.text(); ok {
		return strings.TrimSpace(string(text))
	}
	first := ""
	for range d.elements() {
		if text, ok := d.text(); ok && first == "" {
			first = strings.TrimSpace(string(text))
		}
	}
	return first
}

// id reads an id. GraphQL servers may write one as a number.
func (d *decoder) id() string {
	if text, ok := d.text(); ok {
		return string(text)
	}
	if kind := d.kind(); kind == '-' || '0' <= kind && kind <= '9' {
		return string(d.raw())
	}
	return ""
}

// label reads a text that nothing is decided by.
func (d *decoder) label(field string) string {
	if text, ok := d.text(); ok {
		return string(text)
	}
	if !d.null() {
		d.count(field)
	}
	return ""
}

// word reads a word: a text (2.x), or an object that holds it as its code (1.x)
// or, of a consent's provision, as its type.
func (d *decoder) word(v vocabulary, field string) Word {
	var w Word
	if d.null() {
		return w
	}
	start := d.at
	switch d.kind() {
	case '"':
		text, _ := d.text()
		w = v.word(text)
	case '{':
		var display Word
		for name := range d.fields() {
			switch string(name) {
			case "code", "type":
				if text, ok := d.text(); ok {
					w = v.word(text)
				}
			case "display", "text":
				if text, ok := d.text(); ok {
					display = v.word(text)
				}
			}
		}
		if w.IsZero() {
			w = display
		}
	}
	if d.at == start { // of another kind
		w = Word{Value: Unknown, Raw: cut(strings.ToValidUTF8(string(d.raw()), "\uFFFD"))}
	}
	if w.Value == Unknown {
		d.count(field)
	}
	return w
}

func (d *decoder) time(field string) Time {
	if d.null() {
		return Time{}
	}
	text, ok := d.text()
	if !ok {
		d.count(field)
		return Time{Raw: cut(strings.ToValidUTF8(string(d.raw()), "\uFFFD"))}
	}
	t := parseTime(string(text), d.zone)
	if t.IsZero() && t.Raw != "" {
		d.count(field)
	}
	return t
}

func (d *decoder) lastUpdated(field string) Time {
	var t Time
	for name := range d.fields() {
		if string(name) == "lastUpdated" {
			t = d.time(field)
		}
	}
	return t
}

// codes appends the codes of a CodeableConcept, of a Coding, of a bare code, or
// of a list of such.
func (d *decoder) codes(to []string) []string {
	switch d.kind() {
	case '"':
		if text, _ := d.text(); isCode(text) {
			to = append(to, string(text))
		}
	case '[':
		for range d.elements() {
			to = d.codes(to)
		}
	case '{':
		for name := range d.fields() {
			switch string(name) {
			case "code", "coding":
				to = d.codes(to)
			}
		}
	}
	return to
}

// syncErrors reads a list of errors, or one, to the sorted set of their codes.
// An error without one is no less of an error.
func (d *decoder) syncErrors(field string) []string {
	var all []string
	one := func() {
		if d.null() {
			return
		}
		before := len(all)
		if all = d.codes(all); len(all) == before {
			all = append(all, Unknown)
			d.count(field)
		}
	}
	if d.kind() == '[' {
		for range d.elements() {
			one()
		}
	} else {
		one()
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// spells returns a function that tells whether a code is the wanted one.
func spells(wanted string) func(string) bool {
	wanted = fold(wanted)
	return func(code string) bool { return fold(code) == wanted }
}
