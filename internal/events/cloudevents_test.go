package events

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// What the JSON format and our own decoder say is what the fixture says. That
// decoders of other hands agree is tested in ../../test, on the golden messages.
func TestTheFixtureIsWrittenAndRead(t *testing.T) {
	for _, typ := range Types() {
		e := fixtureEvent(t, typ)
		if got, want := parse(t, marshal(t, e)), parse(t, file(t, "fixtures/"+typ.SchemaFile())); !reflect.DeepEqual(got, want) {
			t.Errorf("in the JSON format:\n got %s\nwant %s", marshal(t, got), marshal(t, want))
		}
		header, body, err := encode(e, DefaultSource)
		if err != nil {
			t.Fatal(err)
		}
		if ours, err := Decode(header, body); err != nil || !reflect.DeepEqual(ours, e) {
			t.Errorf("by our own decoder: %v\n got %+v\nwant %+v", err, ours, e)
		}
	}
}

func TestHeaders(t *testing.T) {
	header, _, err := encode(fixtureEvent(t, PromptOpened), DefaultSource)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(header)) {
		lines = append(lines, name+": "+strings.Join(header[name], "|"))
	}
	want := `ce-causationid: CAUSE
ce-correlationid: CONNECTION.1
ce-dataclassification: restricted
ce-datacontenttype: application/json
ce-dataregulation: HIPAA
ce-dataschema: urn:smartconnect:schema:smartconnect.prompt.opened.v1.json
ce-expirytime: 2026-03-31T08:15:30Z
ce-id: ID
ce-partitionkey: MEMBER
ce-recordedtime: 2026-03-01T08:15:30Z
ce-sequence: 1
ce-source: urn:smartconnect:connector
ce-specversion: 1.0
ce-subject: MEMBER.CONNECTION
ce-time: 2026-03-01T08:15:30Z
ce-type: smartconnect.prompt.opened.v1
content-type: application/json`
	e := fixtureEvent(t, PromptOpened)
	want = strings.NewReplacer("CAUSE", e.CausationID, "MEMBER", string(e.Member), "CONNECTION", e.Part, " ID", " "+e.ID).Replace(want)
	if got := strings.Join(lines, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// What a reader who percent-decodes and one who does not, or one who unquotes
// and one who does not, would read differently may not be written.
func TestHeadersAreTheSameToEveryReader(t *testing.T) {
	for _, typ := range Types() {
		header, _, err := encode(fixtureEvent(t, typ), DefaultSource)
		if err != nil {
			t.Fatal(err)
		}
		for name, values := range header {
			if name != strings.ToLower(name) || len(values) != 1 {
				t.Errorf("%s: header %s has %d values", typ, name, len(values))
			}
			if strings.ContainsFunc(values[0], func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '%' }) {
				t.Errorf("%s: header %s is %q", typ, name, values[0])
			}
		}
	}
	for _, c := range []string{" ", "%", `"`, "\n", "\r", "\t", "\x00", "\x7f", "é", "\u2028", "\xff"} {
		for name, spoil := range map[string]func(*Event, string){
			"ce-id":            func(e *Event, v string) { e.ID = v },
			"ce-source":        func(e *Event, v string) { e.Source = v },
			"ce-subject":       func(e *Event, v string) { e.Member = MemberToken(v) },
			"ce-causationid":   func(e *Event, v string) { e.CausationID = v },
			"ce-correlationid": func(e *Event, v string) { e.CorrelationID = v },
			"ce-traceparent":   func(e *Event, v string) { e.TraceParent = v },
			"ce-replay":        func(e *Event, v string) { e.Replay = v },
		} {
			e := fixtureEvent(t, TaskBaseline)
			spoil(&e, "secret"+c)
			_, _, err := encode(e, DefaultSource)
			if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s with %q: %v", name, c, err)
			}
		}
	}
}

func TestDecodeIsTheInverseOfEncode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := drawEvent(t)
		header, body, err := encode(e, DefaultSource)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(header, body)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, e) {
			t.Fatalf("\n got %#v %#v\nwant %#v %#v", got, got.Data, e, e.Data)
		}
	})
}

func drawEvent(t *rapid.T) Event {
	token := rapid.StringMatching(`[a-z2-7]{26}`)
	maybe := func(g *rapid.Generator[string], label string) string {
		return rapid.OneOf(rapid.Just(""), g).Draw(t, label)
	}
	e := Event{
		ID: token.Draw(t, "id"), Type: rapid.SampledFrom(Types()).Draw(t, "type"),
		Sequence: rapid.Uint64Min(1).Draw(t, "sequence"),
		Source:   DefaultSource, Time: drawTime(t), Recorded: drawTime(t),
		CausationID: maybe(token, "cause"), CorrelationID: maybe(token, "episode"),
	}
	if rapid.Bool().Draw(t, "expires") {
		e.Expires = drawTime(t)
	}
	switch e.Type.Kind() {
	case "storm", "observer":
	case "source", "silence":
		e.Part = token.Draw(t, "part")
	case "connection", "prompt", "recommendation":
		e.Member, e.Part = MemberToken(token.Draw(t, "member")), token.Draw(t, "part")
	default:
		e.Member = MemberToken(token.Draw(t, "member"))
	}
	e.Data = newData(e.Type)
	draw(t, reflect.ValueOf(e.Data).Elem())
	fill(e.Data)
	// What only some types of a kind have, these always have.
	switch d := e.Data.(type) {
	case *Connection:
		if e.Type == ConnectionExpiring && d.ExpiresAt.IsZero() {
			d.ExpiresAt = e.Time
		}
	case *Prompt:
		if slices.Contains(closing(e.Type), "closedAt") && d.ClosedAt.IsZero() {
			d.ClosedAt = e.Time
		}
		if slices.Contains(closing(e.Type), "downtime") && d.Downtime == nil {
			d.Downtime = new(int64)
		}
	default: // all types of the kind have the same fields
	}
	return e
}

func drawTime(t *rapid.T) time.Time {
	return time.Unix(rapid.Int64Range(1, 1<<33).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanos")).UTC()
}

// draw fills v, and keeps to what JSON can tell apart: what is left out when
// empty is never empty but present.
func draw(t *rapid.T, v reflect.Value) {
	if v.Type() == reflect.TypeFor[time.Time]() {
		if rapid.Bool().Draw(t, "time") {
			v.Set(reflect.ValueOf(drawTime(t)))
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for _, field := range v.Fields() {
			draw(t, field)
		}
	case reflect.Pointer:
		if rapid.Bool().Draw(t, "there") {
			v.Set(reflect.New(v.Type().Elem()))
			draw(t, v.Elem())
		}
	case reflect.Slice:
		if n := rapid.IntRange(0, 3).Draw(t, "length"); n > 0 {
			v.Set(reflect.MakeSlice(v.Type(), n, n))
			for i := range n {
				draw(t, v.Index(i))
			}
		}
	case reflect.Map:
		if n := rapid.IntRange(0, 3).Draw(t, "length"); n > 0 {
			v.Set(reflect.MakeMap(v.Type()))
			for range n {
				value := reflect.New(v.Type().Elem()).Elem()
				draw(t, value)
				v.SetMapIndex(reflect.ValueOf(rapid.String().Draw(t, "key")), value)
			}
		}
	case reflect.String:
		v.SetString(rapid.String().Draw(t, "word"))
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "flag"))
	case reflect.Float64:
		v.SetFloat(rapid.Float64Range(0, 1).Draw(t, "share"))
	case reflect.Uint64:
		v.SetUint(rapid.Uint64().Draw(t, "number"))
	default:
		v.SetInt(int64(rapid.Int32().Draw(t, "number")))
	}
}
