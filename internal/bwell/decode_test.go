package bwell

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestConnectionAsTheDocumentationShowsIt(t *testing.T) {
	l := connections(t, `[{"id":"river_clinic_fhir","name":"River Clinic","category":"OAUTH","integrationType":"INDIRECT_IAS",
		"type":"PRACTITIONER","status":"EXPIRED","syncStatus":"RETRIEVED","syncErrors":null,
		"statusUpdated":"2026-03-01T10:11:12.131000","lastSynced":"2026-02-27T01:02:03.004000","created":"2026-01-05T06:07:08.090000"}]`)
	want := []Connection{{
		ID: "river_clinic_fhir", Name: "River Clinic",
		Category: Word{Value: "OAUTH"}, IntegrationType: Word{Value: "INDIRECT_IAS"}, Type: Word{Value: "PRACTITIONER"},
		Status: Word{Value: "EXPIRED"}, SyncStatus: Word{Value: "RETRIEVED"},
		StatusUpdated: Time{time.Date(2026, 3, 1, 10, 11, 12, 131e6, time.UTC), "2026-03-01T10:11:12.131000"},
		LastSynced:    Time{time.Date(2026, 2, 27, 1, 2, 3, 4e6, time.UTC), "2026-02-27T01:02:03.004000"},
		Created:       Time{time.Date(2026, 1, 5, 6, 7, 8, 90e6, time.UTC), "2026-01-05T06:07:08.090000"},
	}}
	if !l.Whole || l.Err != nil || l.Unknown != nil || !reflect.DeepEqual(l.Items, want) {
		t.Errorf("got %+v", l)
	}
}

func TestConnectionRows(t *testing.T) {
	for _, tt := range []struct {
		name, rows string
		ids        string
		skipped    int
		unknown    map[string]int
		amiss      string // the code of the list's error
	}{
		{name: "none", rows: `[]`},
		{name: "nulls are skipped", rows: `[null,{"id":"a"},null]`, ids: "a", skipped: 2},
		{name: "doubles are kept", rows: `[{"id":"a","integrationType":"PROA"},{"id":"a","integrationType":"DIRECT_IAS"},{"id":"a"}]`, ids: "a a a"},
		{name: "an id may be a number", rows: `[{"id":12}]`, ids: "12"},
		{name: "ids are taken byte by byte", rows: `[{"id":"A.b *>"},{"id":"a\u00e9"}]`, ids: "A.b *> aé"},
		{name: "fields nobody knows", rows: `[{"id":"a","isDirect":true,"new":{"id":"x","list":[{"id":"y"}]}}]`, ids: "a"},
		{name: "names in another case are other names", rows: `[{"id":"a","ID":"b"}]`, ids: "a"},
		{name: "everything null", rows: `[{"id":"a","name":null,"category":null,"integrationType":null,"type":null,"status":null,
			"syncStatus":null,"syncErrors":null,"statusUpdated":null,"lastSynced":null,"created":null}]`, ids: "a"},
		{
			name: "everything of the wrong kind", rows: `[{"id":"a","name":1,"category":[],"integrationType":{"x":1},"type":true,"status":5,
			"syncStatus":[["x"]],"syncErrors":3,"statusUpdated":17,"lastSynced":{"a":1},"created":"soon"},{"id":"b"}]`, ids: "a b",
			unknown: map[string]int{
				"connection.name": 1, "connection.category": 1, "connection.type": 1, "connection.status": 1, "connection.syncStatus": 1,
				"connection.syncErrors": 1, "connection.statusUpdated": 1, "connection.lastSynced": 1, "connection.created": 1,
			},
		},
		{
			name: "words never seen", rows: `[{"id":"a","status":"PAUSED","type":"Provider"},{"id":"b","status":"PAUSED"}]`, ids: "a b",
			unknown: map[string]int{"connection.status": 2, "connection.type": 1},
		},
		{name: "a row without an id", rows: `[{"id":"a"},{"name":"x"}]`, amiss: "unreadable_row"},
		{name: "a row with an id that is none", rows: `[{"id":"a"},{"id":["b"]}]`, amiss: "unreadable_row"},
		{name: "a row that is no row", rows: `[{"id":"a"},"b"]`, amiss: "unreadable_row"},
		{name: "null", rows: `null`, amiss: "missing"},
		{name: "a text", rows: `"CONNECTED"`, amiss: "not_a_list"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := connections(t, tt.rows)
			var ids []string
			for _, c := range l.Items {
				ids = append(ids, c.ID)
			}
			if got := strings.Join(ids, " "); got != tt.ids || l.Skipped != tt.skipped || !maps.Equal(l.Unknown, tt.unknown) {
				t.Errorf("got %q, %d skipped, unknown %v", got, l.Skipped, l.Unknown)
			}
			if l.Whole != (tt.amiss == "") {
				t.Errorf("whole: %t", l.Whole)
			}
			if tt.amiss != "" && (ClassOf(l.Err) != Invalid || !strings.Contains(l.Err.Error(), "getMemberConnections: invalid: HTTP 200: code "+tt.amiss)) {
				t.Error(l.Err)
			}
		})
	}
}

func TestWords(t *testing.T) {
	for _, tt := range []struct {
		of   vocabulary
		sent string // JSON
		want Word
	}{
		{statuses, `"CONNECTED"`, Word{Value: "CONNECTED"}},
		{statuses, `"connected"`, Word{Value: "CONNECTED"}},
		{statuses, `" Access Ended "`, Word{Value: "ACCESS_ENDED"}},
		{statuses, `"access-ended"`, Word{Value: "ACCESS_ENDED"}},
		{statuses, `"PAUSED"`, Word{Unknown, "PAUSED"}},
		{statuses, `"UNKNOWN"`, Word{Unknown, "UNKNOWN"}},
		{statuses, `""`, Word{}},
		{statuses, `" "`, Word{}},
		{statuses, `null`, Word{}},
		{statuses, `5`, Word{Unknown, "5"}},
		{statuses, `false`, Word{Unknown, "false"}},
		{statuses, `["CONNECTED"]`, Word{Unknown, `["CONNECTED"]`}},
		{integrationTypes, `"DIRECT"`, Word{Value: "DIRECT"}},
		{integrationTypes, `"IAL2"`, Word{Value: "IAL2"}},
		{taskStatuses, `"in-progress"`, Word{Value: "in-progress"}},
		{taskStatuses, `"in_progress"`, Word{Value: "in-progress"}},
		{taskStatuses, `"IN_PROGRESS"`, Word{Value: "in-progress"}},
		{taskStatuses, `"In Progress"`, Word{Value: "in-progress"}},
		{taskStatuses, `"inprogress"`, Word{Value: "in-progress"}},
		{taskStatuses, `{"code":"in-progress","display":"Searching"}`, Word{Value: "in-progress"}},
		{taskStatuses, `{"code":null,"display":"In Progress"}`, Word{Value: "in-progress"}},
		{taskStatuses, `{"code":"waiting"}`, Word{Unknown, "waiting"}},
		{taskStatuses, `{}`, Word{}},
		{provisions, `"PERMIT"`, Word{Value: "permit"}},
		{provisions, `{"type":"deny"}`, Word{Value: "deny"}},
		{provisions, `{"type":null}`, Word{}},
		{consentStatuses, `"ENTERED_IN_ERROR"`, Word{Value: "entered-in-error"}},
		{verifications, `"val-fail"`, Word{Value: "val-fail"}},
		{statuses, `"` + strings.Repeat("é", 100) + `"`, Word{Unknown, strings.Repeat("é", 64)}},
	} {
		r, ok := newReader([]byte(tt.sent))
		d := decoder{reader: r}
		if got := d.word(tt.of, "f"); !ok || got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.sent, got, tt.want)
		} else if d.unknown["f"] != map[bool]int{true: 1}[got.Value == Unknown] || d.at != len(tt.sent) {
			t.Errorf("%s: counted %v, read up to %d", tt.sent, d.unknown, d.at)
		}
	}
}

func TestTimes(t *testing.T) {
	at := func(s string) time.Time {
		if s == "" {
			return time.Time{}
		}
		t, err := time.Parse(time.RFC3339, s)
		if err != nil {
			panic(err)
		}
		return t.UTC()
	}
	for sent, want := range map[string]string{
		"2026-03-01T10:11:12.131000":       "2026-03-01T10:11:12.131Z",
		"2026-03-01T10:11:12":              "2026-03-01T10:11:12Z",
		"2026-03-01T10:11:12.1":            "2026-03-01T10:11:12.1Z",
		"2026-03-01T10:11:12.123456789":    "2026-03-01T10:11:12.123456789Z",
		"2026-03-01 10:11:12.131000":       "2026-03-01T10:11:12.131Z",
		"2026-03-01T10:11:12.131Z":         "2026-03-01T10:11:12.131Z",
		"2026-03-01T10:11:12+02:00":        "2026-03-01T08:11:12Z",
		"2026-03-01T10:11:12-0330":         "2026-03-01T13:41:12Z",
		"2026-03-01 10:11:12Z":             "2026-03-01T10:11:12Z",
		"2026-03-01T10:11+02:00":           "2026-03-01T08:11:00Z",
		"2026-03-01T10:11":                 "2026-03-01T10:11:00Z",
		"2026-03-01":                       "2026-03-01T00:00:00Z",
		"2026-03":                          "2026-03-01T00:00:00Z",
		"2026":                             "2026-01-01T00:00:00Z",
		" 2026-03-01T10:11:12 ":            "2026-03-01T10:11:12Z",
		"2026-02-30T10:11:12":              "",
		"yesterday":                        "",
		"1767225600000":                    "",
		"9999-12-31T23:59:59-14:00":        "", // year 10000: JSON could not write it
		"2026-03-01T10:11:12.131000000000": "2026-03-01T10:11:12.131Z",
	} {
		got := parseTime(sent, time.UTC)
		if !got.Equal(at(want)) || got.Raw != sent || got.Location() != time.UTC {
			t.Errorf("%q: got %v %q", sent, got.Time, got.Raw)
		}
	}
	if got := parseTime(" ", time.UTC); got != (Time{}) {
		t.Error("blank is not missing:", got)
	}
	zone := time.FixedZone("", -5*3600)
	for sent, want := range map[string]string{"2026-03-01T10:11:12.131000": "2026-03-01T15:11:12.131Z", "2026-03-01T10:11:12Z": "2026-03-01T10:11:12Z"} {
		if got := parseTime(sent, zone); !got.Equal(at(want)) {
			t.Errorf("%s in another zone: %v", sent, got)
		}
	}
}

func TestSyncErrors(t *testing.T) {
	for sent, want := range map[string][]string{
		`null`: nil,
		`[]`:   nil,
		`[{"text":"x","coding":[{"system":"s","code":"PERSON_MATCHING_ERROR","display":"d"}]},{"coding":[{"code":"MAPPING_ERROR"},{"code":"PERSON_MATCHING_ERROR"}]}]`: {"MAPPING_ERROR", "PERSON_MATCHING_ERROR"},
		`[{"code":"PATIENT_RETRIEVAL_ERROR"}]`:          {"PATIENT_RETRIEVAL_ERROR"}, // Kotlin's Coding
		`{"code":"PATIENT_RETRIEVAL_ERROR"}`:            {"PATIENT_RETRIEVAL_ERROR"}, // SDK 2.x's singular
		`["B","A",null,"B"]`:                            {"A", "B"},
		`[{"text":"Jane Doe could not be matched"},{}]`: {Unknown},
		`"no code at all"`:                              {Unknown},
		`7`:                                             {Unknown},
	} {
		l := connections(t, `[{"id":"a","syncErrors":`+sent+`}]`)
		if !l.Whole || !slices.Equal(l.Items[0].SyncErrors, want) {
			t.Errorf("%s: got %q", sent, l.Items[0].SyncErrors)
		}
		if unknown := slices.Contains(want, Unknown); unknown != (l.Unknown["connection.syncErrors"] > 0) {
			t.Errorf("%s: counted %v", sent, l.Unknown)
		}
	}
}

func TestTasks(t *testing.T) {
	rows := func(list string) List[Task] {
		o, err := observe(t, `{"data":{"getMemberConnections":[],"tasks":`+list+`,"consents":{"entry":[]}}}`)
		if err != nil {
			t.Fatal(err)
		}
		return o.Tasks
	}
	for _, tt := range []struct {
		name, list string
		want       string // id status reason, by row
	}{
		{
			"the documented one", `{"total":1,"entry":[{"resource":{"id":"9d1c","status":"in-progress","code":{"coding":[{"code":"network-data-retrieval"}]},
			"businessStatus":{"coding":[{"code":"searching"}]},"lastModified":"2026-02-03T04:05:06Z","meta":{"lastUpdated":"2026-02-03T04:05:07.123Z"},"output":null}}]}`,
			"9d1c in-progress ",
		},
		{"1.x: a plain list, a status of code and display", `[{"id":"a","status":{"code":"ready","display":"Ready"}}]`, "a ready "},
		{"why it failed, by output", `{"entry":[{"resource":{"id":"a","status":"failed","output":[null,{"valueString":"free text of someone"},
			{"valueCodeableConcept":{"coding":[{"code":"RLS_TIMEOUT"}]}}]}}]}`, "a failed RLS_TIMEOUT"},
		{"why it failed, by statusReason", `{"entry":[{"resource":{"id":"a","status":"FAILED","statusReason":{"text":"x","coding":[{"code":"r1"}]},
			"output":[{"valueString":"r2"}]}}]}`, "a failed r1"},
		{"another task", `{"entry":[{"resource":{"id":"a","status":"ready","code":{"coding":[{"code":"health-quiz"}]}}}]}`, ""},
		{"entry null", `{"entry":null}`, ""},
		{"entry missing", `{}`, ""},
		{"nulls", `{"entry":[null,{"resource":null},{},{"resource":{"id":"a"}}]}`, "a  "},
	} {
		l := rows(tt.list)
		var got []string
		for _, x := range l.Items {
			got = append(got, fmt.Sprintf("%s %s %s", x.ID, x.Status.Value, x.Reason))
		}
		if s := strings.Join(got, ", "); s != tt.want || !l.Whole {
			t.Errorf("%s: got %q, whole %t (%v)", tt.name, s, l.Whole, l.Err)
		}
	}
	for _, list := range []string{`null`, `5`, `{"entry":{}}`, `{"entry":[{"resource":{"status":"ready"}}]}`, `{"entry":["x"]}`} {
		if l := rows(list); l.Whole || ClassOf(l.Err) != Invalid || l.Items != nil {
			t.Errorf("%s: %+v", list, l)
		}
	}
	l := rows(`{"entry":[{"resource":{"id":"a","lastModified":"2026-02-03T04:05:06Z","authoredOn":"2026","meta":{"lastUpdated":"2026-02-03T04:05:07.123Z"}}}]}`)
	if a := l.Items[0]; a.LastModified.Minute() != 5 || a.Updated.Nanosecond() != 123e6 || a.AuthoredOn.Year() != 2026 {
		t.Errorf("%+v", a)
	}
}

func TestConsents(t *testing.T) {
	o, err := observe(t, `{"data":{"getMemberConnections":[],"tasks":{"entry":null},"consents":{"entry":[
		{"resource":{"id":"1","status":"active","category":[{"coding":[{"code":"ias:import:records"}]}],"provision":{"type":"permit"},"dateTime":"2026-01-01"}},
		{"resource":{"id":"2","status":"ACTIVE","category":[{"coding":[{"code":"IAS_IMPORT_RECORDS"}]}],"provision":{"type":"DENY"},"meta":{"lastUpdated":"2026-01-02T00:00:00Z"}}},
		{"resource":{"id":"3","status":"inactive","category":[{"coding":[{"code":"other"},{"code":"ias-import-records"}]}],"provision":"permit"}},
		{"resource":{"id":"4","category":[{"coding":[{"code":"communicationPreferences:includePHI"}]}],"provision":null}},
		{"resource":{"id":"5","status":"suspended","category":null,"provision":{"type":"maybe"}}}
	]}}}`)
	var got []string
	for _, c := range o.Consents.Items {
		got = append(got, fmt.Sprint(c.ID, " ", c.Category, " ", c.Status.Value, " ", c.Provision.Value))
	}
	want := []string{
		"1 iasimportrecords active permit", "2 iasimportrecords active deny", "3 iasimportrecords inactive permit",
		"4 communicationpreferencesincludephi  ", "5  UNKNOWN UNKNOWN",
	}
	if err != nil || !o.Consents.Whole || !slices.Equal(got, want) {
		t.Errorf("got %q, %v", got, err)
	}
	if !maps.Equal(o.Consents.Unknown, map[string]int{"consent.status": 1, "consent.provision": 1}) {
		t.Error(o.Consents.Unknown)
	}
	if a, b := o.Consents.Items[0], o.Consents.Items[1]; a.DateTime.IsZero() || b.Updated.IsZero() || !b.DateTime.IsZero() {
		t.Error("dates:", a, b)
	}
}

func TestRecommendations(t *testing.T) {
	team := func(category, participants string) string {
		return `{"resource":{"id":"ct","category":[{"coding":[{"code":"` + category + `"}]}],"participant":[` + participants + `]}}`
	}
	answer := `{"data":{"careTeams":{"entry":[null,` + strings.Join([]string{
		team("recommended-connections",
			`{"member":{"reference":"Organization/1","resource":{"__typename":"Organization","id":"1","name":"A","alias":["a_fhir","a2"]}}},
			 {"member":{"resource":{"name":"B","alias":"b_fhir"}}},
			 {"member":{"name":"C","alias":["  ",null,"c_fhir"]}},
			 {"member":{"__typename":"Organization","name":"D","alias":"d_fhir","type":[{"text":"prov"}]}},
			 {"member":{"resource":{"__typename":"Practitioner","name":"Dr. X","alias":["x"]}}},
			 {"member":{"type":"Practitioner","reference":"Practitioner/9"}},
			 {"member":{"reference":"Organization/9","type":"Organization","resource":null}},
			 {"member":{"resource":{"__typename":"Organization","name":"no alias","alias":[]}}},
			 {"member":null}, null, {"member":{"alias":7}}`),
		team("recommended-connections", `{"member":{"resource":{"name":"A again","alias":["a_fhir"]}}}`),
		team("care-circle", `{"member":{"resource":{"name":"E","alias":["e_fhir"]}}}`),
		`{"resource":{"id":"x","participant":[{"member":{"resource":{"alias":["no-category"]}}}]}}`,
	}, ",") + `]}}}`
	l, err := client(t, Config{}, always(200, answer)).Recommendations(t.Context(), token)
	want := []Recommendation{{"a_fhir", "A"}, {"b_fhir", "B"}, {"c_fhir", "C"}, {"d_fhir", "D"}}
	if err != nil || !l.Whole || !slices.Equal(l.Items, want) || l.Skipped != 1 {
		t.Errorf("got %+v, %v", l, err)
	}
}

func TestDeletedConnectionsAreCheckedAgain(t *testing.T) {
	c := client(t, Config{}, func(_ *http.Request, op string, vars map[string]any) *http.Response {
		if op != "Connections" || fmt.Sprint(vars["sync"]) != "[DATA_DELETED]" {
			t.Error(op, vars)
		}
		return reply(200, `{"data":{"getMemberConnections":[{"id":"a","status":"CONNECTED","syncStatus":"RETRIEVED"},{"id":"b","status":"DELETED","syncStatus":"DATA_DELETED"}]}}`)
	})
	l, err := c.DeletedConnections(t.Context(), token)
	if err != nil || !l.Whole || len(l.Items) != 1 || l.Items[0].ID != "b" {
		t.Errorf("got %+v, %v", l, err)
	}
}

// Fields is what decode.go counts by, no more and no less.
func TestFields(t *testing.T) {
	source, err := os.ReadFile("decode.go")
	if err != nil {
		t.Fatal(err)
	}
	var counted []string
	for _, m := range regexp.MustCompile(`"((?:connection|task|consent|recommendation)\.[a-zA-Z.]+)"\)`).FindAllStringSubmatch(string(source), -1) {
		counted = append(counted, m[1])
	}
	slices.Sort(counted)
	counted = slices.Compact(counted)
	if listed := slices.Sorted(slices.Values(Fields())); len(counted) < 10 || !slices.Equal(counted, listed) {
		t.Errorf("counted are\n%q\nlisted\n%q", counted, listed)
	}
}
