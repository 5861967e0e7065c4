package test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/simulator"
	"github.com/smartconnect/connector/schemas"
)

// A claim is a value and whether a schema should accept it; validate.mjs
// decides.
type claim struct {
	What   string          `json:"what"`
	Schema string          `json:"schema"`
	Value  json.RawMessage `json:"value"`
	OK     bool            `json:"ok"`
}

// The contract is tried with other people's tools: two kinds of CloudEvents
// readers, a JSON Schema validator that is not the one used inside, and the
// official AsyncAPI parser. The last two want npm.
func TestContract(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	var claims []claim
	t.Run("every event of a story is read alike", func(t *testing.T) { claims = storyIsRead(ctx, t) })
	dir := npmProject(ctx, t, "contract")
	t.Run("every event of a story is valid", func(t *testing.T) {
		if out, err := validate(ctx, t, dir, claims); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	t.Run("fixtures are valid and faults are found", func(t *testing.T) { faultsAreFound(ctx, t, dir) })
	t.Run("the AsyncAPI document has no error", func(t *testing.T) { documentIsRead(ctx, t, dir) })
}

// faultsAreFound has the validator accept every fixture and every example, and
// refuse each fault planted in a fixture.
func faultsAreFound(ctx context.Context, t *testing.T, dir string) {
	var claims []claim
	for _, typ := range events.Types() {
		raw := read(t, "fixtures/"+typ.SchemaFile())
		claims = append(claims, claim{"fixture of " + string(typ), "envelope.json", raw, true})
		copied := bytes.Replace(raw, []byte(`"id":`), []byte(`"replay": "monday", "id":`), 1)
		claims = append(claims, claim{"copy of " + string(typ), "envelope.json", copied, !bytes.Equal(copied, raw)})
		claims = append(claims, faults(t, string(typ), raw)...)
	}
	for _, pattern := range []string{"*.json", "services/*.json"} {
		names, err := fs.Glob(schemas.FS, pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			var schema struct {
				Examples []json.RawMessage `json:"examples"`
			}
			if err := json.Unmarshal(read(t, name), &schema); err != nil {
				t.Fatal(err)
			}
			for _, example := range schema.Examples {
				claims = append(claims, claim{"example of " + name, filepath.Base(name), example, true})
			}
			claims = append(claims, claim{name + " with another field", filepath.Base(name), json.RawMessage(`{"addedLater":1}`), false})
		}
	}
	out, err := validate(ctx, t, dir, claims)
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	// The judge must be able to say no.
	claims[0].OK = false
	if out, err := validate(ctx, t, dir, claims[:1]); err == nil {
		t.Errorf("a wrong claim is upheld: %s", out)
	}
}

// faults plants one fault after the other in an event.
func faults(t *testing.T, what string, raw json.RawMessage) []claim {
	t.Helper()
	var claims []claim
	plant := func(fault string, f func(envelope, data map[string]any)) {
		var envelope map[string]any
		if err := json.Unmarshal(raw, &envelope); err != nil {
			t.Fatal(err)
		}
		data, _ := envelope["data"].(map[string]any)
		f(envelope, data)
		body, err := json.Marshal(envelope)
		if err != nil {
			t.Fatal(err)
		}
		claims = append(claims, claim{what + " with " + fault, "envelope.json", body, false})
	}
	var schema struct {
		Required []string `json:"required"`
	}
	if err := json.Unmarshal(read(t, what+".json"), &schema); err != nil {
		t.Fatal(err)
	}
	for _, name := range schema.Required {
		plant("no "+name, func(_, data map[string]any) { delete(data, name) })
		plant("a list for "+name, func(_, data map[string]any) { data[name] = []any{[]any{1}} })
	}
	plant("another field", func(_, data map[string]any) { data["addedLater"] = true })
	plant("another attribute", func(envelope, _ map[string]any) { envelope["addedlater"] = "x" })
	plant("no id", func(envelope, _ map[string]any) { delete(envelope, "id") })
	plant("a sequence of 0", func(envelope, _ map[string]any) { envelope["sequence"] = "0" })
	plant("a sequence that is a number", func(envelope, _ map[string]any) { envelope["sequence"] = 1 })
	plant("a local time", func(envelope, _ map[string]any) { envelope["time"] = "2026-03-01T08:00:00" })
	plant("another version", func(envelope, _ map[string]any) { envelope["specversion"] = "0.3" })
	plant("a subject of capitals", func(envelope, _ map[string]any) { envelope["subject"] = "MEMBER" })
	plant("a replay without a name", func(envelope, _ map[string]any) { envelope["replay"] = "" })
	plant("data that is a text", func(envelope, _ map[string]any) { envelope["data"] = "text" })
	return claims
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	raw, err := fs.ReadFile(schemas.FS, name)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func validate(ctx context.Context, t *testing.T, dir string, claims []claim) (string, error) {
	t.Helper()
	var lines bytes.Buffer
	enc := json.NewEncoder(&lines)
	for _, c := range claims {
		if err := enc.Encode(c); err != nil {
			t.Fatal(err)
		}
	}
	schemaDir, err := filepath.Abs("../schemas")
	if err != nil {
		t.Fatal(err)
	}
	node := exec.CommandContext(ctx, "node", "validate.mjs", schemaDir)
	node.Dir, node.Stdin = dir, &lines
	out, err := node.CombinedOutput()
	t.Logf("%s", out)
	return string(out), err
}

// documentIsRead has the parser find no error in the document, and those that
// are planted in copies of it.
func documentIsRead(ctx context.Context, t *testing.T, dir string) {
	// The document names the schemas beside it.
	copied := filepath.Join(t.TempDir(), "schemas")
	if err := os.CopyFS(copied, schemas.FS); err != nil {
		t.Fatal(err)
	}
	document := string(read(t, "asyncapi.yaml"))
	names := []string{filepath.Join(copied, "asyncapi.yaml")}
	var broken []string
	for what, change := range map[string][2]string{
		"an unknown action":     {"action: send", "action: shout"},
		"a message nobody has":  {"'#/components/messages/task.baseline'", "'#/components/messages/task.nothing'"},
		"a schema nobody has":   {"./smartconnect.task.baseline.v1.json", "./smartconnect.task.nothing.v1.json"},
		"an undeclared token":   {"sc.v1.task.{member}", "sc.v1.task.{nobody}"},
		"no title":              {"title: Smart Connect connector", "name: Smart Connect connector"},
		"an unknown NATS field": {"queue: q", "topic: q"},
	} {
		text := strings.Replace(document, change[0], change[1], 1)
		if text == document {
			t.Fatalf("%s: %q is not in the document", what, change[0])
		}
		name := filepath.Join(copied, strings.ReplaceAll(what, " ", "-")+".yaml")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		broken = append(broken, name)
	}
	node := exec.CommandContext(ctx, "node", append([]string{"asyncapi.mjs"}, append(names, broken...)...)...)
	node.Dir = dir
	out, err := node.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	found := map[string]int{}
	for line := range strings.Lines(string(out)) {
		var r struct {
			File     string `json:"file"`
			Errors   int    `json:"errors"`
			Messages int    `json:"messages"`
			Unread   int    `json:"unread"`
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			continue // the errors themselves, for people
		}
		found[r.File] = r.Errors
		if r.File == names[0] && (r.Messages < len(events.Types()) || r.Unread > 0) {
			t.Errorf("it reads %d messages, and the payload of %d not", r.Messages, r.Unread)
		}
	}
	if n, ok := found[names[0]]; !ok || n != 0 {
		t.Errorf("%d errors, read: %v", n, ok)
	}
	for _, name := range broken {
		if n, ok := found[name]; !ok || n == 0 {
			t.Errorf("%s passes", filepath.Base(name))
		}
	}
}

// storyIsRead tells stories in which everything happens that there are types for,
// and has both kinds of CloudEvents readers read every event alike. It returns the
// claim that all of it is valid, and the requests and replies of the services.
func storyIsRead(ctx context.Context, t *testing.T) []claim {
	w := newWorld(t, 2)
	w.start("only")
	w.settle(ctx)
	claims := tellStory(ctx, t, w)
	types := map[events.Type]int{}
	claims = append(claims, w.readAlike(ctx, types)...)

	w = newWorld(t, 4)
	w.tellTheRest(ctx)
	claims = append(claims, w.readAlike(ctx, types)...)
	t.Logf("%d claims, events of %d types: %v", len(claims), len(types), types)
	for _, typ := range events.Types() {
		if types[typ] == 0 {
			t.Errorf("the stories have no %s", typ)
		}
	}
	return claims
}

// readAlike has both kinds of readers read what the stream holds, sees that it adds
// up to the heads, and returns the claim that it is valid. It counts the events
// by type.
func (w *world) readAlike(ctx context.Context, types map[events.Type]int) (claims []claim) {
	t := w.t
	t.Helper()
	for msg := range w.recorded(ctx) {
		header, body := msg.Headers(), msg.Data()
		ours, err := events.Decode(header, body)
		if err != nil {
			t.Errorf("%s: %v", msg.Subject(), err)
			continue
		}
		if at := w.log.Subjects().Of(ours); at != msg.Subject() {
			t.Errorf("%s stands on %s", at, msg.Subject())
		}
		raw, err := json.Marshal(ours)
		if err != nil {
			t.Fatal(err)
		}
		var want event.Event
		if err := json.Unmarshal(raw, &want); err != nil {
			t.Fatal(err)
		}
		for rules, decode := range decoders() {
			if err := same(decode, header, body, want); err != nil {
				t.Errorf("%s by the rules of %s: %v", ours.Type, rules, err)
			}
		}
		// What is claimed is what travels, not what Go makes of it.
		var claimed map[string]json.RawMessage
		if err := json.Unmarshal(raw, &claimed); err != nil {
			t.Fatal(err)
		}
		claimed["data"] = body
		if raw, err = json.Marshal(claimed); err != nil {
			t.Fatal(err)
		}
		claims = append(claims, claim{"event " + string(ours.Type), "envelope.json", raw, true})
		types[ours.Type]++
	}
	w.audit(ctx)
	if t.Failed() {
		t.Logf("log:\n%s", lastLines(w.journals.String(), 20))
	}
	return claims
}

// impatient is a policy under which everything happens within seconds that
// takes days: nobody answers, access does not come back, logins come to their
// end; and a handful of members are a storm.
const impatient = `
confirm: {EXPIRED: 3s, DISCONNECTED: 3s, DELETED: 3s, ACCESS_ENDED: 3s, ERROR: 3s}
grace: 2s
reminders: [2s]
expiry: 6s
snoozeMost: 3s
expiring: {lead: [24h], validity: {%s: %s}}
storm: {members: 3, share: 0.5, window: 2s}
source: {members: 3}
observer: {polls: 4, lost: 0.5, resumed: 0.4}
`

// tellTheRest tells what the first story has no time and too few members for.
func (w *world) tellTheRest(ctx context.Context) {
	t := w.t
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	command := func(args ...string) {
		t.Helper()
		out, err := exec.CommandContext(ctx, program(t), append(args, "--nats", w.url)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	sim, _ := w.sim.(*simulator.Simulator)
	m := w.sim.Members()[0]
	member := w.keys.Tokenizer().Member(m.ID)
	ids := map[string]string{}
	for _, c := range m.Connections {
		integration, _ := c["integrationType"].(string)
		ids[integration], _ = c["id"].(string)
		if integration == "DIRECT_IAS" { // this login is to end within the day
			updated, _ := c["statusUpdated"].(string)
			at, err := time.Parse("2006-01-02T15:04:05.000000", updated)
			must(err)
			ids["validity"] = (time.Since(at).Truncate(time.Hour) + 12*time.Hour).String()
		}
	}
	set := func(who, id string, row simulator.Row) {
		t.Helper()
		must(w.sim.SetConnection(who, id, row))
	}
	policy := filepath.Join(t.TempDir(), "policy.yaml")
	must(os.WriteFile(policy, fmt.Appendf(nil, impatient, ids["DIRECT_IAS"], ids["validity"]), 0o600))

	// b.well cannot be seen at first.
	must(sim.SetFaults(simulator.Faults{Down: true}))
	w.start("only", "--policy", policy)
	w.happens(ctx, "", events.ObserverLost, 1)
	must(sim.SetFaults(simulator.Faults{}))
	w.happens(ctx, "", events.ObserverResumed, 1)
	w.happens(ctx, member, events.ConnectionExpiring, 1)

	// Nobody answers, and access does not come back.
	set(m.ID, ids["PROA"], simulator.Row{"status": "EXPIRED", "integrationType": "PROA"})
	set(m.ID, ids["INDIRECT_IAS"], simulator.Row{"status": "ACCESS_ENDED", "integrationType": "INDIRECT_IAS"})
	w.happens(ctx, member, events.AccessRestoreOverdue, 1)
	w.happens(ctx, member, events.PromptReminded, 1)
	w.happens(ctx, member, events.PromptExpired, 1)

	// A source fails for all, which is a storm too, and a silence ends by itself.
	everywhere := func(status string) {
		t.Helper()
		for _, one := range w.sim.Members() {
			set(one.ID, "shared-clinic", simulator.Row{"status": status, "integrationType": "PROA"})
		}
	}
	everywhere("CONNECTED")
	for _, one := range w.sim.Members() {
		w.happens(ctx, w.keys.Tokenizer().Member(one.ID), events.ConnectionDiscovered, 1)
	}
	everywhere("ERROR")
	w.happens(ctx, "", events.SourceDegraded, 1)
	w.happens(ctx, "", events.StormHeld, 1)
	command("storm", "release", "--by", "operator")
	w.happens(ctx, "", events.StormReleased, 1)
	everywhere("CONNECTED")
	w.happens(ctx, "", events.SourceRestored, 1)
	command("silence", "add", "--key-file", w.keyFile, "--connection", "shared-clinic", "--for", "1s", "--by", "operator", "maintenance")
	w.happens(ctx, "", events.SilenceEnded, 1)
}

// tellStory makes things happen to the members, and returns what was asked of
// the services and what they answered.
func tellStory(ctx context.Context, t *testing.T, w *world) []claim {
	t.Helper()
	var claims []claim
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ask := func(name string, request any) string {
		t.Helper()
		body, err := json.Marshal(request)
		must(err)
		reply, err := w.js.Conn().RequestWithContext(ctx, "sc.svc.v1."+name, body)
		must(err)
		claims = append(claims, claim{"request of " + name, "sc.svc.v1." + name + ".request.json", body, true})
		if word := reply.Header.Get(micro.ErrorCodeHeader); word != "" {
			refusal, err := json.Marshal(map[string]string{micro.ErrorCodeHeader: word, micro.ErrorHeader: reply.Header.Get(micro.ErrorHeader)})
			must(err)
			claims = append(claims, claim{"refusal of " + name, "sc.svc.v1.refusal.json", refusal, true})
			return word
		}
		claims = append(claims, claim{"reply of " + name, "sc.svc.v1." + name + ".reply.json", reply.Data, true})
		return ""
	}
	m, other := w.sim.Members()[0], w.sim.Members()[1]
	member := w.keys.Tokenizer().Member(m.ID)
	// happens waits until the member has so many events of a type.
	happens := func(m events.MemberToken, typ events.Type, n int) {
		t.Helper()
		w.happens(ctx, m, typ, n)
	}
	ids := map[string]string{}
	for _, c := range m.Connections {
		integration, _ := c["integrationType"].(string)
		ids[integration], _ = c["id"].(string)
	}
	set := func(integration string, row simulator.Row) {
		t.Helper()
		row["integrationType"] = integration
		must(w.sim.SetConnection(m.ID, ids[integration], row))
	}

	asked := 0
	for _, integration := range []string{"PROA", "DIRECT_IAS"} {
		set(integration, simulator.Row{"status": "EXPIRED"})
		asked++
		happens(member, events.PromptOpened, asked)
		agenda, err := w.log.Agenda(ctx, member)
		must(err)
		prompt := agenda.Snapshot.Prompts[0].PromptID
		if word := ask("prompt.ack", map[string]any{"promptId": prompt, "memberId": m.ID, "snoozeSeconds": 3600}); word != "" {
			t.Errorf("snooze %s: %s", integration, word)
		}
		if word := ask("prompt.start", map[string]string{"promptId": prompt, "memberId": m.ID}); word != "" {
			t.Errorf("start %s: %s", integration, word)
		}
		if integration == "PROA" {
			must(w.sim.Login(m.ID, ids[integration]))
		}
		happens(member, events.PromptResolved, asked)
		if word := ask("prompt.start", map[string]string{"promptId": prompt}); word != "stale_prompt" {
			t.Errorf("start again: %q", word)
		}
	}
	if word := ask("prompt.link", map[string]any{"promptId": "nobody.1", "ttl": 60}); word != "not_supported" {
		t.Errorf("link where links are off: %q", word)
	}
	if word := ask("member.poll", map[string]string{"memberId": m.ID}); word != "" {
		t.Errorf("poll: %s", word)
	}
	if word := ask("member.enrol", map[string]string{"id": m.ID, "refreshToken": m.RefreshToken}); word != "" {
		t.Errorf("enrol: %s", word)
	}
	must(w.sim.SetTask(m.ID, "failed"))
	happens(member, events.TaskStatusChanged, 1)
	set("PROA", simulator.Row{"syncStatus": "RETRIEVING"})
	happens(member, events.ConnectionSyncChanged, 1)
	set("PROA", simulator.Row{"category": "A_NEW_WORD"})
	happens(member, events.ConnectionChanged, 1)
	set("PROA", simulator.Row{"created": "2030-01-01T00:00:00.000000"})
	happens(member, events.ConnectionReplaced, 1)
	must(w.sim.SetConnection(m.ID, "another-clinic", simulator.Row{"status": "A_NEW_WORD"}))
	happens(member, events.ConnectionDiscovered, 1)
	must(w.sim.RemoveConnection(m.ID, "another-clinic"))
	happens(member, events.ConnectionRemoved, 1)
	set("INDIRECT_IAS", simulator.Row{"status": "EXPIRED"})
	happens(member, events.PromptOpened, asked+1)
	must(w.sim.SetConsent(m.ID, "deny"))
	happens(member, events.PromptWithdrawn, 1)
	happens(member, events.AccessEnded, 1)
	must(w.sim.SetConsent(m.ID, "permit"))
	happens(member, events.AccessRestored, 1)
	must(w.sim.SetToken(other.ID, simulator.TokenChange{Access: "expired", Refresh: "revoked"}))
	happens(w.keys.Tokenizer().Member(other.ID), events.ObservationLost, 1)
	if word := ask("member.enrol", map[string]string{"id": other.ID, "idToken": other.IDToken}); word != "" {
		t.Errorf("enrol again: %s", word)
	}
	happens(w.keys.Tokenizer().Member(other.ID), events.ObservationResumed, 1)
	happens(member, events.RecommendationFound, 1)
	must(w.sim.Login(m.ID, m.Recommendations[0]))
	happens(member, events.RecommendationWithdrawn, 1)
	return claims
}

// happens waits until a member has n events of a type.
func (w *world) happens(ctx context.Context, m events.MemberToken, typ events.Type, n int) {
	w.t.Helper()
	for ctx.Err() == nil {
		seen := 0
		for msg := range w.recorded(ctx) {
			if e, err := events.Decode(msg.Headers(), msg.Data()); err == nil && e.Member == m && e.Type == typ {
				seen++
			}
		}
		if seen >= n {
			return
		}
		wait(ctx, 50*time.Millisecond)
	}
	w.t.Fatalf("never %d of %s\nlog:\n%s", n, typ, lastLines(w.journals.String(), 20))
}

// recorded yields what the stream has of events, in its order.
func (w *world) recorded(ctx context.Context) func(func(jetstream.Msg) bool) {
	return func(yield func(jetstream.Msg) bool) {
		filters := make([]string, 0, len(events.Kinds()))
		for _, kind := range events.Kinds() {
			filters = append(filters, w.log.Subjects().Prefix()+"."+kind+".>", w.log.Subjects().Prefix()+"."+kind)
		}
		consumer, err := w.js.OrderedConsumer(ctx, events.Stream, jetstream.OrderedConsumerConfig{FilterSubjects: filters})
		if err != nil {
			w.t.Fatal(err)
		}
		for left := consumer.CachedInfo().NumPending; left > 0; {
			batch, err := consumer.Fetch(int(min(left, 500)), jetstream.FetchMaxWait(5*time.Second))
			if err != nil {
				w.t.Fatal(err)
			}
			n := uint64(0)
			for msg := range batch.Messages() {
				n++
				if !yield(msg) {
					return
				}
			}
			if n == 0 {
				return // old ones have gone meanwhile
			}
			left -= min(n, left)
		}
	}
}
