package policy

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/schemas"
)

func written(t testing.TB, s Settings) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, s); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// deploy/policy.yaml is the defaults, key by key, below a few lines of its own.
func TestTheDeployedFileIsTheDefaults(t *testing.T) {
	const name = "../../deploy/policy.yaml"
	body, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if want := written(t, Defaults()); !strings.HasSuffix(string(body), "\n"+want) {
		t.Errorf("deploy/policy.yaml should end in what connector policy show prints:\n%s", want)
	}
	s, err := Load(name, Settings{})
	if err != nil || !reflect.DeepEqual(s, Defaults()) {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestOnlyWhatIsSaidChanges(t *testing.T) {
	s, err := parse([]byte(`
confirm: {EXPIRED: 1h}
statuses:
  DISCONNECTED: {notify: true}
reminders: []
unknownTypes: {OAUTH: oauth}
directAuto: [EXPIRED]
quiet: {from: "22:00", to: "07:30", zone: Europe/Berlin}
expiring: {lead: [14d, 2d], validity: {some-source: 90d}}
storm: {members: 500}
`), Defaults())
	if err != nil {
		t.Fatal(err)
	}
	want := Defaults()
	want.Rules.Confirm[events.Expired] = time.Hour
	rule := want.Policy.Statuses[events.Disconnected]
	rule.Notify = true
	want.Policy.Statuses[events.Disconnected] = rule
	want.Policy.Reminders = nil
	want.Policy.UnknownTypes = map[string]events.Action{"OAUTH": events.ActOAuth}
	want.Policy.DirectAuto = []events.Status{events.Expired}
	want.Policy.Quiet.From, want.Policy.Quiet.To = 22*time.Hour, 7*time.Hour+30*time.Minute
	want.Rules.Lead, want.Rules.Validity = []time.Duration{14 * day, 2 * day}, map[string]time.Duration{"some-source": 90 * day}
	want.Judge.StormMembers = 500
	zone := s.Policy.Quiet.Zone
	if s.Policy.Quiet.Zone = nil; zone == nil || zone.String() != "Europe/Berlin" || !reflect.DeepEqual(s, want) {
		t.Errorf("%+v\nwant\n%+v", s, want)
	}
}

// What is written can be read, and means the same.
func TestThereAndBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Defaults()
		span := func(name string) time.Duration {
			return rapid.Custom(func(t *rapid.T) time.Duration {
				return rapid.SampledFrom([]time.Duration{time.Second, time.Minute, time.Hour, day}).Draw(t, "unit") * time.Duration(rapid.IntRange(1, 90).Draw(t, "n"))
			}).Draw(t, name)
		}
		for status := range s.Rules.Confirm {
			s.Rules.Confirm[status] = 6*time.Minute + span("confirm")
		}
		s.Rules.Settle, s.Policy.Grace, s.Policy.SnoozeMost = span("settle"), span("grace"), min(span("snooze"), s.Policy.Expiry)
		s.Policy.Quiet.From = time.Duration(rapid.IntRange(0, 1439).Draw(t, "from")) * time.Minute
		s.Policy.MaxPushesPerWeek = rapid.IntRange(0, 20).Draw(t, "pushes")
		var b bytes.Buffer
		if err := Write(&b, s); err != nil {
			t.Fatal(err)
		}
		back, err := parse(b.Bytes(), Settings{})
		if err != nil || !reflect.DeepEqual(back, s) {
			t.Fatalf("%v\n%s", err, b.String())
		}
	})
}

func TestBadFiles(t *testing.T) {
	for _, c := range []struct{ file, want string }{
		{"", "it is empty"},
		{"confirm: [", "line 1"},
		{"grace: 1h\n---\ngrace: 2h\n", "more than one document"},
		{"settle: 1m\ngrase: 1h\n", "line 2: there is no setting called grase"},
		{"confirm:\n  EXPIRE: 1h\n", "line 2: there is no setting called EXPIRE"},
		{"settle: 1m\ngrace: 1h\ngrace: 2h\n", "already defined"},
		{"settle: soon\n", "line 1: want a time like"},
		{"settle: 10\n", "line 1: want a time like"},
		{"\nmaxPushesPerWeek: many\n", "line 2: want a whole number"},
		{"\nmaxPushesPerWeek: 3.9\n", "line 2: want a whole number"},
		{"storm:\n  members: 1e2\n", "line 2: want a whole number"},
		{"reminders: 1d\n", "line 1: want a list"},
		{"confirm:\n  ERROR: 0s\n", "line 2: confirm.ERROR: 0s, want more than 0"},
		{"settle: -1m\n", "line 1: settle: -1m0s, want 0 or more"},
		{"flapHoldOpen: -1m\n", "line 1: flapHoldOpen"},
		{"vanishAfter: 0\n", "line 1: vanishAfter"},
		{"expiring:\n  lead: [7d, -1h]\n", "line 2: expiring.lead"},
		{"storm: {window: 10m}\n", "line 1: storm.window: 10m0s, want more than 0 and less"},
		{"observer:\n  polls: 30\n  lost: 0.05\n", "line 3: observer.resumed: 0.1, want less"},
		{"expiring: {validity: {a: 3d}}\n", "line 1: expiring.validity: 72h0m0s, want more than the longest lead"},
		{"grace: -1h\n", "line 1: grace: -1h0m0s, want 0 or more"},
		{"group: 31d\n", "line 1: group: 744h0m0s, want less than the expiry"},
		{"statuses:\n  EXPIRED:\n    urgency: loud\n", `line 3: statuses.EXPIRED.urgency: "loud", want required or optional`},
		{"reminders:\n  - 1d\n  - 0s\n", "line 3: reminders[1]: 0s, want more than 0"},
		{"reminders: [1d, 3d]\nexpiry: 2d\n", "line 1: reminders[1]: due 4d after the opening, when the prompt has expired (expiry 2d)"},
		{"maxPushesPerWeek: -1\n", "line 1: maxPushesPerWeek: -1"},
		{"expiry: 0s\n", "line 1: expiry: 0s, want more than 0"},
		{"grace: 1h\nexpiry: 5d\n", "line 2: reminders[2]: due 11d"}, // at odds with a default
		{"reminders: [1d]\nexpiry: 10d\n", "line 2: snoozeMost: 14d, want at most the expiry, 10d"},
		{"grace: 1h\nsnoozeMost: 31d\n", "line 2: snoozeMost: 31d, want at most the expiry, 30d"},
		{"reminders: []\nsnoozeMost: 0s\nexpiry: 1m\n", "line 3: group: 2m0s, want less than the expiry"},
		{"resolveHoldOpen: 30d\n", "line 1: resolveHoldOpen: 30d, want less than the expiry, 30d"},
		{"snoozeMost: -1s\n", "line 1: snoozeMost"},
		{"resolveHoldOpen: -1s\n", "line 1: resolveHoldOpen"},
		{"unknownTypes:\n  HAPI: wait\n", `line 2: unknownTypes.HAPI: "wait" is nothing a member can do`},
		{"directAuto:\n- EXPIRED\n- DELETED\n", `line 3: directAuto[1]: "DELETED" is no status to activate in`},
		{"directAuto: [EXPIRE]\n", `line 1: directAuto[0]: "EXPIRE" is no status`},
		{"directAuto: [CONNECTED]\n", `line 1: directAuto[0]: "CONNECTED" is no status`},
		{"directAuto:\n- EXPIRED\n- ERROR\n- EXPIRED\n", "line 4: directAuto[2]: EXPIRED stands there twice"},
		{"expiring:\n  lead:\n  - 7d\n  - 168h\n", "line 4: expiring.lead[1]: 7d stands there twice"},
		{"unknownTypes: {HAPI: oauth}\n", "line 1: unknownTypes.HAPI: b.well has no such category; want BASIC, OAUTH, IDENTITY"},
		{"unknownTypes: {oauth: oauth}\n", "line 1: unknownTypes.oauth: b.well has no such category"},
		{"grace: 1h\nquiet: {from: \"22:00\"}\n", "line 2: quiet: want both from and to"},
		{"quiet:\n  to: \"07:00\"\n  zone: Europe/Berlin\n", "line 2: quiet: want both from and to"},
		{"quiet:\n  from: \"22:00\"\n  to:\n", "line 3: quiet.to: it has no value"},
		{"quiet: {from: \"\", to: \"07:00\"}\n", "line 1: quiet.from"},
		{"grace:\nexpiry: 20d\n", "line 1: grace: it has no value; leave the key out"},
		{"reminders:\n- 1d\n-\n", "line 3: reminders[1]: it has no value"},
		{"unknownTypes: ~\n", "line 1: unknownTypes: it has no value"},
		{"quiet: {from: 25:00, to: 07:00}\n", "line 1: quiet.from"},
		{"quiet: {from: 22:00, to: evening}\n", "line 1: quiet.to"},
		{"quiet:\n  zone: Mars/Base\n", "line 2: quiet.zone"},
		{"storm:\n  members: 0\n", "line 2: storm.members: 0, want at least 1"},
		{"storm: {share: 2}\n", "line 1: storm.share: 2, want a share"},
		{"confirm:\n  DELETED: 1h\n  EXPIRED: 4m\n", "line 3: storm.window: 5m0s, want more than 0 and less than the shortest confirmation, 4m"},
		{"storm: {window: 11m}\n", "line 1: storm.window: 11m0s"},
		{"source: {members: -1}\n", "line 1: source.members"},
		{"source: {degraded: 0.1}\n", "line 1: source.restored: 0.2, want less than where it is degraded, 0.1"},
		{"observer: {polls: 0}\n", "line 1: observer.polls"},
		{"observer: {resumed: 0.9}\n", "line 1: observer.resumed"},
	} {
		name := filepath.Join(t.TempDir(), "policy.yaml")
		if err := os.WriteFile(name, []byte(c.file), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load(name, Defaults())
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "policy: policy.yaml: ") {
			t.Errorf("%q: %v, want …%s…", c.file, err, c.want)
		}
	}
	if _, err := Load("nowhere.yaml", Defaults()); err == nil {
		t.Error("a file that is not there")
	}
}

// The categories are those of the contract: who maps another maps nothing.
func TestCategoriesAreThoseOfTheContract(t *testing.T) {
	raw, err := schemas.FS.ReadFile(events.ConnectionChanged.SchemaFile())
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Defs struct {
			State struct {
				Properties struct {
					Category struct{ Examples []string }
				}
			}
		} `json:"$defs"`
	}
	if err := json.Unmarshal(raw, &schema); err != nil {
		t.Fatal(err)
	}
	words := schema.Defs.State.Properties.Category.Examples
	if len(words) < 4 {
		t.Fatalf("the schema has %q", words)
	}
	s := Defaults()
	s.Policy.UnknownTypes = map[string]events.Action{}
	for _, word := range append(words, "") {
		s.Policy.UnknownTypes[word] = events.ActOAuth
	}
	if err := s.Validate(); err != nil || len(categories()) != len(words)+1 {
		t.Errorf("%q, the schema has %q: %v", categories(), words, err)
	}
}

// The short times of trying out are no contradiction.
func TestFastIsValid(t *testing.T) {
	if err := Fast().Validate(); err != nil {
		t.Error(err)
	}
	if err := Defaults().Validate(); err != nil {
		t.Error(err)
	}
	for _, k := range Keys(Defaults()) {
		if k.Value == "" || k.Why == "" {
			t.Errorf("%+v", k)
		}
	}
}
