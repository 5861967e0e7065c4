package main

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/micro"
)

// Requests are answered after their handlers have returned, alone and one beside
// the other; the race detector looks on. It sees the most when it is quiet.
func TestAnswersOfTheMicroService(t *testing.T) {
	w := newWorld(t, 0)
	w.serve(nil)
	for _, askers := range []int{1, 8} {
		var asked sync.WaitGroup
		for range askers {
			asked.Go(func() {
				for range 400 / askers {
					reply, err := w.nc.Request(servicePrefix+".prompt.start", []byte("{}"), 10*time.Second)
					if err != nil || reply.Header.Get(micro.ErrorCodeHeader) != "bad_request" || reply.Header.Get(micro.ErrorHeader) == "" || len(reply.Data) != 0 {
						t.Errorf("%+v, %v", reply, err)
						return
					}
				}
			})
		}
		asked.Wait()
	}
}

// An enrolment that is misspelt would leave the member without credentials, and
// nobody would notice: it is refused. What was understood is answered.
func TestEnrolmentOfTheMicroService(t *testing.T) {
	w := newWorld(t, 2)
	w.serve(nil)
	m := w.sim.Members()[0]
	for _, tt := range []struct{ name, request, word, answer string }{
		{"misspelt", `{"id":"x","refresh_token":"s3cret"}`, "bad_request", ""},
		{"two", `{"id":"x"} {"id":"y"}`, "bad_request", ""},
		{"no id", `{"idToken":"s3cret"}`, "bad_request", ""},
		{"an id that is too long", `{"id":"` + strings.Repeat("x", 1025) + `"}`, "bad_request", ""},
		{"an id that a terminal obeys", `{"id":"x\u001b[2J"}`, "bad_request", ""},
		{"nothing to ask with", `{"id":"` + m.ID + `"}`, "", `{"member":"` + string(w.token(m.ID)) + `","created":true,"credentials":false}`},
		{"something to ask with", `{"id":"` + m.ID + `","refreshToken":"` + m.RefreshToken + `"}`, "", `{"member":"` + string(w.token(m.ID)) + `","created":false,"credentials":true}`},
		{"garbage", `{"id":"` + m.ID + `","idToken":"s3cret"}`, "bad_request", ""},
		{"another person's", `{"id":"` + m.ID + `","idToken":"` + w.sim.Members()[1].IDToken + `"}`, "identity_mismatch", ""},
		{"the same once more", `{"id":"` + m.ID + `","refreshToken":"` + m.RefreshToken + `"}`, "", `{"member":"` + string(w.token(m.ID)) + `","created":false,"credentials":true}`},
		{"nothing new", `{"id":"` + m.ID + `"}`, "", `{"member":"` + string(w.token(m.ID)) + `","created":false,"credentials":true}`},
	} {
		reply, err := w.nc.Request(servicePrefix+".member.enrol", []byte(tt.request), 10*time.Second)
		w.must(err)
		if word := reply.Header.Get(micro.ErrorCodeHeader); word != tt.word || string(reply.Data) != tt.answer {
			t.Errorf("%s: %q %s, want %q %s", tt.name, word, reply.Data, tt.word, tt.answer)
		}
	}
	for r, err := range w.store.List(t.Context()) {
		if err != nil || r.MemberID != m.ID {
			t.Errorf("enrolled: %s, %v", r.Token, err)
		}
	}
	if strings.Contains(w.journal.String(), "s3cret") {
		t.Errorf("a token is logged:\n%s", w.journal)
	}
}
