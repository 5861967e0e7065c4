package bwell

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A Class says what a failure means for whoever called.
type Class uint8

const (
	// NoClass is the class of nil and of errors that are not b.well's.
	NoClass Class = iota
	// Auth means that the token is refused: renew it once and try once more. Of
	// Refresh and Exchange it means that the grant itself is refused.
	Auth
	// Forbidden means that b.well knows the member and does not want to answer:
	// back off for long.
	Forbidden
	// Transient means that it may pass: back off, and keep every grant.
	Transient
	// Invalid means that the request will never pass: a bug of ours, a changed
	// API or, of an activation, a refusal. Do not retry.
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
	if e.RetryAfter != 0 {
		text += ": asked to wait for " + e.RetryAfter.String()
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

// A Fault is a failure reduced to what decides its class.
type Fault struct {
	// Token is set for Refresh and Exchange, where a refusal concerns the grant.
	Token bool
	// Unproven, of Refresh and Exchange: none has succeeded yet, so the client key
	// itself may be what is refused.
	Unproven bool
	// HTTPStatus is 0 if no answer came.
	HTTPStatus int
	// Incomplete is an answer in JSON that lacks what was asked for, or has
	// something else in its place, and says no error. (An answer that is no JSON
	// at all, an HTML page or a truncated or oversized body, needs no mark: it
	// has no code, and so only its HTTP status counts.)
	Incomplete bool
	// Codes are all codes found in the errors: GraphQL's extensions.code,
	// statusCode at whatever depth, the code of an OAuth error.
	Codes []string
	// Issues are the issue codes of FHIR OperationOutcomes.
	Issues []string
}

// Classify decides what a failure means; nothing else does. An error may have
// passed several of b.well's layers, each with a dialect of its own, so the
// rules are those of all layers together: a refused token is found at any depth
// and outranks everything, then a refused member; then what b.well's services
// say themselves (issues), then HTTP, then what the layers between say (codes).
//
// What nobody recognizes is Transient: trying again later loses nothing.
func Classify(f Fault) Class {
	class := classify(f)
	switch {
	case !f.Token || class == Transient:
		return class
	case f.Incomplete || misused.in(f.Codes):
		return Invalid // our request or our client key; no grant was judged
	case f.Unproven && f.HTTPStatus == 400 && class == Invalid && f.wordless():
		return Invalid // a bare 400 is also b.well's answer to a wrong client key
	case class == Auth || class == Forbidden || f.HTTPStatus < 300 || f.HTTPStatus == 400:
		return Auth // a token nobody knows any more is refused with any of these
	default:
		return class // a path that does not exist, say
	}
}

func classify(f Fault) Class {
	switch {
	case f.HTTPStatus == 401 || refused.in(f.Codes) || refusedIssues.in(f.Issues):
		return Auth
	case f.HTTPStatus == 403 || forbidden.in(f.Codes) || forbidden.in(f.Issues):
		return Forbidden
	case passing.in(f.Issues):
		return Transient
	case lasting.in(f.Issues):
		return Invalid
	case f.HTTPStatus == 408 || f.HTTPStatus == 425 || f.HTTPStatus == 429 || f.HTTPStatus >= 500:
		return Transient
	case f.HTTPStatus >= 300: // redirects, too: the base URL is wrong
		return Invalid
	case overloaded.in(f.Codes):
		return Transient
	case f.Incomplete || rejected.in(f.Codes):
		return Invalid
	default:
		return Transient
	}
}

// The sources of the codes are fhir-server's
// graphqlErrorFormatter.js for the words, SDK 2.x's errors.js for the issues,
// RFC 6749 for those of OAuth; the others are Apollo's and the routers', a
// guess.
const (
	refused    codes = "UNAUTHENTICATED 401 INVALID_GRANT INVALID_TOKEN"
	forbidden  codes = "FORBIDDEN 403"
	overloaded codes = "408 425 429 500 502 503 504 INTERNAL_SERVER_ERROR DOWNSTREAM_SERVICE_ERROR " +
		"SERVICE_UNAVAILABLE TOO_MANY_REQUESTS TIMEOUT SERVER_ERROR TEMPORARILY_UNAVAILABLE"
	rejected codes = "400 404 405 409 410 422 BAD_REQUEST NOT_FOUND INVALID_REQUEST " + misused
	// misused are refusals of the request whatever the token. INVALID_REQUEST is
	// not one of them: it is also what RFC 8693, 2.2.2 has for a subject token
	// that is not accepted.
	misused codes = "GRAPHQL_VALIDATION_FAILED GRAPHQL_PARSE_FAILED BAD_USER_INPUT " +
		"INVALID_CLIENT UNAUTHORIZED_CLIENT UNSUPPORTED_GRANT_TYPE INVALID_SCOPE INVALID_TARGET"

	// throttled are those of the passing ones that ask for fewer requests.
	throttled codes = "429 503 SERVICE_UNAVAILABLE TOO_MANY_REQUESTS THROTTLED"

	refusedIssues codes = "LOGIN"
	passing       codes = "TRANSIENT TIMEOUT THROTTLED EXCEPTION"
	lasting       codes = "INVALID NOT-FOUND BUSINESS-RULE"
)

// codes are a set of them, with spaces between.
type codes string

// in reports whether one of the given codes, in whatever case, is in the set.
func (set codes) in(given []string) bool {
	for _, code := range given {
		for member := range strings.SplitSeq(string(set), " ") {
			if strings.EqualFold(code, member) {
				return true
			}
		}
	}
	return false
}

// wordless reports whether nothing but numbers came.
func (f Fault) wordless() bool {
	c := f.code()
	return c == "" || c[0] <= '9'
}

// code returns what a person should see of the codes: the first word, else the
// first number.
func (f Fault) code() string {
	all := slices.Concat(f.Issues, f.Codes)
	if i := slices.IndexFunc(all, func(c string) bool { return c[0] > '9' }); i >= 0 {
		return all[i]
	}
	if len(all) > 0 {
		return all[0]
	}
	return ""
}

// add takes in what another fault of the same answer says.
func (f *Fault) add(other Fault) {
	f.Codes = append(f.Codes, other.Codes...)
	f.Issues = append(f.Issues, other.Issues...)
}

// cause reduces an error of the network to one that can be printed: those of
// net/http may repeat the URL and pieces of the answer.
func cause(err error) error {
	if err, ok := errors.AsType[net.Error](err); ok && err.Timeout() {
		return context.DeadlineExceeded
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno
	}
	for _, known := range []error{context.Canceled, context.DeadlineExceeded, io.ErrUnexpectedEOF, io.EOF} {
		if errors.Is(err, known) {
			return known
		}
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return errNoSuchHost
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return errCertificate
	}
	return errNetwork
}

var (
	errNoSuchHost  = errors.New("the host name was not resolved")
	errCertificate = errors.New("the certificate was not accepted")
	errNetwork     = errors.New("the exchange over the network broke")
	errTooLarge    = errors.New("the answer is larger than allowed")
	errNoJSON      = errors.New("the answer is not a JSON object")
)

// SlowDown reports whether err, as far as b.well said it, means that it gets
// more requests than it wants, and for how long it asks to be left alone; 0 if
// it does not say.
func SlowDown(err error) (wait time.Duration, ok bool) {
	e, is := errors.AsType[*Error](err)
	if !is || e.Class != Transient {
		return 0, false
	}
	slow := e.HTTPStatus == http.StatusTooManyRequests || e.HTTPStatus == http.StatusServiceUnavailable ||
		throttled.in([]string{e.Code})
	return e.RetryAfter, slow
}
