package simulator

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
)

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
		done(w, s.RemoveConnectionOf(r.PathValue("id"), r.PathValue("connection"), r.URL.Query().Get("integrationType")))
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
	switch {
	case errors.Is(err, ErrNoMember), errors.Is(err, ErrNoConnection):
		status = http.StatusNotFound
	case errors.Is(err, ErrConsentEnded), errors.Is(err, ErrNoLogin):
		status = http.StatusConflict
	}
	answer(w, status, map[string]string{"error": err.Error()})
}
