package bwell

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// typical is an answer as most polls get it: six connections, a task, two
// consents.
const typical = `{"data":{"getMemberConnections":[
{"id":"river_clinic_fhir","name":"River Clinic","category":"OAUTH","integrationType":"INDIRECT_IAS","type":"PRACTITIONER","status":"EXPIRED","syncStatus":"RETRIEVED","syncErrors":null,"statusUpdated":"2026-03-01T10:11:12.131000","lastSynced":"2026-02-27T01:02:03.004000","created":"2026-01-05T06:07:08.090000"},
{"id":"lake-hospital","name":"Lake Hospital","category":"OAUTH","integrationType":"PROA","type":"CLINICAL","status":"CONNECTED","syncStatus":"RETRIEVED","syncErrors":[],"statusUpdated":"2026-03-01T10:11:12.131000","lastSynced":"2026-02-27T01:02:03.004000","created":"2026-01-05T06:07:08.090000"},
{"id":"lake-hospital","name":"Lake Hospital","category":"OAUTH","integrationType":"DIRECT_IAS","type":"CLINICAL","status":"CONNECTED","syncStatus":"RETRIEVED","syncErrors":[],"statusUpdated":"2026-03-01T10:11:12.131000","lastSynced":"2026-02-27T01:02:03.004000","created":"2026-01-05T06:07:08.090000"},
{"id":"labcorp-123","name":"Lab","category":"BASIC","integrationType":null,"type":"LAB","status":"CONNECTED","syncStatus":"ERROR","syncErrors":[{"coding":[{"code":"PERSON_MATCHING_ERROR"}]}],"statusUpdated":"2026-03-01T10:11:12.131000","lastSynced":"2026-02-27T01:02:03.004000","created":"2026-01-05T06:07:08.090000"},
{"id":"pharma_one","name":"Pharmacy","category":"OAUTH","integrationType":"DIRECT_IAS","type":"PHARMACY","status":"CONNECTED","syncStatus":"RETRIEVING","syncErrors":null,"statusUpdated":"2026-03-01T10:11:12.131000","lastSynced":null,"created":"2026-01-05T06:07:08.090000"},
{"id":"insurer_two","name":"Insurer","category":"OAUTH","integrationType":"PROA","type":"INSURANCE","status":"DISCONNECTED","syncStatus":"RETRIEVED","syncErrors":null,"statusUpdated":"2026-03-01T10:11:12.131000","lastSynced":"2026-02-27T01:02:03.004000","created":"2026-01-05T06:07:08.090000"}],
"tasks":{"entry":[{"resource":{"id":"9d1c0f5e-3b1e-4f4e-9a68-0d7cf4a9c001","status":"completed","code":{"coding":[{"code":"network-data-retrieval"}]},"statusReason":null,"lastModified":"2026-02-03T04:05:06Z","authoredOn":"2026-02-03T04:00:00Z","meta":{"lastUpdated":"2026-02-03T04:05:07.123Z"},"output":null}}]},
"consents":{"entry":[{"resource":{"id":"7c0e0f5e-3b1e-4f4e-9a68-0d7cf4a9c001","status":"active","dateTime":"2026-01-02T03:04:05Z","meta":{"lastUpdated":"2026-01-02T03:04:05.678Z"},"category":[{"coding":[{"code":"ias:import:records"}]}],"provision":{"type":"permit"}}},
{"resource":{"id":"7c0e0f5e-3b1e-4f4e-9a68-0d7cf4a9c002","status":"active","dateTime":"2026-01-01T03:04:05Z","meta":{"lastUpdated":"2026-01-01T03:04:05.678Z"},"category":[{"coding":[{"code":"TOS"}]}],"provision":{"type":"permit"}}}]}}}`

// small has one of everything. Fuzzing shortens what it finds, which takes the
// square of the length.
const small = `{"data":{"getMemberConnections":[{"id":"a","name":"A","category":"OAUTH","integrationType":null,"status":"CONNECTED",` +
	`"syncErrors":[{"coding":[{"code":"X"}]}],"created":"2026-01-05T06:07:08.090000"}],` +
	`"tasks":{"entry":[{"resource":{"id":"t","status":{"code":"ready"},"meta":{"lastUpdated":"2026"},"output":null}}]},` +
	`"consents":{"entry":null}}}`

// Whatever comes, reading it does not panic and is deterministic, an answer that
// complains never yields a list it complains about, and no list is both whole
// and in error.
func FuzzObserve(f *testing.F) {
	for _, seed := range []string{
		small, ``, `null`, `{}`, `[]`, `{"data":null}`, `{"data":{}}`, `<html>`, small[:len(small)/2], "\ufeff" + small,
		strings.ReplaceAll(small, `"CONNECTED"`, `{"code":"PAUSED"}`), strings.ReplaceAll(small, `null`, `[null,{}]`),
		strings.ReplaceAll(small, `"id":`, `"resource":null,"id":`), strings.ReplaceAll(small, `"`, `\"`),
		`{"errors":[{"message":"x","path":["tasks",0],"extensions":{"code":"500","resource":{"issue":[{"code":"exception"}]}}}],` + small[1:],
		`{"errors":null,` + small[1:], `{"errors":[null],` + small[1:], `{"errors":5,` + small[1:],
		`{"data":null,"errors":[{"path":["getMemberConnections"]}]}`,
		`{"data":{"getMemberConnections":[{"id":"\ud800","id":1e9,"status":"\u0000"}],"getMemberConnections":[{"id":"b"}]}}`,
		strings.Repeat(`{"errors":[`, 100) + strings.Repeat(`]}`, 100),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		c := client(t, Config{Tries: 1}, always(200, string(body)))
		o, err := c.Observe(t.Context(), token, Want{})
		again, err2 := c.Observe(t.Context(), token, Want{})
		if !reflect.DeepEqual(o, again) || !reflect.DeepEqual(err, err2) || o.Fingerprint() != again.Fingerprint() {
			t.Errorf("read twice: %+v %v, %+v %v", o, err, again, err2)
		}
		check(t, "connections", o.Connections)
		check(t, "tasks", o.Tasks)
		check(t, "consents", o.Consents)
		if whole := o.Connections.Whole || o.Tasks.Whole || o.Consents.Whole; err == nil && !whole || whole && ClassOf(err) != NoClass && ClassOf(err) != Auth {
			t.Errorf("%+v beside %v", o, err)
		}
		var plain struct {
			Errors []json.RawMessage          `json:"errors"`
			Data   map[string]json.RawMessage `json:"data"`
		}
		if json.Unmarshal(body, &plain) != nil {
			return
		}
		for _, raw := range plain.Errors {
			var e struct{ Path []any }
			if json.Unmarshal(raw, &e) != nil || len(e.Path) == 0 {
				e.Path = []any{nil}
			}
			switch e.Path[0] {
			case rootConnections, rootTasks, rootConsents:
			default:
				if bytes.Contains(body, []byte(`"errors"`)) && (o.Connections.Whole || o.Tasks.Whole || o.Consents.Whole) {
					t.Errorf("whole beside %s: %+v", raw, o)
				}
			}
		}
		for _, item := range o.Connections.Items {
			if item.ID == "" || !utf8.ValidString(item.ID+item.Name+item.Status.Raw+item.Created.Raw) {
				t.Errorf("%+v", item)
			}
		}
	})
}

func check[T any](t *testing.T, name string, l List[T]) {
	t.Helper()
	if l.Whole == (l.Err != nil) || !l.Whole && l.Items != nil {
		t.Errorf("%s: %+v", name, l)
	}
}

// The reader and encoding/json agree on every text: on whether it is JSON, and
// on what it says.
func FuzzReader(f *testing.F) {
	for _, seed := range []string{small, ` [ 1 , -2.5e3 ,"a\nb\ud83d\ude00" , true,false,null , { } , [ ] ] `, `"\\"`, `{"a":{"a":[{}]},"a":1}`, `0`, `{"a" : "\"" }`, "\"\xff\""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var want any
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		valid := json.Valid(text)
		if valid {
			if err := d.Decode(&want); err != nil {
				t.Fatal(err)
			}
		}
		r, ok := newReader(text)
		if ok != valid {
			t.Fatal(ok, valid)
		}
		if !ok {
			return
		}
		if got := tree(&r); !reflect.DeepEqual(got, want) {
			t.Errorf("got %#v, want %#v", got, want)
		}
		r.space()
		if r.at != len(text) {
			t.Errorf("read up to %d of %d", r.at, len(text))
		}
	})
}

func tree(r *reader) any {
	switch r.kind() {
	case '{':
		object := make(map[string]any)
		for name := range r.fields() {
			object[string(name)] = tree(r)
		}
		return object
	case '[':
		list := []any{}
		for range r.elements() {
			list = append(list, tree(r))
		}
		return list
	case '"':
		text, _ := r.text()
		return string(text)
	case 'n':
		r.skip()
		return nil
	case 't', 'f':
		return string(r.raw()) == "true"
	default:
		return json.Number(r.raw())
	}
}

// What a member's token says does not matter to us as long as it can be read.
func FuzzClaims(f *testing.F) {
	f.Add(jwt(`{"exp":1,"clientFhirPersonId":"p"}`))
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, token string) {
		if claims(token, "clientFhirPersonId") != claims(token, "clientFhirPersonId") {
			t.Error("not deterministic")
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	b.SetBytes(int64(len(typical)))
	b.ReportAllocs()
	body := []byte(typical)
	for b.Loop() {
		r, _ := newReader(body)
		d := decoder{reader: r, zone: time.UTC}
		var o observed
		if e, ok := d.envelope(false, func(name []byte) { o.root(&d, name) }); !ok || !e.data || len(o.connections.items) != 6 {
			b.Fatal(o)
		}
	}
}

// BenchmarkDecodeStructs is what a decoder that tolerates nothing costs.
func BenchmarkDecodeStructs(b *testing.B) {
	b.SetBytes(int64(len(typical)))
	b.ReportAllocs()
	body := []byte(typical)
	type resource struct {
		ID, Status, LastModified, AuthoredOn, DateTime string
		Meta                                           struct{ LastUpdated string }
		Provision                                      struct{ Type string }
	}
	type bundle struct{ Entry []struct{ Resource resource } }
	for b.Loop() {
		var o struct {
			Data struct {
				GetMemberConnections []struct {
					ID, Name, Category, IntegrationType, Type, Status, SyncStatus, StatusUpdated, LastSynced, Created string

					SyncErrors []struct{ Coding []struct{ Code string } }
				}
				Tasks, Consents bundle
			}
		}
		if err := json.Unmarshal(body, &o); err != nil || len(o.Data.GetMemberConnections) != 6 {
			b.Fatal(err)
		}
	}
}

func BenchmarkFingerprint(b *testing.B) {
	b.ReportAllocs()
	o, err := observe(b, typical)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		o.Fingerprint()
	}
}
