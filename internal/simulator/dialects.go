package simulator

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// A fault is an error of one root field, in one of b.well's dialects.
type fault struct {
	message    string
	extensions map[string]any
}

func (f *fault) json(path string) map[string]any {
	e := map[string]any{"message": f.message, "extensions": f.extensions}
	if path != "" {
		e["path"] = []any{path}
	}
	return e
}

// coded is how the FHIR server says no.
func coded(message, code string) *fault {
	return &fault{message, map[string]any{"code": code}}
}

// outcome is how b.well's services say no: a code that is a number in a text,
// and an OperationOutcome.
func outcome(message, code, issue string) *fault {
	return &fault{message, map[string]any{"code": code, "resource": map[string]any{
		"resourceType": "OperationOutcome",
		"issue":        []any{map[string]any{"severity": "error", "code": issue, "details": map[string]any{"text": message}}},
	}}}
}

// downstream is how the router says that the FHIR server said no.
func downstream(status int, inner *fault) *fault {
	return &fault{"Failed to fetch from Subgraph 'fhir'.", map[string]any{
		"code": "DOWNSTREAM_SERVICE_ERROR", "serviceName": "fhir", "statusCode": status,
		"errors": []any{inner.json("")},
	}}
}

// identityFault is how b.well's identity service says no.
func identityFault(status int) map[string]any {
	message := http.StatusText(status)
	if status >= http.StatusInternalServerError {
		message = "Internal server error"
	}
	return map[string]any{"statusCode": status, "message": message}
}

// A dialect is a way in which one of b.well's layers says no. Those inside a 200
// are faults of root fields; the others are the whole answer.
type dialect struct {
	name   string
	status int
	fault  *fault
	body   any // a text, or what becomes JSON
}

const unwell = "Internal server error" // what causes of ours are reworded to

// dialects are those there are, by name. The page docs/simulator.md has them in
// a table, with what the connector makes of each.
func dialects() []dialect {
	refusal := func(name, message string) dialect {
		return dialect{name: name, status: http.StatusUnauthorized, body: failure(coded(message, "UNAUTHENTICATED"))}
	}
	inside := func(name string, f *fault) dialect { return dialect{name: name, status: http.StatusOK, fault: f} }
	return []dialect{
		{name: "auth-trouble", status: http.StatusServiceUnavailable, body: failure(coded("Service unavailable", "INTERNAL_SERVER_ERROR"))},
		{name: "forbidden", status: http.StatusForbidden, body: failure(coded("Forbidden", "FORBIDDEN"))},
		{name: "identity-400", status: http.StatusBadRequest, body: identityFault(http.StatusBadRequest)},
		{name: "identity-500", status: http.StatusInternalServerError, body: identityFault(http.StatusInternalServerError)},
		inside("outcome-500", outcome(unwell, "500", "processing")),
		inside("outcome-business-rule", outcome("The connection does not allow this", "400", "business-rule")),
		inside("outcome-exception", outcome(unwell, "500", "exception")),
		inside("outcome-invalid", outcome("The request is not valid", "400", "invalid")),
		inside("outcome-not-found", outcome("There is no such connection", "404", "not-found")),
		inside("outcome-throttled", outcome("Too many requests", "429", "throttled")),
		inside("outcome-timeout", outcome("The source did not answer in time", "504", "timeout")),
		inside("outcome-transient", outcome("Try again later", "503", "transient")),
		{name: "overload", status: http.StatusTooManyRequests, body: "Too Many Requests"},
		inside("resolver", coded(unwell, "INTERNAL_SERVER_ERROR")),
		inside("router", downstream(http.StatusInternalServerError, coded(unwell, "INTERNAL_SERVER_ERROR"))),
		inside("router-401", downstream(http.StatusUnauthorized, coded(string(errExpired), "UNAUTHENTICATED"))),
		inside("router-403", downstream(http.StatusForbidden, coded("Forbidden", "FORBIDDEN"))),
		refusal("token-expired", string(errExpired)),
		refusal("token-malformed", string(errMalformed)),
		refusal("token-missing", string(errNone)),
		refusal("token-signature", string(errToken)),
		{name: "validation", status: http.StatusOK, body: failure(coded(`Cannot query field "isDirect" on type "Connection".`, "GRAPHQL_VALIDATION_FAILED"))},
	}
}

// Dialects returns the names that Faults.Dialect may have, sorted.
func Dialects() []string {
	var names []string
	for _, d := range dialects() {
		names = append(names, d.name)
	}
	return names
}

func dialectOf(name string) (dialect, bool) {
	i := slices.IndexFunc(dialects(), func(d dialect) bool { return d.name == name })
	if i < 0 {
		return dialect{}, false
	}
	return dialects()[i], true
}

// plainly is the dialect of an HTTP status, for whom the layer does not matter.
func plainly(status int) dialect {
	name := map[int]string{
		http.StatusOK: "outcome-exception", http.StatusUnauthorized: "token-expired", http.StatusForbidden: "forbidden",
		http.StatusTooManyRequests: "overload", http.StatusServiceUnavailable: "auth-trouble",
	}[status]
	if d, ok := dialectOf(name); ok {
		return d
	}
	message, code := unwell, "INTERNAL_SERVER_ERROR"
	if status < http.StatusInternalServerError {
		message = http.StatusText(status)
		code = strings.ToUpper(strings.ReplaceAll(message, " ", "_"))
	}
	return dialect{status: status, body: failure(coded(message, code))}
}

// write answers in the dialect.
func (d dialect) write(w http.ResponseWriter, retryAfter int) {
	d.hint(w, retryAfter)
	if text, ok := d.body.(string); ok {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(d.status)
		_, _ = w.Write([]byte(text))
		return
	}
	answer(w, d.status, d.body)
}

// identity answers as b.well's identity service would.
func (d dialect) identity(w http.ResponseWriter, retryAfter int) {
	switch {
	case d.status < http.StatusBadRequest: // nothing of that kind is inside of anything
		d.status = http.StatusInternalServerError
		d.body = identityFault(d.status)
	case d.status != http.StatusTooManyRequests: // which no service answers, but the pod
		d.body = identityFault(d.status)
	}
	d.write(w, retryAfter)
}

func (d dialect) hint(w http.ResponseWriter, retryAfter int) {
	if retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
	}
}
