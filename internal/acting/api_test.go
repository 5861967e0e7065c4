package acting

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/smartconnect/connector/internal/reconnect"
)

const (
	bearer = "0123456789abcdef0123456789abcdef"
	older  = "fedcba9876543210fedcba9876543210"
	prompt = "abcdefghijklmnopqrstuvwxyz.1"
	member = "ann@example.org/1"
)

// doer starts prompts as a test says and remembers what it was asked.
type doer struct {
	answer reconnect.Started
	err    error
	asked  []reconnect.StartRequest
}

func (d *doer) Start(_ context.Context, r reconnect.StartRequest) (reconnect.Started, error) {
	d.asked = append(d.asked, r)
	return d.answer, d.err
}

// over serves h once, with a log that is returned too.
func over(t *testing.T, h http.Handler, r *http.Request) (answer *httptest.ResponseRecorder, log string) {
	t.Helper()
	var lines bytes.Buffer
	answer = httptest.NewRecorder()
	h.ServeHTTP(answer, r.WithContext(zerolog.New(&lines).WithContext(t.Context())))
	return answer, lines.String()
}

func request(method, path, token, body string) *http.Request {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", token)
	}
	return r
}

func api(t *testing.T, d *doer, poll func(context.Context, string) error) http.Handler {
	t.Helper()
	b, err := NewBearers(older, bearer)
	if err != nil {
		t.Fatal(err)
	}
	return API(b, d, poll)
}

func TestStart(t *testing.T) {
	d := &doer{answer: reconnect.Started{Method: "oauth", RedirectURL: "https://provider.example/?state=s3"}}
	h := api(t, d, nil)
	for _, token := range []string{"Bearer " + bearer, "bearer " + older} {
		answer, log := over(t, h, request("POST", "/v1/prompts/"+prompt+"/start", token, `{"memberId":"`+member+`"}`))
		if want := `{"method":"oauth","redirectUrl":"https://provider.example/?state=s3"}`; answer.Code != 200 || strings.TrimSpace(answer.Body.String()) != want {
			t.Errorf("%d %s, want %s", answer.Code, answer.Body, want)
		}
		if answer.Header().Get("Cache-Control") != "no-store" || log != "" {
			t.Errorf("an answer with a URL is kept by nobody: %v; log %q", answer.Header(), log)
		}
	}
	if len(d.asked) != 2 || d.asked[0] != (reconnect.StartRequest{PromptID: prompt, MemberID: member}) {
		t.Errorf("asked %+v", d.asked)
	}
}

// The words and statuses are the contract with the backends of apps.
func TestRefusals(t *testing.T) {
	for why, status := range map[reconnect.Refusal]int{
		reconnect.BadRequest: 400, reconnect.ConsentEnded: 403, reconnect.IdentityRequired: 403, reconnect.NotFound: 404,
		reconnect.StalePrompt: 409, reconnect.NotSupported: 422, reconnect.ReconnectInApp: 422, reconnect.TooMany: 429, reconnect.Upstream: 502,
	} {
		h := api(t, &doer{err: fmt.Errorf("%w: %w", why, errors.New("the cause"))}, nil)
		answer, log := over(t, h, request("POST", "/v1/prompts/"+prompt+"/start", "Bearer "+bearer, `{"memberId":"`+member+`"}`))
		var body struct {
			Status         int
			Error, Message string
		}
		if err := json.Unmarshal(answer.Body.Bytes(), &body); err != nil {
			t.Fatal(err)
		}
		if answer.Code != status || body.Status != status || body.Error != string(why) || body.Message != why.Error() {
			t.Errorf("%s: %d %+v, want %d", why, answer.Code, body, status)
		}
		if answer.Header().Get("Content-Type") != "application/problem+json" || strings.Contains(answer.Body.String(), "the cause") {
			t.Errorf("%s: %v %s", why, answer.Header(), answer.Body)
		}
		if !strings.Contains(log, `"why":"`+string(why)+`"`) || strings.Contains(log, "ann") || strings.Contains(log, prompt) {
			t.Errorf("%s: log %s", why, log)
		}
	}
	h := api(t, &doer{err: errors.New("some error")}, nil)
	if answer, _ := over(t, h, request("POST", "/v1/prompts/"+prompt+"/start", "Bearer "+bearer, `{"memberId":"m"}`)); answer.Code != 502 {
		t.Errorf("an error without a word: %d", answer.Code)
	}
}

func TestNobodyUnknownGetsIn(t *testing.T) {
	d := &doer{}
	polled := 0
	h := api(t, d, func(context.Context, string) error { polled++; return nil })
	for _, token := range []string{
		"", "Bearer", "Bearer ", bearer, "Basic " + bearer, "Bearer " + bearer[1:], "Bearer " + bearer + "0", "Bearer 0" + bearer[1:31] + "e",
		"Bearer " + strings.Repeat("x", 60<<10), "Bearer " + bearer + " " + older,
	} {
		for _, path := range []string{"/v1/prompts/" + prompt + "/start", "/v1/members/ann/poll"} {
			answer, log := over(t, h, request("POST", path, token, `{"memberId":"ann"}`))
			if answer.Code != 401 || answer.Header().Get("WWW-Authenticate") != "Bearer" || !strings.Contains(answer.Body.String(), `"error":"unauthorized"`) {
				t.Errorf("%.20q: %d %s", token, answer.Code, answer.Body)
			}
			if strings.Contains(log, "ann") || token != "" && strings.Contains(log, bearer[1:]) {
				t.Errorf("log %s", log)
			}
		}
	}
	if len(d.asked)+polled > 0 {
		t.Error("something was done")
	}
}

func TestBadBodies(t *testing.T) {
	d := &doer{}
	h := api(t, d, nil)
	for body, status := range map[string]int{
		"":                            400,
		"{":                           400,
		"null":                        400,
		"[]":                          400,
		`"ann"`:                       400,
		`{}`:                          400,
		`{"memberId":""}`:             400,
		`{"memberId":7}`:              400,
		`{"memberId":null}`:           400,
		`{"memberId":["ann"]}`:        400,
		`{"memberId":"ann"} trailing`: 400,
		"\x00\xff\xfe":                400,
		`{"memberId":"` + strings.Repeat("a", maxMemberID+1) + `"}`:        400,
		`{"memberId":"ann","more":"` + strings.Repeat("x", maxBody) + `"}`: 413,
		strings.Repeat("[", 10<<20):                                        413,
	} {
		answer, log := over(t, h, request("POST", "/v1/prompts/"+prompt+"/start", "Bearer "+bearer, body))
		if answer.Code != status || !json.Valid(answer.Body.Bytes()) {
			t.Errorf("%.40q: %d %s, want %d", body, answer.Code, answer.Body, status)
		}
		if strings.Contains(log, "ann") {
			t.Errorf("log %s", log)
		}
	}
	if len(d.asked) > 0 {
		t.Errorf("started %+v", d.asked)
	}
}

// What there is no answer to is refused like everything else: nobody learns of
// a path without a token, and programs can read why.
func TestNoSuchPathAndMethod(t *testing.T) {
	d := &doer{}
	h := api(t, d, func(context.Context, string) error { t.Error("polled"); return nil })
	start, poll := "/v1/prompts/"+prompt+"/start", "/v1/members/ann/poll"
	for _, c := range []struct {
		method, path string
		status       int
		why          string
	}{
		{"GET", start, 405, "method_not_allowed"},
		{"HEAD", start, 405, "method_not_allowed"},
		{"DELETE", start, 405, "method_not_allowed"},
		{"PUT", poll, 405, "method_not_allowed"},
		{"OPTIONS", poll, 405, "method_not_allowed"},
		{"POST", "/v1/", 404, "no_such_path"},
		{"GET", "/v1/", 404, "no_such_path"},
		{"POST", "/v1/prompts", 404, "no_such_path"},
		{"POST", "/v1/prompts/" + prompt, 404, "no_such_path"},
		{"POST", start + "/more", 404, "no_such_path"},
		{"POST", "/v1/members/ann/poll/", 404, "no_such_path"},
		{"GET", "/v1/members/ann", 404, "no_such_path"},
	} {
		for token, status := range map[string]int{"": 401, "Bearer " + bearer[1:]: 401, "Bearer " + bearer: c.status} {
			why, allow := "unauthorized", ""
			if status != 401 {
				why = c.why
			}
			if status == 405 {
				allow = "POST"
			}
			answer, log := over(t, h, request(c.method, c.path, token, ""))
			var body struct {
				Status         int
				Error, Message string
			}
			if err := json.Unmarshal(answer.Body.Bytes(), &body); err != nil {
				t.Fatalf("%s %s: %v: %s", c.method, c.path, err, answer.Body)
			}
			if answer.Code != status || body.Status != status || body.Error != why || body.Message == "" ||
				answer.Header().Get("Content-Type") != "application/problem+json" || answer.Header().Get("Cache-Control") != "no-store" ||
				answer.Header().Get("Allow") != allow || (answer.Header().Get("WWW-Authenticate") != "") != (status == 401) {
				t.Errorf("%s %s: %d %v %s, want %d %s", c.method, c.path, answer.Code, answer.Header(), answer.Body, status, why)
			}
			if !strings.Contains(log, `"why":"`+why+`"`) || strings.Contains(log, "ann") || strings.Contains(log, prompt) {
				t.Errorf("log %s", log)
			}
		}
	}
	if len(d.asked) > 0 {
		t.Errorf("started %+v", d.asked)
	}
}

func TestPoll(t *testing.T) {
	var polled []string
	h := api(t, nil, func(_ context.Context, id string) error {
		polled = append(polled, id)
		if id == "nobody" {
			return reconnect.NotFound
		}
		return nil
	})
	for path, status := range map[string]int{
		"/v1/members/ann%40example.org%2F1/poll":                          200,
		"/v1/members/nobody/poll":                                         404,
		"/v1/members/" + strings.Repeat("a", maxMemberID+1) + "/poll":     404,
		"/v1/members/" + strings.Repeat("%00", maxMemberID+1) + "/poll":   404,
		"/v1/members/ann/poll/more":                                       404,
		"/v1/prompts/" + strings.Repeat("a", 60<<10) + "/start/and/more":  404,
		"/v1/members/" + strings.Repeat("%2e%2e%2f", 10) + "poll/../poll": 404,
	} {
		answer, log := over(t, h, request("POST", path, "Bearer "+bearer, ""))
		if answer.Code != status && answer.Code/100 != 3 {
			t.Errorf("%.60s: %d %s, want %d", path, answer.Code, answer.Body, status)
		}
		if strings.Contains(log, "ann") || strings.Contains(log, "nobody") {
			t.Errorf("log %s", log)
		}
	}
	if len(polled) != 2 || polled[0] != member && polled[1] != member {
		t.Errorf("polled %q", polled)
	}
}

func TestBearerFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens")
	for _, c := range []struct {
		name, body string
		mode       os.FileMode
		want       string // in the error; empty: none
	}{
		{"two tokens", bearer + "\n" + older + "\n", 0o600, ""},
		{"of a group", bearer, 0o640, ""},
		{"of everybody", bearer, 0o644, "chmod o="},
		{"empty", "\n\n", 0o600, "there is none"},
		{"too short", bearer + "\nsesame\n", 0o600, "bearer token 2: 6 characters"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(c.body), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, c.mode); err != nil {
				t.Fatal(err)
			}
			b, err := LoadBearers(path)
			switch {
			case c.want == "" && err != nil, c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%v, want %q", err, c.want)
			case c.want == "" && (!b.opens("Bearer "+bearer) || b.opens("Bearer "+bearer+older)):
				t.Error("opens by the wrong tokens")
			case err != nil && strings.Contains(err.Error(), "sesame"):
				t.Errorf("%v names a token", err)
			case fmt.Sprintf("%v %+v %#v", b, b, &b) != "[bearers] [bearers] [bearers]":
				t.Errorf("prints as %#v", b)
			}
		})
	}
	if _, err := LoadBearers(path + "x"); err == nil {
		t.Error("read a file that is not there")
	}
}
