package bwell

import (
	"context"
	"encoding/base64"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/smartconnect/connector/internal/secret"
)

// Refresh trades the refresh token for a new access token. An error of class
// [Auth] means that the member has to sign in again; after any other the token
// in hand is as good as before. (b.well docs, example-token-refresh.)
func (c *Client) Refresh(ctx context.Context, refresh secret.Value) (Grant, error) {
	const op = "refresh"
	if err := presentable(op, refresh); err != nil {
		return Grant{}, err
	}
	r := c.request(op, docRefresh, secret.Value{}, variables{})
	r.grants = &c.refreshed
	// With an underscore: proxies that drop such headers break it.
	r.header.Set("refresh_token", refresh.Reveal())
	r.header.Set("clientkey", c.config.ClientKey.Reveal())
	got, a, err := ask(ctx, c, r, c.config.Tries, func(d *decoder, name []byte, into *tokens) {
		if string(name) == "refresh" {
			for name := range d.fields() {
				into.field(d, name)
			}
		}
	})
	return c.grant(r, got, a, err)
}

// Exchange trades an id token of the app's identity provider for tokens of
// b.well's, as RFC 8693 has it. An error of class [Auth] means that b.well does
// not accept the id token. (b.well docs, oauth-token-exchange; which fields the
// answer has can be read nowhere, so all usual ones are understood.)
func (c *Client) Exchange(ctx context.Context, idToken secret.Value) (Grant, error) {
	const op = "exchange"
	if err := presentable(op, idToken); err != nil {
		return Grant{}, err
	}
	form := url.Values{
		"grant_type":           {"urn:ietf:params:oauth:grant-type:token-exchange"},
		"subject_token":        {idToken.Reveal()},
		"subject_token_type":   {"urn:ietf:params:oauth:token-type:jwt"},
		"requested_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
	}
	r := request{op: op, url: c.exchange, header: c.header(secret.Value{}), body: []byte(form.Encode()), grants: &c.exchanged, plain: true}
	r.header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.header.Set("Accept", "application/json")
	// The published example does without; other calls of b.well's identity
	// service answer 400 then.
	r.header.Set("clientkey", c.config.ClientKey.Reveal())
	got, a, err := ask(ctx, c, r, c.config.Tries, func(d *decoder, name []byte, into *tokens) { into.field(d, name) })
	return c.grant(r, got, a, err)
}

// presentable reports a token that no header can carry: no server would ever
// accept it.
func presentable(op string, token secret.Value) error {
	if token.IsZero() || strings.ContainsFunc(token.Reveal(), func(r rune) bool { return r <= ' ' || r > '~' }) {
		const code = "unusable_token"
		return &Error{Op: op, Class: Classify(Fault{Codes: []string{"UNAUTHENTICATED"}}), Code: code}
	}
	return nil
}

// tokens are those of an answer, in the spellings of OAuth and of b.well's
// GraphQL schema.
type tokens struct {
	access, id, refresh string
	expiresIn           float64 // seconds
}

func (t *tokens) field(d *decoder, name []byte) {
	switch string(name) {
	case "access_token", "accessToken":
		t.access = d.token()
	case "id_token", "idToken":
		t.id = d.token()
	case "refresh_token", "refreshToken":
		t.refresh = d.token()
	case "expires_in", "expiresIn":
		t.expiresIn = d.number()
	}
}

// token reads a token: a text, as refresh has it, or an object that holds it, as
// getToken does.
func (d *decoder) token() string {
	if text, ok := d.text(); ok {
		return string(text)
	}
	token := ""
	for name := range d.fields() {
		switch string(name) {
		case "jwtToken", "token":
			if text, ok := d.text(); ok {
				token = string(text)
			}
		}
	}
	return token
}

// number reads a number, also one written as a text; 0 if it is none.
func (d *decoder) number() float64 {
	text, ok := d.text()
	if !ok {
		text = d.raw()
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
	if err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
		return 0
	}
	return n
}

// grant makes a grant of the tokens that came. One that came is taken even if
// the answer has errors, too: b.well may have rotated the old one away.
func (c *Client) grant(r request, got tokens, a answer, err error) (Grant, error) {
	access := secret.New(got.access)
	switch {
	case err != nil:
		return Grant{}, err
	case presentable(r.op, access) == nil:
	case len(a.failures) > 0:
		return Grant{}, a.all(r)
	case len(a.fault.Codes)+len(a.fault.Issues) > 0:
		return Grant{}, a.failed(r, "", a.fault, nil)
	default:
		return Grant{}, a.incomplete(r, "", "no_access_token")
	}
	r.grants.Store(true)
	g := Grant{Access: access, Refresh: secret.New(got.refresh)}
	if presentable(r.op, g.Refresh) != nil {
		g.Refresh = secret.Value{}
	}
	in := claims(got.access, c.config.PersonClaim)
	g.PersonID = in.person
	if g.PersonID == "" {
		g.PersonID = claims(got.id, c.config.PersonClaim).person
	}
	g.Expires = expiry(in.expires, got.expiresIn, a.date, time.Now(), c.config.AssumedLife)
	return g, nil
}

// maxLife bounds what is believed of a token's life.
const maxLife = 365 * 24 * time.Hour

// expiry returns when an access token ends, on our clock: that and b.well's may
// differ by more than a token's life, so the token's exp is taken relative to
// the date of the answer it came in.
func expiry(exp, expiresIn float64, date, now time.Time, assumed time.Duration) time.Time {
	if date.IsZero() {
		date = now
	}
	seconds := expiresIn
	if exp > 0 {
		seconds = exp - float64(date.Unix())
	}
	switch {
	case exp <= 0 && expiresIn <= 0:
		return now.Add(assumed)
	case seconds >= maxLife.Seconds():
		return now.Add(maxLife)
	default:
		return now.Add(time.Duration(max(seconds, 0) * float64(time.Second)))
	}
}

// A claimed is what we want of a JWT.
type claimed struct {
	expires float64 // Unix seconds; 0: it does not say
	person  string
}

// claims reads a JWT without verifying it: b.well verifies it, we plan by it. Of
// anything else there are no claims. Id tokens have the person under a prefix
// (SDK 2.x, utils/parsing-utils.js).
func claims(token, person string) claimed {
	var c claimed
	_, rest, _ := strings.Cut(token, ".")
	payload, _, ok := strings.Cut(rest, ".")
	if !ok {
		return c
	}
	text, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(payload, "="))
	if err != nil {
		return c
	}
	read, ok := newReader(text)
	if !ok {
		return c
	}
	d := decoder{reader: read}
	for name := range d.fields() {
		switch string(name) {
		case "exp":
			c.expires = d.number()
		case person, "custom:" + person:
			c.person = d.id()
		}
	}
	return c
}
