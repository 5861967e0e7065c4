package events

import (
	"encoding/json"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/smartconnect/connector/schemas"
)

// FuzzDecode gives the decoder what anybody may put on the stream.
func FuzzDecode(f *testing.F) {
	for _, typ := range Types() {
		raw, err := fs.ReadFile(schemas.FS, "fixtures/"+typ.SchemaFile())
		if err != nil {
			f.Fatal(err)
		}
		var v envelope
		if err := json.Unmarshal(raw, &v); err != nil {
			f.Fatal(err)
		}
		f.Add(v.SpecVersion, v.ID, string(v.Type), v.Subject, v.Sequence, stampTime(v.Time), stampTime(v.ExpiryTime), v.DataContentType, []byte(v.Data))
	}
	f.Add("1.0", "", "smartconnect.x.y.v1", "..", "-1", "0", "", "text/html", []byte("<html>"))
	f.Add("1.0", "a", string(MemberSnapshot), "m", "18446744073709551616", "2026-03-01T08:00:00Z", "", "", []byte(`{"connections":null,"sequences":{"x":-1}}`))
	f.Fuzz(func(t *testing.T, version, id, typ, subject, sequence, at, expires, contentType string, body []byte) {
		header := nats.Header{}
		for name, value := range map[string]string{
			"ce-specversion": version, "ce-id": id, "ce-source": DefaultSource, "ce-type": typ, "ce-subject": subject, "ce-sequence": sequence,
			"ce-time": at, "ce-recordedtime": at, "ce-expirytime": expires, "ce-datacontenttype": contentType,
		} {
			header[name] = []string{value}
		}
		e, err := Decode(header, body)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("not ErrMalformed: %v", err)
			}
			return
		}
		if e.ID == "" || e.Sequence == 0 || e.Data == nil || !knownType(e.Type) {
			t.Fatalf("half an event: %+v", e)
		}
		// What can be written again is read again as the same.
		again, data, err := encode(e, DefaultSource)
		if err != nil || e.Time.IsZero() || e.Time.UTC().Year() > 9999 || e.Expires.UTC().Year() > 9999 {
			return
		}
		e2, err := Decode(again, data)
		if err != nil {
			t.Fatalf("written again, it is malformed: %v", err)
		}
		if e2.ID != e.ID || e2.Type != e.Type || e2.Tokens() != e.Tokens() || e2.Sequence != e.Sequence || !e2.Time.Equal(e.Time) || !e2.Expires.Equal(e.Expires) {
			t.Fatalf("read again as\n%+v\nfrom\n%+v", e2, e)
		}
	})
}

// Bodies name members: no error may quote one, nor what is wrong in it.
func TestMalformedBodiesAreNotQuoted(t *testing.T) {
	header, _, err := encode(fixtureEvent(t, PromptOpened), DefaultSource)
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{`secret`, `{"memberId":{"secret":1}}`, `{"openedAt":"secret"}`, `{"reminder":"secret"}`, `"secret"`, `["secret"]`, ``} {
		_, err := Decode(header, []byte(body))
		if !errors.Is(err, ErrMalformed) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", body, err)
		}
	}
}
