package bwell

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/smartconnect/connector/internal/secret"
)

var (
	key   = secret.New("hush-key")
	token = secret.New("hush-access")
)

// A fake is a b.well: it answers one request, given by operation and variables.
type fake func(r *http.Request, operation string, vars map[string]any) *http.Response

func (f fake) RoundTrip(r *http.Request) (*http.Response, error) {
	var asked struct {
		OperationName string
		Variables     map[string]any
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	_ = json.Unmarshal(body, &asked) // a form is none
	if got := f(r, asked.OperationName, asked.Variables); got != nil {
		return got, nil
	}
	return nil, io.ErrUnexpectedEOF
}

func client(t testing.TB, config Config, answer fake) *Client {
	t.Helper()
	config.BaseURL, config.ClientKey, config.HTTP = "https://hush.example", key, &http.Client{Transport: answer}
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func reply(status int, body string, header ...string) *http.Response {
	resp := &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body)), ContentLength: -1, Header: http.Header{}}
	for i := 0; i < len(header); i += 2 {
		resp.Header.Set(header[i], header[i+1])
	}
	return resp
}

// always answers everything alike.
func always(status int, body string, header ...string) fake {
	return func(*http.Request, string, map[string]any) *http.Response { return reply(status, body, header...) }
}

// observe reads body as the answer to Observe.
func observe(t testing.TB, body string) (Observation, error) {
	t.Helper()
	return client(t, Config{}, always(200, body)).Observe(t.Context(), token, Want{})
}

// connections reads one list of connections.
func connections(t testing.TB, rows string) List[Connection] {
	t.Helper()
	o, err := observe(t, `{"data":{"getMemberConnections":`+rows+`,"tasks":{"entry":null},"consents":{"entry":null}}}`)
	if err != nil {
		t.Fatal(err)
	}
	return o.Connections
}
