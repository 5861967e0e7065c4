package embednats_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/smartconnect/connector/internal/embednats"
)

func start(t *testing.T, c embednats.Config) *embednats.Server {
	t.Helper()
	s, err := embednats.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

func stream(t *testing.T, nc *nats.Conn, err error) jetstream.Stream {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(ctx, "s.1", []byte("x")); err != nil {
		t.Fatal(err)
	}
	return s
}

// What is stored is there for the next server in the same directory.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	for want := uint64(1); want <= 3; want++ {
		s := start(t, embednats.Config{Dir: dir})
		nc, err := s.Connect()
		info, err := stream(t, nc, err).Info(t.Context())
		if err != nil || info.State.Msgs != want {
			t.Errorf("%+v, %v, want %d messages", info, err, want)
		}
		nc.Close()
		s.Stop()
		s.Stop() // once more is harmless
	}
}

// Without an address nobody else gets in; with one, others do.
func TestAddress(t *testing.T) {
	if s := start(t, embednats.Config{Dir: t.TempDir()}); s.URL() != "" {
		t.Errorf("listens at %s", s.URL())
	}
	s := start(t, embednats.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	nc, err := nats.Connect(s.URL())
	stream(t, nc, err)
	if !strings.HasPrefix(s.URL(), "nats://127.0.0.1:") {
		t.Errorf("listens at %s", s.URL())
	}

	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for listen, want := range map[string]string{
		l.Addr().String():    "in use",
		"127.0.0.1":          "host:port",
		"127.0.0.1:many":     "no number",
		"no.such.host.:4222": "listen",
	} {
		s, err := embednats.Start(embednats.Config{Dir: t.TempDir(), Listen: listen})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want a word about %q", listen, err, want)
		}
		if err == nil {
			s.Stop()
		}
	}
}

// A directory that cannot be written is an error, and no server that forgets.
func TestDirectory(t *testing.T) {
	s, err := embednats.Start(embednats.Config{Dir: "/dev/null/x"})
	if err == nil {
		s.Stop()
	}
	if err == nil || !strings.Contains(err.Error(), "/dev/null") {
		t.Errorf("%v, want a word about the directory", err)
	}
}
