package events_test

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/smartconnect/connector/internal/events"
)

// audit reads every message of the stream and checks what a transaction
// promises: each subject counts from one without a gap, no id stands twice, the
// messages of a transaction stand together, each head replaces the one that it
// was made from and lists what was written with it, and each agenda was decided
// from the member head that stood at that moment. It returns the ids of all
// heads.
//
// At R3 all servers must be current: any of them may answer.
func audit(t *testing.T, js jetstream.JetStream, subjects events.Subjects) map[string]bool {
	t.Helper()
	ctx := deadline(t, 60*time.Second)
	s := mustStream(t, js)
	info, err := s.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	heads, ids := map[string]bool{}, map[string]bool{}
	type standing struct {
		at, sequence uint64
		id           string
	}
	last := map[string]standing{}
	var open []*jetstream.RawStreamMsg // those whose head has not come yet
	read := uint64(0)
	for at := info.State.FirstSeq; at <= info.State.LastSeq; at++ {
		msg, err := s.GetMsg(ctx, at)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue // history beyond the limit per subject
		}
		if err != nil {
			t.Fatal(err)
		}
		read++
		kind, member, _ := subjects.Parse(msg.Subject)
		if kind == "timer" {
			open = append(open, msg)
			continue
		}
		e, err := events.Decode(msg.Header, msg.Data)
		if err != nil {
			t.Fatal(err)
		}
		if subjects.Of(e) != msg.Subject {
			t.Fatalf("%d: %s on %s", at, e.Type, msg.Subject)
		}
		if ids[e.ID] {
			t.Errorf("%d: id %s stands twice", at, e.ID)
		}
		ids[e.ID] = true
		was, known := last[msg.Subject]
		if known && e.Sequence != was.sequence+1 {
			t.Errorf("%d: sequence %d after %d on %s", at, e.Sequence, was.sequence, msg.Subject)
		}
		last[msg.Subject] = standing{at, e.Sequence, e.ID}

		var book events.Book
		switch d := e.Data.(type) {
		case *events.Member:
			book = d.Book
		case *events.Agenda:
			book = d.Book
			if from, ok := last[subjects.Member(member)]; ok && d.Decided != from.id {
				t.Errorf("%d: decided from member head %s, %s stood", at, d.Decided, from.id)
			}
		default:
			open = append(open, msg)
			continue
		}
		heads[e.ID] = true
		if guard := msg.Header.Get("Nats-Expected-Last-Subject-Sequence"); known && guard != strconv.FormatUint(was.at, 10) {
			t.Errorf("%d: a head on top of %s replaces that of %d", at, guard, was.at)
		}
		for _, m := range open {
			if _, whose, _ := subjects.Parse(m.Subject); whose != member {
				t.Errorf("%d: %s stands before the head of %s", at, m.Subject, member)
			}
			told, err := events.Decode(m.Header, m.Data)
			if err != nil {
				continue // a timer
			}
			if key := told.Type.Kind() + "." + told.Part; book.Sequences[key] != told.Sequence || book.Latest[key] != told.ID {
				t.Errorf("%d: the head does not list %s %d", at, key, told.Sequence)
			}
		}
		open = nil
	}
	if len(open) > 0 {
		t.Errorf("%d messages without their head", len(open))
	}
	if read != info.State.Msgs {
		t.Errorf("%d messages were read, %d are stored", read, info.State.Msgs)
	}
	return heads
}
