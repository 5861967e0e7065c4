package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/smartconnect/connector/internal/embednats"
	"github.com/smartconnect/connector/internal/topology"
)

// dev runs until it prints a word, or as many as there are lines, or ends by
// itself.
func dev(t *testing.T, until string, flags ...string) (code int, out, complaints string) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	o, e := &journal{}, &journal{}
	ended := make(chan int, 1)
	args := []string{"dev", "--members", "2", "--nats-listen", "127.0.0.1:0", "--sim-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"}
	go func() { ended <- program(ctx, append(args, flags...), streams{strings.NewReader(""), o, e}) }()
	for {
		select {
		case code := <-ended:
			return code, o.String(), e.String()
		case <-time.After(20 * time.Millisecond):
			if until != "" && says(o.String()+e.String(), until) {
				stop()
			}
		}
	}
}

// says reports whether all lines are somewhere in text.
func says(text, lines string) bool {
	return !slices.ContainsFunc(strings.Split(lines, "\n"), func(line string) bool { return !strings.Contains(text, line) })
}

// What dev keeps is there when it is started again; what an older version made
// otherwise is put right; what another key file made is refused.
func TestDevWithADataDirectory(t *testing.T) {
	dir := t.TempDir()
	// Members are enrolled while it runs; those of before are there at once.
	for _, until := range []string{"member-0001  is watched\nmember-0002  is watched", `"here":2`} {
		code, out, complaints := dev(t, until, "--log-level", "info", "--data-dir", dir)
		if code != exitOK || !strings.Contains(out, filepath.Join(dir, "connector.key")) || !says(out+complaints, until) {
			t.Fatalf("code %d\nout: %s\nerr: %s", code, out, complaints)
		}
	}
	streams := func(f func(context.Context, jetstream.Stream, jetstream.JetStream)) {
		t.Helper()
		s, err := embednats.Start(embednats.Config{Dir: filepath.Join(dir, "jetstream")})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Stop()
		nc, err := s.Connect()
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		stream, err := js.Stream(t.Context(), topology.Events)
		if err != nil {
			t.Fatal(err)
		}
		f(t.Context(), stream, js)
	}
	streams(func(ctx context.Context, s jetstream.Stream, js jetstream.JetStream) {
		config := s.CachedInfo().Config
		config.MaxMsgsPerSubject = 7
		if _, err := js.UpdateStream(ctx, config); err != nil {
			t.Fatal(err)
		}
	})
	if code, _, complaints := dev(t, "Ctrl-C", "--data-dir", dir); code != exitOK {
		t.Fatalf("code %d: %s", code, complaints)
	}
	streams(func(_ context.Context, s jetstream.Stream, _ jetstream.JetStream) {
		if n := s.CachedInfo().Config.MaxMsgsPerSubject; n != 64 {
			t.Errorf("%d messages a subject, want 64", n)
		}
	})
	if err := os.Remove(filepath.Join(dir, "connector.key")); err != nil {
		t.Fatal(err)
	}
	code, _, complaints := dev(t, "", "--data-dir", dir)
	if code != exitFailed || !strings.Contains(complaints, "another deployment's") || !strings.Contains(complaints, "--data-dir") {
		t.Errorf("code %d: %s", code, complaints)
	}
}

// A stop is no failure, whenever it comes; and nothing is between the lines that
// people read.
func TestDevStoppedAtItsStart(t *testing.T) {
	for _, until := range []string{"Ctrl-C", "is watched"} {
		if code, _, complaints := dev(t, until); code != exitOK || complaints != "" {
			t.Errorf("at %q: code %d: %s", until, code, complaints)
		}
	}
	w := newWorld(t, 0)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	var e journal
	args := w.keyed("run", "--client-key", "a2V5", "--bwell", w.simURL, "--http-listen", "")
	if code := program(ctx, args, streams{strings.NewReader(""), &e, &e}); code != exitOK {
		t.Errorf("run: code %d: %s", code, e.String())
	}
}

// An address that is taken is named by its flag.
func TestDevOnATakenAddress(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, flag := range []string{"--nats-listen", "--sim-listen", "--http-listen"} {
		code, _, complaints := dev(t, "", flag, l.Addr().String())
		last := complaints[strings.LastIndex(strings.TrimSpace(complaints), "\n")+1:]
		if code != exitFailed || !strings.Contains(last, flag+": ") || !strings.Contains(last, "in use") {
			t.Errorf("%s: code %d: %s", flag, code, last)
		}
	}
}
