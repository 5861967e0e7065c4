// Package bwell is b.well's API as the connector uses it: the GraphQL documents,
// a reader that accepts every dialect b.well's pages and programs disagree
// about, the exchange and refresh of tokens, and one function that says what a
// failure means ([Classify]).
//
// b.well's words stop here: callers see [Connection], [Task], [Consent] and
// [Recommendation]. Which task or consent counts, and whether a row that is
// missing has vanished, is not decided here; all this package promises is that
// a [List] says Whole only if every page of it came and no error concerned it.
//
// The one mutation the package knows is activateDirectConnection; it is never
// repeated by itself.
//
// Nothing here was tried on b.well's own servers. What is a guess is said to be
// one, and is a field of [Config] where it could be one. The sources of b.well's
// rules are cited as in "b.well docs, <page>" for developer.bwell.com/docs,
// "SDK 2.x" and "SDK 1.x" for npm's @icanbwell/bwell-sdk-ts, and "fhir-server"
// for b.well's open-source FHIR server.
//
// Read answer.go first, then decode.go, then errors.go.
package bwell

import (
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/smartconnect/connector/internal/secret"
)

// Config says where b.well is and how to talk to it. BaseURL and ClientKey are
// required; every other field works when it is zero.
type Config struct {
	// BaseURL is the API's address without a path, such as
	// https://api.client-sandbox.icanbwell.com. https, or http to a loopback
	// host.
	BaseURL string
	// GraphQLPath is appended to BaseURL. Default /v1/graphql (b.well docs,
	// managing-data-connections; the 1.x SDKs use other paths).
	GraphQLPath string
	// TokenPath is appended to BaseURL. Default /identity/oauth/token (b.well
	// docs, oauth-token-exchange).
	TokenPath string
	// ClientKey identifies the app to b.well; it travels with refresh and
	// exchange only (b.well docs, example-token-refresh).
	ClientKey secret.Value
	// HTTP sends the requests. It is copied, and the copy follows no redirects
	// and keeps no cookies. Default: a client whose idle pool is sized for
	// thousands of requests per second to one host.
	HTTP *http.Client
	// UserAgent is sent with every request. Default "smartconnect-connector".
	UserAgent string
	// Timeout bounds one request with its answer. Default 30 s, as the SDKs.
	Timeout time.Duration
	// MaxBody is the most an answer may measure, in bytes after decompression.
	// Default 4 MiB; what is larger is a Transient error and is not read.
	MaxBody int64
	// Tries is how often a call that changes nothing is sent at most when it
	// fails with a Transient error. Default 3; 1 turns retrying off.
	Tries int
	// ObserveTries is the same for Observe, whose caller has a schedule of its
	// own. Default 1.
	ObserveTries int
	// RetryFor is for how long after the first try of a call another may begin.
	// Default 10 s. A Retry-After beyond what is left of it ends the trying.
	RetryFor time.Duration
	// RetryPause is the first pause between two tries; it doubles from there,
	// with jitter. Default 250 ms.
	RetryPause time.Duration
	// PageSize is the _count of paged lists. Default 100, the SDKs' maximum.
	PageSize int
	// MaxPages bounds the pages read of one list; a list that is still not at
	// its end is not Whole. Default 20.
	MaxPages int
	// Zone is where timestamps that name no zone are from. Default UTC, which is
	// a guess: b.well's connections carry such timestamps and say nothing.
	Zone *time.Location
	// PersonClaim is the claim of the access token that names the person.
	// Default clientFhirPersonId (fhir-server, readme/security.md).
	PersonClaim string
	// AssumedLife is how long an access token is taken to live when neither it
	// nor the answer it came in says so. Default 5 min.
	AssumedLife time.Duration
}

// A Client calls b.well. It is safe for concurrent use, starts no goroutines of
// its own, and keeps nothing of one call for the next.
type Client struct {
	http     *http.Client
	graphql  *url.URL
	exchange *url.URL
	config   Config
	seed     maphash.Seed // of digests
	buffers  sync.Pool    // of *bytes.Buffer, for answers while they are read

	// Whether b.well has given a grant, and so taken our client key.
	refreshed, exchanged atomic.Bool

	observe, observeNoTasks []byte // the first requests of Observe, which never change
}

// New returns a client, or an error that says what is wrong with the
// configuration without repeating it.
func New(config Config) (*Client, error) {
	base, err := baseURL(config.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("bwell: base URL: %w", err)
	}
	if config.ClientKey.IsZero() {
		return nil, errors.New("bwell: no client key")
	}
	if strings.ContainsFunc(config.ClientKey.Reveal(), func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("bwell: the client key holds characters no header can carry")
	}
	for _, field := range []struct {
		name string
		is   int64
	}{
		{"timeout", int64(config.Timeout)},
		{"largest answer", config.MaxBody},
		{"number of tries", int64(config.Tries)},
		{"number of tries to observe", int64(config.ObserveTries)},
		{"time for retrying", int64(config.RetryFor)},
		{"pause between tries", int64(config.RetryPause)},
		{"page size", int64(config.PageSize)},
		{"number of pages", int64(config.MaxPages)},
		{"assumed life of a token", int64(config.AssumedLife)},
	} {
		if field.is < 0 {
			return nil, fmt.Errorf("bwell: %s is negative", field.name)
		}
	}
	config.GraphQLPath = cmp.Or(config.GraphQLPath, "/v1/graphql")
	config.TokenPath = cmp.Or(config.TokenPath, "/identity/oauth/token")
	config.UserAgent = cmp.Or(config.UserAgent, "smartconnect-connector")
	config.Timeout = cmp.Or(config.Timeout, 30*time.Second)
	config.MaxBody = cmp.Or(config.MaxBody, 4<<20)
	config.Tries = cmp.Or(config.Tries, 3)
	config.ObserveTries = cmp.Or(config.ObserveTries, 1)
	config.RetryFor = cmp.Or(config.RetryFor, 10*time.Second)
	config.RetryPause = cmp.Or(config.RetryPause, 250*time.Millisecond)
	config.PageSize = cmp.Or(config.PageSize, 100)
	config.MaxPages = cmp.Or(config.MaxPages, 20)
	config.Zone = cmp.Or(config.Zone, time.UTC)
	config.PersonClaim = cmp.Or(config.PersonClaim, "clientFhirPersonId")
	config.AssumedLife = cmp.Or(config.AssumedLife, 5*time.Minute)

	client := &http.Client{Transport: transport()}
	if config.HTTP != nil {
		copied := *config.HTTP
		client = &copied
	}
	// A redirect would carry the member's token to wherever the answer points.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	client.Jar = nil
	c := &Client{
		http: client, config: config, seed: maphash.MakeSeed(),
		graphql: base.JoinPath(config.GraphQLPath), exchange: base.JoinPath(config.TokenPath),
	}
	v := variables{Count: config.PageSize, Page: new(0)}
	c.observeNoTasks = encode(docObserveNoTasks, v)
	v.Code = byCode(codeNetworkSearch)
	c.observe = encode(docObserve, v)
	return c, nil
}

// baseURL parses the API's address. Its errors never repeat the address: it may
// hold a password.
func baseURL(text string) (*url.URL, error) {
	if text == "" {
		return nil, errors.New("is missing")
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "":
		return nil, errors.New("is not of the form https://host")
	case u.User != nil:
		return nil, errors.New("must not hold a user or password")
	case u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("must not hold a query or fragment")
	case !travelsSafely(u):
		return nil, errors.New("must be https; http is for loopback hosts")
	}
	u.Path += "/" // or what is joined to an empty path is relative
	return u, nil
}

// travelsSafely reports whether tokens may be sent to u, or a member to it.
func travelsSafely(u *url.URL) bool {
	if u.Scheme == "https" {
		return true
	}
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())
}

// transport is the default one, with a pool of idle connections that a sweep
// over all members does not exhaust: with the usual two per host nearly every
// request would shake hands anew.
func transport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConns = 1024
	t.MaxIdleConnsPerHost = 1024
	t.ResponseHeaderTimeout = 0 // Config.Timeout bounds the whole request
	t.MaxResponseHeaderBytes = 64 << 10
	return t
}
