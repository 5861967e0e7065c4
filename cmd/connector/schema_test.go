package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/smartconnect/connector/internal/acting"
	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/reconnect"
	"github.com/smartconnect/connector/internal/topology"
	"github.com/smartconnect/connector/schemas"
)

// offline is a world of commands that need no server.
func offline(t *testing.T) *world { return &world{T: t} }

func fixture(t *testing.T, typ events.Type) string {
	t.Helper()
	raw, err := fs.ReadFile(schemas.FS, "fixtures/"+typ.SchemaFile())
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestSchemaListAndShow(t *testing.T) {
	w := offline(t)
	code, out, complaints := w.run("", "schema", "list", "--json")
	if code != exitOK || complaints != "" {
		t.Fatalf("code %d: %s", code, complaints)
	}
	listed := 0
	for line := range strings.Lines(out) {
		var l struct{ Name, Title string }
		w.must(json.Unmarshal([]byte(line), &l))
		if l.Title == "" {
			t.Errorf("%s has no title", l.Name)
		}
		code, shown, _ := w.run("", "schema", "show", l.Name)
		var schema struct {
			ID string `json:"$id"`
		}
		if err := json.Unmarshal([]byte(shown), &schema); code != exitOK || err != nil || schema.ID != l.Name+".json" {
			t.Errorf("%s shows %q, code %d, %v", l.Name, schema.ID, code, err)
		}
		listed++
	}
	if want := len(events.Types()) + 2 + 13; listed != want {
		t.Errorf("%d schemas are listed, want %d", listed, want)
	}
	if _, out, _ = w.run("", "schema", "list"); !strings.Contains(out, "smartconnect.prompt.opened.v1") || !strings.Contains(out, "TITLE") {
		t.Errorf("the table is %s", out)
	}
	for args, want := range map[string]string{
		"prompt.opened":                       `"additionalProperties": false`,
		"prompt.opened --sample":              `"specversion": "1.0"`,
		"asyncapi":                            "asyncapi: 3.0.0",
		"sc.svc.v1.prompt.start.request":      `"promptId"`,
		"smartconnect.prompt.opened.v1":       `"additionalProperties": false`,
		"prompt.opened --for-readers":         `"x-open-enum": true`,
		"envelope --for-readers":              `"specversion"`,
		"smartconnect.task.baseline.v1":       `"taskId"`,
		"sc.svc.v1.refusal":                   `"Nats-Service-Error-Code"`,
		"smartconnect.agenda.snapshot.v1":     `"prompts"`,
		"agenda.snapshot --sample":            `"agenda`,
		"sc.svc.v1.member.enrol.reply":        `"created"`,
		"smartconnect.member.snapshot.v1":     `"connections"`,
		"connection.status_changed --sample":  `"traceparent"`,
		"smartconnect.storm.held.v1 --sample": `"data"`,
	} {
		code, out, complaints := w.run("", append([]string{"schema", "show"}, strings.Fields(args)...)...)
		if code != exitOK || !strings.Contains(out, want) {
			t.Errorf("show %s: code %d, %s %s", args, code, complaints, out)
		}
		if strings.Contains(args, "--for-readers") && strings.Contains(out, `"additionalProperties": false`) {
			t.Errorf("show %s is closed", args)
		}
	}
	for _, args := range []string{"nothing", "../schemas", "envelope --sample", "asyncapi --for-readers", "prompt.opened --sample --for-readers"} {
		if code, _, complaints := w.run("", append([]string{"schema", "show"}, strings.Fields(args)...)...); code != exitFailed || complaints == "" {
			t.Errorf("show %s: code %d", args, code)
		}
	}
}

func TestSchemaValidate(t *testing.T) {
	w := offline(t)
	var all strings.Builder
	for _, typ := range events.Types() {
		all.WriteString(fixture(t, typ))
	}
	code, out, complaints := w.run(all.String(), "schema", "validate")
	if want := fmt.Sprintf("%d events are valid.\n", len(events.Types())); code != exitOK || out != want || complaints != "" {
		t.Errorf("code %d: %s %s", code, out, complaints)
	}
	name := filepath.Join(t.TempDir(), "events.json")
	w.must(os.WriteFile(name, []byte(fixture(t, events.PromptOpened)), 0o600))
	if code, out, complaints = w.run("", "schema", "validate", name); code != exitOK || out != "1 events are valid.\n" {
		t.Errorf("from a file: code %d: %s %s", code, out, complaints)
	}

	whole := fixture(t, events.PromptOpened)
	for what, tt := range map[string]struct {
		in   string
		want []string
	}{
		"nothing":            {"\n", []string{"there is no event"}},
		"no JSON":            {whole + "\n\n{\"a\":", []string{"this is no JSON", "1 events were read"}},
		"a list":             {"[]", []string{"standard input:1: /: is of type array, want object", "1 of 1 events"}},
		"one bad of two":     {whole + strings.Replace(whole, `"notify": true`, `"notify": "s3cret"`, 1), []string{"/data/notify: is of type string, want boolean", "1 of 2 events"}},
		"no id":              {strings.Replace(whole, `"id"`, `"other"`, 1), []string{"/: lacks id", `/: has fields the schema does not name: ["other"]`}},
		"a bad time":         {strings.Replace(whole, `"openedAt": "2026`, `"openedAt": "s3cret-2026`, 1), []string{"/data/openedAt: is no date-time"}},
		"a bad enum":         {strings.Replace(whole, `"urgency": "required"`, `"urgency": "s3cret"`, 1), []string{"/data/urgency: is none of [required optional]"}},
		"a bad subject":      {strings.Replace(whole, `"subject": "`, `"subject": "S3CRET s3cret`, 1), []string{"/subject: does not look like"}},
		"less than nothing":  {strings.Replace(whole, `"reminder": 0`, `"reminder": -1`, 1), []string{"/data/reminder: breaks the rule minimum"}},
		"a wrong constant":   {strings.Replace(whole, `"specversion": "1.0"`, `"specversion": "s3cret"`, 1), []string{"/specversion: is not 1.0"}},
		"an unknown type":    {strings.ReplaceAll(whole, "prompt.opened", "prompt.unheard"), []string{"/type: there is no schema of"}},
		"another schema":     {strings.Replace(whole, "schema:smartconnect.prompt.opened", "schema:smartconnect.prompt.expired", 1), []string{"/dataschema: is the schema of another type"}},
		"the line is told":   {"\n\n" + `{"type":1}`, []string{"standard input:3: /type: is of type number"}},
		"data of two faults": {strings.Replace(strings.Replace(whole, `"notify": true`, `"notify": 1`, 1), `"reminder": 0`, `"reminder": "s3cret"`, 1), []string{"/data/notify:", "/data/reminder:"}},
	} {
		code, out, complaints := w.run(tt.in, "schema", "validate", "-")
		if code != exitFailed || out != "" {
			t.Errorf("%s: code %d: %s", what, code, out)
		}
		for _, want := range tt.want {
			if !strings.Contains(complaints, want) {
				t.Errorf("%s: no word of %q in\n%s", what, want, complaints)
			}
		}
		if strings.Contains(strings.ToLower(complaints), "s3cret") || strings.Contains(complaints, "member-4711") {
			t.Errorf("%s: tells what stands there: %s", what, complaints)
		}
	}
	copied := strings.Replace(whole, `"id"`, `"replay": "monday", "id"`, 1)
	if code, _, complaints = w.run(copied, "schema", "validate"); code != exitOK {
		t.Errorf("the copy that a replay makes: code %d: %s", code, complaints)
	}
	if code, _, complaints = w.run(strings.Replace(copied, "monday", "on monday", 1), "schema", "validate"); code != exitFailed || !strings.Contains(complaints, "/replay: does not look like") {
		t.Errorf("a replay with a space: code %d: %s", code, complaints)
	}
	later := strings.Replace(whole, `"notify": true`, `"addedLater": 1, "notify": true`, 1)
	if code, _, _ = w.run(later, "schema", "validate"); code != exitFailed {
		t.Errorf("a field nobody knows: code %d", code)
	}
	if code, _, complaints = w.run(later, "schema", "validate", "--for-readers"); code != exitOK {
		t.Errorf("a field that came later, for readers: code %d: %s", code, complaints)
	}
	if code, _, _ = w.run("", "schema", "validate", filepath.Join(t.TempDir(), "none")); code != exitFailed {
		t.Errorf("a file that is not there: code %d", code)
	}
}

// An event is found in the first, the last and an inner window of the stream,
// and the newest of equal ids wins.
func TestEventsShow(t *testing.T) {
	w := newWorld(t, 0)
	if code, _, complaints := w.run("", w.at("events", "show", "x")...); code != exitFailed || !strings.Contains(complaints, "empty") {
		t.Errorf("in an empty stream: code %d: %s", code, complaints)
	}
	ids := map[int]string{}
	var e events.Event
	w.must(json.Unmarshal([]byte(fixture(t, events.TaskBaseline)), &e))
	// A subject keeps 64 messages, so many members have some.
	const window, count = 100, 250
	for n := range count {
		e.Member, e.Sequence = w.token(fmt.Sprint(n/50)), uint64(n%50+1)
		msg, err := events.TestMessage(e)
		w.must(err)
		msg.Subject = w.log.Subjects().Of(e)
		ids[n] = msg.Header["ce-id"][0]
		_, err = w.js.PublishMsgAsync(msg)
		w.must(err)
	}
	select {
	case <-w.js.PublishAsyncComplete():
	case <-time.After(30 * time.Second):
		t.Fatal("not published")
	}
	// A message that is no event does not stop the search, nor does one that is
	// gone.
	_, err := w.js.Publish(t.Context(), "sc.v1.task.none", []byte("noise"))
	w.must(err)
	s, err := w.js.Stream(t.Context(), events.Stream)
	w.must(err)
	w.must(s.DeleteMsg(t.Context(), 120))
	for n := range count {
		if n == 119 {
			continue // deleted
		}
		var last, whole uint64
		msg, err := findEvent(t.Context(), w.js, w.log.Subjects().All(), ids[n], window, func(done, all uint64) {
			if done < last {
				t.Errorf("event %d: looked at %d after %d", n, done, last)
			}
			last, whole = done, all
		})
		if err != nil || msg.Sequence != uint64(n+1) || last != whole {
			t.Errorf("event %d: %v, looked at %d of %d", n, err, last, whole)
		}
	}
	for _, n := range []int{0, count / 2, count - 1} {
		code, out, complaints := w.run("", w.at("events", "show", ids[n])...)
		var found events.Event
		if err := json.Unmarshal([]byte(out), &found); code != exitOK || err != nil || found.ID != ids[n] {
			t.Errorf("event %d: code %d, %v: %s %s", n, code, err, out, complaints)
		}
		if !strings.Contains(complaints, fmt.Sprintf("stream sequence %d,", n+1)) {
			t.Errorf("event %d stands at: %s", n, complaints)
		}
	}
	subject := "sc.v1.task." + string(w.token("3"))
	if code, _, complaints := w.run("", w.at("events", "show", ids[150], "--subject", subject)...); code != exitOK {
		t.Errorf("on its subject: code %d: %s", code, complaints)
	}
	for _, args := range [][]string{{"nobody"}, {ids[0], "--subject", subject}, {ids[0], "--subject", "sc.v1.consent.*"}} {
		if code, out, complaints := w.run("", w.at(append([]string{"events", "show"}, args...)...)...); code != exitFailed || out != "" || !strings.Contains(complaints, "has none of this id") {
			t.Errorf("%v: code %d: %s", args, code, complaints)
		}
	}
	broken := nats.NewMsg("sc.v1.task.none")
	broken.Header["ce-id"] = []string{"broken"}
	w.must(w.nc.PublishMsg(broken))
	w.must(w.nc.Flush())
	if code, _, complaints := w.run("", w.at("events", "show", "broken")...); code != exitFailed || !strings.Contains(complaints, "cannot be read") {
		t.Errorf("a broken one: code %d: %s", code, complaints)
	}
}

// Every type can be made up, apart from what is real: another stream, another
// prefix, another source, and nothing of it reaches the decider.
func TestEventsEmit(t *testing.T) {
	w := newWorld(t, 0)
	for range 2 {
		for _, typ := range events.Types() {
			if code, out, complaints := w.run("", w.at("events", "emit", string(typ), "--test-environment")...); code != exitOK || !strings.Contains(out, events.TestPrefix) {
				t.Errorf("%s: code %d: %s", typ, code, complaints)
			}
		}
	}
	live, err := w.js.Stream(t.Context(), events.Stream)
	w.must(err)
	if n := live.CachedInfo().State.Msgs; n != 0 {
		t.Errorf("%d made-up events are in the stream", n)
	}
	decider, err := w.js.Consumer(t.Context(), topology.Events, topology.Decider)
	w.must(err)
	if info := decider.CachedInfo(); info.NumPending != 0 || info.Delivered.Consumer != 0 {
		t.Errorf("the decider hears of them: %+v", info)
	}
	made, err := w.js.OrderedConsumer(t.Context(), events.TestStream, jetstream.OrderedConsumerConfig{})
	w.must(err)
	want := 2 * len(events.Types())
	batch, err := made.Fetch(want, jetstream.FetchMaxWait(10*time.Second))
	w.must(err)
	got, last := 0, map[string]uint64{}
	for msg := range batch.Messages() {
		got++
		e, err := events.Decode(msg.Headers(), msg.Data())
		w.must(err)
		if e.Source != events.TestSource || e.Sequence != last[msg.Subject()]+1 {
			t.Errorf("%s from %s has sequence %d after %d", e.Type, e.Source, e.Sequence, last[msg.Subject()])
		}
		last[msg.Subject()] = e.Sequence
	}
	if got != want {
		t.Errorf("%d events, want %d", got, want)
	}

	code, out, complaints := w.run("", w.at("events", "emit", "prompt.opened", "--test-environment",
		"--member", "someone", "--connection", "a-clinic", "--data", `{"notify":false,"urgency":"optional"}`)...)
	if code != exitOK || strings.Contains(out+complaints, "someone") || strings.Contains(out+complaints, "a-clinic") {
		t.Fatalf("code %d: %s %s", code, out, complaints)
	}
	s, err := w.js.Stream(t.Context(), events.TestStream)
	w.must(err)
	tokens := events.TestTokenizer()
	connection := string(tokens.Connection("someone", "a-clinic", 0))
	msg, err := s.GetLastMsgForSubject(t.Context(), events.TestPrefix+".prompt."+string(tokens.Member("someone"))+"."+connection)
	w.must(err)
	e, err := events.Decode(msg.Header, msg.Data)
	w.must(err)
	p, _ := e.Data.(*events.Prompt)
	if p.MemberID != "someone" || p.ConnectionID != "a-clinic" || p.PromptID != connection+".1" || p.Notify || p.Urgency != events.Optional {
		t.Errorf("%+v", p)
	}
	if e.CorrelationID != connection+".1" || !e.Expires.After(time.Now()) || time.Since(e.Time) > time.Hour {
		t.Errorf("%+v", e)
	}
	if w.token("someone") == tokens.Member("someone") {
		t.Error("a made-up event has the token of the deployment")
	}
}

func TestEventsEmitRefuses(t *testing.T) {
	w := newWorld(t, 0)
	t.Setenv("CONNECTOR_TEST_ENVIRONMENT", "true") // left over somewhere, it says nothing
	for what, tt := range map[string]struct {
		args []string
		want string
	}{
		"nobody says it is a test":  {w.at("events", "emit", "prompt.opened"), "--test-environment"},
		"a server elsewhere":        {[]string{"events", "emit", "prompt.opened", "--test-environment", "--nats", "nats://nats.example:4222"}, "loopback only"},
		"one of two elsewhere":      {[]string{"events", "emit", "prompt.opened", "--test-environment", "--nats", w.url + ",10.0.0.7"}, "loopback only"},
		"all addresses":             {[]string{"events", "emit", "prompt.opened", "--test-environment", "--nats", "0.0.0.0:4222"}, "loopback only"},
		"a name that only looks so": {[]string{"events", "emit", "prompt.opened", "--test-environment", "--nats", "nats://localhost.example"}, "loopback only"},
		"a user who looks so":       {[]string{"events", "emit", "prompt.opened", "--test-environment", "--nats", "nats://127.0.0.1:4222@nats.example"}, "loopback only"},
		"an unknown type":           {w.at("events", "emit", "prompt.unheard", "--test-environment"), "there is no event type"},
		"a storm has no member":     {w.at("events", "emit", "storm.held", "--test-environment", "--member", "x"), "is about none"},
		"a task has no connection":  {w.at("events", "emit", "task.baseline", "--test-environment", "--connection", "x"), "is about none"},
		"data that is none":         {w.at("events", "emit", "prompt.opened", "--test-environment", "--data", "s3cret"), "no JSON object"},
		"data of another type":      {w.at("events", "emit", "prompt.opened", "--test-environment", "--data", `{"notify":"s3cret"}`), "/data/notify"},
		"a field nobody knows":      {w.at("events", "emit", "prompt.opened", "--test-environment", "--data", `{"other":"s3cret"}`), "does not name"},
	} {
		code, out, complaints := w.run("", tt.args...)
		if code != exitFailed || out != "" || !strings.Contains(complaints, tt.want) || strings.Contains(complaints, "s3cret") {
			t.Errorf("%s: code %d, %s: %s", what, code, out, complaints)
		}
	}
	if _, err := w.js.Stream(t.Context(), events.TestStream); err == nil {
		t.Error("what was refused made a stream")
	}

	// A deployment whose prefix holds ours, and a stream of another's making.
	_, err := w.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "OTHERS", Subjects: []string{"test.>"}})
	w.must(err)
	if code, _, complaints := w.run("", w.at("events", "emit", "prompt.opened", "--test-environment")...); code != exitFailed {
		t.Errorf("on subjects of another stream: code %d: %s", code, complaints)
	}
	w.must(w.js.DeleteStream(t.Context(), "OTHERS"))
	_, err = w.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: events.TestStream, Subjects: []string{"other.>"}})
	w.must(err)
	if code, _, complaints := w.run("", w.at("events", "emit", "prompt.opened", "--test-environment")...); code != exitFailed || !strings.Contains(complaints, "its subjects are others") {
		t.Errorf("on a stream of another's making: code %d: %s", code, complaints)
	}
}

// The micro service answers on exactly the subjects that have schemas, and what
// it answers is what they say.
func TestServiceHasSchemas(t *testing.T) {
	w := newWorld(t, 1)
	w.enrol()
	w.serve(nil)
	reply, err := w.nc.RequestWithContext(t.Context(), "$SRV.INFO.smartconnect-connector", nil)
	w.must(err)
	var info struct {
		Endpoints []struct {
			Subject string `json:"subject"`
			Queue   string `json:"queue_group"`
		} `json:"endpoints"`
	}
	w.must(json.Unmarshal(reply.Data, &info))
	served := map[string]bool{}
	for _, e := range info.Endpoints {
		served[e.Subject] = true
		if e.Queue != "q" {
			t.Errorf("%s has the queue %s, schemas/asyncapi.yaml says q", e.Subject, e.Queue)
		}
		if _, err := schemaText(e.Subject + ".request"); err != nil {
			t.Error(err)
		}
		if _, err := schemaText(e.Subject + ".reply"); err != nil {
			t.Error(err)
		}
	}
	for _, name := range schemaNames() {
		if subject, ok := strings.CutSuffix(name, ".request"); ok && !served[subject] {
			t.Errorf("nobody answers %s", subject)
		}
	}
	check := newChecker(false)
	m := w.sim.Members()[0]
	// Until somebody has the lease of the shard, a poll is refused.
	w.until("polled", func() bool { return w.known(m.ID).MemberID != "" })
	for subject, request := range map[string]any{
		"member.enrol": enrolment{ID: m.ID, RefreshToken: m.RefreshToken},
		"member.poll":  map[string]string{"memberId": m.ID},
	} {
		body, err := json.Marshal(request)
		w.must(err)
		reply, err := w.nc.RequestWithContext(t.Context(), servicePrefix+"."+subject, body)
		w.must(err)
		if word := reply.Header.Get(micro.ErrorCodeHeader); word != "" {
			t.Errorf("%s is refused: %s", subject, word)
			continue
		}
		for way, raw := range map[string][]byte{"request": body, "reply": reply.Data} {
			v, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
			w.must(err)
			if faults := check.against(servicePrefix+"."+subject+"."+way, "", v); len(faults) > 0 {
				t.Errorf("%s of %s: %v", way, subject, faults)
			}
		}
	}
	// What is sent as Go types has the fields of the schemas, and no others.
	for name, typ := range map[string]reflect.Type{
		"prompt.start.request": reflect.TypeFor[reconnect.StartRequest](), "prompt.start.reply": reflect.TypeFor[reconnect.Started](),
		"prompt.link.request": reflect.TypeFor[acting.LinkRequest](), "prompt.link.reply": reflect.TypeFor[acting.Link](),
		"prompt.ack.request": reflect.TypeFor[reconnect.AckRequest](), "prompt.release.request": reflect.TypeFor[reconnect.ReleaseRequest](),
		"member.enrol.request": reflect.TypeFor[enrolment](),
	} {
		raw, err := schemaText(servicePrefix + "." + name)
		w.must(err)
		var schema struct {
			Properties map[string]any `json:"properties"`
			Required   []string       `json:"required"`
		}
		w.must(json.Unmarshal(raw, &schema))
		var fields, always []string
		for f := range typ.Fields() {
			field, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			fields = append(fields, field)
			if options == "" {
				always = append(always, field)
			}
		}
		slices.Sort(fields)
		if said := slices.Sorted(maps.Keys(schema.Properties)); !slices.Equal(said, fields) {
			t.Errorf("%s: the schema has %q, Go %q", name, said, fields)
		}
		slices.Sort(always)
		slices.Sort(schema.Required)
		if !slices.Equal(schema.Required, always) {
			t.Errorf("%s: the schema requires %q, Go always has %q", name, schema.Required, always)
		}
	}
	// And so have refusals the words.
	raw, err := schemaText("sc.svc.v1.refusal")
	w.must(err)
	for _, word := range []reconnect.Refusal{
		reconnect.BadRequest, reconnect.NotFound, reconnect.StalePrompt, reconnect.ConsentEnded, reconnect.NotSupported,
		reconnect.ReconnectInApp, reconnect.IdentityRequired, reconnect.IdentityMismatch, reconnect.TooMany, reconnect.Upstream,
	} {
		if !strings.Contains(string(raw), `"`+string(word)+`"`) {
			t.Errorf("the schema of refusals does not know %s", word)
		}
	}
}
