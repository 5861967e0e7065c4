package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/topology"
)

// What docs/operations.md says of a backup: what happened since it was made is
// found again, in the same sequences, and timers that were overdue fire.
func TestRestoredBackup(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.enrol()
	_, stop := w.serve(nil)
	m := w.sim.Members()[0]
	w.until("known", func() bool { return w.known(m.ID).MemberID != "" })
	id := w.set(m, "PROA", "EXPIRED")
	w.until("asked", func() bool { return len(w.agenda(m.ID).Prompts) == 1 })
	// Consent comes back and one connection does not: a timer of five seconds runs.
	w.must(w.sim.SetConsent(m.ID, "deny"))
	w.until("ended", func() bool { return w.agenda(m.ID).Access != nil })
	w.must(w.sim.SetConsent(m.ID, "permit"))
	w.set(m, "DIRECT_IAS", "ACCESS_ENDED")
	w.until("permitted", func() bool {
		a := w.agenda(m.ID).Access
		return a != nil && !a.PermittedAt.IsZero() && !w.agenda(m.ID).NextLook.IsZero()
	})
	w.must(stop())
	due := w.agenda(m.ID).NextLook
	stream, bucket := w.backUp(topology.Events), w.backUp("KV_"+topology.Members)
	before := w.agenda(m.ID)

	w.must(w.js.DeleteStream(t.Context(), topology.Events))
	w.must(w.js.DeleteStream(t.Context(), "KV_"+topology.Members))
	w.must(w.sim.Login(m.ID, id)) // while nobody looks
	w.until("overdue", func() bool { return time.Now().After(due) })
	w.restore(topology.Events, stream)
	w.restore("KV_"+topology.Members, bucket)
	if got := w.agenda(m.ID); len(got.Prompts) != len(before.Prompts) || got.Sequences["agenda"] != before.Sequences["agenda"] {
		t.Fatalf("restored %+v, want %+v", got, before)
	}
	code, out, complaints := w.run("", w.at("topology", "plan")...)
	if code != exitOK || !strings.Contains(out, "as it should be") {
		t.Fatalf("the streams are not as they were: %s%s", out, complaints)
	}

	s, err := w.js.Stream(t.Context(), topology.Events)
	w.must(err)
	w.until("fired by the broker alone", func() bool {
		msg, err := s.GetLastMsgForSubject(t.Context(), w.log.Subjects().Due(w.token(m.ID)))
		return err == nil && !msg.Time.Before(due)
	})

	w.serve(nil)
	w.until("resolved", func() bool { return len(w.agenda(m.ID).Prompts) == 0 })
	w.until("told that access is overdue", func() bool { return w.count(events.AccessRestoreOverdue) == 1 })
	last := map[string]uint64{}
	w.each(func(e events.Event, msg jetstream.Msg) {
		if was, ok := last[msg.Subject()]; ok && e.Sequence != was+1 {
			t.Errorf("%s: sequence %d after %d", e.Type, e.Sequence, was)
		}
		last[msg.Subject()] = e.Sequence
	})
}

// A backup is what the nats CLI keeps of one: the stream as the server sends it.
type backup struct {
	config, state json.RawMessage
	chunks        [][]byte
}

func (w *world) backUp(stream string) backup {
	w.Helper()
	inbox := w.nc.NewInbox()
	sub, err := w.nc.SubscribeSync(inbox)
	w.must(err)
	body, err := json.Marshal(map[string]any{"deliver_subject": inbox, "chunk_size": 64 << 10})
	w.must(err)
	reply, err := w.nc.Request("$JS.API.STREAM.SNAPSHOT."+stream, body, 5*time.Second)
	w.must(err)
	var answer struct {
		Config json.RawMessage `json:"config"`
		State  json.RawMessage `json:"state"`
		Error  json.RawMessage `json:"error"`
	}
	w.must(json.Unmarshal(reply.Data, &answer))
	if answer.Error != nil {
		w.Fatalf("back up %s: %s", stream, answer.Error)
	}
	b := backup{config: answer.Config, state: answer.State}
	for {
		msg, err := sub.NextMsg(5 * time.Second)
		w.must(err)
		if len(msg.Data) == 0 {
			return b
		}
		b.chunks = append(b.chunks, msg.Data)
		if msg.Reply != "" {
			w.must(w.nc.Publish(msg.Reply, nil))
		}
	}
}

func (w *world) restore(stream string, b backup) {
	w.Helper()
	body, err := json.Marshal(map[string]any{"config": b.config, "state": b.state})
	w.must(err)
	reply, err := w.nc.Request("$JS.API.STREAM.RESTORE."+stream, body, 5*time.Second)
	w.must(err)
	var answer struct {
		Deliver string          `json:"deliver_subject"`
		Error   json.RawMessage `json:"error"`
	}
	w.must(json.Unmarshal(reply.Data, &answer))
	if answer.Error != nil {
		w.Fatalf("restore %s: %s", stream, answer.Error)
	}
	var last *nats.Msg
	for _, chunk := range append(b.chunks, nil) {
		last, err = w.nc.Request(answer.Deliver, chunk, 5*time.Second)
		w.must(err)
	}
	answer.Error = nil
	w.must(json.Unmarshal(last.Data, &answer))
	if answer.Error != nil {
		w.Fatalf("restore %s: %s", stream, answer.Error)
	}
}
