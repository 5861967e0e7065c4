package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

func message(t *testing.T, typ Type) (nats.Header, []byte) {
	t.Helper()
	header, body, err := encode(fixtureEvent(t, typ), DefaultSource)
	if err != nil {
		t.Fatal(err)
	}
	return header, body
}

// What the schema requires, the decoder requires: an absent field would read as
// an empty one.
func TestDecodeWantsWhatTheSchemaRequires(t *testing.T) {
	for _, typ := range Types() {
		_, raw := schemaOf(t, typ)
		var want []string
		for _, name := range raw["required"].([]any) {
			want = append(want, name.(string))
		}
		slices.Sort(want)
		got := maps.Collect(required(typ, newData(typ)))
		if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, want) {
			t.Errorf("%s: the decoder wants %q, the schema %q", typ, names, want)
		}
		header, body := message(t, typ)
		for name, null := range got {
			var data map[string]json.RawMessage
			if err := json.Unmarshal(body, &data); err != nil {
				t.Fatal(err)
			}
			data[name] = json.RawMessage("null")
			_, err := Decode(header, marshal(t, data))
			if null != (err == nil) {
				t.Errorf("%s: with %s null: %v", typ, name, err)
			}
			delete(data, name)
			if _, err = Decode(header, marshal(t, data)); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: without %s: %v", typ, name, err)
			}
		}
		for _, body := range []string{"{}", "null", " null ", "[]", "1", ""} {
			if _, err := Decode(header, []byte(body)); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s: with the body %q: %v", typ, body, err)
			}
		}
	}
}

func TestDecodeChecksTokens(t *testing.T) {
	for typ, subjects := range map[Type][]string{
		ConnectionRemoved: {"", "m", "m.", ".c", "m.c.d", "M.c", "m.c d", "m.*", "m.>", "m.é", "m._"},
		TaskBaseline:      {"", "m.c", "m.", "M", "m/", "m%41"},
		SourceDegraded:    {"", "s.t", "S", "s.", "."},
		SilenceSet:        {"", "1.2", "night shift", "NIGHT"},
		StormHeld:         {"s", "."},
		ObserverLost:      {"o"},
	} {
		header, body := message(t, typ)
		for _, subject := range subjects {
			header["ce-subject"] = []string{subject}
			if _, err := Decode(header, body); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s about %q: %v", typ, subject, err)
			}
		}
	}
	s, err := NewSubjects("")
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range Types() {
		e := fixtureEvent(t, typ)
		kind, m, ok := s.Parse(s.Of(e))
		if kind != typ.Kind() || m != e.Member || !ok {
			t.Errorf("%s: the subject reads as %q %q %v", typ, kind, m, ok)
		}
		if _, _, ok := s.Parse(s.Of(e) + ".more"); ok {
			t.Errorf("%s: a subject with one token more is taken for ours", typ)
		}
	}
	for _, subject := range []string{"sc.v1.task", "sc.v1.task.", "sc.v1.task.M", "sc.v1.storm.", "sc.v1.test.task.m", "sc.v1.timer.m", "sc.v1.due.m.1", "sc.v2.task.m"} {
		if _, _, ok := s.Parse(subject); ok {
			t.Errorf("%s is taken for ours", subject)
		}
	}
	for subject, want := range map[string]string{s.Timer("m", 7): "timer", s.Due("m"): "due"} {
		if kind, m, ok := s.Parse(subject); kind != want || m != "m" || !ok {
			t.Errorf("%s reads as %q %q %v", subject, kind, m, ok)
		}
	}
}

func TestEncodeWantsAWholeEvent(t *testing.T) {
	for what, spoil := range map[string]func(*Event){
		"no id":                  func(e *Event) { e.ID = "" },
		"no sequence":            func(e *Event) { e.Sequence = 0 },
		"no time":                func(e *Event) { e.Time = time.Time{} },
		"no recorded time":       func(e *Event) { e.Recorded = time.Time{} },
		"a year of five figures": func(e *Event) { e.Time = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"no member":              func(e *Event) { e.Member = "" },
		"no connection":          func(e *Event) { e.Part = "" },
		"a token of two":         func(e *Event) { e.Part += "." + e.Part },
		"an unknown kind":        func(e *Event) { e.Type = "smartconnect.other.thing.v1" },
	} {
		e := fixtureEvent(t, ConnectionRemoved)
		spoil(&e)
		if _, _, err := encode(e, DefaultSource); err == nil {
			t.Errorf("%s: it is written", what)
		}
	}
}

// Who says it stays, whoever prints or writes it again.
func TestTheSourceIsKept(t *testing.T) {
	e := fixtureEvent(t, ConnectionRemoved)
	e.Source = ""
	header, body, err := encode(e, "urn:smartconnect:cell-7")
	if err != nil {
		t.Fatal(err)
	}
	e, err = Decode(header, body)
	if err != nil || e.Source != "urn:smartconnect:cell-7" {
		t.Fatalf("source %q, %v", e.Source, err)
	}
	var printed envelope
	if err := json.Unmarshal(marshal(t, e), &printed); err != nil || printed.Source != e.Source {
		t.Errorf("printed as %q, %v", printed.Source, err)
	}
	again, _, err := encode(e, DefaultSource)
	if err != nil || again["ce-source"][0] != e.Source {
		t.Errorf("written again as %q, %v", again["ce-source"], err)
	}
	delete(header, "ce-source")
	if _, err := Decode(header, body); !errors.Is(err, ErrMalformed) {
		t.Errorf("without a source: %v", err)
	}
}

// Readers of other languages are promised lists, never null.
func TestTransactionsHaveNoNullLists(t *testing.T) {
	s, err := NewSubjects("")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1, 0)
	poll, err := s.Poll("m", []Event{{Type: ConnectionRemoved, Part: "c", Data: &Connection{}}}, &Member{}, 0, at)
	if err != nil {
		t.Fatal(err)
	}
	before := &AgendaAccess{EndedAt: at}
	decision, err := s.Decide("m", []Event{{Type: AccessEnded, Data: &Access{Action: ActNone}}}, &Agenda{Access: before}, 0, 1, time.Time{}, at)
	if err != nil {
		t.Fatal(err)
	}
	if before.Connections != nil {
		t.Error("the head the agenda was copied from is changed")
	}
	for _, e := range append(append(poll.Events(), decision.Events()...), poll.head, decision.head) {
		e.Source = DefaultSource
		schema, _ := schemaOf(t, e.Type)
		if err := schema.Validate(parse(t, marshal(t, e.Data))); err != nil {
			t.Errorf("%s: %v", e.Type, err)
		}
		header, body, err := encode(e, DefaultSource)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(header, body); err != nil {
			t.Error(err)
		}
	}
	silence := &Silence{}
	fill(silence)
	schema, _ := schemaOf(t, SilenceSet)
	if err := schema.Validate(parse(t, marshal(t, silence))); err != nil {
		t.Error(err)
	}
}

// Whoever writes, and wherever: the same moment is stored in the same bytes.
func TestTimesAreStoredInUTC(t *testing.T) {
	zone := time.FixedZone("Kathmandu", 5*3600+45*60)
	at := time.Date(2026, 3, 1, 13, 0, 0, 1, zone)
	var fillTimes func(v reflect.Value) int
	fillTimes = func(v reflect.Value) (n int) {
		switch v.Kind() {
		case reflect.Pointer:
			v.Set(reflect.New(v.Type().Elem()))
			return fillTimes(v.Elem())
		case reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), 2, 2))
			return fillTimes(v.Index(0)) + fillTimes(v.Index(1))
		case reflect.Struct:
			if v.Type() == reflect.TypeFor[time.Time]() {
				v.Set(reflect.ValueOf(at))
				return 1
			}
			for _, field := range v.Fields() {
				n += fillTimes(field)
			}
		default: // holds no time
		}
		return n
	}
	for _, typ := range Types() {
		e := Event{Type: typ, Sequence: 1, Data: newData(typ)}
		times := fillTimes(reflect.ValueOf(e.Data).Elem())
		if err := e.stamp("inc", "subject"); err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(e.body, []byte(`"2026-03-01T07:15:00.000000001Z"`)); n != times || bytes.Contains(e.body, []byte("+05:45")) {
			t.Errorf("%s: %d of %d times are in UTC: %s", typ, n, times, e.body)
		}
	}
}
