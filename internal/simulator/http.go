package simulator

import (
	"cmp"
	"encoding/json"
	"errors"
	"html/template"
	"io"
	"net/http"
	"strings"
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
	mux.HandleFunc("GET /oauth/done", func(w http.ResponseWriter, _ *http.Request) { page(w, http.StatusOK, donePage, nil) })
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
	if r.ParseForm() != nil || r.PostForm.Get("grant_type") != "urn:ietf:params:oauth:grant-type:token-exchange" {
		answer(w, http.StatusBadRequest, map[string]string{"error": "unsupported_grant_type"})
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
		"issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
	})
}

const (
	pageHead = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="color-scheme" content="light dark"><title>Simulated provider</title>
<style>
:root{--ground:#eef4f0;--card:#fff;--text:#15241c;--soft:#48574e;--main:#12693c;--on:#fff;--note:#fff3d6;--noteText:#5c4300}
@media(prefers-color-scheme:dark){:root{--ground:#0f1713;--card:#19241e;--text:#eef4f0;--soft:#b5c4bb;--main:#74d3a0;--on:#0d1611;--note:#3a2f12;--noteText:#f3dfac}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;background:var(--ground);color:var(--text);font:1.125rem/1.55 system-ui,sans-serif}
aside{background:var(--note);color:var(--noteText);font-size:.9rem;text-align:center;padding:.5rem 1rem}
main{max-width:26rem;margin:12vh auto 2rem;padding:2rem 1.5rem;background:var(--card);border-radius:1.25rem;width:calc(100% - 2.5rem)}
.mark{display:flex;align-items:center;justify-content:center;width:3.5rem;height:3.5rem;margin-bottom:1rem;border-radius:1rem;background:var(--main);color:var(--on);font-size:1.75rem;font-weight:600}
h1{margin:0 0 .5rem;font-size:1.5rem;line-height:1.25;overflow-wrap:anywhere}
p,ul{margin:0 0 .75rem;color:var(--soft)}ul{padding-left:1.25rem}p:last-child{margin:0}
button{width:100%;min-height:3.25rem;margin-top:.75rem;padding:.8rem 1rem;border:0;border-radius:.75rem;background:var(--main);color:var(--on);font:inherit;font-weight:600;cursor:pointer}
:focus-visible{outline:3px solid var(--text);outline-offset:3px}
</style></head><body><aside>A simulated provider. Nothing here is real.</aside><main>`
	pageFoot = `</main></body></html>`

	loginPage = pageHead + `<div class="mark" aria-hidden="true">{{printf "%.1s" .}}</div><h1>{{.}}</h1>
<p>Your app would like to read your records here again:</p><ul><li>Visits and notes</li><li>Test results</li><li>Medicines</li></ul>
<form method="post"><button>Sign in and share</button></form>` + pageFoot
	donePage = pageHead + `<div class="mark" aria-hidden="true">✓</div><h1>You are connected</h1><p>You can close this page.</p>
<script>if(window.opener)window.opener.postMessage({status_code:"success"},location.origin)</script>` + pageFoot
	stalePage = pageHead + `<h1>This link was used or is too old</h1><p>Go back to your app and ask for a new one.</p>` + pageFoot
)

func page(w http.ResponseWriter, status int, text string, data any) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = template.Must(template.New("page").Parse(text)).Execute(w, data)
}

// pending returns what an OAuth URL is for, and the name to show for it; with
// use, the URL is used up.
func (s *Simulator) pending(r *http.Request, use bool) (o oauthState, name string, fresh bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := r.URL.Query().Get("state")
	o, ok := s.oauth[state]
	if use {
		delete(s.oauth, state)
	}
	name = o.connection
	if m := s.members[o.member]; m != nil {
		if rows := m.rowsOf(o.connection, ""); len(rows) > 0 {
			name = rows[0].text("name")
		}
	}
	return o, cmp.Or(name, "A provider"), ok && s.now().Before(o.until)
}

func (s *Simulator) authorize(w http.ResponseWriter, r *http.Request) {
	_, name, fresh := s.pending(r, false)
	if !fresh {
		page(w, http.StatusGone, stalePage, nil)
		return
	}
	page(w, http.StatusOK, loginPage, name)
}

func (s *Simulator) authorized(w http.ResponseWriter, r *http.Request) {
	o, _, fresh := s.pending(r, true)
	if !fresh || s.Login(o.member, o.connection) != nil {
		page(w, http.StatusGone, stalePage, nil)
		return
	}
	http.Redirect(w, r, "/oauth/done?status_code=success", http.StatusSeeOther)
}

// control mounts the control API. No fault ever applies to it.
func (s *Simulator) control(mux *http.ServeMux) {
	mux.HandleFunc("GET /sim/members", func(w http.ResponseWriter, r *http.Request) {
		views := s.Members()
		if r.URL.Query().Get("format") != "enrol" {
			answer(w, http.StatusOK, views)
			return
		}
		w.Header().Set("Content-Type", "application/jsonl")
		lines := json.NewEncoder(w)
		for _, v := range views {
			_ = lines.Encode(map[string]string{"id": v.ID, "refreshToken": v.RefreshToken})
		}
	})
	mux.HandleFunc("POST /sim/members", func(w http.ResponseWriter, r *http.Request) {
		var q struct {
			NewMember

			Count int `json:"count"`
		}
		switch err := read(w, r, &q); {
		case err != nil:
			complain(w, err)
		case q.Count == 0 && q.ID != "":
			done(w, s.AddMember(q.NewMember))
		case q.ID != "" || q.Connections != nil:
			complain(w, errors.New("simulator: want an id and connections, or a count, not both"))
		case q.Count <= 0 || q.Count > 100_000:
			complain(w, errors.New("simulator: want an id, or a count from 1 to 100000"))
		default:
			ids, err := s.AddMembers(q.Count, q.NewMember)
			if err != nil {
				complain(w, err)
				return
			}
			answer(w, http.StatusOK, map[string]any{"ids": ids})
		}
	})
	const connection = "/sim/members/{id}/connections/{connection}"
	mux.HandleFunc("PUT "+connection, func(w http.ResponseWriter, r *http.Request) {
		var fields Row
		if err := read(w, r, &fields); err != nil {
			complain(w, err)
			return
		}
		done(w, s.SetConnection(r.PathValue("id"), r.PathValue("connection"), fields))
	})
	mux.HandleFunc("DELETE "+connection, func(w http.ResponseWriter, r *http.Request) {
		done(w, s.RemoveConnection(r.PathValue("id"), r.PathValue("connection")))
	})
	mux.HandleFunc("POST "+connection+"/login", func(w http.ResponseWriter, r *http.Request) {
		done(w, s.Login(r.PathValue("id"), r.PathValue("connection")))
	})
	put(mux, "PUT /sim/members/{id}/consent", func(id string, q struct {
		Provision string `json:"provision"`
	},
	) error {
		return s.SetConsent(id, q.Provision)
	})
	put(mux, "PUT /sim/members/{id}/task", func(id string, q struct {
		Status string `json:"status"`
	},
	) error {
		return s.SetTask(id, q.Status)
	})
	put(mux, "PUT /sim/members/{id}/identity", s.SetIdentity)
	put(mux, "PUT /sim/members/{id}/token", s.SetToken)
	put(mux, "PUT /sim/faults", func(_ string, f Faults) error { return s.SetFaults(f) })
	mux.HandleFunc("GET /sim/calls", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, s.Calls()) })
}

// put mounts an endpoint that takes one JSON object for the member in the path.
func put[T any](mux *http.ServeMux, pattern string, set func(id string, v T) error) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		var v T
		if err := read(w, r, &v); err != nil {
			complain(w, err)
			return
		}
		done(w, set(r.PathValue("id"), v))
	})
}

func read(w http.ResponseWriter, r *http.Request, v any) error {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return errors.New("simulator: read the request: " + strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("simulator: read the request: want one JSON object and nothing after it")
	}
	return nil
}

func done(w http.ResponseWriter, err error) {
	if err != nil {
		complain(w, err)
		return
	}
	answer(w, http.StatusOK, map[string]bool{"ok": true})
}

func complain(w http.ResponseWriter, err error) {
	status := http.StatusBadRequest
	if errors.Is(err, ErrNoMember) || errors.Is(err, ErrNoConnection) {
		status = http.StatusNotFound
	}
	answer(w, status, map[string]string{"error": err.Error()})
}
