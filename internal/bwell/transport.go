package bwell

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"hash/maphash"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/smartconnect/connector/internal/secret"
)

// A request is one that can be sent any number of times.
type request struct {
	op     string
	url    *url.URL
	header http.Header
	body   []byte
	// once is set for what b.well must not be asked twice by itself.
	once bool
	// grants is set if the answer is about a grant, see [Fault]; it says whether
	// one has been given.
	grants *atomic.Bool
	// seen is the digest of an answer that need not be read again.
	seen Digest
	// plain is set if the answer is not GraphQL's but itself the data.
	plain bool
}

// request returns the one that sends a document with access.
func (c *Client) request(op, document string, access secret.Value, v variables) request {
	return request{op: op, url: c.graphql, header: c.header(access), body: encode(document, v)}
}

// encode writes the body of a GraphQL request.
func encode(document string, v variables) []byte {
	// It cannot fail: the fields are texts and numbers.
	body, _ := json.Marshal(struct {
		Query         string    `json:"query"`
		OperationName string    `json:"operationName"`
		Variables     variables `json:"variables"`
	}{document, operation(document), v})
	return body
}

func (c *Client) header(access secret.Value) http.Header {
	h := http.Header{
		"Content-Type": {"application/json"},
		"Accept":       {"application/graphql-response+json, application/json;q=0.9"},
		"User-Agent":   {c.config.UserAgent},
	}
	if !access.IsZero() {
		h["Authorization"] = []string{"Bearer " + access.Reveal()}
	}
	return h
}

// An answer is what came of a request, without the data.
type answer struct {
	envelope

	digest     Digest
	same       bool // the digest is the one seen, and nothing was read
	status     int
	date       time.Time
	retryAfter time.Duration
}

// failed makes an error of a fault of this answer.
func (a answer) failed(r request, root string, f Fault, cause error) *Error {
	f.HTTPStatus, f.Token = a.status, r.grants != nil
	f.Unproven = f.Token && !r.grants.Load()
	return &Error{
		Op: r.op, Root: root, Class: Classify(f), Code: f.code(),
		HTTPStatus: a.status, RetryAfter: a.retryAfter, cause: cause,
	}
}

// incomplete is the error of an answer that lacks what was asked for; code says
// what is wrong with it.
func (a answer) incomplete(r request, root, code string) *Error {
	err := a.failed(r, root, Fault{Incomplete: true}, nil)
	err.Code = code
	return err
}

// all makes one error of everything the answer complains about, nil if it does
// not.
func (a answer) all(r request) *Error {
	if len(a.failures) == 0 {
		return nil
	}
	f := a.fault
	for _, failure := range a.failures {
		f.add(failure.fault)
	}
	return a.failed(r, "", f, nil)
}

// of makes the error of one list: of the failures whose path begins with root,
// and of those that cannot be told to concern another root of the document.
func (a answer) of(r request, root string, roots []string) *Error {
	return a.those(r, root, func(f failure) bool { return f.root == root || !slices.Contains(roots, f.root) })
}

// named makes the error of the failures whose path begins with root.
func (a answer) named(r request, root string) *Error {
	return a.those(r, root, func(f failure) bool { return f.root == root })
}

// those makes one error of the failures that concern root, nil if there are
// none.
func (a answer) those(r request, root string, concern func(failure) bool) *Error {
	var all Fault
	found := false
	for _, f := range a.failures {
		if concern(f) {
			all.add(f.fault)
			found = true
		}
	}
	if !found {
		return nil
	}
	return a.failed(r, root, all, nil)
}

// separable reports whether the roots of a document that failed with err may
// fare better each alone: b.well read the document, and either refused it as
// such or failed at roots that it names.
func (a answer) separable(err error, roots []string) bool {
	if a.data || len(a.failures) == 0 {
		return false
	}
	switch ClassOf(err) {
	case Invalid:
		return true
	case Transient:
		return !slices.ContainsFunc(a.failures, func(f failure) bool { return !slices.Contains(roots, f.root) })
	default:
		return false
	}
}

// ask sends r until it is answered, at most tries times, and reads the answer's
// data by root into a new T each time. An answer with data may have failures,
// too, for the caller to judge; but a refused token is always an error, since
// the answer to a renewed one may say more.
//
// With an error the answer still says what there was of it.
func ask[T any](ctx context.Context, c *Client, r request, tries int, root func(d *decoder, name []byte, into *T)) (T, answer, error) {
	var into T
	var got answer
	if r.once {
		tries = 1
	}
	err := c.retry(ctx, tries, func() *Error {
		into = *new(T)
		var err *Error
		got, err = c.send(ctx, r, func(d *decoder, name []byte) { root(d, name, &into) })
		return err
	})
	if err != nil {
		return into, got, err
	}
	return into, got, nil
}

// retry calls do until it succeeds, at most tries times, as long as its errors
// are Transient. It does not wait for longer than is left of Config.RetryFor,
// nor when b.well asks for more time than that: the error says how much.
func (c *Client) retry(ctx context.Context, tries int, do func() *Error) error {
	if tries <= 1 {
		if err := do(); err != nil {
			return err
		}
		return nil
	}
	exponential := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(c.config.RetryPause),
		backoff.WithMultiplier(2),
		backoff.WithMaxElapsedTime(c.config.RetryFor),
	)
	pause := &patience{ExponentialBackOff: exponential}
	var last *Error
	err := backoff.Retry(func() error {
		if last = do(); last == nil {
			return nil
		}
		if pause.asked = last.RetryAfter; last.Class != Transient {
			return backoff.Permanent(last)
		}
		return last
	}, backoff.WithContext(backoff.WithMaxRetries(pause, uint64(tries-1)), ctx))
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil && !errors.Is(last, ctx.Err()):
		// backoff forgets the error it was pausing after; its class counts.
		interrupted := *last
		interrupted.cause = ctx.Err()
		return &interrupted
	default:
		return last
	}
}

// patience is a backoff that does not come back earlier than it was asked to.
type patience struct {
	*backoff.ExponentialBackOff

	asked time.Duration
}

// NextBackOff implements [backoff.BackOff].
func (p *patience) NextBackOff() time.Duration {
	next := p.ExponentialBackOff.NextBackOff()
	if next == backoff.Stop || p.asked > p.MaxElapsedTime-p.GetElapsedTime() {
		return backoff.Stop
	}
	return max(next, p.asked)
}

// maxKept bounds the buffers that are kept for the next answer, in bytes.
const maxKept = 256 << 10

// send sends r once and reads the answer.
func (c *Client) send(ctx context.Context, r request, root func(d *decoder, name []byte)) (answer, *Error) {
	var a answer
	buffer, ok := c.buffers.Get().(*bytes.Buffer)
	if !ok {
		buffer = new(bytes.Buffer)
	}
	defer func() {
		if buffer.Cap() <= maxKept {
			buffer.Reset()
			c.buffers.Put(buffer)
		}
	}()
	if err := c.exchangeBytes(ctx, r, &a, buffer); err != nil {
		return a, a.failed(r, "", Fault{}, err)
	}
	// Never zero, which is no digest.
	a.digest = Digest(maphash.Bytes(c.seed, buffer.Bytes())) | 1
	if a.same = a.digest == r.seen && a.status == http.StatusOK; a.same {
		return a, nil
	}
	read, ok := newReader(buffer.Bytes())
	d := decoder{reader: read, zone: c.config.Zone}
	ok = ok && d.kind() == '{'
	if a.status < 200 || a.status > 299 {
		if ok {
			a.envelope, _ = d.envelope(false, func([]byte) {})
		}
		if err := a.all(r); err != nil {
			return a, err
		}
		return a, a.failed(r, "", a.fault, nil)
	}
	if ok {
		a.envelope, ok = d.envelope(r.plain, func(name []byte) { root(&d, name) })
	}
	if !ok {
		return a, a.failed(r, "", Fault{}, errNoJSON)
	}
	err := a.all(r)
	switch {
	case err != nil && (!a.data || err.Class == Auth):
		return a, err
	case !a.data:
		return a, a.failed(r, "", a.fault, nil)
	}
	return a, nil
}

// exchangeBytes sends r and fills buffer with the body of the answer, or returns
// an error that can be printed.
func (c *Client) exchangeBytes(ctx context.Context, r request, a *answer, buffer *bytes.Buffer) error {
	within, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	body := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(r.body)), nil }
	content, _ := body()
	req := (&http.Request{
		Method: http.MethodPost, URL: r.url, Host: r.url.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: r.header, Body: content, GetBody: body, ContentLength: int64(len(r.body)),
	}).WithContext(within)
	if !r.once {
		// Tells net/http, and only it, that the request may be sent again when
		// b.well has closed the idle connection it was sent on.
		req.Header["X-Idempotency-Key"] = nil
	}
	resp, err := c.http.Do(req)
	if err == nil {
		defer func() { _ = resp.Body.Close() }()
		a.status = resp.StatusCode
		if date, bad := http.ParseTime(resp.Header.Get("Date")); bad == nil {
			a.date = date
		}
		a.retryAfter = retryAfter(resp.Header.Get("Retry-After"), a.date)
		if resp.ContentLength > c.config.MaxBody {
			return errTooLarge
		}
		_, err = buffer.ReadFrom(io.LimitReader(resp.Body, c.config.MaxBody+1))
		if err == nil && int64(buffer.Len()) > c.config.MaxBody {
			return errTooLarge
		}
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil: // whoever called has given up
		return ctx.Err()
	default:
		return cause(err)
	}
}

// maxRetryAfter bounds what b.well can ask for.
const maxRetryAfter = 24 * time.Hour

// retryAfter reads the header: whole seconds, or a date on b.well's clock.
func retryAfter(text string, date time.Time) time.Duration {
	text = strings.TrimSpace(text)
	if text == "" {
		return 0
	}
	if seconds, err := strconv.ParseUint(text, 10, 32); err == nil {
		return min(time.Duration(seconds)*time.Second, maxRetryAfter)
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	if date.IsZero() {
		date = time.Now()
	}
	return min(max(at.Sub(date), 0), maxRetryAfter)
}
