package bwell

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestClassify(t *testing.T) {
	for _, tt := range []struct {
		name         string
		fault        Fault
		other, grant Class // of other calls; of Refresh and Exchange
	}{
		{"nothing is known", Fault{}, Transient, Transient},
		{"no JSON", Fault{HTTPStatus: 200}, Transient, Transient},
		{"refused", Fault{HTTPStatus: 401}, Auth, Auth},
		{"refused by word", Fault{HTTPStatus: 200, Codes: []string{"unauthenticated"}}, Auth, Auth},
		{"refused by number, inside", Fault{HTTPStatus: 200, Codes: []string{"DOWNSTREAM_SERVICE_ERROR", "401"}}, Auth, Auth},
		{"refused, says an overloaded router", Fault{HTTPStatus: 503, Codes: []string{"401"}}, Auth, Auth},
		{"forbidden", Fault{HTTPStatus: 403}, Forbidden, Auth},
		{"forbidden by word", Fault{HTTPStatus: 200, Codes: []string{"FORBIDDEN"}}, Forbidden, Auth},
		{"auth infrastructure in trouble", Fault{HTTPStatus: 503, Codes: []string{"INTERNAL_SERVER_ERROR"}}, Transient, Transient},
		{"slow", Fault{HTTPStatus: 408}, Transient, Transient},
		{"too early", Fault{HTTPStatus: 425}, Transient, Transient},
		{"too many", Fault{HTTPStatus: 429}, Transient, Transient},
		{"internal", Fault{HTTPStatus: 500}, Transient, Transient},
		{"server fault, by b.well's services", Fault{HTTPStatus: 200, Codes: []string{"500"}, Issues: []string{"exception"}}, Transient, Transient},
		{"throttled", Fault{HTTPStatus: 200, Issues: []string{"throttled"}}, Transient, Transient},
		{"an issue says more than the code", Fault{HTTPStatus: 200, Codes: []string{"500"}, Issues: []string{"business-rule"}}, Invalid, Auth},
		{"an issue says more than the status", Fault{HTTPStatus: 500, Issues: []string{"not-found"}}, Invalid, Invalid},
		{"a passing issue and a lasting one", Fault{HTTPStatus: 200, Issues: []string{"invalid", "timeout"}}, Transient, Transient},
		{"bad request", Fault{HTTPStatus: 400}, Invalid, Auth},
		{"bad request, and no grant was ever given", Fault{HTTPStatus: 400, Unproven: true}, Invalid, Invalid},
		{"the same with a number", Fault{HTTPStatus: 400, Unproven: true, Codes: []string{"400"}}, Invalid, Invalid},
		{"grant refused, and none was ever given", Fault{HTTPStatus: 400, Unproven: true, Codes: []string{"invalid_grant"}}, Auth, Auth},
		{"token refused, and none was ever given", Fault{HTTPStatus: 401, Unproven: true}, Auth, Auth},
		{"no such path", Fault{HTTPStatus: 404}, Invalid, Invalid},
		{"redirected", Fault{HTTPStatus: 302}, Invalid, Invalid},
		{"not our document", Fault{HTTPStatus: 200, Codes: []string{"GRAPHQL_VALIDATION_FAILED"}}, Invalid, Invalid},
		{"something else came", Fault{HTTPStatus: 200, Incomplete: true}, Invalid, Invalid},
		{"grant refused", Fault{HTTPStatus: 400, Codes: []string{"invalid_grant"}}, Auth, Auth},
		{"subject token refused", Fault{HTTPStatus: 400, Codes: []string{"invalid_request"}}, Invalid, Auth},
		{"client key refused", Fault{HTTPStatus: 401, Codes: []string{"invalid_client"}}, Auth, Invalid},
		{"a code never seen", Fault{HTTPStatus: 200, Codes: []string{"TEAPOT"}}, Transient, Transient},
	} {
		tt.fault.Token = false
		if got := Classify(tt.fault); got != tt.other {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.other)
		}
		tt.fault.Token = true
		if got := Classify(tt.fault); got != tt.grant {
			t.Errorf("%s, of a grant: %s, want %s", tt.name, got, tt.grant)
		}
	}
}

// The dialects in which b.well's layers say no.
func TestErrorDialects(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int
		body   string
		class  Class
		code   string
	}{
		{"subgraph, expired token", 401, `{"errors":[{"message":"Token Expired","extensions":{"code":"UNAUTHENTICATED"}}]}`, Auth, "UNAUTHENTICATED"},
		{"subgraph, forbidden", 403, `{"errors":[{"message":"no","extensions":{"code":"FORBIDDEN"}}]}`, Forbidden, "FORBIDDEN"},
		{"subgraph, trouble with auth", 503, `{"errors":[{"message":"x","extensions":{"code":"INTERNAL_SERVER_ERROR"}}]}`, Transient, "INTERNAL_SERVER_ERROR"},
		{"overloaded pod", 429, `Too Many Requests`, Transient, ""},
		{"identity REST", 500, `{"statusCode":500,"message":"Internal server error"}`, Transient, "500"},
		{"identity REST, 200", 200, `{"statusCode":401,"message":"Unauthorized"}`, Auth, "401"},
		{"OperationOutcome alone", 200, `{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"invalid"}]}`, Invalid, "invalid"},
		{"validation", 200, `{"errors":[{"message":"x","extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]}`, Invalid, "GRAPHQL_VALIDATION_FAILED"},
		{"resolver", 200, `{"errors":[{"message":"Internal server error"}],"data":null}`, Transient, ""},
		{"services", 200, `{"data":null,"errors":[{"message":"x","extensions":{"code":"500","resource":{"resourceType":"OperationOutcome",
			"issue":[{"severity":"error","code":"exception","details":{"text":"y"}}]}}}]}`, Transient, "exception"},
		{"services, rule", 200, `{"data":null,"errors":[{"extensions":{"code":"400","resource":{"issue":[{"code":"business-rule"}]}}}]}`, Invalid, "business-rule"},
		{"router, nested", 200, `{"data":null,"errors":[{"extensions":{"code":"DOWNSTREAM_SERVICE_ERROR","errors":[{"extensions":{"errors":[{"extensions":{"code":"401"}}]}}]}}]}`, Auth, "DOWNSTREAM_SERVICE_ERROR"},
		{"router, status", 200, `{"data":null,"errors":[{"extensions":{"code":"DOWNSTREAM_SERVICE_ERROR","statusCode":401}}]}`, Auth, "DOWNSTREAM_SERVICE_ERROR"},
		{"errors of no shape", 200, `{"data":null,"errors":"no"}`, Transient, ""},
		{"errors null and no data", 200, `{"errors":null}`, Transient, ""},
		{"HTML", 200, `<html><body>Maintenance</body></html>`, Transient, ""},
		{"HTML, 502", 502, `<html>`, Transient, ""},
		{"empty", 200, ``, Transient, ""},
		{"nothing", 204, ``, Transient, ""},
		{"truncated", 200, `{"data":{"getMemberConnections":[{"id":"a"`, Transient, ""},
		{"two answers", 200, `{"data":{}}{"data":{}}`, Transient, ""},
		{"two datas", 200, `{"data":{"getMemberConnections":[]},"data":{"getMemberConnections":[]}}`, Transient, ""},
		{"no object", 200, `[]`, Transient, ""},
		{"null", 200, `null`, Transient, ""},
		{"empty object", 200, `{}`, Transient, ""},
		{"data of no shape", 200, `{"data":[]}`, Transient, ""},
		{"redirect", 302, ``, Invalid, ""},
		{"not found", 404, `<html>`, Invalid, ""},
	} {
		o, err := client(t, Config{}, always(tt.status, tt.body)).Observe(t.Context(), token, Want{})
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Class != tt.class || e.Code != tt.code || e.HTTPStatus != tt.status || e.Op != "observe" {
			t.Errorf("%s: got %#v", tt.name, err)
		}
		if o.Connections.Whole || o.Tasks.Whole || o.Consents.Whole || o.Connections.Err == nil || o.Tasks.Err == nil || o.Consents.Err == nil {
			t.Errorf("%s: %+v", tt.name, o)
		}
	}
}

func TestErrorsRepeatNothing(t *testing.T) {
	const hush = "hush"
	var errs []error
	note := func(err error) {
		if err == nil {
			t.Error("no error")
		}
		errs = append(errs, err)
	}
	for _, answer := range []fake{
		always(401, `{"errors":[{"message":"hush","extensions":{"code":"hush hush","x":{"code":{"hush":1}}}}]}`),
		always(400, `{"error":"hush of hush","error_description":"hush"}`),
		always(200, `hush`),
		always(200, `{"data":{"getMemberConnections":[{"name":"hush"}],"getOauthUrl":{"redirectUrl":"javascript:hush"}}}`),
		always(302, ``, "Location", "https://hush.example/hush"),
		func(*http.Request, string, map[string]any) *http.Response { return nil },
	} {
		c := client(t, Config{Tries: 1}, answer)
		for _, call := range []func() error{
			func() error { _, err := c.Observe(t.Context(), token, Want{}); return err },
			func() error { _, err := c.DeletedConnections(t.Context(), token); return err },
			func() error { _, err := c.OAuthURL(t.Context(), token, "hush-connection"); return err },
			func() error { _, err := c.ActivateDirect(t.Context(), token, "hush-connection"); return err },
			func() error { _, err := c.Refresh(t.Context(), token); return err },
			func() error { _, err := c.Exchange(t.Context(), token); return err },
		} {
			note(call())
		}
	}
	for _, base := range []string{"", "hush", "https://", "ftp://hush.example", "http://hush.example", "https://hush:hush@hush.example", "https://hush.example?hush", "https://hush.example:hush", "http://127.0.0.1.hush.example"} {
		_, err := New(Config{BaseURL: base, ClientKey: key})
		note(err)
	}
	for _, err := range errs {
		if s := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(s, hush) {
			t.Error(s)
		}
	}
}

func TestCauses(t *testing.T) {
	dns := &net.DNSError{Err: "no such host", Name: "hush", IsNotFound: true}
	for _, tt := range []struct {
		err  error
		want error
	}{
		{&url.Error{Op: "Post", URL: "https://hush", Err: &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}}, syscall.ECONNREFUSED},
		{&url.Error{Op: "Post", URL: "https://hush", Err: context.DeadlineExceeded}, context.DeadlineExceeded},
		{&url.Error{Op: "Post", URL: "https://hush", Err: dns}, errNoSuchHost},
		{&net.DNSError{Err: "x", IsTimeout: true}, context.DeadlineExceeded},
		{&tls.CertificateVerificationError{Err: errors.New("hush")}, errCertificate},
		{io.ErrUnexpectedEOF, io.ErrUnexpectedEOF},
		{io.EOF, io.EOF},
		{errors.New(`malformed HTTP response "hush"`), errNetwork},
	} {
		if got := cause(tt.err); got != tt.want { //nolint:errorlint // the very value: nothing may be wrapped
			t.Errorf("%v: got %v", tt.err, got)
		}
	}
}

func TestErrorText(t *testing.T) {
	for want, err := range map[string]*Error{
		"bwell: observe: transient: unexpected EOF":                      {Op: "observe", Class: Transient, cause: io.ErrUnexpectedEOF},
		"bwell: observe tasks: invalid: HTTP 200: code not_a_list":       {Op: "observe", Root: "tasks", Class: Invalid, HTTPStatus: 200, Code: "not_a_list"},
		"bwell: refresh: auth: HTTP 400: code invalid_grant":             {Op: "refresh", Class: Auth, HTTPStatus: 400, Code: "invalid_grant"},
		"bwell: observe: transient: HTTP 429: asked to wait for 1m30s":   {Op: "observe", Class: Transient, HTTPStatus: 429, RetryAfter: 90 * time.Second},
		"bwell: x: forbidden: HTTP 403: the answer is not a JSON object": {Op: "x", Class: Forbidden, HTTPStatus: 403, cause: errNoJSON},
	} {
		if err.Error() != want {
			t.Errorf("got %q, want %q", err.Error(), want)
		}
		if wrapped := fmt.Errorf("poll: %w", err); ClassOf(wrapped) != err.Class {
			t.Error("class lost:", wrapped)
		}
	}
	if ClassOf(nil) != NoClass || ClassOf(io.EOF) != NoClass || NoClass.String() != "none" {
		t.Error("others have a class")
	}
}
