package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/policy"
	"github.com/smartconnect/connector/internal/poller"
	"github.com/smartconnect/connector/internal/topology"
)

const operations = "../../docs/operations.md"

// rows returns the tables' rows of docs/operations.md whose first cell looks
// like first, by that cell; the cells are without their quotes.
func rows(t *testing.T, first string) map[string][]string {
	t.Helper()
	body, err := os.ReadFile(operations)
	if err != nil {
		t.Fatal(err)
	}
	pattern := regexp.MustCompile("^`" + first + "`$")
	found := map[string][]string{}
	for line := range strings.Lines(string(body)) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if !pattern.MatchString(cells[0]) {
			continue
		}
		name := strings.Trim(cells[0], "`")
		if found[name] != nil {
			t.Errorf("%s has two rows", name)
		}
		found[name] = cells[1:]
	}
	return found
}

func cell(row []string, i int) string {
	if i >= len(row) {
		return ""
	}
	return strings.Trim(row[i], "`")
}

// The page lists every flag, with its variable, its default, and the commands
// that have it.
func TestOperationsListsEveryFlag(t *testing.T) {
	var c cli
	parser, err := grammar(&c, streams{}, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	envs, commands, values := map[string]string{}, map[string][]string{}, map[string][]string{}
	var visit func(n *kong.Node, path string)
	visit = func(n *kong.Node, path string) {
		for _, f := range n.Flags {
			if f.Name == "help" {
				continue
			}
			value := cmp.Or(f.Default, "none")
			switch {
			case f.Required:
				value = "required"
			case f.IsBool() && f.Default == "":
				value = "false"
			}
			name := "--" + f.Name
			envs[name] = strings.Join(f.Envs, " ")
			commands[name] = append(commands[name], path)
			values[name] = append(values[name], value)
		}
		for _, child := range n.Children {
			visit(child, strings.TrimSpace(path+" "+child.Name))
		}
	}
	visit(parser.Model.Node, "")
	said := rows(t, `--[a-z-]+`)
	for _, name := range slices.Sorted(maps.Keys(envs)) {
		who, value := strings.Join(commands[name], ", "), values[name][0]
		switch {
		case who == "":
			who = "all"
		case slices.Equal(commands[name], commands["--nats"]):
			who = "all that talk to NATS"
		}
		if len(slices.Compact(slices.Sorted(slices.Values(values[name])))) > 1 {
			value = "" // one variable and one file for commands that differ: say which is which
			for i, path := range commands[name] {
				value += fmt.Sprintf("%s: %s ", path, values[name][i])
			}
			value = strings.TrimSpace(value)
		}
		row := said[name]
		if len(row) != 4 || cell(row, 0) != envs[name] || cell(row, 1) != value || row[2] != who || row[3] == "" {
			t.Errorf("docs/operations.md should have this row, with what it is for and why that is the default:\n| `%s` | `%s` | `%s` | %s | … |", name, envs[name], value, who)
		}
	}
	for name := range said {
		if _, ok := envs[name]; !ok {
			t.Errorf("docs/operations.md speaks of %s, which no command has", name)
		}
	}
}

// The page lists every metric, and speaks of no other.
func TestOperationsListsEveryMetric(t *testing.T) {
	said := rows(t, `connector_[a-z_]+`)
	have := map[string]bool{}
	readings := (service{}).readings(nil, nil, nil, nil)
	for _, r := range slices.Concat(readings, judgedReadings(nil, nil), newListener(nil).readings(), bridgeReadings(someBridge(t))) {
		have[r.Name] = true
		kind := "gauge"
		if r.Counter {
			kind = "counter"
		}
		row := said[r.Name]
		if len(row) != 3 || row[0] != kind || row[1] != strings.TrimSuffix(r.Help, ".") {
			t.Errorf("docs/operations.md should have this row, with what is normal:\n| `%s` | %s | %s | … |", r.Name, kind, strings.TrimSuffix(r.Help, "."))
		}
	}
	body, err := os.ReadFile(operations)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range regexp.MustCompile(`connector_[a-z_]+`).FindAllString(string(body), -1) {
		if !have[name] {
			t.Errorf("docs/operations.md speaks of %s, which is no metric", name)
		}
	}
}

// The page gives every default that is no flag, as the code has it.
func TestOperationsListsEveryDefault(t *testing.T) {
	said := rows(t, `Pace\.[A-Za-z]+|[a-z][A-Za-z]*(?:\.[a-z][A-Za-z]*)?`)
	pace := reflect.ValueOf(poller.DefaultPace())
	for i := range pace.NumField() {
		name, value := "Pace."+pace.Type().Field(i).Name, inWords(pace.Field(i).Interface().(time.Duration))
		if row := said[name]; len(row) != 2 || row[0] != value || row[1] == "" {
			t.Errorf("docs/operations.md should have this row, with the reason:\n| `%s` | %s | … |", name, value)
		}
	}
	for _, k := range policy.Keys(policy.Defaults()) {
		if row := said[k.Name]; !slices.Equal(row, []string{"`" + k.Value + "`", k.Why}) {
			t.Errorf("docs/operations.md should have this row:\n| `%s` | `%s` | %s |", k.Name, k.Value, k.Why)
		}
	}
}

// The page says from how many members on a storm can be held at all: a break is
// seen when the member is looked at.
func TestOperationsSaysWhoCanHaveAStorm(t *testing.T) {
	pace, rules := poller.DefaultPace(), policy.Defaults().Judge
	every := pace.Healthy + pace.Healthy/20 // up to a tenth of jitter
	least := int(math.Ceil(float64(rules.StormMembers) * float64(every) / float64(rules.StormWindow)))
	body, err := os.ReadFile(operations)
	if err != nil {
		t.Fatal(err)
	}
	minutes := func(d time.Duration) string { return fmt.Sprint(d.Minutes()) }
	for _, want := range []string{
		fmt.Sprintf("%d × %s / %s = %d members", rules.StormMembers, minutes(every), minutes(rules.StormWindow), least),
		fmt.Sprintf("| `storm.members` | `%d` | fewer prompts too many are a nuisance, not a disaster; of fewer than about %d members", rules.StormMembers, least),
	} {
		if !strings.Contains(string(body), want) {
			t.Errorf("docs/operations.md should say: %s", want)
		}
	}
}

// inWords writes a time as the page does.
func inWords(v time.Duration) string {
	switch day := 24 * time.Hour; {
	case v > day && v%day == 0:
		return fmt.Sprintf("%d d", v/day)
	case v >= time.Hour && v%time.Hour == 0:
		return fmt.Sprintf("%d h", v/time.Hour)
	case v >= time.Minute && v%time.Minute == 0:
		return fmt.Sprintf("%d min", v/time.Minute)
	default:
		return fmt.Sprintf("%v s", v.Seconds())
	}
}

// The page says what the services for members take, answer and refuse with.
func TestOperationsSaysHowToEnrolAndPoll(t *testing.T) {
	said := rows(t, `sc\.svc\.v1\.member\.[a-z]+`)
	refusals, err := schemaText("sc.svc.v1.refusal")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range schemaNames() {
		subject, ok := strings.CutSuffix(name, ".request")
		if !ok || !strings.HasPrefix(subject, servicePrefix+".member.") {
			continue
		}
		row := said[subject]
		if len(row) != 3 {
			t.Errorf("docs/operations.md should have a row of %s: request, answer, words", subject)
			continue
		}
		for i, way := range []string{".request", ".reply"} {
			raw, err := schemaText(subject + way)
			if err != nil {
				t.Fatal(err)
			}
			var schema struct {
				Properties map[string]any `json:"properties"`
			}
			if err := json.Unmarshal(raw, &schema); err != nil {
				t.Fatal(err)
			}
			for field := range schema.Properties {
				if !strings.Contains(row[i], `"`+field+`"`) {
					t.Errorf("docs/operations.md does not speak of %s in the %s of %s", field, way[1:], subject)
				}
			}
		}
		for _, word := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(row[2], -1) {
			if !strings.Contains(string(refusals), `"`+word[1]+`"`) {
				t.Errorf("docs/operations.md has %s refuse with %s, which is no word of the schema", subject, word[1])
			}
		}
	}
}

// What the page says of streams and of log lines is there.
func TestOperationsNamesWhatThereIs(t *testing.T) {
	body, err := os.ReadFile(operations)
	if err != nil {
		t.Fatal(err)
	}
	streams := rows(t, `[A-Z_]+`)
	for _, s := range topology.Desired(topology.Config{Prefix: events.DefaultPrefix}) {
		if streams[s.Config.Name] == nil {
			t.Errorf("docs/operations.md does not speak of %s", s.Config.Name)
		}
	}
	if !strings.Contains(string(body), topology.MinServer) {
		t.Errorf("docs/operations.md does not speak of NATS %s", topology.MinServer)
	}

	var code strings.Builder
	for _, dir := range []string{".", "../../internal"} {
		err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			source, err := os.ReadFile(filepath.Join(dir, path))
			code.Write(source)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	lines := rows(t, `[a-zA-Z][^`+"`"+`]* [^`+"`"+`]*`)
	if len(lines) < 10 {
		t.Errorf("docs/operations.md explains %d log lines", len(lines))
	}
	for line := range lines {
		if !strings.Contains(code.String(), `Msg("`+line) {
			t.Errorf("docs/operations.md explains %q, which nobody logs", line)
		}
	}
}
