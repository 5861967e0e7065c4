// Package acting is how a tap reaches the actions over HTTP. api.go answers the
// backend of an app, which shows a bearer token. links.go answers the member,
// who shows a signed link that works once; token.go says what is in it.
//
// Paths hold member ids and links: no path is ever logged, nor put in an error.
package acting

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/smartconnect/connector/internal/reconnect"
)

const (
	maxBody     = 4 << 10
	maxMemberID = 1024
	readFor     = 10 * time.Second // how long a body may take to arrive
	actFor      = 45 * time.Second // how long b.well may take
)

// A Starter acts on prompts. An error is a [reconnect.Refusal], or wraps one.
type Starter interface {
	Start(ctx context.Context, r reconnect.StartRequest) (reconnect.Started, error)
}

// Bearers are the tokens that open the API, as hashes. They print as nothing.
type Bearers struct{ sums [][sha256.Size]byte }

// Format implements [fmt.Formatter]: bearers are never printed.
func (Bearers) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[bearers]")) }

// minBearer is the least length of a token: 128 bits in hexadecimal.
const minBearer = 32

// LoadBearers reads a file of tokens, one a line. There may be several, so that
// a token can be replaced while both the old and the new one are good. It
// refuses a file that everybody may read.
func LoadBearers(path string) (Bearers, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Bearers{}, fmt.Errorf("read token file: %w", err)
	}
	if info.Mode().Perm()&0o007 != 0 {
		return Bearers{}, fmt.Errorf("read token file: everybody may use it (mode %04o); mend it with: chmod o=", info.Mode().Perm())
	}
	body, err := os.ReadFile(path)
	if err != nil {
		return Bearers{}, fmt.Errorf("read token file: %w", err)
	}
	return NewBearers(strings.Fields(string(body))...)
}

// NewBearers returns Bearers that take any of tokens.
func NewBearers(tokens ...string) (Bearers, error) {
	var b Bearers
	for i, token := range tokens {
		if len(token) < minBearer {
			return Bearers{}, fmt.Errorf("bearer token %d: %d characters, want at least %d; make one with: openssl rand -hex 32", i+1, len(token), minBearer)
		}
		b.sums = append(b.sums, sha256.Sum256([]byte(token)))
	}
	if len(b.sums) == 0 {
		return Bearers{}, errors.New("bearer token: there is none; make one with: openssl rand -hex 32")
	}
	return b, nil
}

// opens reports whether an Authorization header shows one of the tokens. How
// long that takes says nothing about them.
func (b Bearers) opens(header string) bool {
	scheme, token, _ := strings.Cut(header, " ")
	sum := sha256.Sum256([]byte(strings.TrimSpace(token)))
	good := 0
	for i := range b.sums {
		good |= subtle.ConstantTimeCompare(sum[:], b.sums[i][:])
	}
	return good == 1 && strings.EqualFold(scheme, "Bearer")
}

// API serves /v1/: POST /v1/prompts/{id}/start, with the member's id in the
// body, and POST /v1/members/{id}/poll. poll asks for a look at a member now.
// Whoever shows no token is not told what else there is.
func API(b Bearers, starter Starter, poll func(ctx context.Context, memberID string) error) http.Handler {
	mux := http.NewServeMux()
	handle := func(path string, h func(http.ResponseWriter, *http.Request) (any, error)) {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), actFor)
			defer cancel()
			body, err := h(w, r.WithContext(ctx))
			if err != nil {
				problem(ctx, w, err)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Cache-Control", "no-store") // it may hold a URL
			_ = json.NewEncoder(w).Encode(body)
		})
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", http.MethodPost)
			problem(r.Context(), w, wrongMethod)
		})
	}
	// Without these two kinds the mux would answer by itself, in plain text.
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { problem(r.Context(), w, noSuchPath) })
	handle("/v1/prompts/{id}/start", func(w http.ResponseWriter, r *http.Request) (any, error) {
		var q struct {
			MemberID string `json:"memberId"`
		}
		switch err := read(w, r, &q); {
		case err != nil:
			return nil, err
		case q.MemberID == "" || len(q.MemberID) > maxMemberID:
			return nil, reconnect.BadRequest
		}
		return starter.Start(r.Context(), reconnect.StartRequest{PromptID: r.PathValue("id"), MemberID: q.MemberID})
	})
	handle("/v1/members/{id}/poll", func(_ http.ResponseWriter, r *http.Request) (any, error) {
		id := r.PathValue("id")
		if len(id) > maxMemberID {
			return nil, reconnect.NotFound
		}
		return map[string]bool{"asked": true}, poll(r.Context(), id)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !b.opens(r.Header.Get("Authorization")) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			problem(r.Context(), w, unauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// These are refusals that only HTTP has. A path that does not exist is not
// not_found: a prompt may be there all the same.
const (
	tooLarge     reconnect.Refusal = "too_large"
	unauthorized reconnect.Refusal = "unauthorized"
	noSuchPath   reconnect.Refusal = "no_such_path"
	wrongMethod  reconnect.Refusal = "method_not_allowed"
)

// read decodes a body that is short and comes soon.
func read(w http.ResponseWriter, r *http.Request, v any) error {
	// Not every kind of server can set a deadline; the size is capped anyhow.
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(time.Now().Add(readFor))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	_ = c.SetReadDeadline(time.Time{})
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return tooLarge
	}
	if err != nil || json.Unmarshal(body, v) != nil {
		return reconnect.BadRequest // the cause may quote the body
	}
	return nil
}

// statusOf returns the HTTP status of a refusal.
func statusOf(why reconnect.Refusal) int {
	switch why {
	case reconnect.BadRequest:
		return http.StatusBadRequest
	case unauthorized:
		return http.StatusUnauthorized
	case reconnect.ConsentEnded, reconnect.IdentityRequired:
		return http.StatusForbidden
	case reconnect.NotFound, noSuchPath:
		return http.StatusNotFound
	case wrongMethod:
		return http.StatusMethodNotAllowed
	case reconnect.StalePrompt:
		return http.StatusConflict
	case tooLarge:
		return http.StatusRequestEntityTooLarge
	case reconnect.NotSupported, reconnect.ReconnectInApp:
		return http.StatusUnprocessableEntity
	case reconnect.TooMany:
		return http.StatusTooManyRequests
	default:
		return http.StatusBadGateway
	}
}

// refusal returns the word for err.
func refusal(err error) reconnect.Refusal {
	if why, ok := errors.AsType[reconnect.Refusal](err); ok {
		return why
	}
	return reconnect.Upstream
}

// refused logs why nothing was done.
func refused(ctx context.Context, why reconnect.Refusal, err error) {
	line := zerolog.Ctx(ctx).Info().Str("why", string(why))
	if err != error(why) { //nolint:errorlint // the word alone tells nothing more
		line = line.Err(err)
	}
	line.Msg("request over HTTP refused")
}

// problem answers with the word of the refusal in err, as RFC 9457 has it.
func problem(ctx context.Context, w http.ResponseWriter, err error) {
	why := refusal(err)
	refused(ctx, why, err)
	message := why.Error()
	switch why {
	case unauthorized:
		message = "the bearer token is missing or not one of ours"
	case tooLarge:
		message = "the body is larger than anything this takes"
	case noSuchPath:
		message = "there is no such path; there are POST /v1/prompts/{id}/start and POST /v1/members/{id}/poll"
	case wrongMethod:
		message = "this path takes POST only"
	case reconnect.TooMany:
		w.Header().Set("Retry-After", "2")
	default:
	}
	status := statusOf(why)
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"title": http.StatusText(status), "status": status, "error": string(why), "message": message,
	})
}
