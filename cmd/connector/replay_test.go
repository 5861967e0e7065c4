package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/replay"
)

// observe commits n polls of a member, each with one event about a connection.
func (w *world) observe(memberID string, n int) {
	w.Helper()
	head, err := w.log.Member(w.Context(), w.token(memberID))
	w.must(err)
	next := events.Member{Book: events.NewBook("inc"), MemberID: memberID}
	if head.Snapshot != nil {
		next = *head.Snapshot
	}
	for range n {
		tx, err := w.log.Subjects().Poll(w.token(memberID), []events.Event{{
			Type: events.ConnectionStatusChanged, Part: "c",
			Data: &events.Connection{MemberID: memberID, ConnectionID: "clinic", Current: &events.ConnectionState{Status: events.Expired}},
		}}, &next, head.Seq, time.Now())
		w.must(err)
		stored, err := w.log.Commit(w.Context(), tx)
		w.must(err)
		head.Seq = stored.HeadSeq
	}
}

// A dry run refuses what the real one refuses, in the same words, and says what it
// would do. Either way nothing is changed.
func TestEventsReplayDryRun(t *testing.T) {
	w := newWorld(t, 0)
	w.observe("a", 5)
	w.observe("b", 3)
	s, err := w.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "AGAIN", Subjects: []string{"again.>"}})
	w.must(err)
	ours, err := w.js.Stream(t.Context(), events.Stream)
	w.must(err)
	there := jetstream.ConsumerConfig{Durable: "there", AckPolicy: jetstream.AckExplicitPolicy, FilterSubject: "sc.v1.connection.>"}
	_, err = ours.CreateConsumer(t.Context(), there)
	w.must(err)
	before := w.consumers()
	for name, args := range map[string][]string{
		"into what is live":       {"--from-seq", "1", "--to-subject", "sc.v1"},
		"into what is no prefix":  {"--from-seq", "1", "--to-subject", "again.*"},
		"among made-up events":    {"--from-seq", "1", "--to-subject", "test.sc.v1"},
		"our durable":             {"--from-seq", "1", "--to-consumer", "decider", "--move"},
		"a bridge's durable":      {"--from-seq", "1", "--to-consumer", "bridge-portal"},
		"one that is there":       {"--from-seq", "1", "--to-consumer", "there"},
		"one that keeps subjects": {"--from-seq", "1", "--to-consumer", "there", "--move", "--member", string(w.token("a"))},
		"one with an end":         {"--from-seq", "1", "--to-consumer", "new", "--until-seq", "4"},
		"one with a last time":    {"--from-seq", "1", "--to-consumer", "new", "--until", "2100-01-01T00:00:00Z"},
		"one that is no name":     {"--from-seq", "1", "--to-consumer", "a.b"},
	} {
		args = w.at(append([]string{"events", "replay"}, args...)...)
		code, _, refused := w.run("", args...)
		dry, out, complaints := w.run("", append(args, "--dry-run")...)
		if code != exitFailed || dry != code || out != "" || complaints != refused {
			t.Errorf("%s: code %d %s%s; the real one: code %d %s", name, dry, out, complaints, code, refused)
		}
	}
	for want, args := range map[string][]string{
		"16 events would be copied, 0 others not.\n":                                  {"--from-seq", "1", "--to-subject", "again"},
		"Durable new on SC_EVENTS would have 16 events to read, then what comes.\n":   {"--from-seq", "1", "--to-consumer", "new"},
		"Durable narrow on SC_EVENTS would have 3 events to read, then what comes.\n": {"--since", "1h", "--to-consumer", "narrow", "--member", string(w.token("b")), "--type", "connection.status_changed"},
		"Durable there on SC_EVENTS would have 8 events to read, then what comes.\n":  {"--since", "1h", "--to-consumer", "there", "--move"},
		"Durable there on SC_EVENTS would have 2 events to read, then what comes.\n":  {"--from-seq", "13", "--to-consumer", "there", "--move"},
		"Durable future on SC_EVENTS would have 0 events to read, then what comes.\n": {"--from-time", "2100-01-01T00:00:00Z", "--to-consumer", "future"},
	} {
		args = w.at(append([]string{"events", "replay", "--dry-run"}, args...)...)
		if code, out, complaints := w.run("", args...); code != exitOK || out != want {
			t.Errorf("code %d\n%s%s, want\n%s", code, out, complaints, want)
		}
	}
	if after := w.consumers(); !slices.Equal(after, before) {
		t.Errorf("consumers are %q, and were %q", after, before)
	}
	if info, err := s.Info(t.Context()); err != nil || info.State.Msgs != 0 {
		t.Errorf("copies: %+v, %v", info, err)
	}
}

// interrupt runs a replay into s and stops it when some copies are made.
func (w *world) interrupt(s jetstream.Stream, args ...string) {
	w.Helper()
	before, err := s.Info(w.Context())
	w.must(err)
	ctx, cancel := context.WithCancel(w.Context())
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			if info, err := s.Info(ctx); err == nil && info.State.Msgs >= before.State.Msgs+10 {
				cancel()
			}
		}
	}()
	var out, complaints bytes.Buffer
	if code := program(ctx, args, streams{nil, &out, &complaints}); code != exitPartly || !strings.Contains(complaints.String(), "goes on from there") {
		w.Fatalf("code %d\n%s%s", code, &out, &complaints)
	}
}

func TestEventsReplay(t *testing.T) {
	w := newWorld(t, 0)
	w.observe("a", 5)
	w.observe("b", 3)
	s, err := w.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "AGAIN", Subjects: []string{"again.>"}})
	w.must(err)
	for _, tt := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"count", []string{"--since", "1h", "--dry-run"}, exitOK, "16 events would be copied"},
		{"count a type", []string{"--from-seq", "1", "--dry-run", "--type", string(events.ConnectionStatusChanged)}, exitOK, "8 events would be copied"},
		{"count a type by its short name", []string{"--from-seq", "1", "--dry-run", "--type", "connection.status_changed"}, exitOK, "8 events would be copied"},
		{"count a member", []string{"--from-seq", "1", "--dry-run", "--member", "b", "--key-file", w.keyFile}, exitOK, "6 events would be copied"},
		{"count a member by token", []string{"--from-seq", "1", "--dry-run", "--member", string(w.token("b"))}, exitOK, "6 events would be copied"},
		{"a member by id, without keys", []string{"--from-seq", "1", "--dry-run", "--member", "member-0001"}, exitUsage, "the member is no token; give the key file"},
		{"an id as long as a token", []string{"--from-seq", "1", "--dry-run", "--member", "member-0001-0001-0001-0001"}, exitUsage, "the member is no token; give the key file"},
		{"past the end", []string{"--from-seq", "1000", "--dry-run"}, exitOK, "The stream ends at 16, before --from-seq 1000."},
		{"nothing as JSON", []string{"--from-time", "2100-01-01T00:00:00Z", "--dry-run", "--json"}, exitOK, `{"copied":0,"again":0,"other":0,"next":1,"until":16,"ended":true,"keeping":""}`},
		{"copies as JSON", []string{"--from-seq", "1", "--to-subject", "again.first", "--name", "first", "--type", "storm.held", "--json"}, exitOK, `"ended":true,"keeping":"AGAIN"}`},
		{"copy", []string{"--from-seq", "1", "--to-subject", "again.first", "--name", "first"}, exitOK, "16 events copied below again.first as first, kept by AGAIN; 0 of them were there already."},
		{"copy again", []string{"--from-seq", "1", "--to-subject", "again.first", "--name", "first"}, exitOK, "16 of them were there already."},
		{"to nobody", []string{"--from-seq", "1", "--to-subject", "elsewhere"}, exitOK, "No stream keeps them"},
		{"a durable", []string{"--from-seq", "1", "--to-consumer", "team"}, exitOK, "Durable team on SC_EVENTS has 16 events to read"},
		{"a durable as JSON", []string{"--from-seq", "1", "--to-consumer", "json", "--name", "monday", "--json"}, exitOK, `{"durable":"json","stream":"SC_EVENTS","pending":16,"replay":"monday"}` + "\n"},
		{"a durable as JSON, dry", []string{"--from-seq", "5", "--to-consumer", "dry", "--name", "monday", "--json", "--dry-run"}, exitOK, `{"durable":"dry","stream":"SC_EVENTS","pending":12,"replay":"monday"}` + "\n"},
		{"a durable at a rate", []string{"--from-seq", "1", "--to-consumer", "x", "--rate", "5/s"}, exitUsage, "--rate is for copies"},
		{"a durable that goes on", []string{"--from-seq", "1", "--to-consumer", "x", "--resume", "file"}, exitUsage, "--resume is for copies"},
		{"the durable again", []string{"--from-seq", "1", "--to-consumer", "team"}, exitFailed, "--move"},
		{"the durable, moved", []string{"--from-seq", "1", "--to-consumer", "team", "--move", "--unsettled", "replayed"}, exitOK, "has 16 events to read"},
		{"unsettled as nothing we know", []string{"--from-seq", "1", "--to-consumer", "team", "--move", "--unsettled", "lost"}, exitUsage, "--unsettled"},
		{"unsettled, and not moved", []string{"--from-seq", "1", "--to-consumer", "team", "--unsettled", "news"}, exitUsage, "--move"},
		{"our durable", []string{"--from-seq", "1", "--to-consumer", "decider", "--move"}, exitFailed, "never moved"},
		{"a bridge's durable", []string{"--from-seq", "1", "--to-consumer", "bridge-portal"}, exitFailed, "posted the events again"},
		{"into what is live", []string{"--from-seq", "1", "--to-subject", "sc.v1"}, exitFailed, "live"},
		{"nowhere", []string{"--from-seq", "1"}, exitUsage, "say where to"},
		{"from nowhere", []string{"--dry-run"}, exitUsage, "where to begin"},
		{"from the future", []string{"--since=-1h", "--dry-run"}, exitUsage, "where to begin"},
		{"no rate", []string{"--from-seq", "1", "--dry-run", "--rate", "fast"}, exitUsage, "--rate"},
		{"a rate of nothing", []string{"--from-seq", "1", "--dry-run", "--rate", "0"}, exitUsage, "--rate"},
		{"a rate without an end", []string{"--from-seq", "1", "--dry-run", "--rate", "Inf/s"}, exitUsage, "--rate"},
		{"a rate that is no number", []string{"--from-seq", "1", "--dry-run", "--rate", "NaN"}, exitUsage, "--rate"},
		{"an end before the beginning", []string{"--from-seq", "5", "--until-seq", "4", "--dry-run"}, exitUsage, "ends before it begins"},
		{"an end before that time", []string{"--from-time", "2026-01-02T00:00:00Z", "--until", "2026-01-01T00:00:00Z", "--dry-run"}, exitUsage, "ends before it begins"},
		{"an end longer ago", []string{"--since", "1h", "--until", "2026-01-01T00:00:00Z", "--dry-run"}, exitUsage, "ends before it begins"},
		{"no type", []string{"--from-seq", "1", "--dry-run", "--type", "prompt"}, exitUsage, "no event type"},
		{"a name with a space", []string{"--from-seq", "1", "--dry-run", "--name", "on monday"}, exitUsage, "--name"},
		{"two beginnings", []string{"--from-seq", "1", "--since", "1h", "--dry-run"}, exitUsage, "not at both"},
		{"two times to begin", []string{"--from-time", "2026-01-01T00:00:00Z", "--since", "1h", "--dry-run"}, exitUsage, "can't be used together"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, out, complaints := w.run("", w.at(append([]string{"events", "replay"}, tt.args...)...)...)
			if code != tt.code || !strings.Contains(out+complaints, tt.want) {
				t.Errorf("code %d, want %d\nout: %s\nerr: %s", code, tt.code, out, complaints)
			}
		})
	}
	info, err := s.Info(t.Context())
	w.must(err)
	if info.State.Msgs != 16 {
		t.Errorf("%d copies, want each once", info.State.Msgs)
	}
}

// A replay that is stopped goes on where it was, and copies nothing twice.
func TestEventsReplayResumes(t *testing.T) {
	w := newWorld(t, 0)
	w.observe("a", 30)
	s, err := w.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "AGAIN", Subjects: []string{"again.>"}})
	w.must(err)
	file := filepath.Join(t.TempDir(), "resume")
	args := w.at("events", "replay", "--from-seq", "1", "--to-subject", "again", "--resume", file)
	w.interrupt(s, append(args, "--rate", "100/s")...)
	w.observe("a", 5) // what comes later is not part of it
	body, err := os.ReadFile(file)
	w.must(err)
	var p progress
	w.must(json.Unmarshal(body, &p))
	if p.Next < 10 || p.Query.UntilSeq != 60 || p.Name == "" {
		t.Errorf("noted: %+v", p)
	}
	if code, _, complaints := w.run("", append(args, "--type", string(events.MemberSnapshot))...); code != exitFailed || !strings.Contains(complaints, "another replay") {
		t.Errorf("another replay went on with this file: %d %s", code, complaints)
	}
	if code, out, complaints := w.run("", args...); code != exitOK {
		t.Fatalf("code %d\n%s%s", code, out, complaints)
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("the file is still there: %v", err)
	}
	info, err := s.Info(t.Context())
	w.must(err)
	seen := map[string]int{}
	for seq := uint64(1); seq <= info.State.LastSeq; seq++ {
		m, err := s.GetMsg(t.Context(), seq)
		w.must(err)
		seen[m.Header.Get("ce-id")]++
		if m.Header.Get(replay.Mark) != p.Name {
			t.Errorf("copy %d is marked %q, want %q", seq, m.Header.Get(replay.Mark), p.Name)
		}
	}
	if len(seen) != 60 || info.State.Msgs != 60 {
		t.Errorf("%d copies of %d events, want 60 of 60: %s", info.State.Msgs, len(seen), fmt.Sprint(seen))
	}
}

// consumers tells of each consumer of the stream what it is and how far it came.
func (w *world) consumers() []string {
	w.Helper()
	s, err := w.js.Stream(w.Context(), events.Stream)
	w.must(err)
	var all []string
	list := s.ListConsumers(w.Context())
	for c := range list.Info() {
		all = append(all, fmt.Sprint(c.Name, " ", c.Delivered, c.AckFloor, c.Config.Metadata["smartconnect.replay"]))
	}
	w.must(list.Err())
	slices.Sort(all)
	return all
}

// What was made to read once is gone when that is done, whatever came of it.
func TestReadingOnceLeavesNoConsumer(t *testing.T) {
	w := newWorld(t, 0)
	w.observe("a", 30)
	s, err := w.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "AGAIN", Subjects: []string{"again.>"}})
	w.must(err)
	_, err = w.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "FULL", Subjects: []string{"full.>"}, MaxMsgs: 1, Discard: jetstream.DiscardNew})
	w.must(err)
	first, err := w.js.Stream(t.Context(), events.Stream)
	w.must(err)
	m, err := first.GetMsg(t.Context(), 1)
	w.must(err)
	before := w.consumers()
	for _, tt := range []struct {
		name string
		code int
		args []string
	}{
		{"an event is shown", exitOK, []string{"show", m.Header.Get("ce-id")}},
		{"there is none of that id", exitFailed, []string{"show", "x"}},
		{"nor on that subject", exitFailed, []string{"show", "x", "--subject", "sc.v1.storm"}},
		{"events are counted", exitOK, []string{"replay", "--from-seq", "1", "--dry-run"}},
		{"there is none to copy", exitOK, []string{"replay", "--from-time", "2100-01-01T00:00:00Z", "--to-subject", "again"}},
		{"copies are not stored", exitFailed, []string{"replay", "--from-seq", "1", "--to-subject", "full"}},
	} {
		if code, out, complaints := w.run("", w.at(append([]string{"events"}, tt.args...)...)...); code != tt.code {
			t.Errorf("%s: code %d\n%s%s", tt.name, code, out, complaints)
		}
		if now := w.consumers(); !slices.Equal(now, before) {
			t.Errorf("%s: consumers are %q, and were %q", tt.name, now, before)
			before = now
		}
	}
	w.interrupt(s, w.at("events", "replay", "--from-seq", "1", "--to-subject", "again", "--rate", "100/s", "--resume", filepath.Join(t.TempDir(), "resume"))...)
	if now := w.consumers(); !slices.Equal(now, before) {
		t.Errorf("interrupted: consumers are %q, and were %q", now, before)
	}
}

// The file goes on with the replay it was written for, and with no other: the
// same command passes however much later, another value is named.
func TestEventsReplayGoesOnWithTheSameOnly(t *testing.T) {
	w := newWorld(t, 0)
	w.observe("a", 30)
	s, err := w.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "AGAIN", Subjects: []string{"again.>"}})
	w.must(err)
	file := filepath.Join(t.TempDir(), "resume")
	with := func(more ...string) []string {
		return append(w.at("events", "replay", "--to-subject", "again", "--resume", file), more...)
	}
	w.interrupt(s, with("--since", "1h", "--rate", "100/s")...)
	written, err := os.ReadFile(file)
	w.must(err)
	w.observe("a", 5)
	const of = "the file of --resume is of another replay: it differs in "
	for _, tt := range []struct {
		want string
		args []string
	}{
		{of + "--since\n", []string{"--since", "2h"}},
		{of + "--since, --from-seq\n", []string{"--from-seq", "2"}},
		{of + "--since, --from-time\n", []string{"--from-time", "2020-01-01T00:00:00Z"}},
		{of + "--until\n", []string{"--since", "1h", "--until", "2100-01-01T00:00:00Z"}},
		{of + "--until-seq\n", []string{"--since", "1h", "--until-seq", "60"}},
		{of + "--name\n", []string{"--since", "1h", "--name", "another"}},
		{of + "--member, --type\n", []string{"--since", "1h", "--member", string(w.token("a")), "--type", "member.snapshot"}},
	} {
		if code, _, complaints := w.run("", with(tt.args...)...); code != exitFailed || !strings.Contains(complaints, tt.want) {
			t.Errorf("%v: code %d, %s", tt.args, code, complaints)
		}
	}
	if body, err := os.ReadFile(file); err != nil || !bytes.Equal(body, written) {
		t.Errorf("the file is another: %s, %v", body, err)
	}
	w.interrupt(s, with("--since", "1h", "--rate", "100/s")...)
	if code, out, complaints := w.run("", with("--since", "1h")...); code != exitOK {
		t.Errorf("the same: code %d\n%s%s", code, out, complaints)
	}
	if info, err := s.Info(t.Context()); err != nil || info.State.Msgs != 60 {
		t.Errorf("%+v, %v; want 60 copies", info, err)
	}

	// The same command much later: by now that long ago is past the end.
	now := time.Now().UTC()
	w.must(writeProgress(file, progress{
		Asked: &asked{Since: time.Hour, Until: now.Add(-2 * time.Hour)}, To: "again", Name: "long-ago", Next: 31,
		Query: replay.Query{From: now.Add(-9 * time.Hour), Until: now.Add(-2 * time.Hour), UntilSeq: 60},
	}))
	code, out, complaints := w.run("", with("--since", "1h", "--until", now.Add(-2*time.Hour).Format(time.RFC3339Nano))...)
	if code != exitOK || !strings.Contains(out, "0 events copied below again as long-ago") {
		t.Errorf("much later: code %d\n%s%s", code, out, complaints)
	}

	// One that says nothing of what was asked goes on by what can be told.
	w.must(os.WriteFile(file, []byte(`{"query":{"FromSeq":0,"From":"2026-01-01T00:00:00Z","UntilSeq":60,"Until":"0001-01-01T00:00:00Z","Types":null,"Member":""},"to":"again","name":"monday","next":31}`), 0o600))
	if code, _, complaints := w.run("", with("--since", "1h", "--name", "tuesday")...); code != exitFailed || !strings.Contains(complaints, of+"--name\n") {
		t.Errorf("of before, another name: code %d, %s", code, complaints)
	}
	if code, out, complaints := w.run("", with("--since", "1h")...); code != exitOK || !strings.Contains(out, "30 events copied below again as monday") {
		t.Errorf("of before: code %d\n%s%s", code, out, complaints)
	}
}

// While a slow replay runs the file says how far it came: whoever pulls the plug
// copies again what was copied last, and not all of it.
func TestEventsReplayNotesHowFarItCame(t *testing.T) {
	w := newWorld(t, 0)
	w.observe("a", 60)
	s, err := w.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "AGAIN", Subjects: []string{"again.>"}})
	w.must(err)
	dir := t.TempDir()
	args := func(file string, more ...string) []string {
		return append(w.at("events", "replay", "--from-seq", "1", "--to-subject", "again", "--name", "n", "--resume", filepath.Join(dir, file)), more...)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ended := make(chan int, 1)
	go func() {
		var out bytes.Buffer
		ended <- program(ctx, args("live", "--rate", "40/s"), streams{nil, &out, &out})
	}()
	var noted progress
	var body []byte
	for noted.Next < 2 {
		select {
		case code := <-ended:
			t.Fatalf("it ended (%d), and the file never said how far it came", code)
		default:
		}
		if body, err = os.ReadFile(filepath.Join(dir, "live")); err == nil {
			w.must(json.Unmarshal(body, &noted))
		}
	}
	cancel()
	<-ended
	// This is the file that kill -9 would have left.
	w.must(os.WriteFile(filepath.Join(dir, "left"), body, 0o600))
	code, out, complaints := w.run("", args("left", "--json")...)
	var res replay.Result
	if err := json.Unmarshal([]byte(out), &res); code != exitOK || err != nil || res.Copied >= 120 || res.Copied+noted.Next-1 != 120 {
		t.Errorf("went on at %d: code %d, %+v, %v\n%s", noted.Next, code, res, err, complaints)
	}
	info, err := s.Info(t.Context())
	w.must(err)
	if info.State.Msgs != 120 {
		t.Errorf("%d copies, want each once", info.State.Msgs)
	}
	// One that was killed when all was copied has nothing left to do.
	noted.Next = noted.Query.UntilSeq + 1
	w.must(writeProgress(filepath.Join(dir, "ended"), noted))
	if code, out, complaints := w.run("", args("ended")...); code != exitOK || !strings.Contains(out, "Nothing was left") {
		t.Errorf("killed at the end: code %d\n%s%s", code, out, complaints)
	}
	if _, err := os.Stat(filepath.Join(dir, "ended")); !os.IsNotExist(err) {
		t.Errorf("its file is still there: %v", err)
	}
}

func TestState(t *testing.T) {
	w := newWorld(t, 0)
	w.observe("a", 1)
	w.observe("b", 2)
	code, out, complaints := w.run("", w.at("state")...)
	if code != exitOK || strings.Count(out, "\n") != 2 {
		t.Fatalf("code %d\n%s%s", code, out, complaints)
	}
	code, out, complaints = w.run("", w.at("state", "--member", "b", "--key-file", w.keyFile)...)
	var h heads
	if err := json.Unmarshal([]byte(out), &h); code != exitOK || err != nil || h.Member != w.token("b") || h.Known.MemberID != "b" || h.Asked != nil {
		t.Errorf("code %d, %v\n%s%s", code, err, out, complaints)
	}
	if code, _, complaints = w.run("", w.at("state", "--member", "nobody")...); code != exitFailed || !strings.Contains(complaints, "nothing is known") {
		t.Errorf("nobody: code %d %s", code, complaints)
	}
	if code, _, complaints = w.run("", w.at("state", "--member", "not a token")...); code != exitFailed || !strings.Contains(complaints, "no token") {
		t.Errorf("no token: code %d %s", code, complaints)
	}

	// These events tell of a connection that their heads do not have.
	code, out, complaints = w.run("", w.at("state", "--check")...)
	if code != exitFailed || strings.Count(out, `"verdict":"differs"`) != 2 || !strings.Contains(out, `"member.connections"`) || !strings.Contains(complaints, "2 differ") {
		t.Errorf("check: code %d\n%s%s", code, out, complaints)
	}
	s, err := w.js.Stream(t.Context(), events.Stream)
	w.must(err)
	w.must(s.Purge(t.Context(), jetstream.WithPurgeSubject("sc.v1.connection.>")))
	code, out, complaints = w.run("", w.at("state", "--check")...)
	if code != exitOK || strings.Count(out, `"verdict":"not_enough_history"`) != 2 || !strings.Contains(complaints, "2 with too little history") {
		t.Errorf("check without history: code %d\n%s%s", code, out, complaints)
	}
}

// A head that cannot be read is said to be one, by state and by the check, also
// where it is all there is of a member. The others are printed as ever.
func TestStateOfBrokenHeads(t *testing.T) {
	w := newWorld(t, 0)
	w.observe("a", 1)
	w.observe("b", 1)
	for _, subject := range []string{"sc.v1.agenda." + string(w.token("a")), "sc.v1.member.stranger", "sc.v1.agenda.another"} {
		_, err := w.js.Publish(t.Context(), subject, []byte("{bad"))
		w.must(err)
	}
	code, out, complaints := w.run("", w.at("state")...)
	if code != exitFailed || !strings.Contains(complaints, "3 members") {
		t.Errorf("state: code %d\n%s%s", code, out, complaints)
	}
	broken := map[string]int{}
	for line := range strings.Lines(out) {
		var h struct {
			Member       string
			Known, Asked *struct{ MemberID string }
			Broken       map[string]string
		}
		w.must(json.Unmarshal([]byte(line), &h))
		for which, why := range h.Broken {
			broken[h.Member+" "+which]++
			if !strings.Contains(why, "malformed") || strings.Contains(why, "{bad") {
				t.Errorf("%s: %s", h.Member, why)
			}
		}
		if h.Member == string(w.token("b")) && (h.Known == nil || h.Known.MemberID != "b" || len(h.Broken) > 0) {
			t.Errorf("who is well: %s", line)
		}
	}
	if len(broken) != 3 || broken[string(w.token("a"))+" asked"] != 1 || broken["stranger known"] != 1 || broken["another asked"] != 1 {
		t.Errorf("broken: %v in\n%s", broken, out)
	}
	for member, which := range map[string]string{string(w.token("a")): "asked", "stranger": "known", "another": "asked"} {
		if code, out, complaints := w.run("", w.at("state", "--member", member)...); code != exitFailed || !strings.Contains(out, `"broken":{"`+which) {
			t.Errorf("state of %s: code %d\n%s%s", member, code, out, complaints)
		}
		if code, out, complaints := w.run("", w.at("state", "--check", "--member", member)...); code != exitFailed || !strings.Contains(out, `"verdict":"broken_head"`) {
			t.Errorf("check of %s: code %d\n%s%s", member, code, out, complaints)
		}
	}
	code, out, complaints = w.run("", w.at("state", "--check")...)
	if code != exitFailed || strings.Count(out, `"verdict":"broken_head"`) != 3 || !strings.Contains(complaints, "4 members") || !strings.Contains(complaints, "3 with a broken head") {
		t.Errorf("check: code %d\n%s%s", code, out, complaints)
	}
}
