package simulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Faults spoil b.well's answers until others are set. The zero value is a
// b.well in good health.
type Faults struct {
	Latency    Duration  `json:"latency,omitempty"`    // before every answer
	Lag        Duration  `json:"lag,omitempty"`        // reads lag behind writes by so much
	Status     int       `json:"status,omitempty"`     // answers are errors of this HTTP status
	Dialect    string    `json:"dialect,omitempty"`    // or in this one of Dialects
	Partial    Root      `json:"partial,omitempty"`    // of which only this root field fails
	Malformed  Malformed `json:"malformed,omitempty"`  // answers are nonsense of this kind
	Down       bool      `json:"down,omitempty"`       // connections are cut
	ErrorRate  float64   `json:"errorRate,omitempty"`  // share of answers that are so, 0 to 1; 0 is all
	RetryAfter int       `json:"retryAfter,omitempty"` // seconds, sent with errors
}

// A Root is a field of Query or Mutation. In JSON, true is "tasks", without
// which the others still come.
type Root string

// UnmarshalJSON implements json.Unmarshaler.
func (r *Root) UnmarshalJSON(b []byte) error {
	text, err := choice(b, "tasks")
	*r = Root(text)
	return err
}

// Malformed is html, empty, truncated, json or huge. In JSON, true is "html".
type Malformed string

// UnmarshalJSON implements json.Unmarshaler.
func (m *Malformed) UnmarshalJSON(b []byte) error {
	text, err := choice(b, "html")
	*m = Malformed(text)
	return err
}

// choice reads one of several words; true stands for one of them, false for none.
func choice(b []byte, usual string) (text string, err error) {
	switch string(b) {
	case "true":
		return usual, nil
	case "false", "null":
		return "", nil
	}
	if err := json.Unmarshal(b, &text); err != nil {
		return "", errors.New("want a word, or true for " + usual)
	}
	return text, nil
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
	if err := s.check(f); err != nil {
		return fmt.Errorf("simulator: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults, s.failing = f, f.dialect()
	return nil
}

func (s *Simulator) check(f Faults) error {
	_, known := dialectOf(f.Dialect)
	fails := f.Status != 0 || f.Dialect != "" || f.Partial != ""
	switch {
	case f.ErrorRate < 0 || f.ErrorRate > 1:
		return errors.New("errorRate: want 0 to 1")
	case f.Latency < 0 || f.Lag < 0 || f.RetryAfter < 0:
		return errors.New("a duration is negative")
	case f.Malformed != "" && !slices.Contains([]Malformed{"html", "empty", "truncated", "json", "huge"}, f.Malformed):
		return errors.New("malformed: want html, empty, truncated, json or huge")
	case f.Status != 0 && f.Status != http.StatusOK && (f.Status < 400 || f.Status > 599):
		return errors.New("status: want 200, or an HTTP status from 400 to 599")
	case f.Dialect != "" && !known:
		return errors.New("dialect: want " + strings.Join(Dialects(), ", "))
	case f.Dialect != "" && f.Status != 0:
		return errors.New("dialect: it has a status of its own")
	case f.Partial != "" && !s.queries.has(string(f.Partial)):
		return errors.New("partial: want a root field of the schema, as tasks or getMemberConnections")
	case f.Partial != "" && f.dialect().fault == nil:
		return errors.New("partial: the others answer, so it wants an error that is inside a 200")
	case f.Down && f.Malformed != "", (f.Down || f.Malformed != "") && fails:
		return errors.New("down, malformed and errors: want one of them")
	case f.RetryAfter != 0 && !fails && (f.ErrorRate == 0 || f.Down || f.Malformed != ""):
		return errors.New("retryAfter: want errors it goes with, by status, dialect, partial or errorRate")
	}
	return nil
}

// dialect returns what failing requests are answered with; none if there is no
// such fault.
func (f Faults) dialect() dialect {
	d, known := dialectOf(f.Dialect)
	switch {
	case known:
		return d
	case f.Status != 0:
		return plainly(f.Status)
	case f.Partial != "":
		return plainly(http.StatusOK)
	case f.ErrorRate > 0 && !f.Down && f.Malformed == "":
		return plainly(http.StatusServiceUnavailable)
	default:
		return dialect{}
	}
}

// A spell is what befalls one request: nothing, or what one of the faults does.
type spell struct {
	Faults

	failing dialect
}

// spoil draws whether faults concern this request, waits as long as they want,
// and does what is done without understanding it. It reports whether that was an
// answer; otherwise the caller answers as the spell says.
func (s *Simulator) spoil(w http.ResponseWriter, r *http.Request) (spell, bool) {
	now := s.draw(r.Header)
	if now.Latency > 0 && !s.wait(w, r, time.Duration(now.Latency)) {
		return now, true
	}
	switch {
	case now.Down:
		panic(http.ErrAbortHandler) // the documented way to cut a connection
	case now.Malformed != "":
		malformed(w, now.Malformed)
		return now, true
	default:
		return now, false
	}
}

// wait lets d pass, or less if the simulator stops. It reports whether anybody is
// left to answer.
func (s *Simulator) wait(w http.ResponseWriter, r *http.Request, d time.Duration) bool {
	// net/http sees a client leave only once all that it sent is read.
	rest := http.MaxBytesReader(w, r.Body, maxBody)
	body, _ := io.ReadAll(rest) // whoever reads on is told what went wrong
	r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), rest))
	select {
	case <-time.After(d):
		return true
	case <-s.stop:
		return true
	case <-r.Context().Done():
		return false
	}
}

func (s *Simulator) draw(h http.Header) spell {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := spell{s.faults, s.failing}
	if !now.Down && now.Malformed == "" && now.failing.status == 0 {
		return now
	}
	if now.ErrorRate > 0 && s.chance.Float64() >= now.ErrorRate {
		return spell{Faults: Faults{Latency: now.Latency}}
	}
	s.count(s.owner(h), faulted)
	return now
}

func malformed(w http.ResponseWriter, how Malformed) {
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
