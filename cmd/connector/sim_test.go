package main

import (
	"context"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/smartconnect/connector/internal/simulator"
)

func TestSimUsage(t *testing.T) {
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"a token life that is none":         {[]string{"sim", "--token-life", "soon"}, "--token-life"},
		"a token life of nothing":           {[]string{"sim", "--token-life", "0s"}, "--token-life"},
		"a token life below what exp tells": {[]string{"sim", "--token-life", "999ms"}, "--token-life"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, complaints := terminal(t, tt.args...)
			if code != exitUsage || !strings.Contains(complaints, tt.want) || out != "" {
				t.Errorf("code %d, want %d and a word about %s\nout: %s\nerr: %s", code, exitUsage, tt.want, out, complaints)
			}
		})
	}
}

// A stop of sim does not wait for answers that a fault holds back; whoever waits
// for one gets it.
func TestSimStopsWhileAnswersWait(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	w := &world{T: t, journal: &journal{}}
	ended := make(chan int, 1)
	go func() {
		ended <- program(ctx, []string{"sim", "--listen", "127.0.0.1:0", "--members", "1"}, streams{strings.NewReader(""), io.Discard, w.journal})
	}()
	address := regexp.MustCompile(`"address":"([^"]+)"`)
	w.until("listening", func() bool { return address.MatchString(w.journal.String()) })
	base := "http://" + address.FindStringSubmatch(w.journal.String())[1]
	ask := func(method, path, body string) (int, error) {
		r, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader(body))
		if err != nil {
			return 0, err
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return 0, err
		}
		return resp.StatusCode, resp.Body.Close()
	}
	if status, err := ask(http.MethodPut, "/sim/faults", `{"latency":"1h","status":503}`); err != nil || status != http.StatusOK {
		t.Fatal(status, err)
	}
	type answer struct {
		status int
		err    error
	}
	answered := make(chan answer, 1)
	go func() {
		status, err := ask(http.MethodPost, "/v1/graphql", `{}`)
		answered <- answer{status, err}
	}()
	w.until("waiting", func() bool {
		_, calls := w.get(base + "/sim/calls")
		return strings.Contains(calls, "faulted")
	})
	stop()
	select {
	case code := <-ended:
		if code != exitOK {
			t.Errorf("sim ended with %d:\n%s", code, w.journal)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("sim does not end")
	}
	if a := <-answered; a.err != nil || a.status != http.StatusServiceUnavailable {
		t.Errorf("who waited got %d, %v", a.status, a.err)
	}
}

// A member whose grant was revoked comes back with what the control API then
// gives to enrol; what it shows of them works.
func TestRevokedMembersAreEnrolledAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.enrol()
	w.serve(nil)
	m := w.sim.Members()[1]
	w.until("seen", func() bool { return w.known(m.ID).MemberID != "" })
	w.must(w.sim.SetToken(m.ID, simulator.TokenChange{Refresh: "revoked"}))
	w.until("lost", func() bool { return w.known(m.ID).Observation.Blind() })
	if shown := w.sim.Members()[1].RefreshToken; shown == m.RefreshToken || shown == "" {
		t.Errorf("shown is %q, of a grant that is revoked", shown)
	}
	_, lines := w.get(w.simURL + "/sim/members?format=enrol")
	if code, out, complaints := w.run(lines, w.keyed("members", "enrol", "-f", "-")...); code != exitOK || !strings.Contains(out, "Enrolled 2, refused 0.") {
		t.Fatalf("code %d\n%s%s", code, out, complaints)
	}
	w.until("seen again", func() bool { return !w.known(m.ID).Observation.Blind() })
	if w.known(w.sim.Members()[0].ID).Observation.Blind() {
		t.Error("who was enrolled with the grant in use is lost")
	}
}
