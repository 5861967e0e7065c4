package simulator

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Faults spoil b.well's answers until others are set. The zero value is a
// b.well in good health.
type Faults struct {
	Latency    Duration `json:"latency,omitempty"`    // before every answer
	ErrorRate  float64  `json:"errorRate,omitempty"`  // share of answers that are errors, 0 to 1
	Status     int      `json:"status,omitempty"`     // HTTP status of those errors; default 503
	RetryAfter int      `json:"retryAfter,omitempty"` // seconds, sent with them
	Malformed  string   `json:"malformed,omitempty"`  // html, empty, truncated, json, huge
	Partial    string   `json:"partial,omitempty"`    // root field that fails while the others answer
	Down       bool     `json:"down,omitempty"`       // connections are cut
	Lag        Duration `json:"lag,omitempty"`        // reads lag behind writes by so much
}

// A Duration is written as Go writes one: "200ms".
type Duration time.Duration

// MarshalJSON implements json.Marshaler.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// UnmarshalJSON implements json.Unmarshaler.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return errors.New(`want a duration as "200ms"`)
	}
	parsed, err := time.ParseDuration(text)
	*d = Duration(parsed)
	return err
}

// SetFaults replaces all faults.
func (s *Simulator) SetFaults(f Faults) error {
	switch {
	case f.ErrorRate < 0 || f.ErrorRate > 1:
		return errors.New("simulator: errorRate: want 0 to 1")
	case f.Latency < 0 || f.Lag < 0 || f.RetryAfter < 0:
		return errors.New("simulator: a duration is negative")
	case f.Malformed != "" && !slices.Contains([]string{"html", "empty", "truncated", "json", "huge"}, f.Malformed):
		return errors.New("simulator: malformed: want html, empty, truncated, json or huge")
	case f.Status != 0 && (f.Status < 200 || f.Status > 599):
		return errors.New("simulator: status: want an HTTP status")
	}
	s.mu.Lock()
	s.faults = f
	s.mu.Unlock()
	return nil
}

// spoil answers for a b.well that is not well. It reports whether it did.
func (s *Simulator) spoil(w http.ResponseWriter, r *http.Request) bool {
	s.mu.Lock()
	f := s.faults
	failing := f.ErrorRate > 0 && s.chance.Float64() < f.ErrorRate || f.ErrorRate == 0 && f.Status != 0
	if failing || f.Down || f.Malformed != "" {
		s.count(s.owner(r.Header), faulted)
	}
	s.mu.Unlock()
	if f.Latency > 0 {
		select {
		case <-time.After(time.Duration(f.Latency)):
		case <-r.Context().Done():
			return true
		}
	}
	switch {
	case f.Down:
		panic(http.ErrAbortHandler) // the documented way to cut a connection
	case f.Malformed != "":
		malformed(w, f.Malformed)
	case failing:
		s.refuse(w, f)
	default:
		return false
	}
	return true
}

func (s *Simulator) refuse(w http.ResponseWriter, f Faults) {
	status := f.Status
	if status == 0 {
		status = http.StatusServiceUnavailable
	}
	if f.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(f.RetryAfter))
	}
	switch status {
	case http.StatusOK: // b.well's services fail inside a 200
		answer(w, status, map[string]any{"data": nil, "errors": []any{broken().json("")}})
	case http.StatusTooManyRequests:
		http.Error(w, "Too Many Requests", status)
	default:
		code := map[int]string{401: "UNAUTHENTICATED", 403: "FORBIDDEN", 400: "GRAPHQL_VALIDATION_FAILED"}[status]
		if code == "" {
			code = "INTERNAL_SERVER_ERROR"
		}
		answer(w, status, map[string]any{"errors": []any{(&fault{message: http.StatusText(status), code: code}).json("")}})
	}
}

func malformed(w http.ResponseWriter, how string) {
	switch how {
	case "html":
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<html><body><h1>502 Bad Gateway</h1></body></html>")
	case "truncated":
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"data":{"getMemberConnections":[{"id":"river`)
	case "json":
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `[{"data":7}]`)
	case "huge":
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"data":{"x":"`)
		block := strings.Repeat("x", 64<<10)
		for range 160 { // 10 MiB
			if _, err := io.WriteString(w, block); err != nil {
				return
			}
		}
		_, _ = io.WriteString(w, `"}}`)
	}
}
