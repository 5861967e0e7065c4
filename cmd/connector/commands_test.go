package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/smartconnect/connector/internal/bwell"
	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/reconnect"
	"github.com/smartconnect/connector/internal/simulator"
	"github.com/smartconnect/connector/internal/topology"
)

// at returns the flags that lead a command to the world.
func (w *world) at(args ...string) []string {
	return append(args, "--nats", w.url)
}

func (w *world) keyed(args ...string) []string {
	return append(w.at(args...), "--key-file", w.keyFile)
}

func TestMembersEnrol(t *testing.T) {
	w := newWorld(t, 0)
	for _, tt := range []struct {
		name, lines string
		code        int
		out         string
		complaints  []string
	}{
		{
			"without credentials", "{\"id\":\"a\"}\n\n{\"id\":\"b\",\"refreshToken\":\"s3cret\"}\n", exitOK, "Enrolled 2, refused 0.",
			[]string{"line 1: enrolled, but without credentials"},
		},
		{"again", `{"id":"a","idToken":"s3cret"}`, exitOK, "Enrolled 1, refused 0.", nil},
		{"again, without what it has", `{"id":"a"}`, exitOK, "Enrolled 1, refused 0.", nil},
		{
			"misspelt", "{\"id\":\"a\",\"refreshToken\":\"s3cret\"}\n{\"id\":\"q\",\"refresh_token\":\"s3cret\"}\n{\"id\":\"q\",\"s3cret and more\":1}\n{\"id\":\"a\"} {\"id\":\"q\"}\n{\"id\":\"a\"}}",
			exitPartly, "Enrolled 1, refused 4.",
			[]string{"line 2:", `"refresh_token"`, "line 3:", "line 4:", "line 5:"},
		},
		{"nothing at all", "", exitOK, "Enrolled 0, refused 0.", nil},
		{
			"some bad", "{\"id\":\"c\"}\n{\"id\":\"d\",\"refreshToken\":s3cret}\n[]\n{\"id\":\"\"}\n{\"id\":7}\n{\"id\":\"e\"}\n",
			exitPartly, "Enrolled 2, refused 4.",
			[]string{"line 2:", "line 3:", "line 4:", "line 5:"},
		},
		{"all bad", "no\nnope\n", exitFailed, "Enrolled 0, refused 2.", []string{"line 1:", "line 2:", "none of 2 lines"}},
		{"an id that is too long", `{"id":"` + strings.Repeat("x", 1025) + `"}`, exitFailed, "refused 1", []string{"line 1:"}},
		{
			"ids that a terminal obeys", "{\"id\":\"a\\u001b[2J\"}\n{\"id\":\"a\\nb\"}\n{\"id\":\"a\\u202eb\"}\n", exitFailed, "refused 3",
			[]string{"line 1: enrol: members: the member id must have", "no control characters", "line 2:", "line 3:"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, out, complaints := w.run(tt.lines, w.keyed("members", "enrol")...)
			if code != tt.code || !strings.Contains(out, tt.out) || strings.Contains(out+complaints, "s3cret") {
				t.Errorf("code %d, want %d\nout: %s\nerr: %s", code, tt.code, out, complaints)
			}
			for _, want := range tt.complaints {
				if !strings.Contains(complaints, want) {
					t.Errorf("no word about %s: %s", want, complaints)
				}
			}
			if tt.complaints == nil && complaints != "" {
				t.Errorf("complains: %s", complaints)
			}
		})
	}
	if code, out, _ := w.run("{\"id\":\"a\"}\nno", w.keyed("members", "enrol", "--json")...); code != exitPartly || out != "{\"enrolled\":1,\"refused\":1}\n" {
		t.Errorf("as JSON: code %d: %s", code, out)
	}
	old, err := w.js.KeyValue(t.Context(), topology.Members)
	w.must(err)
	_, err = old.PutString(t.Context(), string(w.token("e\x1b[2J")), `{"memberId":"e\u001b[2J","incarnation":"i"}`)
	w.must(err)
	code, out, _ := w.run("", w.keyed("members", "list")...)
	for _, id := range []string{"a", "b", "c", "e"} {
		if !strings.Contains(out, string(w.token(id))+"  "+id+" ") {
			t.Errorf("%s is not listed", id)
		}
	}
	if code != exitOK || strings.Count(out, "\n") != 6 || strings.Contains(out, " q ") {
		t.Errorf("code %d, want five members under a heading:\n%s", code, out)
	}
	if strings.Contains(out, "\x1b") || !strings.Contains(out, `  "e\x1b[2J" `) {
		t.Errorf("an id of an older version moves the cursor: %q", out)
	}
	code, _, complaints := w.run("", w.keyed("members", "enrol", "-f", "nowhere")...)
	if code != exitFailed || !strings.Contains(complaints, "nowhere") {
		t.Errorf("a file that is not there: code %d: %s", code, complaints)
	}
}

// A line that is longer than any member could be is refused like others, and
// what follows it goes on.
func TestMembersEnrolWithAnEndlessLine(t *testing.T) {
	w := newWorld(t, 0)
	lines := "{\"id\":\"a\"}\n{\"id\":\"b\",\"refreshToken\":\"" + strings.Repeat("x", 2<<20) + "\"}\n{\"id\":\"c\"}\n"
	code, out, complaints := w.run(lines, w.keyed("members", "enrol")...)
	if code != exitPartly || !strings.Contains(out, "Enrolled 2, refused 1.") || !strings.Contains(complaints, "line 2:") {
		t.Errorf("code %d\nout: %s\nerr: %.300s", code, out, complaints)
	}
}

// What people at a terminal see of a member, from nothing known to a prompt that
// is started.
func TestTerminal(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	m := w.sim.Members()[0]
	ask := func(want int, args ...string) string {
		t.Helper()
		code, out, complaints := w.run("", args...)
		if code != want {
			t.Fatalf("%v: code %d, want %d\nout: %s\nerr: %s", args, code, want, out, complaints)
		}
		if want != exitOK {
			return complaints
		}
		if complaints != "" {
			t.Errorf("%v complains: %s", args, complaints)
		}
		return out
	}
	has := func(text string, want ...string) {
		t.Helper()
		for _, word := range want {
			if !strings.Contains(text, word) {
				t.Errorf("no %q in:\n%s", word, text)
			}
		}
	}

	// Nothing is known.
	for _, args := range [][]string{{"members", "show"}, {"explain"}} {
		complaints := ask(exitFailed, w.keyed(append(args, m.ID)...)...)
		has(complaints, "nothing is known of", string(w.token(m.ID)))
		if strings.Contains(complaints, m.ID) {
			t.Errorf("an error names the member: %s", complaints)
		}
	}
	has(ask(exitFailed, w.at("prompts", "show", "nothing.1")...), "not open", "prompts list")
	has(ask(exitFailed, w.at("prompts", "start", "nothing.1")...), "is a connector running")
	if out := ask(exitOK, w.at("prompts", "list")...); strings.Count(out, "\n") != 1 {
		t.Errorf("prompts of nobody:\n%s", out)
	}

	// One connection breaks.
	w.enrol()
	w.serve(nil)
	w.until("known", func() bool { return w.known(m.ID).MemberID != "" })
	before := ask(exitOK, w.keyed("members", "show", m.ID)...)
	has(before, string(w.token(m.ID)), "Consent permit", "CONNECTED", "PROA")
	broken := w.set(m, "PROA", "EXPIRED")
	w.until("asked", func() bool { return len(w.agenda(m.ID).Prompts) == 1 })
	prompt := w.agenda(m.ID).Prompts[0]

	has(ask(exitOK, w.keyed("members", "show", m.ID)...), "EXPIRED", prompt.PromptID+" oauth")
	var both struct {
		Member events.Member `json:"member"`
		Agenda events.Agenda `json:"agenda"`
	}
	if err := json.Unmarshal([]byte(ask(exitOK, w.keyed("members", "show", m.ID, "--json")...)), &both); err != nil ||
		both.Member.MemberID != m.ID || len(both.Agenda.Prompts) != 1 {
		t.Errorf("as JSON: %+v, %v", both, err)
	}
	all := ask(exitOK, w.keyed("explain", m.ID, "--fast")...)
	has(all, string(w.token(m.ID)), "Connection "+broken, "kept, rule 9, expired, oauth", "status is EXPIRED, not CONNECTED",
		"b.well says CONNECTED => resolved", "nothing, rule 2, connected")
	one := ask(exitOK, w.keyed("explain", m.ID, broken, "--fast")...)
	if of := strings.Count(one, "\nConnection "); strings.Count(one, "\nConnection "+broken+" ") != of || of == 0 || of >= strings.Count(all, "\nConnection ") {
		t.Errorf("explain of one connection:\n%s", one)
	}
	has(ask(exitFailed, w.keyed("explain", m.ID, "no-such-connection")...), "no connection of that id", "members show")
	ofSource := strings.TrimSpace(ask(exitOK, w.keyed("silence", "add", "--connection", broken, "--for", "1h", "maintenance")...))
	ofMember := strings.TrimSpace(ask(exitOK, w.keyed("silence", "add", "--member", m.ID, "--for", "2h", "holidays")...))
	var e explained
	if err := json.Unmarshal([]byte(ask(exitOK, w.keyed("explain", m.ID, broken, "--fast", "--json")...)), &e); err != nil {
		t.Fatal(err)
	}
	if e.Member != w.token(m.ID) || e.MemberID != m.ID || len(e.Holds) != 1 || e.Holds[0].Silences[0].ID != ofMember || e.Holds[0].Event == "" {
		t.Errorf("as JSON: %+v", e)
	}
	for _, c := range e.Connections { // the source may stand there twice
		holds := fmt.Sprint(c.Holds)
		if c.Facts.ConnectionID != broken || !strings.Contains(holds, ofSource) || !strings.Contains(holds, ofMember) || c.Holds[0].Event != e.Holds[0].Event {
			t.Errorf("as JSON: %+v", c)
		}
	}
	for _, id := range []string{ofSource, ofMember} {
		ask(exitOK, w.at("silence", "expire", id)...)
	}

	has(ask(exitOK, w.at("prompts", "list")...), prompt.PromptID, "oauth", "expired", "required")
	var listed events.Prompt
	if err := json.Unmarshal([]byte(ask(exitOK, w.at("prompts", "list", "--json")...)), &listed); err != nil || listed.PromptID != prompt.PromptID {
		t.Errorf("listed as JSON: %+v, %v", listed, err)
	}
	var shown events.Prompt
	if err := json.Unmarshal([]byte(ask(exitOK, w.at("prompts", "show", prompt.PromptID)...)), &shown); err != nil || shown.PromptID != prompt.PromptID {
		t.Errorf("shown: %+v, %v", shown, err)
	}
	if out := ask(exitOK, w.keyed("prompts", "show", "--json", prompt.PromptID)...); strings.Count(out, "\n") != 1 || json.Unmarshal([]byte(out), &shown) != nil {
		t.Errorf("shown as JSON: %s", out)
	}

	// The member taps and comes back.
	has(ask(exitOK, w.at("prompts", "start", prompt.PromptID)...), `"method":"oauth"`, `"redirectUrl":"http`)
	w.must(w.sim.Login(m.ID, broken))
	w.until("resolved", func() bool { return len(w.agenda(m.ID).Prompts) == 0 })
	has(ask(exitFailed, w.at("prompts", "start", prompt.PromptID)...), "stale_prompt")
	has(ask(exitFailed, w.at("prompts", "show", prompt.PromptID)...), "not open")
	if out := ask(exitOK, w.at("prompts", "list")...); strings.Contains(out, prompt.PromptID) {
		t.Errorf("a resolved prompt is listed:\n%s", out)
	}
	if text := w.journal.String(); strings.Contains(text, "panic") {
		t.Errorf("log:\n%s", text)
	}
}

// tail prints what is and what comes, until it is stopped, and then ends well.
func TestEventsTail(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.enrol()
	w.serve(nil)
	m := w.sim.Members()[0]
	w.until("known", func() bool { return w.known(m.ID).MemberID != "" })
	out, complaints := &journal{}, &journal{}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() {
		ended <- program(ctx, w.at("events", "tail", "--since", "1h", "--json"), streams{strings.NewReader(""), out, complaints})
	}()
	w.until("told", func() bool { return strings.Contains(out.String(), "connection.baseline") })
	w.set(m, "PROA", "EXPIRED")
	w.until("told", func() bool { return strings.Contains(out.String(), "prompt.opened") })
	stop()
	if code := <-ended; code != exitOK || complaints.String() != "" {
		t.Errorf("code %d: %s", code, complaints)
	}
	for line := range strings.Lines(out.String()) {
		var e struct {
			SpecVersion string `json:"specversion"`
			Type        string `json:"type"`
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.SpecVersion != "1.0" || strings.Contains(e.Type, "snapshot") {
			t.Errorf("%v: %s", err, line)
		}
	}
}

// What cannot be read is told beside the rest, and quotes nothing. The
// connector's own alarm clock and what is left of who was forgotten are no
// events and not spoken of.
func TestEventsTailTellsWhatItCannotRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0)
	put := func(subject, typ, body string) {
		t.Helper()
		m := nats.NewMsg(subject)
		if typ != "" {
			m.Header["ce-specversion"], m.Header["ce-id"], m.Header["ce-source"], m.Header["ce-type"] = []string{"1.0"}, []string{"i"}, []string{"s"}, []string{typ}
		}
		m.Data = []byte(body)
		_, err := w.js.PublishMsg(t.Context(), m)
		w.must(err)
	}
	tail := func(args ...string) (out, complaints *journal, stop func() int) {
		out, complaints = &journal{}, &journal{}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan int, 1)
		go func() {
			ended <- program(ctx, w.at(append([]string{"events", "tail", "--since", "1h"}, args...)...), streams{strings.NewReader(""), out, complaints})
		}()
		return out, complaints, func() int { cancel(); return <-ended }
	}
	put("sc.v1.prompt.m.c", "", "member-4711 {bad")
	put("sc.v1.prompt.m.c", string(events.PromptOpened), `{"memberId":"member-4711"}`)
	put("sc.v1.prompt.m.c", "smartconnect.prompt.opened.v2", "{}")
	put("sc.v1.novelty.m.c", "smartconnect.novelty.told.v1", "{}")
	put("sc.v1.member.m", "", "")
	put("sc.v1.due.m", "", "")
	put("sc.v1.probe.x", "", "x")
	w.observe("a", 1)

	out, complaints, stop := tail()
	w.until("read to the end", func() bool { return strings.Contains(out.String(), "status_changed") })
	said := complaints.String()
	if code := stop(); code != exitOK || strings.Count(said, "\n") != 4 || strings.Count(out.String(), "\n") != 1 {
		t.Errorf("code %d\nout: %s\nsaid: %s", code, out, said)
	}
	for _, want := range []string{"sc.v1.prompt.m.c  #1  ", "no positive decimal number", "unknown ce-type", "smartconnect.novelty.told.v1", "sc.v1.novelty.m.c  #4  "} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not said: %s", want, said)
		}
	}
	if strings.Contains(said, "4711") {
		t.Errorf("a body is quoted: %s", said)
	}

	// The short form of a type will do, and a head needs no leave. Of other types
	// nothing is said, also of what cannot be read of them.
	out, complaints, stop = tail("--type", "member.snapshot")
	w.until("a head", func() bool { return strings.Contains(out.String(), "member.snapshot") })
	if code := stop(); code != exitOK || strings.Contains(out.String(), "status_changed") || strings.Count(complaints.String(), "\n") != 1 {
		t.Errorf("code %d\nout: %s\nsaid: %s", code, out, complaints)
	}
}

// What plan and apply say is so: of what is missing, of what differs, of what
// was changed and what was left; and the exit code goes with it.
func TestTopologyCommands(t *testing.T) {
	w := newWorld(t, 0)
	topo := func(want int, args ...string) string {
		t.Helper()
		code, out, complaints := w.run("", w.at(append([]string{"topology"}, args...)...)...)
		if code != want || complaints != "" {
			t.Fatalf("%v: code %d, want %d\nout: %s\nerr: %s", args, code, want, out, complaints)
		}
		return out
	}
	has := func(out string, yes ...string) {
		t.Helper()
		for _, word := range yes {
			if not, no := strings.CutPrefix(word, "not "); no == strings.Contains(out, not) {
				t.Errorf("want %q:\n%s", word, out)
			}
		}
	}
	change := func(f func(*jetstream.StreamConfig)) {
		t.Helper()
		s, err := w.js.Stream(t.Context(), topology.Events)
		w.must(err)
		config := s.CachedInfo().Config
		f(&config)
		_, err = w.js.UpdateStream(t.Context(), config)
		w.must(err)
	}
	const create, mend = "topology apply\n", "topology apply --mend"

	has(topo(exitOK, "plan"), "as it should be")
	has(topo(exitOK, "plan", "--json"), "[]")
	has(topo(exitOK, "apply"), "as it should be")

	w.must(w.js.DeleteStream(t.Context(), topology.DLQ))
	has(topo(exitPartly, "plan"), topology.DLQ+": missing\n", create, "not --mend", "--replicas 3")
	has(topo(exitOK, "apply"), topology.DLQ+": created\n", "as it should be")

	change(func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 7 })
	const seven = "SC_EVENTS: max_msgs_per_subject is 7, want 64"
	has(topo(exitPartly, "plan"), seven+"\n", mend, "not "+create)
	var changes []topology.Change
	if out := topo(exitPartly, "plan", "--json"); json.Unmarshal([]byte(out), &changes) != nil || len(changes) != 1 {
		t.Errorf("as JSON: %s", out)
	}
	has(topo(exitOK, "apply"), seven+": left as it is\n", mend, "not as it should be")
	has(topo(exitPartly, "plan"), seven)
	has(topo(exitOK, "apply", "--mend"), "SC_EVENTS: max_msgs_per_subject was 7, is now 64\n", "as it should be")
	has(topo(exitOK, "plan"), "as it should be")

	// What stops the connector stops whoever applies and starts it.
	change(func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour })
	w.must(w.js.DeleteConsumer(t.Context(), topology.Events, topology.Auditor))
	has(topo(exitPartly, "apply"), "SC_EVENTS/auditor: created\n", "max_age is 1h0m0s, want not set: left as it is (the connector does not start)", mend)
	has(topo(exitOK, "apply", "--mend"), "max_age was 1h0m0s, is now not set")

	has(topo(exitPartly, "plan", "--replicas", "3"), "num_replicas is 1, want 3", "topology apply --mend --replicas 3")
}

// run refuses to start on what cannot keep its promises, and says what to do.
func TestRunRefuses(t *testing.T) {
	w := newWorld(t, 0)
	start := func(args ...string) (int, string) {
		code, _, complaints := w.run("", w.keyed(append([]string{"run", "--client-key", "a2V5", "--http-listen", ""}, args...)...)...)
		return code, complaints
	}
	if code, complaints := start("--bwell", "http://example.org"); code != exitFailed || !strings.Contains(complaints, "https") {
		t.Errorf("http to a distant b.well: code %d: %s", code, complaints)
	}
	s, err := w.js.Stream(t.Context(), topology.Events)
	w.must(err)
	config := s.CachedInfo().Config
	config.AllowAtomicPublish = false
	_, err = w.js.UpdateStream(t.Context(), config)
	w.must(err)
	if code, complaints := start("--bwell", w.simURL); code != exitFailed || !strings.Contains(complaints, "topology plan") ||
		!strings.Contains(complaints, "allow_atomic") {
		t.Errorf("no atomic publishing: code %d: %s", code, complaints)
	}
	w.must(w.js.DeleteStream(t.Context(), topology.Events))
	if code, complaints := start("--bwell", w.simURL); code != exitFailed || !strings.Contains(complaints, "topology apply") {
		t.Errorf("no stream: code %d: %s", code, complaints)
	}
}

func TestReadiness(t *testing.T) {
	w := newWorld(t, 0)
	address, _ := w.serve(nil)
	if code, body := w.get(address + "/healthz"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("healthz: %d %s", code, body)
	}
	if code, body := w.get(address + "/readyz"); code != http.StatusOK || body != "{\"leases\":\"ok\",\"nats\":\"ok\",\"stream\":\"ok\"}\n" {
		t.Errorf("readyz: %d %s", code, body)
	}
	w.must(w.js.DeleteStream(t.Context(), topology.Events))
	if code, body := w.get(address + "/readyz"); code != http.StatusServiceUnavailable || body != "{\"leases\":\"ok\",\"nats\":\"ok\",\"stream\":\"not ready\"}\n" {
		t.Errorf("readyz without its stream: %d %s", code, body)
	}
	if code, _ := w.get(address + "/healthz"); code != http.StatusOK {
		t.Errorf("healthz hangs on others: %d", code)
	}
}

// Who cannot keep leases polls nobody: that is told once, with the broker's
// reason, and shows in /readyz until it is over.
func TestLeasesThatCannotBeKept(t *testing.T) {
	w := newWorld(t, 0)
	address, _ := w.serve(nil)
	bucket, err := w.js.Stream(t.Context(), "KV_"+topology.Leases)
	w.must(err)
	limit := func(most int32) {
		t.Helper()
		c := bucket.CachedInfo().Config
		c.MaxMsgSize = most
		_, err := w.js.UpdateStream(t.Context(), c)
		w.must(err)
	}
	is := func(code int, body string) func() bool {
		return func() bool {
			c, b := w.get(address + "/readyz")
			return c == code && b == body
		}
	}
	limit(1)
	w.until("not ready", is(http.StatusServiceUnavailable, "{\"leases\":\"not ready\",\"nats\":\"ok\",\"stream\":\"ok\"}\n"))
	limit(-1)
	w.until("ready", is(http.StatusOK, "{\"leases\":\"ok\",\"nats\":\"ok\",\"stream\":\"ok\"}\n"))
	log := w.journal.String()
	for _, line := range []string{"leases not renewed, trying again", "leases are renewed again"} {
		if n := strings.Count(log, line); n != 1 {
			t.Errorf("said %d times, want once, %q:\n%s", n, line, log)
		}
	}
	if !strings.Contains(log, "message size exceeds maximum") || strings.Contains(log, "another process") {
		t.Errorf("the reason is the broker's, and no other process:\n%s", log)
	}
}

// A port that is taken ends the program with a word about it, not a service
// that nobody can look at.
func TestHTTPListenTaken(t *testing.T) {
	w := newWorld(t, 0)
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	w.must(err)
	defer l.Close()
	code, _, complaints := w.run("", w.keyed("run", "--fast", "--client-key", "a2V5", "--bwell", w.simURL, "--http-listen", l.Addr().String())...)
	if code != exitFailed || !strings.Contains(complaints, "listen for HTTP") || !strings.Contains(complaints, "in use") {
		t.Errorf("code %d: %s", code, complaints)
	}
}

// After a story of everything, nothing that anybody may see names a member, a
// connection or a clinic, or is as good as a password.
func TestNothingOpenNamesAnybody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	w.enrol()
	address, _ := w.serve(nil)
	all := w.sim.Members()
	for _, m := range all {
		w.until("known", func() bool { return w.known(m.ID).MemberID != "" })
	}
	var urls []string
	for i, integration := range []string{"PROA", "INDIRECT_IAS", "DIRECT_IAS"} {
		m := all[i]
		id := w.set(m, integration, "EXPIRED")
		w.until("asked", func() bool { return len(w.agenda(m.ID).Prompts) == 1 })
		code, out, complaints := w.run("", w.at("prompts", "start", w.agenda(m.ID).Prompts[0].PromptID)...)
		if code != exitOK {
			t.Fatal(complaints)
		}
		var answer struct {
			RedirectURL string `json:"redirectUrl"`
		}
		w.must(json.Unmarshal([]byte(out), &answer))
		if answer.RedirectURL != "" {
			urls = append(urls, answer.RedirectURL)
			w.must(w.sim.Login(m.ID, id))
		}
		w.until("resolved", func() bool { return len(w.agenda(m.ID).Prompts) == 0 })
	}
	if len(urls) != 2 {
		t.Errorf("%d URLs were minted, want 2", len(urls))
	}
	m := all[0]
	w.must(w.sim.SetConsent(m.ID, "deny"))
	w.until("ended", func() bool { return w.count(events.AccessEnded) > 0 })
	w.must(w.sim.SetConsent(m.ID, "permit"))
	w.until("restored", func() bool { return w.count(events.AccessRestored) > 0 })
	w.must(w.sim.SetToken(all[1].ID, simulator.TokenChange{Refresh: "revoked", Access: "expired"}))
	w.until("lost", func() bool { return w.known(all[1].ID).Observation.Blind() })
	w.until("said when it is polled again", func() bool { return strings.Contains(w.journal.String(), `"next":"when other credentials come"`) })

	var open strings.Builder
	_, ready := w.get(address + "/readyz")
	_, metrics := w.get(address + "/metrics")
	fmt.Fprintln(&open, ready, metrics, w.journal)
	w.each(func(_ events.Event, msg jetstream.Msg) { fmt.Fprintln(&open, msg.Subject(), msg.Headers()) })
	text := open.String()
	for _, want := range []string{"connector_polls_total", "smartconnect.prompt.opened.v1", `"message":"decided"`, "sc.v1.agenda."} {
		if !strings.Contains(text, want) {
			t.Fatalf("this looked at nothing: no %s", want)
		}
	}
	key, err := os.ReadFile(w.keyFile)
	w.must(err)
	words := append(urls, regexp.MustCompile(`[A-Za-z0-9+/]{40,}=*`).FindAllString(string(key), -1)...)
	if len(words) < 4 {
		t.Fatalf("%d secrets found to look for", len(words))
	}
	for _, m := range slices.Concat(all, w.sim.Members()) {
		words = append(words, m.ID, m.IDToken, m.RefreshToken)
		for _, c := range m.Connections {
			for _, field := range []string{"id", "name"} {
				if s, _ := c[field].(string); s != "" {
					words = append(words, s)
				}
			}
		}
		words = append(words, m.Recommendations...)
	}
	for _, word := range append(words, "/oauth/", "eyJ", "Bearer", "a2V5") {
		if word != "" && strings.Contains(text, word) {
			i := strings.Index(text, word)
			t.Errorf("%q is there for all to see: …%s…", word, text[max(0, i-80):min(len(text), i+80)])
		}
	}
	if strings.Contains(text, "0001-01-01") {
		t.Errorf("never is told as a time:\n%s", w.journal)
	}
	for _, name := range []string{`connector_decided_total{outcome="opened"}`, `connector_held_back_total{reason="unconfirmed"}`} {
		if metric(t, metrics, name) == 0 {
			t.Errorf("%s stands at 0 after a story", name)
		}
	}
	// Not even by token: what labels say is one of few words of ours.
	if token := regexp.MustCompile(`[a-z2-7]{26}`).FindString(metrics); token != "" {
		t.Errorf("the metrics hold %q", token)
	}
	for line := range strings.Lines(metrics) {
		name, labels, ok := strings.Cut(line, "{")
		if !strings.HasPrefix(line, "connector_") || !ok {
			continue
		}
		labels, _, _ = strings.Cut(labels, "}")
		label, value, _ := strings.Cut(strings.TrimSuffix(labels, `"`), `="`)
		if !slices.Contains(map[string][]string{
			"connector_unknown_words_total field": bwell.Fields(),
			"connector_skipped_rows_total list":   listNames(),
			"connector_decided_total outcome":     reconnect.Outcomes(),
			"connector_held_back_total reason":    reconnect.Holds(),
		}[name+" "+label], value) {
			t.Errorf("a metric with labels: %s", line)
		}
	}
}

// Who taps while a replica is told to stop is answered all the same.
func TestStopAnswersWhatIsInHand(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.enrol()
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil && bytes.Contains(body, []byte("getOauthUrl")) {
			arrived <- struct{}{}
			<-release
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		w.sim.Handler().ServeHTTP(rw, r)
	}))
	t.Cleanup(slow.Close)
	_, stop := w.serve(func(s *service) { s.bwell = slow.URL })
	m := w.sim.Members()[0]
	w.until("known", func() bool { return w.known(m.ID).MemberID != "" })
	w.set(m, "PROA", "EXPIRED")
	w.until("asked", func() bool { return len(w.agenda(m.ID).Prompts) == 1 })
	body, err := json.Marshal(map[string]string{"promptId": w.agenda(m.ID).Prompts[0].PromptID})
	w.must(err)
	inbox := w.nc.NewInbox()
	sub, err := w.nc.SubscribeSync(inbox)
	w.must(err)
	w.must(w.nc.PublishRequest(servicePrefix+".prompt.start", inbox, body))
	<-arrived
	ended := make(chan error, 1)
	go func() { ended <- stop() }()
	w.until("shut", func() bool { // nothing new is taken
		_, err := w.nc.Request(servicePrefix+".prompt.start", []byte("{}"), time.Second)
		return errors.Is(err, nats.ErrNoResponders)
	})
	select {
	case err := <-ended:
		t.Fatalf("it ended with a tap in hand: %v", err)
	default:
	}
	close(release)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if msg, err := sub.NextMsg(10 * time.Second); err != nil || !strings.Contains(string(msg.Data), "redirectUrl") {
		t.Errorf("answered %v, %v; log:\n%s", msg, err, w.journal)
	}
}

// The service can be started and stopped, and leaves nothing running.
func TestServiceStops(t *testing.T) {
	w := newWorld(t, 2)
	w.enrol()
	for range 3 {
		_, stop := w.serve(nil)
		w.until("all known", func() bool {
			return !slices.ContainsFunc(w.sim.Members(), func(m simulator.MemberView) bool { return w.known(m.ID).MemberID == "" })
		})
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(w.journal.String(), `"message":"stopped"`); n != 3 {
		t.Errorf("stopped %d times:\n%s", n, w.journal)
	}
}

// A stop does not wait for a broker that is gone: nothing can be stored.
func TestStopWithoutBroker(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.enrol()
	_, stop := w.serve(nil)
	w.until("known", func() bool { return w.known(w.sim.Members()[0].ID).MemberID != "" })
	w.nats.Shutdown()
	w.nats.WaitForShutdown()
	w.until("noticed", func() bool { return !w.nc.IsConnected() })
	if err := stop(); err != nil {
		t.Error(err)
	}
	if log := w.journal.String(); !strings.Contains(log, "NATS is gone, stopping without it") || !strings.Contains(log, `"message":"stopped"`) {
		t.Errorf("log:\n%s", log)
	}
}
