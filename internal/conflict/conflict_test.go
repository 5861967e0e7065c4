package conflict_test

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/smartconnect/connector/internal/conflict"
	"github.com/smartconnect/connector/internal/natstest"
)

// What a real broker answers to whoever comes second is a conflict; what it
// answers to whoever brings too much is none.
func TestIs(t *testing.T) {
	js := natstest.JetStream(t)
	kv, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "b", MaxValueSize: 512})
	if err != nil {
		t.Fatal(err)
	}
	revision, err := kv.Create(t.Context(), "k", []byte("a"))
	if err != nil || conflict.Is(err) {
		t.Fatal(err)
	}
	if _, err := kv.Create(t.Context(), "k", []byte("b")); !conflict.Is(err) {
		t.Errorf("made twice: %v", err)
	}
	if _, err := kv.Update(t.Context(), "k", []byte("b"), revision+1); !conflict.Is(err) {
		t.Errorf("written over what is not there: %v", err)
	}
	if err := kv.Delete(t.Context(), "k", jetstream.LastRevision(revision+1)); !conflict.Is(err) {
		t.Errorf("deleted at another revision: %v", err)
	}
	if _, err := kv.Update(t.Context(), "k", make([]byte, 1024), revision); err == nil || conflict.Is(err) {
		t.Errorf("too much: %v", err)
	}
	if conflict.Is(errors.New("no answer")) {
		t.Error("no answer")
	}
}
