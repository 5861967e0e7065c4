package simulator

import (
	"encoding/json"
	"io"
	"net/http"
)

const maxBody = 1 << 20

// Handler serves GraphQL, the token exchange, the OAuth provider and the
// control API.
func (s *Simulator) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/graphql", s.graphql)
	mux.HandleFunc("POST /identity/oauth/token", s.exchange)
	mux.HandleFunc("GET /oauth/authorize", s.authorize)
	mux.HandleFunc("POST /oauth/authorize", s.authorized)
	mux.HandleFunc("GET /oauth/done", authorizationDone)
	mux.HandleFunc("GET /identity/verify", s.verify)
	mux.HandleFunc("POST /identity/verify", s.verified)
	mux.HandleFunc("GET /identity/done", func(w http.ResponseWriter, _ *http.Request) { page(w, http.StatusOK, verifiedPage, nil) })
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	s.control(mux)
	return mux
}

func (s *Simulator) graphql(w http.ResponseWriter, r *http.Request) {
	now, answered := s.spoil(w, r)
	switch {
	case answered:
		return
	case now.failing.body != nil:
		now.failing.write(w, now.RetryAfter)
		return
	}
	var q request
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil || json.Unmarshal(body, &q) != nil {
		answer(w, http.StatusBadRequest, failure(coded("The body is no GraphQL request", "BAD_REQUEST")))
		return
	}
	op, faults := s.queries.prepare(q)
	if faults != nil {
		answer(w, http.StatusOK, failure(faults...))
		return
	}
	status, encoded := s.execute(r, op, now)
	now.failing.hint(w, now.RetryAfter)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(encoded)
}

// execute answers a request that is valid. The answer is written down under the
// lock, since it is made of live rows.
func (s *Simulator) execute(r *http.Request, op *operation, now spell) (status int, encoded []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &call{s: s, header: r.Header, base: "http://" + r.Host, spell: now}
	status, out := c.admit(op.roots())
	if status == http.StatusOK {
		out = op.execute(c.resolve)
	} else {
		s.count(s.owner(r.Header), refused)
	}
	encoded, err := json.Marshal(out)
	if err != nil {
		panic("simulator: encode an answer: " + err.Error()) // all of it came as JSON
	}
	return status, encoded
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// exchange is RFC 8693: an id token for an access token.
func (s *Simulator) exchange(w http.ResponseWriter, r *http.Request) {
	now, answered := s.spoil(w, r)
	switch {
	case answered:
		return
	case now.failing.status != 0 && now.Partial == "":
		now.failing.identity(w, now.RetryAfter)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	const kinds = "urn:ietf:params:oauth:token-type:"
	form := r.ParseForm()
	wanted := r.PostForm.Get("requested_token_type")
	switch {
	case form != nil || r.PostForm.Get("grant_type") != "urn:ietf:params:oauth:grant-type:token-exchange":
		answer(w, http.StatusBadRequest, map[string]string{"error": "unsupported_grant_type"})
		return
	case r.PostForm.Get("subject_token") == "" || r.PostForm.Get("subject_token_type") != kinds+"jwt" || wanted != "" && wanted != kinds+"access_token":
		answer(w, http.StatusBadRequest, map[string]string{"error": "invalid_request"})
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := s.whose(r.PostForm.Get("subject_token"), "id")
	if err != nil {
		answer(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant"})
		return
	}
	s.count(m.id, "exchange")
	t := s.issue(m, s.grant(m.id))
	answer(w, http.StatusOK, map[string]any{
		"access_token": t.access, "id_token": t.id, "refresh_token": t.refresh, "token_type": "Bearer", "expires_in": int(s.life.Seconds()),
		"issued_token_type": kinds + "access_token",
	})
}
