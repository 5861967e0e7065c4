// Package natstest gives a test a JetStream of its own: one server without a
// port, or three that are a cluster.
package natstest

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/smartconnect/connector/internal/embednats"
	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/topology"
)

// JetStream starts a server without a port that lives as long as the test.
func JetStream(t testing.TB) jetstream.JetStream {
	t.Helper()
	s, err := embednats.Start(embednats.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	nc, err := s.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// Log starts a server that has the connector's streams, and returns the log on
// them.
func Log(t testing.TB) (*events.Log, jetstream.JetStream) {
	t.Helper()
	js := JetStream(t)
	s := subjects(t)
	if err := topology.Apply(t.Context(), js, topology.Config{Prefix: s.Prefix()}, false); err != nil {
		t.Fatal(err)
	}
	return events.NewLog(js, s, ""), js
}

func subjects(t testing.TB) events.Subjects {
	t.Helper()
	s, err := events.NewSubjects("")
	if err != nil {
		t.Fatal(err)
	}
	return s
}
