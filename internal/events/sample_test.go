package events

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestJSONFormatIsReadBack(t *testing.T) {
	for _, typ := range Types() {
		want := fixtureEvent(t, typ)
		var got Event
		if err := json.Unmarshal(file(t, "fixtures/"+typ.SchemaFile()), &got); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s reads as\n%+v\nwant\n%+v", typ, got, want)
		}
	}
	for _, raw := range []string{"[]", "{}", `{"id":7}`, `{"specversion":"1.0","type":"x"}`} {
		var e Event
		if err := json.Unmarshal([]byte(raw), &e); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

// A made-up event cannot be taken for one of a deployment.
func TestMadeUpEventsStayApart(t *testing.T) {
	live, err := NewSubjects("")
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range Types() {
		e := fixtureEvent(t, typ)
		msg, err := TestMessage(e)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, ok := live.Parse(msg.Subject); ok || !strings.HasPrefix(msg.Subject, TestPrefix+".") {
			t.Errorf("%s goes to %s", typ, msg.Subject)
		}
		got, err := Decode(msg.Header, msg.Data)
		if err != nil || got.Source != TestSource || got.ID == e.ID || got.Type != typ {
			t.Errorf("%s reads as %+v, %v", typ, got, err)
		}
		if again, err := TestMessage(e); err != nil || attribute(again.Header, "ce-id") != got.ID {
			t.Errorf("%s: the same event has another id: %v", typ, err)
		}
		for name := range msg.Header {
			if strings.HasPrefix(strings.ToLower(name), "nats-") {
				t.Errorf("%s instructs the broker: %s", typ, name)
			}
		}
	}
	if len(TestTokenizer().secret) < MinTokenSecret {
		t.Error("the secret is too short")
	}
}
