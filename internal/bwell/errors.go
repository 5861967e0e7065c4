package bwell

import (
	"errors"
	"fmt"
	"time"
)

// A Class says what a failure means for whoever called.
type Class uint8

const (
	// NoClass is the class of nil and of errors that are not b.well's.
	NoClass Class = iota
	// Auth: the token is refused. Renew it once and try once more; for Refresh
	// and Exchange the grant itself is refused.
	Auth
	// Forbidden: b.well knows the member and does not want to answer. Back off
	// for long.
	Forbidden
	// Transient: it may pass. Back off, and keep every grant.
	Transient
	// Invalid: the request will never pass. A bug of ours, a changed API or, for
	// an activation, a refusal. Do not retry.
	Invalid
)

// String returns the class in lower case, as in metrics.
func (c Class) String() string {
	return [...]string{"none", "auth", "forbidden", "transient", "invalid"}[c]
}

// An Error is a call that failed. It repeats nothing of the request and, of the
// answer, nothing but codes: no token, URL, id, name or message.
type Error struct {
	// Op is the call, such as "observe".
	Op string
	// Root is the field of the document that failed, empty if all did.
	Root string
	// Class decides what to do.
	Class Class
	// Code is the first of b.well's codes, such as UNAUTHENTICATED, 500 or
	// invalid_grant, or a word of ours in lower case; it may be empty.
	Code string
	// HTTPStatus is 0 if no answer came.
	HTTPStatus int
	// RetryAfter is what b.well asked for, 0 if it did not.
	RetryAfter time.Duration

	cause error // one that can be printed
}

func (e *Error) Error() string {
	text := "bwell: " + e.Op
	if e.Root != "" {
		text += " " + e.Root
	}
	text += ": " + e.Class.String()
	if e.HTTPStatus != 0 {
		text += fmt.Sprintf(": HTTP %d", e.HTTPStatus)
	}
	if e.Code != "" {
		text += ": code " + e.Code
	}
	if e.cause != nil {
		text += ": " + e.cause.Error()
	}
	return text
}

// Unwrap returns the cause if there is one that says something, such as
// [context.DeadlineExceeded].
func (e *Error) Unwrap() error { return e.cause }

// ClassOf returns the class of the first [*Error] in err's tree.
func ClassOf(err error) Class {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Class
	}
	return NoClass
}

func wrap(doing string, err error) error { return fmt.Errorf("bwell: %s: %w", doing, err) }
