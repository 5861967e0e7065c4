package bwell

import (
	"bytes"
	"encoding/json"
	"iter"
	"strings"
	"unicode/utf8"
)

// A reader walks over JSON once, from front to back, and takes whatever it
// meets. It cannot fail: [json.Valid] has accepted the text before, and a value
// of another kind than the one asked for is skipped and reported as such. That
// is what reading b.well needs, where one field of the wrong kind must not cost
// the row it stands in. It compares names byte by byte; of a name that stands
// twice the last wins.
type reader struct {
	data []byte
	at   int // at the first byte of a value, between calls
}

// newReader returns a reader of text, or false if that is no JSON.
func newReader(text []byte) (reader, bool) {
	r := reader{data: text}
	if !json.Valid(text) {
		return r, false
	}
	r.space()
	return r, true
}

func (r *reader) space() {
	for r.at < len(r.data) && (r.data[r.at] == ' ' || r.data[r.at] == '\n' || r.data[r.at] == '\r' || r.data[r.at] == '\t') {
		r.at++
	}
}

// kind returns the first byte of the value: one of { [ " t f n - 0…9.
func (r *reader) kind() byte { return r.data[r.at] }

// null skips the value and returns true if it is null.
func (r *reader) null() bool {
	if r.kind() != 'n' {
		return false
	}
	r.at += len("null")
	return true
}

// fields yields the names of an object's members. The body reads the member's
// value with one call, or leaves it; it must not break off. Of a value that is
// no object there are none.
func (r *reader) fields() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		if r.kind() != '{' {
			r.skip()
			return
		}
		for r.enter(); r.more('}'); {
			name, _ := r.text()
			r.space()
			r.at++ // the colon
			r.space()
			value := r.at
			if !yield(name) {
				return
			}
			if r.at == value {
				r.skip()
			}
		}
	}
}

// elements counts an array's elements, in the manner of fields.
func (r *reader) elements() iter.Seq[int] {
	return func(yield func(int) bool) {
		if r.kind() != '[' {
			r.skip()
			return
		}
		i := 0
		for r.enter(); r.more(']'); i++ {
			value := r.at
			if !yield(i) {
				return
			}
			if r.at == value {
				r.skip()
			}
		}
	}
}

func (r *reader) enter() {
	r.at++
	r.space()
}

// more goes on to the next member of an object or array, or past its end.
func (r *reader) more(end byte) bool {
	r.space()
	switch r.data[r.at] {
	case end:
		r.at++
		return false
	case ',':
		r.at++
		r.space()
	}
	return true
}

// text reads a string. Of a value that is none it returns false and reads
// nothing. The bytes are valid until the buffer they were read into is used
// anew.
func (r *reader) text() ([]byte, bool) {
	if r.kind() != '"' {
		return nil, false
	}
	raw := r.raw()
	plain := raw[1 : len(raw)-1]
	if bytes.IndexByte(plain, '\\') < 0 && utf8.Valid(plain) {
		return plain, true
	}
	var unescaped string
	_ = json.Unmarshal(raw, &unescaped) // cannot fail: raw is valid
	return []byte(unescaped), true
}

// raw reads any value and returns its JSON.
func (r *reader) raw() []byte {
	start := r.at
	r.skip()
	return r.data[start:r.at]
}

// skip reads any value.
func (r *reader) skip() {
	switch r.kind() {
	case '"':
		r.skipText()
	case '{', '[':
		for depth := 0; ; {
			switch r.data[r.at] {
			case '"':
				r.skipText()
				continue
			case '{', '[':
				depth++
			case '}', ']':
				depth--
			}
			r.at++
			if depth == 0 {
				return
			}
		}
	default:
		for r.at < len(r.data) && !strings.ContainsRune(",]} \n\r\t", rune(r.data[r.at])) {
			r.at++
		}
	}
}

func (r *reader) skipText() {
	for r.at++; r.data[r.at] != '"'; r.at++ {
		if r.data[r.at] == '\\' {
			r.at++
		}
	}
	r.at++
}
