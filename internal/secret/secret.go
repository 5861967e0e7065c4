// Package secret holds the one type that credentials travel in.
package secret

import (
	"errors"
	"fmt"
)

// redacted stands wherever a secret would have been printed.
const redacted = "[redacted]"

// A Value is a credential or a URL that is as good as one: an access token, a
// refresh token, an id token, an OAuth URL. It prints as "[redacted]" under
// every verb of fmt, in logs and in JSON; Reveal is the only way out, so that a
// search for its callers finds every place a credential leaves the process.
//
// The zero Value is no secret at all. Values can be compared with ==.
type Value struct{ text string }

// New wraps text.
func New(text string) Value { return Value{text} }

// Reveal returns the text.
func (v Value) Reveal() string { return v.text }

// IsZero reports whether there is nothing to keep.
func (v Value) IsZero() bool { return v.text == "" }

// Format implements [fmt.Formatter].
func (v Value) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// String implements [fmt.Stringer].
func (v Value) String() string { return redacted }

// GoString implements [fmt.GoStringer].
func (v Value) GoString() string { return redacted }

// MarshalText refuses: whoever stores a credential seals it first.
func (v Value) MarshalText() ([]byte, error) {
	return nil, errors.New("secret: a credential is not encoded in the clear")
}
