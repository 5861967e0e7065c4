package bwell

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/smartconnect/connector/internal/secret"
)

func jwt(claims string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
}

func TestRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		access := jwt(fmt.Sprintf(`{"exp":%d,"clientFhirPersonId":"p-1"}`, time.Now().Add(time.Hour).Unix()))
		for body, want := range map[string]Grant{
			`{"accessToken":"` + access + `","idToken":"x","refreshToken":"r2"}`:                                   {Refresh: secret.New("r2")},
			`{"accessToken":"` + access + `","idToken":"x","refreshToken":null}`:                                   {},
			`{"accessToken":{"jwtToken":"` + access + `"},"idToken":null,"refreshToken":{"token":"r3"}}`:           {Refresh: secret.New("r3")},
			`{"accessToken":"` + access + `","refreshToken":"not a\ntoken"},"errors":[{"path":["refresh"]}],"":{}`: {},
		} {
			c := client(t, Config{}, func(r *http.Request, op string, _ map[string]any) *http.Response {
				if op != "Refresh" || r.Header.Get("refresh_token") != "r1" || r.Header.Get("clientkey") != "hush-key" || r.Header.Get("Authorization") != "" {
					t.Error(op, r.Header)
				}
				return reply(200, `{"data":{"refresh":`+body+`}}`)
			})
			want.Access, want.Expires, want.PersonID = secret.New(access), time.Now().Add(time.Hour), "p-1"
			if got, err := c.Refresh(t.Context(), secret.New("r1")); err != nil || got != want {
				t.Errorf("%s: %+v, %v", body, got, err)
			}
		}
	})
}

func TestExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		for _, tt := range []struct {
			name, body string
			date       time.Time
			life       time.Duration
			person     string
			refresh    string
		}{
			{"all there is", `{"access_token":"` + jwt(`{"exp":946688400,"clientFhirPersonId":"p"}`) + `","token_type":"Bearer","expires_in":60,"refresh_token":"r","id_token":"i"}`, now, time.Hour, "p", "r"},
			{"our clock is an hour ahead", `{"access_token":"` + jwt(`{"exp":946688400}`) + `"}`, now.Add(-time.Hour), 2 * time.Hour, "", ""},
			{"opaque, expires_in a number", `{"access_token":"opaque","expires_in":120}`, now, 2 * time.Minute, "", ""},
			{"opaque, expires_in a text", `{"access_token":"opaque","expires_in":"120"}`, now, 2 * time.Minute, "", ""},
			{"opaque, nothing known", `{"access_token":"opaque","expires_in":null}`, now, 5 * time.Minute, "", ""},
			{"already over", `{"access_token":"` + jwt(`{"exp":1}`) + `"}`, now, 0, "", ""},
			{"for ever", `{"access_token":"` + jwt(`{"exp":1e300}`) + `"}`, now, maxLife, "", ""},
			{"the person is in the id token", `{"access_token":"opaque","id_token":"` + jwt(`{"custom:clientFhirPersonId":"q"}`) + `"}`, now, 5 * time.Minute, "q", ""},
			{"claims of no shape", `{"access_token":"` + jwt(`{"exp":"soon","clientFhirPersonId":["p"]}`) + `"}`, now, 5 * time.Minute, "", ""},
			{"no claims", `{"access_token":"` + jwt(`[1]`) + `"}`, now, 5 * time.Minute, "", ""},
			{"no base64", `{"access_token":"a.%%.c"}`, now, 5 * time.Minute, "", ""},
			{"camel case", `{"accessToken":"opaque","refreshToken":"r"}`, now, 5 * time.Minute, "", "r"},
		} {
			c := client(t, Config{}, func(r *http.Request, _ string, _ map[string]any) *http.Response {
				if r.URL.Path != "/identity/oauth/token" || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || r.Header.Get("Authorization") != "" {
					t.Error(r.URL.Path, r.Header)
				}
				return reply(200, tt.body, "Date", tt.date.UTC().Format(http.TimeFormat))
			})
			got, err := c.Exchange(t.Context(), secret.New("id"))
			if err != nil || got.Expires.Sub(now) != tt.life || got.PersonID != tt.person || got.Refresh.Reveal() != tt.refresh || got.Access.IsZero() {
				t.Errorf("%s: %+v in %v, %v", tt.name, got, got.Expires.Sub(now), err)
			}
		}
	})
}

// form is a RoundTripper that keeps the form it is sent.
type form struct{ url.Values }

func (f *form) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		f.Values, err = url.ParseQuery(string(body))
	}
	return reply(200, `{"access_token":"a"}`), err
}

func TestExchangeIsRFC8693(t *testing.T) {
	sent := new(form)
	c := client(t, Config{}, nil)
	c.http.Transport = sent
	if _, err := c.Exchange(t.Context(), secret.New("a+b/c=")); err != nil {
		t.Fatal(err)
	}
	want := url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token": {"a+b/c="},
		"subject_token_type":   {"urn:ietf:params:oauth:token-type:jwt"},
		"requested_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
	}
	if sent.Encode() != want.Encode() {
		t.Error(sent.Encode())
	}
}

func TestRefusedGrants(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int
		body   string
		class  Class
	}{
		{"refused", 401, `{"errors":[{"extensions":{"code":"UNAUTHENTICATED"}}]}`, Auth},
		{"bad request", 400, `{"statusCode":400,"message":"Bad Request"}`, Auth},
		{"forbidden", 403, ``, Auth},
		{"refused with 200", 200, `{"data":null,"errors":[{"extensions":{"code":"400"}}]}`, Auth},
		{"OAuth's", 400, `{"error":"invalid_grant","error_description":"x"}`, Auth},
		{"OAuth's with 200", 200, `{"error":"invalid_grant"}`, Auth},
		{"our key", 401, `{"error":"invalid_client"}`, Invalid},
		{"our document", 200, `{"errors":[{"extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]}`, Invalid},
		{"wrong path", 404, `<html>`, Invalid},
		{"outage", 503, ``, Transient},
		{"outage with 200", 200, `{"data":null,"errors":[{"message":"Internal server error"}]}`, Transient},
		{"too many", 429, ``, Transient},
		{"HTML", 200, `<html>`, Transient},
		{"no token", 200, `{"data":{"refresh":{"accessToken":null}},"access_token":null}`, Invalid},
		{"no token that could be sent", 200, `{"data":{"refresh":{"accessToken":"a b"}},"access_token":"a b"}`, Invalid},
	} {
		c := client(t, Config{Tries: 1}, always(tt.status, tt.body))
		c.refreshed.Store(true) // others were given grants
		c.exchanged.Store(true)
		for name, call := range map[string]func() (Grant, error){
			"refresh":  func() (Grant, error) { return c.Refresh(t.Context(), token) },
			"exchange": func() (Grant, error) { return c.Exchange(t.Context(), token) },
		} {
			if got, err := call(); ClassOf(err) != tt.class || got != (Grant{}) {
				t.Errorf("%s, %s: %v", tt.name, name, err)
			}
		}
	}
}

// A bare 400 is b.well's answer to a grant that nobody knows, and also to a wrong
// client key. As long as none was ever given it may be the key: then no member
// loses their grant over it.
func TestABare400BeforeAnyGrant(t *testing.T) {
	given := false
	c := client(t, Config{Tries: 1}, func(*http.Request, string, map[string]any) *http.Response {
		if given {
			return reply(200, `{"data":{"refresh":{"accessToken":"a"}},"access_token":"a"}`)
		}
		return reply(400, `{"statusCode":400,"message":"Bad Request"}`)
	})
	for name, call := range map[string]func() (Grant, error){
		"refresh":  func() (Grant, error) { return c.Refresh(t.Context(), token) },
		"exchange": func() (Grant, error) { return c.Exchange(t.Context(), token) },
	} {
		given = false
		if _, err := call(); ClassOf(err) != Invalid {
			t.Errorf("%s before any grant: %v", name, err)
		}
		given = true
		if _, err := call(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		given = false
		if _, err := call(); ClassOf(err) != Auth {
			t.Errorf("%s after a grant: %v", name, err)
		}
	}
}
