package main

import (
	"context"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

// dev that is started again on what it kept finds the members it left: nothing
// is news but that they consent, since the simulated b.well forgets who denied.
func TestDevStartedAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	// during runs dev while do does something with the simulator's address, and
	// returns when the feed then says what is wanted.
	during := func(do func(put func(path, body string)), want string) string {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		w := &world{T: t, journal: &journal{}}
		var feed journal
		ended := make(chan int, 1)
		go func() {
			ended <- program(ctx, []string{
				"dev", "--data-dir", dir, "--members", "1",
				"--nats-listen", "127.0.0.1:0", "--sim-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0",
			}, streams{strings.NewReader(""), &feed, w.journal})
		}()
		address := regexp.MustCompile(`\(simulated\) (http://\S+)`)
		w.until("listening", func() bool { return address.MatchString(feed.String()) })
		base := address.FindStringSubmatch(feed.String())[1]
		w.until("watching", func() bool { return strings.Contains(feed.String(), "is watched") })
		do(func(path, body string) {
			t.Helper()
			r, err := http.NewRequestWithContext(ctx, http.MethodPut, base+"/sim/members/member-0001"+path, strings.NewReader(body))
			w.must(err)
			resp, err := http.DefaultClient.Do(r)
			w.must(err)
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Fatal(resp.Status)
			}
		})
		w.until("told: "+want, func() bool { return strings.Contains(feed.String(), want) })
		cancel()
		select {
		case code := <-ended:
			if code != exitOK {
				t.Fatalf("dev ended with %d:\n%s", code, w.journal)
			}
		case <-time.After(time.Minute):
			t.Fatal("dev does not end")
		}
		return feed.String()
	}
	during(func(put func(path, body string)) { put("/consent", `{"provision":"deny"}`) }, "access ended")
	feed := during(func(func(path, body string)) {}, "access restored")
	if !strings.Contains(feed, "consent: permit") || strings.Contains(feed, "changed: ") || strings.Contains(feed, " is gone") {
		t.Errorf("the second time:\n%s", feed)
	}
}

// A stop of dev does not wait for a b.well that holds its answers back: the polls
// in flight get them.
func TestDevStopsWhilePollsWait(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	w := &world{T: t, journal: &journal{}}
	var feed journal
	ended := make(chan int, 1)
	go func() {
		ended <- program(ctx, []string{
			"dev", "--members", "3", "--nats-listen", "127.0.0.1:0", "--sim-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0",
		}, streams{strings.NewReader(""), &feed, w.journal})
	}()
	w.until("watching", func() bool { return strings.Contains(feed.String(), "is watched") })
	base := regexp.MustCompile(`\(simulated\) (http://\S+)`).FindStringSubmatch(feed.String())[1]
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, base+"/sim/faults", strings.NewReader(`{"latency":"1h","status":503}`))
	w.must(err)
	resp, err := http.DefaultClient.Do(r)
	w.must(err)
	w.must(resp.Body.Close())
	w.until("waiting", func() bool {
		_, calls := w.get(base + "/sim/calls")
		return strings.Contains(calls, "faulted")
	})
	stop()
	select {
	case code := <-ended:
		if code != exitOK {
			t.Errorf("dev ended with %d:\n%s", code, w.journal)
		}
	case <-time.After(15 * time.Second):
		t.Fatal("dev does not end")
	}
}
