package bridge

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/schemas"
)

const (
	secretPrefix = "whsec_"
	mostAnswer   = 64 << 10 // bytes of an answer that are read, so that the connection can be used again
)

// A post sends events to one endpoint, signed.
type post struct {
	Endpoint
	signers []*webhooks.Webhook
	client  *http.Client
	longest time.Duration
}

// newPost reads the endpoint's secrets and certificates.
func (c Config) newPost(e Endpoint, env func(string) (string, bool)) (*post, error) {
	p := &post{Endpoint: e, longest: c.MaxDelay}
	for i, s := range e.Secrets {
		signer, err := c.signer(s, env)
		if err != nil {
			return nil, fmt.Errorf("bridge: endpoint %s: secret %d: %w", e.Name, i+1, err)
		}
		p.signers = append(p.signers, signer)
	}
	roots, err := c.roots(e)
	if err != nil {
		return nil, fmt.Errorf("bridge: endpoint %s: ca: %w", e.Name, err)
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second, ControlContext: guard{private: e.AllowPrivate, loopback: e.plainHTTP()}.control}
	p.client = &http.Client{
		Transport: &http.Transport{
			Proxy:       nil, // the guard would see the proxy's address and nothing else
			DialContext: dialer.DialContext, TLSHandshakeTimeout: 10 * time.Second,
			TLSClientConfig:   &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
			ForceAttemptHTTP2: true, DisableCompression: true, MaxResponseHeaderBytes: mostAnswer,
			MaxIdleConnsPerHost: e.Concurrency, IdleConnTimeout: 90 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return p, nil
}

// signer reads one secret. Its errors do not quote it.
func (c Config) signer(s Secret, env func(string) (string, bool)) (*webhooks.Webhook, error) {
	text := ""
	if s.Env != "" {
		value, ok := env(s.Env)
		if !ok {
			return nil, fmt.Errorf("the variable %s is not set", s.Env)
		}
		text = value
	} else {
		body, err := os.ReadFile(c.in(s.File))
		if err != nil {
			return nil, err
		}
		text = string(body)
	}
	text = strings.TrimSpace(text)
	key, err := base64.StdEncoding.Strict().DecodeString(strings.TrimPrefix(text, secretPrefix))
	if err != nil || !strings.HasPrefix(text, secretPrefix) || len(key) < 24 || len(key) > 64 {
		return nil, errors.New("want " + secretPrefix + " and base64 of 24 to 64 bytes")
	}
	return webhooks.NewWebhookRaw(key)
}

func (c Config) roots(e Endpoint) (*x509.CertPool, error) {
	if e.CA == "" {
		return nil, nil // the system's
	}
	body, err := os.ReadFile(c.in(e.CA))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(body) {
		return nil, errors.New("it holds no certificate in PEM")
	}
	return pool, nil
}

// send posts m once. status is 0 if there was no answer.
func (p *post) send(ctx context.Context, m message, tries uint64) (v verdict, status int) {
	next, longest := delay(tries, p.longest), delay(64, p.longest)
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	now := time.Now()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.URL, bytes.NewReader(m.body))
	if err != nil {
		return failed(NoConnection, next, longest), 0
	}
	var signatures []string
	for _, s := range p.signers {
		signature, err := s.Sign(m.id, now, m.body)
		if err != nil {
			return failed(NoConnection, next, longest), 0
		}
		signatures = append(signatures, signature)
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("User-Agent", "smartconnect-connector")
	req.Header.Set(webhooks.HeaderWebhookID, m.id)
	req.Header.Set(webhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	req.Header.Set(webhooks.HeaderWebhookSignature, strings.Join(signatures, " "))
	resp, err := p.client.Do(req)
	if err != nil {
		return failed(class(err), next, longest), 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, mostAnswer)) // what it says is nothing to us
	return judge(resp.StatusCode, retryAfter(resp.Header.Get("Retry-After"), now), next, longest), resp.StatusCode
}

// class names an error. The error itself holds the URL and is told to nobody.
func class(err error) Why {
	if errors.Is(err, errAddress) {
		return AddressRefused
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return NoName
	}
	if n, ok := errors.AsType[net.Error](err); ok && n.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		return Timeout
	}
	_, cert := errors.AsType[*tls.CertificateVerificationError](err)
	_, record := errors.AsType[tls.RecordHeaderError](err)
	_, alert := errors.AsType[tls.AlertError](err)
	if cert || record || alert || strings.Contains(err.Error(), "tls: ") {
		return TLS
	}
	return NoConnection
}

// delay returns how long to wait after so many tries: a second, then about
// twice as long each time, up to most.
func delay(tries uint64, most time.Duration) time.Duration {
	b := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(time.Second), backoff.WithMultiplier(2), backoff.WithRandomizationFactor(0.2),
		backoff.WithMaxInterval(most), backoff.WithMaxElapsedTime(0))
	d := b.NextBackOff()
	for range min(max(tries, 1)-1, 63) {
		d = b.NextBackOff()
	}
	return min(d, most)
}

// A Result is what became of a test.
type Result struct {
	ID     string      `json:"id"`
	Type   events.Type `json:"type"`
	Why    Why         `json:"result"`
	Status int         `json:"status,omitempty"`
}

// Test posts one made-up event to an endpoint, signed as others are: the sample
// of the first type it is sent, from [events.TestSource], and over already where
// the type can be.
func (c Config) Test(ctx context.Context, name string, env func(string) (string, bool)) (Result, error) {
	e, err := c.Find(name)
	if err != nil {
		return Result{}, err
	}
	p, err := c.newPost(e, env)
	if err != nil {
		return Result{}, err
	}
	defer p.client.CloseIdleConnections()
	m, err := sample(e.types()[0], time.Now().UTC()) // check wants at least one
	if err != nil {
		return Result{}, fmt.Errorf("bridge: make a test event: %w", err)
	}
	v, status := p.send(ctx, m, 1)
	return Result{m.id, m.typ, v.why, status}, nil
}

// sample makes an event of a type that nobody has to act on.
func sample(t events.Type, now time.Time) (message, error) {
	raw, err := fs.ReadFile(schemas.FS, "fixtures/"+t.SchemaFile())
	if err != nil {
		return message{}, err
	}
	var e events.Event
	if err := json.Unmarshal(raw, &e); err != nil {
		return message{}, err
	}
	e.ID, e.Source = "test-"+strings.ToLower(rand.Text()), events.TestSource
	e.Time, e.Recorded, e.CausationID, e.TraceParent = now, now, "", ""
	if !e.Expires.IsZero() {
		e.Expires = now
	}
	body, err := json.Marshal(e)
	return message{id: e.ID, typ: t, body: body}, err
}
