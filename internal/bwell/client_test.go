package bwell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/smartconnect/connector/internal/secret"
)

func TestNewTakes(t *testing.T) {
	for _, base := range []string{"https://api.example", "https://api.example:8443/", "http://127.0.0.1:8090", "http://[::1]:1", "http://localhost"} {
		if _, err := New(Config{BaseURL: base, ClientKey: key}); err != nil {
			t.Errorf("%s: %v", base, err)
		}
	}
	for want, config := range map[string]Config{
		"no client key": {BaseURL: "https://api.example"},
		"no header":     {BaseURL: "https://api.example", ClientKey: secret.New("a\nb")},
		"negative":      {BaseURL: "https://api.example", ClientKey: key, Tries: -1},
	} {
		if _, err := New(config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestObserveIsOneRequest(t *testing.T) {
	for _, want := range []Want{{}, {NoTasks: true}} {
		calls := 0
		c := client(t, Config{UserAgent: "ua"}, func(r *http.Request, op string, vars map[string]any) *http.Response {
			calls++
			if r.Method != "POST" || r.URL.String() != "https://hush.example/v1/graphql" || r.Header.Get("Authorization") != "Bearer hush-access" ||
				r.Header.Get("Content-Type") != "application/json" || !strings.HasPrefix(r.Header.Get("Accept"), "application/graphql-response+json") ||
				r.Header.Get("User-Agent") != "ua" || r.Header.Get("Clientkey") != "" {
				t.Error(r.Method, r.URL, r.Header)
			}
			if vars["n"] != 100.0 || vars["p"] != 0.0 {
				t.Error(vars)
			}
			if want.NoTasks {
				if op != "ObserveNoTasks" || vars["code"] != nil {
					t.Error(op, vars)
				}
				return reply(200, `{"data":{"getMemberConnections":[{"id":"a"}],"consents":{"entry":[]}}}`)
			}
			if op != "Observe" || fmt.Sprint(vars["code"]) != "map[value:map[code:network-data-retrieval]]" {
				t.Error(op, vars)
			}
			return reply(200, `{"data":{"getMemberConnections":[{"id":"a"}],"tasks":{"entry":[{"resource":{"id":"t"}}]},"consents":{"entry":[]}}}`,
				"Date", "Sun, 01 Mar 2026 10:11:12 GMT")
		})
		o, err := c.Observe(t.Context(), token, want)
		if err != nil || calls != 1 || !o.Connections.Whole || !o.Consents.Whole || len(o.Connections.Items) != 1 {
			t.Errorf("%+v, %v, %d calls", o, err, calls)
		}
		if o.Tasks.Whole == want.NoTasks || o.Tasks.Err != nil {
			t.Errorf("tasks: %+v", o.Tasks)
		}
		if !want.NoTasks && !o.Date.Equal(time.Date(2026, 3, 1, 10, 11, 12, 0, time.UTC)) {
			t.Error(o.Date)
		}
	}
}

// Answers with errors and data: which lists may be relied on, and what is asked
// again.
func TestPartialAnswers(t *testing.T) {
	const whole = `"getMemberConnections":[{"id":"a"}],"tasks":{"entry":[{"resource":{"id":"t"}}]},"consents":{"entry":[{"resource":{"id":"c"}}]}`
	single := map[string]string{
		"Connections": `{"data":{"getMemberConnections":[{"id":"a"}]}}`,
		"Tasks":       `{"data":{"tasks":{"entry":[{"resource":{"id":"t"}}]}}}`,
		"Consents":    `{"data":{"consents":{"entry":[{"resource":{"id":"c"}}]}}}`,
	}
	for _, tt := range []struct {
		name, body string
		whole      string // c t n: connections, tasks, consents
		asked      string // the operations after the first
		class      Class  // of the error
		single     map[string]string
	}{
		{name: "no errors", body: `{"data":{` + whole + `}}`, whole: "ctn"},
		{name: "no errors, in a list", body: `{"errors":[],"data":{` + whole + `}}`, whole: "ctn"},
		{name: "a root failed", body: `{"data":{"getMemberConnections":[{"id":"a"}],"tasks":null,"consents":{"entry":null}},"errors":[{"path":["tasks"]}]}`, whole: "cn"},
		{name: "a field within failed", body: `{"errors":[{"path":["getMemberConnections",0,"name"]}],"data":{` + whole + `}}`, whole: "tn"},
		{name: "two failed", body: `{"errors":[{"path":["getMemberConnections",0,"name"]},{"path":["consents"]}],"data":{` + whole + `}}`, whole: "t"},
		{name: "no path", body: `{"errors":[{"message":"x"}],"data":{` + whole + `}}`, class: Transient},
		{name: "empty path", body: `{"errors":[{"path":[]}],"data":{` + whole + `}}`, class: Transient},
		{name: "path of another document", body: `{"errors":[{"path":["patients"]}],"data":{` + whole + `}}`, class: Transient},
		{name: "path of no shape", body: `{"errors":[{"path":"tasks"}],"data":{` + whole + `}}`, class: Transient},
		{name: "errors of no shape", body: `{"errors":{"path":["tasks"]},"data":{` + whole + `}}`, class: Transient},
		{name: "a null error", body: `{"errors":[null],"data":{` + whole + `}}`, class: Transient},
		{name: "refused at one root", body: `{"errors":[{"path":["tasks"],"extensions":{"code":"UNAUTHENTICATED"}}],"data":{` + whole + `}}`, class: Auth},
		{name: "forbidden at one root", body: `{"errors":[{"path":["tasks"],"extensions":{"code":"FORBIDDEN"}}],"data":{` + whole + `}}`, whole: "cn"},
		{name: "missing without an error", body: `{"data":{"tasks":{"entry":null}}}`, whole: "t"},
		{name: "null without an error", body: `{"data":{"getMemberConnections":null,"tasks":null,"consents":null}}`, class: Invalid},

		{name: "connections may not be null", body: `{"data":null,"errors":[{"path":["getMemberConnections"]}]}`, whole: "tn", asked: "Consents Tasks", single: single},
		{name: "and nothing else comes either", body: `{"data":null,"errors":[{"path":["getMemberConnections"]}]}`, asked: "Consents Tasks", class: Transient},
		{name: "the document is refused", body: `{"errors":[{"message":"x","extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]}`, whole: "ctn", asked: "Connections Consents Tasks", single: single},
		{
			name: "one root is not there", body: `{"errors":[{"extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]}`, whole: "cn", asked: "Connections Consents Tasks",
			single: map[string]string{"Connections": single["Connections"], "Consents": single["Consents"]},
		},
		{name: "nobody says what failed", body: `{"data":null,"errors":[{"message":"x"}]}`, class: Transient},
		{name: "forbidden altogether", body: `{"data":null,"errors":[{"path":["getMemberConnections"],"extensions":{"code":"403"}}]}`, class: Forbidden},
	} {
		var asked []string
		c := client(t, Config{ObserveTries: 1}, func(_ *http.Request, op string, _ map[string]any) *http.Response {
			if op == "Observe" {
				return reply(200, tt.body)
			}
			asked = append(asked, op)
			if answer, ok := tt.single[op]; ok {
				return reply(200, answer)
			}
			return reply(503, `{}`)
		})
		o, err := c.Observe(t.Context(), token, Want{})
		var got strings.Builder
		for _, l := range []struct {
			sign  string
			whole bool
			items int
			err   error
		}{
			{"c", o.Connections.Whole, len(o.Connections.Items), o.Connections.Err},
			{"t", o.Tasks.Whole, len(o.Tasks.Items), o.Tasks.Err},
			{"n", o.Consents.Whole, len(o.Consents.Items), o.Consents.Err},
		} {
			if l.whole {
				got.WriteString(l.sign)
			} else if l.items > 0 {
				t.Errorf("%s: %s has items and is not whole", tt.name, l.sign)
			}
			if l.whole == (l.err != nil) {
				t.Errorf("%s: %s: whole %t, %v", tt.name, l.sign, l.whole, l.err)
			}
		}
		if tt.class != Auth && got.String() != tt.whole || ClassOf(err) != tt.class || strings.Join(asked, " ") != tt.asked {
			t.Errorf("%s: whole %q, %v, asked %q", tt.name, got.String(), err, asked)
		}
	}
}

func TestPaging(t *testing.T) {
	// A server of n consents that heeds what it is told to.
	serve := func(n int, heeds bool) (*Client, *[]string) {
		var asked []string
		return client(t, Config{PageSize: 3, MaxPages: 4}, func(_ *http.Request, op string, vars map[string]any) *http.Response {
			page := int(vars["p"].(float64))
			asked = append(asked, op+strconv.Itoa(page))
			if vars["n"] != 3.0 {
				t.Error("_count:", vars["n"])
			}
			if !heeds {
				page = 0
			}
			var rows []string
			for i := page * 3; i < min(n, page*3+3); i++ {
				rows = append(rows, fmt.Sprintf(`{"resource":{"id":"c%d","status":"odd"}}`, i))
			}
			consents := `"consents":{"entry":[` + strings.Join(rows, ",") + `]}`
			if op == "Consents" {
				return reply(200, `{"data":{`+consents+`}}`)
			}
			return reply(200, `{"data":{"getMemberConnections":[],"tasks":{"entry":null},`+consents+`}}`)
		}), &asked
	}
	for _, tt := range []struct {
		n     int
		heeds bool
		asked string
		code  string
	}{
		{0, true, "Observe0", ""},
		{2, true, "Observe0", ""},
		{3, true, "Observe0 Consents1", ""},
		{7, true, "Observe0 Consents1 Consents2", ""},
		{11, true, "Observe0 Consents1 Consents2 Consents3", ""},
		{12, true, "Observe0 Consents1 Consents2 Consents3", "too_many_pages"},
		{3, false, "Observe0 Consents1", "repeated_page"},
	} {
		c, asked := serve(tt.n, tt.heeds)
		o, err := c.Observe(t.Context(), token, Want{})
		if err != nil || strings.Join(*asked, " ") != tt.asked {
			t.Errorf("%d: asked %q, %v", tt.n, *asked, err)
		}
		if tt.code != "" {
			if e, ok := errors.AsType[*Error](o.Consents.Err); !ok || e.Code != tt.code || e.Class != Invalid || o.Consents.Whole || o.Consents.Items != nil {
				t.Errorf("%d: %+v", tt.n, o.Consents)
			}
			continue
		}
		ids := make(map[string]bool)
		for _, item := range o.Consents.Items {
			ids[item.ID] = true
		}
		if !o.Consents.Whole || len(ids) != tt.n || len(o.Consents.Items) != tt.n || o.Consents.Unknown["consent.status"] != tt.n {
			t.Errorf("%d: %+v", tt.n, o.Consents)
		}
	}

	c := client(t, Config{PageSize: 1}, func(_ *http.Request, op string, _ map[string]any) *http.Response {
		if op == "Consents" {
			return reply(500, ``)
		}
		return reply(200, `{"data":{"getMemberConnections":[],"tasks":{"entry":null},"consents":{"entry":[{"resource":{"id":"c"}}]}}}`)
	})
	if o, err := c.Observe(t.Context(), token, Want{}); err != nil || o.Consents.Whole || ClassOf(o.Consents.Err) != Transient || o.Consents.Items != nil || !o.Tasks.Whole {
		t.Errorf("a later page failed: %+v, %v", o, err)
	}
}

func TestRetries(t *testing.T) {
	type call = func(ctx context.Context, c *Client) error
	observe := func(ctx context.Context, c *Client) error { _, err := c.Observe(ctx, token, Want{}); return err }
	oauth := func(ctx context.Context, c *Client) error { _, err := c.OAuthURL(ctx, token, "a"); return err }
	activate := func(ctx context.Context, c *Client) error { _, err := c.ActivateDirect(ctx, token, "a"); return err }
	for _, tt := range []struct {
		name   string
		config Config
		answer fake
		call   call
		tries  int
		within time.Duration // 0: at once
		class  Class
	}{
		{"observe is not repeated", Config{}, always(503, ``), observe, 1, 0, Transient},
		{"unless told so", Config{ObserveTries: 2}, always(503, ``), observe, 2, time.Second, Transient},
		{"others are", Config{}, always(503, ``), oauth, 3, 2 * time.Second, Transient},
		{"unless told not to", Config{Tries: 1}, always(503, ``), oauth, 1, 0, Transient},
		{"an activation never is", Config{Tries: 9}, always(503, ``), activate, 1, 0, Transient},
		{"nor what cannot pass", Config{}, always(400, ``), oauth, 1, 0, Invalid},
		{"nor a refused token", Config{}, always(401, ``), oauth, 1, 0, Auth},
		{"it waits as asked", Config{Tries: 2}, always(429, ``, "Retry-After", "5"), oauth, 2, 6 * time.Second, Transient},
		{"but not for ever", Config{}, always(429, ``, "Retry-After", "11"), oauth, 1, 0, Transient},
		{"the network is tried again, too", Config{}, func(*http.Request, string, map[string]any) *http.Response { return nil }, oauth, 3, 2 * time.Second, Transient},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tries, start := 0, time.Now()
				c := client(t, tt.config, func(r *http.Request, op string, vars map[string]any) *http.Response {
					tries++
					return tt.answer(r, op, vars)
				})
				err := tt.call(t.Context(), c)
				if took := time.Since(start); tries != tt.tries || ClassOf(err) != tt.class || took > tt.within || (took == 0) != (tt.within == 0) {
					t.Errorf("%d tries in %v: %v", tries, took, err)
				}
			})
		})
	}
}

func TestRetryForgetsTheFirstAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		c := client(t, Config{ObserveTries: 2}, func(*http.Request, string, map[string]any) *http.Response {
			if tries++; tries == 1 {
				return reply(200, `{"data":{"getMemberConnections":[{"id":"old"}],"tasks":{"entry":null}},"data":null}`)
			}
			return reply(200, `{"data":{"consents":{"entry":null}}}`)
		})
		o, err := c.Observe(t.Context(), token, Want{})
		if err != nil || tries != 2 || o.Connections.Whole || o.Tasks.Whole || !o.Consents.Whole {
			t.Errorf("%d tries: %+v, %v", tries, o, err)
		}
	})
}

func TestGivingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		c := client(t, Config{RetryPause: time.Hour, RetryFor: 9 * time.Hour}, always(503, ``))
		if _, err := c.OAuthURL(ctx, token, "a"); !errors.Is(err, context.DeadlineExceeded) || ClassOf(err) != Transient || !strings.Contains(err.Error(), "503") {
			t.Error("in a pause:", err)
		}
		start := time.Now()
		stuck := client(t, Config{Timeout: 3 * time.Second}, always(200, ``))
		stuck.http.Transport = hanging{}
		if _, err := stuck.Observe(t.Context(), token, Want{}); !errors.Is(err, context.DeadlineExceeded) || ClassOf(err) != Transient || time.Since(start) != 3*time.Second {
			t.Error("without an answer:", err, time.Since(start))
		}
		ctx, cancel = context.WithCancel(t.Context())
		cancel()
		if _, err := stuck.Observe(ctx, token, Want{}); !errors.Is(err, context.Canceled) || ClassOf(err) != Transient {
			t.Error("canceled:", err)
		}
	})
}

// hanging never answers.
type hanging struct{}

func (hanging) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func TestRetryAfter(t *testing.T) {
	date := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "30": 30 * time.Second, " 30 ": 30 * time.Second, "-1": 0, "soon": 0, "4000000000": maxRetryAfter, "99999999999999999999": 0,
		"Sun, 01 Mar 2026 10:00:20 GMT": 20 * time.Second, "Sun, 01 Mar 2026 09:00:00 GMT": 0, "Sun, 01 Mar 2099 09:00:00 GMT": maxRetryAfter,
	} {
		if got := retryAfter(text, date); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
	_, err := client(t, Config{}, always(503, ``, "Retry-After", "77")).Observe(t.Context(), token, Want{})
	if e, ok := errors.AsType[*Error](err); !ok || e.RetryAfter != 77*time.Second {
		t.Error(err)
	}
}

// endless is a body that would never end; it counts what is read of it.
type endless struct{ read atomic.Int64 }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	e.read.Add(int64(len(p)))
	return len(p), nil
}

func (e *endless) Close() error { return nil }

func TestLargeAnswersAreNotRead(t *testing.T) {
	body := new(endless)
	for _, length := range []int64{-1, 10 << 20} {
		c := client(t, Config{MaxBody: 1 << 20}, func(*http.Request, string, map[string]any) *http.Response {
			return &http.Response{StatusCode: 200, Body: body, ContentLength: length}
		})
		_, err := c.Observe(t.Context(), token, Want{})
		if ClassOf(err) != Transient || !errors.Is(err, errTooLarge) {
			t.Error(err)
		}
	}
	if read := body.read.Load(); read > 2<<20 {
		t.Errorf("%d bytes were read", read)
	}
	rows := strings.Repeat(`{"id":"a"},`, 1000)
	answer := `{"data":{"getMemberConnections":[` + rows[:len(rows)-1] + `]}}`
	c := client(t, Config{MaxBody: int64(len(answer))}, always(200, answer))
	if o, err := c.Observe(t.Context(), token, Want{}); err != nil || len(o.Connections.Items) != 1000 {
		t.Error("just as large as allowed:", err)
	}
}

func TestOverRealHTTP(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	defer elsewhere.Close()
	redirect := false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.Cookies()) > 0 {
			t.Error("a cookie came back")
		}
		if body, _ := io.ReadAll(r.Body); int64(len(body)) != r.ContentLength || len(r.Header["X-Idempotency-Key"]) > 0 {
			t.Error(len(body), r.Header)
		}
		if redirect {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "a", Value: "b"})
		_, _ = io.WriteString(w, `{"data":{"getMemberConnections":[{"id":"a"}],"consents":{"entry":null},"tasks":{"entry":null}}}`)
	}))
	defer server.Close()
	c, err := New(Config{BaseURL: server.URL, ClientKey: key})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if o, err := c.Observe(t.Context(), token, Want{}); err != nil || len(o.Connections.Items) != 1 || o.Date.IsZero() {
			t.Error(o, err)
		}
	}
	redirect = true
	if _, err := c.Observe(t.Context(), token, Want{}); ClassOf(err) != Invalid {
		t.Error(err)
	}
	server.Close()
	if _, err := c.Observe(t.Context(), token, Want{}); ClassOf(err) != Transient {
		t.Error(err)
	}
}

func TestOAuthURL(t *testing.T) {
	for redirect, ok := range map[string]bool{
		`"https://login.example/a?b=c"`: true, `"http://127.0.0.1:8090/x"`: true,
		`"http://login.example/"`: false, `"javascript:alert(1)"`: false, `"/relative"`: false, `""`: false, `null`: false, `7`: false,
	} {
		c := client(t, Config{}, func(_ *http.Request, op string, vars map[string]any) *http.Response {
			if op != "OauthUrl" || vars["id"] != "a_b" {
				t.Error(op, vars)
			}
			return reply(200, `{"data":{"getOauthUrl":{"redirectUrl":`+redirect+`}}}`)
		})
		got, err := c.OAuthURL(t.Context(), token, "a_b")
		if ok && (err != nil || `"`+got.Reveal()+`"` != redirect) || !ok && (ClassOf(err) != Invalid || !got.IsZero()) {
			t.Errorf("%s: %v", redirect, err)
		}
	}
	c := client(t, Config{}, always(200, `{"data":null,"errors":[{"extensions":{"resource":{"issue":[{"code":"not-found"}]}}}]}`))
	if _, err := c.OAuthURL(t.Context(), token, "a"); ClassOf(err) != Invalid {
		t.Error(err)
	}
}

func TestActivateDirect(t *testing.T) {
	c := client(t, Config{}, func(_ *http.Request, op string, vars map[string]any) *http.Response {
		if op != "Activate" || vars["id"] != "a" {
			t.Error(op, vars)
		}
		return reply(200, `{"data":{"activateDirectConnection":{"status":"CONNECTED","statusUpdated":"2026-03-01T10:11:12.131000"}}}`)
	})
	if got, err := c.ActivateDirect(t.Context(), token, "a"); err != nil || got.Status.Value != "CONNECTED" || got.StatusUpdated.Year() != 2026 {
		t.Error(got, err)
	}
	for body, class := range map[string]Class{
		`{"data":{"activateDirectConnection":null}}`: Invalid,
		`{"data":{}}`: Invalid,
		`{"data":{"activateDirectConnection":{"status":null}},"errors":[{"path":["activateDirectConnection","status"]}]}`: Transient,
		`{"data":null,"errors":[{"extensions":{"resource":{"issue":[{"code":"business-rule"}]}}}]}`:                       Invalid,
	} {
		if _, err := client(t, Config{}, always(200, body)).ActivateDirect(t.Context(), token, "a"); ClassOf(err) != class {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestVerification(t *testing.T) {
	for body, want := range map[string]Verification{
		`{"status":"validated","errorCode":null}`:                  {Status: Word{Value: "validated"}},
		`{"status":"val-fail","errorCode":"PERSON_MATCH_ERROR"}`:   {Word{Value: "val-fail"}, "PERSON_MATCH_ERROR"},
		`{"status":{"code":"in-process"},"errorCode":"free text"}`: {Status: Word{Value: "in-process"}},
		`null`: {},
	} {
		c := client(t, Config{}, always(200, `{"data":{"verificationStatus":`+body+`}}`))
		if got, err := c.Verification(t.Context(), token); err != nil || got != want {
			t.Errorf("%s: %+v, %v", body, got, err)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	c := client(t, Config{}, func(r *http.Request, _ string, _ map[string]any) *http.Response {
		id := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		return reply(200, `{"data":{"getMemberConnections":[{"id":"`+id+`","name":"`+id+`"}],"tasks":{"entry":null},"consents":{"entry":null}}}`)
	})
	done := make(chan error, 16)
	for i := range cap(done) {
		go func() {
			id := strings.Repeat(strconv.Itoa(i), 50)
			var last error
			for range 50 {
				o, err := c.Observe(t.Context(), secret.New(id), Want{})
				if err != nil || o.Connections.Items[0].ID != id || o.Connections.Items[0].Name != id {
					last = fmt.Errorf("%v, %w", o, err)
				}
			}
			done <- last
		}()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestSameAnswers(t *testing.T) {
	body := typical
	c := client(t, Config{PageSize: 3}, func(*http.Request, string, map[string]any) *http.Response { return reply(200, body) })
	look := func(seen Digest) Observation {
		o, err := c.Observe(t.Context(), token, Want{Seen: seen})
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	first := look(0)
	if first.Same || first.Digest == 0 || !first.Connections.Whole {
		t.Errorf("first: %+v", first)
	}
	if o := look(first.Digest); !o.Same || o.Digest != first.Digest || o.Connections.Whole || o.Connections.Items != nil {
		t.Errorf("again: %+v", o)
	}
	body = strings.Replace(typical, "EXPIRED", "CONNECTED", 1)
	if o := look(first.Digest); o.Same || o.Digest == first.Digest || !o.Connections.Whole {
		t.Errorf("changed: %+v", o)
	}
	for name, never := range map[string]string{
		"a partial one":     `{"errors":[{"path":["tasks"]}],` + typical[1:],
		"one of more pages": strings.Replace(typical, `"consents":{"entry":[`, `"consents":{"entry":[{"resource":{"id":"x"}},`, 1),
	} {
		body = never
		o, _ := c.Observe(t.Context(), token, Want{})
		if o.Digest != 0 {
			t.Errorf("%s has a digest", name)
		}
	}
}

func TestFingerprint(t *testing.T) {
	const (
		a = `{"id":"a","status":"EXPIRED","statusUpdated":"2026-03-01T10:11:12","syncErrors":[{"code":"X"}]}`
		b = `{"id":"b","status":"CONNECTED","name":"B"}`
	)
	print := func(rows, tasks, consents string) [16]byte {
		o, _ := observe(t, `{"data":{"getMemberConnections":`+rows+`,"tasks":{"entry":`+tasks+`},"consents":{"entry":`+consents+`}}}`)
		return o.Fingerprint()
	}
	base := print(`[`+a+`,`+b+`]`, `[{"resource":{"id":"t"}}]`, `[{"resource":{"id":"c"}}]`)
	for name, same := range map[string][16]byte{
		"again":         print(`[`+a+`,`+b+`]`, `[{"resource":{"id":"t"}}]`, `[{"resource":{"id":"c"}}]`),
		"another order": print(`[`+b+`,`+a+`]`, `[{"resource":{"id":"t"}}]`, `[{"resource":{"id":"c"}}]`),
		"nulls":         print(`[`+b+`,null,`+a+`]`, `[{"resource":{"id":"t"}}]`, `[{"resource":{"id":"c"}}]`),
		"lastSynced":    print(`[`+b+`,`+strings.Replace(a, `{`, `{"lastSynced":"2026-03-01T10:11:12",`, 1)+`]`, `[{"resource":{"id":"t"}}]`, `[{"resource":{"id":"c"}}]`),
		"spelling":      print(`[`+b+`,`+strings.NewReplacer("EXPIRED", "expired", `10:11:12"`, `10:11:12.000Z"`).Replace(a)+`]`, `[{"resource":{"id":"t"}}]`, `[{"resource":{"id":"c"}}]`),
	} {
		if same != base {
			t.Errorf("%s: differs", name)
		}
	}
	all := map[[16]byte]string{base: "base"}
	for name, other := range map[string][16]byte{
		"one less":            print(`[`+a+`]`, `[{"resource":{"id":"t"}}]`, `[{"resource":{"id":"c"}}]`),
		"twice":               print(`[`+a+`,`+a+`,`+b+`]`, `[{"resource":{"id":"t"}}]`, `[{"resource":{"id":"c"}}]`),
		"thrice":              print(`[`+a+`,`+a+`,`+a+`,`+b+`]`, `[{"resource":{"id":"t"}}]`, `[{"resource":{"id":"c"}}]`),
		"another status":      print(`[`+strings.Replace(a, "EXPIRED", "ERROR", 1)+`,`+b+`]`, `[{"resource":{"id":"t"}}]`, `[{"resource":{"id":"c"}}]`),
		"an unknown status":   print(`[`+strings.Replace(a, "EXPIRED", "X", 1)+`,`+b+`]`, `[{"resource":{"id":"t"}}]`, `[{"resource":{"id":"c"}}]`),
		"another unknown":     print(`[`+strings.Replace(a, "EXPIRED", "Y", 1)+`,`+b+`]`, `[{"resource":{"id":"t"}}]`, `[{"resource":{"id":"c"}}]`),
		"statusUpdated":       print(`[`+strings.Replace(a, ":12", ":13", 1)+`,`+b+`]`, `[{"resource":{"id":"t"}}]`, `[{"resource":{"id":"c"}}]`),
		"sync error":          print(`[`+strings.Replace(a, `"X"`, `"Y"`, 1)+`,`+b+`]`, `[{"resource":{"id":"t"}}]`, `[{"resource":{"id":"c"}}]`),
		"task":                print(`[`+a+`,`+b+`]`, `[{"resource":{"id":"t","status":"ready"}}]`, `[{"resource":{"id":"c"}}]`),
		"consent":             print(`[`+a+`,`+b+`]`, `[{"resource":{"id":"t"}}]`, `[{"resource":{"id":"c","status":"active"}}]`),
		"no connections":      print(`[]`, `[{"resource":{"id":"t"}}]`, `[{"resource":{"id":"c"}}]`),
		"connections missing": print(`null`, `[{"resource":{"id":"t"}}]`, `[{"resource":{"id":"c"}}]`),
	} {
		if twin, ok := all[other]; ok {
			t.Errorf("%s and %s are the same", name, twin)
		}
		all[other] = name
	}
	o, _ := observe(t, typical)
	if n := testing.AllocsPerRun(100, func() { o.Fingerprint() }); n > 1 {
		t.Errorf("%v allocations", n)
	}
}

// fakeTokens hands out a1, and what it renews.
type fakeTokens struct {
	renewed []string
	err     error
}

func (f *fakeTokens) Access(context.Context) (secret.Value, error) { return secret.New("a1"), nil }

func (f *fakeTokens) Renew(_ context.Context, refused secret.Value) (secret.Value, error) {
	f.renewed = append(f.renewed, refused.Reveal())
	return secret.New("a2"), f.err
}

func TestDo(t *testing.T) {
	refusal, outage, lost := &Error{Op: "x", Class: Auth}, &Error{Op: "x", Class: Transient}, errors.New("lost")
	for _, tt := range []struct {
		name    string
		answers map[string]error // by token
		renew   error
		calls   string
		err     error
	}{
		{"accepted", nil, nil, "a1", nil},
		{"refused once", map[string]error{"a1": refusal}, nil, "a1 a2", nil},
		{"refused twice", map[string]error{"a1": refusal, "a2": refusal}, nil, "a1 a2", refusal},
		{"an outage", map[string]error{"a1": outage}, nil, "a1", outage},
		{"an outage afterwards", map[string]error{"a1": refusal, "a2": outage}, nil, "a1 a2", outage},
		{"nothing to renew with", map[string]error{"a1": refusal}, lost, "a1", lost},
	} {
		tokens, calls := &fakeTokens{err: tt.renew}, []string(nil)
		_, err := Do(t.Context(), tokens, func(_ context.Context, access secret.Value) (int, error) {
			calls = append(calls, access.Reveal())
			if err := tt.answers[access.Reveal()]; err != nil {
				return 0, err
			}
			return 1, nil
		})
		if strings.Join(calls, " ") != tt.calls || !errors.Is(err, tt.err) || len(tokens.renewed) > 1 {
			t.Errorf("%s: %v, %v, renewed %v", tt.name, calls, err, tokens.renewed)
		}
	}
}

func TestUnusableTokensAreNotSent(t *testing.T) {
	c := client(t, Config{}, func(*http.Request, string, map[string]any) *http.Response { t.Error("sent"); return nil })
	for _, bad := range []string{"", "a b", "a\r\nX: y", "ü"} {
		v := secret.New(bad)
		_, observing := c.Observe(t.Context(), v, Want{})
		_, reading := c.Recommendations(t.Context(), v)
		_, activating := c.ActivateDirect(t.Context(), v, "a")
		_, refreshing := c.Refresh(t.Context(), v)
		_, exchanging := c.Exchange(t.Context(), v)
		for _, err := range []error{observing, reading, activating, refreshing, exchanging} {
			if ClassOf(err) != Auth {
				t.Errorf("%q: %v", bad, err)
			}
		}
	}
}
