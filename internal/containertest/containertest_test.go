package containertest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/smartconnect/connector/internal/containertest"
)

func TestOneServerKeepsItsStreamOverAKill(t *testing.T) {
	t.Parallel()
	c := containertest.NATS(t)
	js := c.JetStream(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}})
	if err != nil {
		t.Fatal(err)
	}
	publish(ctx, t, js, 0, 10)
	c.Nodes[0].Kill(t)
	c.Nodes[0].Start(t)
	c.AwaitReady(t)
	publish(ctx, t, js, 10, 20)
	if info, err := s.Info(ctx); err != nil || info.State.Msgs != 20 {
		t.Errorf("%+v, %v; want 20 messages", info, err)
	}
}

func TestThreeServersGoOnWithoutOne(t *testing.T) {
	t.Parallel()
	c := containertest.ThreeNATS(t)
	js := c.JetStream(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	s, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, Replicas: 3})
	if err != nil {
		t.Fatal(err)
	}
	publish(ctx, t, js, 0, 50)
	info, err := s.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	// The leader goes: that is the hardest of the three.
	leader := c.Nodes[info.Cluster.Leader[1]-'1']
	leader.Stop(t)
	publish(ctx, t, js, 50, 100)
	leader.Start(t)
	c.AwaitReady(t)
	publish(ctx, t, js, 100, 150)
	if info, err := s.Info(ctx); err != nil || info.State.NumSubjects != 150 || len(info.Cluster.Replicas) != 2 {
		t.Errorf("%+v, %v; want 150 subjects on three servers", info, err)
	}
}

// publish sends one message to each of s.from … s.to-1, once more after every
// error: with one subject each, sending twice is not counted twice.
func publish(ctx context.Context, t *testing.T, js jetstream.JetStream, from, to int) {
	t.Helper()
	for i := from; i < to; {
		try, cancel := context.WithTimeout(ctx, 2*time.Second)
		_, err := js.Publish(try, fmt.Sprintf("s.%d", i), []byte("x"), jetstream.WithExpectLastSequencePerSubject(0))
		cancel()
		switch {
		case ctx.Err() != nil:
			t.Fatalf("publish %d: %v", i, err)
		case err == nil, isMiss(err):
			i++
		}
	}
}

// isMiss tells that an earlier try, whose answer was lost, had been stored.
func isMiss(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == 10164)
}

func TestRunOnceReadsFilesAndReportsTheExitCode(t *testing.T) {
	t.Parallel()
	s := containertest.Spec{
		Image: containertest.NATSImage(t),
		Args:  []string{"--config", "/run/good.conf", "-t"},
		Files: map[string][]byte{"/run/good.conf": []byte("port: 4222\n"), "/run/bad.conf": []byte("port: {\n")},
	}
	if said, code := containertest.RunOnce(t, s); code != 0 {
		t.Errorf("exit code %d: %s", code, said)
	}
	s.Args[1] = "/run/bad.conf"
	if said, code := containertest.RunOnce(t, s); code == 0 || !strings.Contains(said, "Parse error") {
		t.Errorf("exit code %d: %s", code, said)
	}
}
