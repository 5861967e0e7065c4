package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/natstest"
	"github.com/smartconnect/connector/internal/topology"
	"github.com/smartconnect/connector/schemas"
)

// recorded are the kinds of events that the durable consumer asks for.
var recorded = []string{"prompt", "access", "source", "observer", "storm", "silence"}

func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	raw, err := schemas.FS.ReadFile("record.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("record.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("record.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func valid(t *testing.T, s *jsonschema.Schema, body []byte) {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(v); err != nil {
		t.Errorf("%s: %v", body, err)
	}
}

// Every event that is recorded keeps what matters and loses whom it names.
func TestEntriesOfFixtures(t *testing.T) {
	s := schema(t)
	for _, typ := range events.Types() {
		if !slices.Contains(recorded, typ.Kind()) {
			continue
		}
		raw, err := schemas.FS.ReadFile("fixtures/" + string(typ) + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var e events.Event
		if err := json.Unmarshal(raw, &e); err != nil {
			t.Fatal(err)
		}
		entry := Of(e, 4711)
		body, err := json.Marshal(entry)
		if err != nil {
			t.Fatal(err)
		}
		valid(t, s, body)
		if entry.ID != e.ID || entry.Sequence != e.Sequence || !strings.Contains(string(typ), "."+string(entry.What)+".") {
			t.Errorf("%s: %s", typ, body)
		}
		if want := "sc.audit." + string(entry.What); !strings.HasPrefix(entry.Subject(), want) || strings.Contains(entry.Subject(), "..") {
			t.Errorf("%s goes to %s", typ, entry.Subject())
		}
		for _, name := range identities(t, raw) {
			if strings.Contains(string(body), name) || strings.Contains(entry.Subject(), name) {
				t.Errorf("%s names %q: %s", typ, name, body)
			}
		}
		if p, ok := e.Data.(*events.Prompt); ok && (entry.PromptID != p.PromptID || entry.Reason != p.Reason || *entry.Notify != p.Notify) {
			t.Errorf("%s: %s", typ, body)
		}
	}
}

// identities returns what names somebody in an event.
func identities(t *testing.T, raw []byte) (names []string) {
	t.Helper()
	var e struct {
		Data map[string]any `json:"data"`
	}
	if err := json.Unmarshal(raw, &e); err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"memberId", "connectionId"} {
		if s, ok := e.Data[field].(string); ok {
			names = append(names, s)
		}
	}
	if listed, ok := e.Data["connections"].([]any); ok {
		for _, c := range listed {
			names = append(names, c.(map[string]any)["connectionId"].(string))
		}
	}
	if e.Data["scope"] != nil { // a silence: the operator's own words
		names = append(names, e.Data["reason"].(string))
	}
	return names
}

func TestIdentify(t *testing.T) {
	e := Entry{What: Suppressed, Member: "m", Part: "c"}
	one := e.Identify("6", "storm")
	if one.ID == "" || one.ID != e.Identify("6", "storm").ID {
		t.Error("the same has another id")
	}
	for name, other := range map[string]Entry{
		"another member": Entry{What: Suppressed, Member: "n", Part: "c"}.Identify("6", "storm"),
		"another reason": e.Identify("6", "blind"),
		"moved borders":  e.Identify("6s", "torm"),
	} {
		if other.ID == one.ID {
			t.Errorf("%s has the same id", name)
		}
	}
}

func TestRecentForgetsTheOldest(t *testing.T) {
	var r recent
	for i := range remembered + 1 {
		r.add(strconv.Itoa(i))
	}
	if !r.has("0") || !r.has(strconv.Itoa(remembered)) {
		t.Error("forgotten too soon")
	}
	for i := range remembered {
		r.add("x" + strconv.Itoa(i))
	}
	if r.has("0") || len(r.now)+len(r.old) > 2*remembered {
		t.Errorf("%d and %d are remembered", len(r.now), len(r.old))
	}
}

// asked commits a decision that opens a prompt for each of n members.
func asked(ctx context.Context, t *testing.T, log *events.Log, n int) {
	t.Helper()
	for i := range n {
		m := events.MemberToken("m" + strconv.Itoa(i))
		known := events.Member{Book: events.NewBook("inc"), MemberID: "anna-" + strconv.Itoa(i)}
		tx, err := log.Subjects().Poll(m, nil, &known, 0, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		from, err := log.Commit(ctx, tx)
		if err != nil {
			t.Fatal(err)
		}
		agenda := events.Agenda{Book: events.NewBook("inc"), MemberID: known.MemberID}
		told := []events.Event{{Type: events.PromptOpened, Part: "c", Data: &events.Prompt{
			MemberID: known.MemberID, ConnectionID: "harbor_clinic", PromptID: "c.1", Action: events.ActOAuth, Reason: "expired",
			Urgency: events.Required, Notify: true, ConnectionStatus: events.Expired, OpenedAt: time.Now(),
		}}}
		if tx, err = log.Subjects().Decide(m, told, &agenda, 0, from.HeadSeq, time.Time{}, time.Now()); err != nil {
			t.Fatal(err)
		}
		if _, err := log.Commit(ctx, tx); err != nil {
			t.Fatal(err)
		}
	}
}

// entries reads the record as an auditor would: doubles dropped.
func entries(ctx context.Context, t *testing.T, js jetstream.JetStream) (all []Entry) {
	t.Helper()
	s, err := js.Stream(ctx, Stream)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for seq := uint64(1); seq <= s.CachedInfo().State.LastSeq; seq++ {
		m, err := s.GetMsg(ctx, seq)
		if err != nil {
			t.Fatal(err)
		}
		var e Entry
		if err := json.Unmarshal(m.Data, &e); err != nil {
			t.Fatal(err)
		}
		valid(t, schema(t), m.Data)
		if m.Subject != e.Subject() {
			t.Errorf("%s stands on %s", e.Subject(), m.Subject)
		}
		if !seen[e.ID] {
			all = append(all, e)
		}
		seen[e.ID] = true
	}
	return all
}

// A Projector that stops and starts, and a broker that refuses for a while,
// leave no hole in the record. What is no event is recorded as that.
func TestNothingIsLost(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	log, js := natstest.Log(t)
	asked(ctx, t, log, 5)
	if _, err := js.Publish(ctx, "sc.v1.prompt.m0.c", []byte("no event")); err != nil {
		t.Fatal(err)
	}
	durable, err := js.Consumer(ctx, events.Stream, topology.Auditor)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(ctx, Stream); err != nil { // nothing can be stored
		t.Fatal(err)
	}
	work := func(until func() bool) {
		run, stop := context.WithCancel(ctx)
		stopped := make(chan error, 1)
		go func() { stopped <- NewProjector(impatient{durable}, NewLedger(js)).Run(run) }()
		for !until() {
			if ctx.Err() != nil {
				t.Fatal("it never came to that")
			}
		}
		stop()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	}
	work(func() bool {
		info, err := durable.Info(ctx)
		return err == nil && info.NumRedelivered > 0
	})
	if err := topology.Apply(ctx, js, topology.Config{Prefix: events.DefaultPrefix}, false); err != nil {
		t.Fatal(err)
	}
	work(func() bool { return len(entries(ctx, t, js)) > 3 })
	work(func() bool { return len(entries(ctx, t, js)) == 6 })
	of := map[What]int{}
	for _, e := range entries(ctx, t, js) {
		of[e.What]++
	}
	if of["prompt.opened"] != 5 || of[Unreadable] != 1 || len(of) != 2 {
		t.Errorf("on record: %v", of)
	}
}

// impatient has messages come again at once where they would after seconds.
type impatient struct{ jetstream.Consumer }

func (c impatient) Messages(opts ...jetstream.PullMessagesOpt) (jetstream.MessagesContext, error) {
	m, err := c.Consumer.Messages(opts...)
	return impatientMessages{m}, err
}

type impatientMessages struct{ jetstream.MessagesContext }

func (m impatientMessages) Next(opts ...jetstream.NextOpt) (jetstream.Msg, error) {
	msg, err := m.MessagesContext.Next(opts...)
	return impatientMsg{msg}, err
}

type impatientMsg struct{ jetstream.Msg }

func (m impatientMsg) NakWithDelay(time.Duration) error {
	return m.Msg.NakWithDelay(10 * time.Millisecond)
}

func TestRecordOnlyWhatIsNew(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, js := natstest.Log(t)
	l := NewLedger(js)
	one := Entry{At: time.Now().UTC(), What: Suppressed, Member: "m", Part: "c", Rule: 6, Reason: "storm", Outcome: "held"}.Identify("1")
	for range 3 {
		if err := l.Record(ctx, one, one.Identify("2")); err != nil {
			t.Fatal(err)
		}
	}
	s, err := js.Stream(ctx, Stream)
	if err != nil {
		t.Fatal(err)
	}
	if n := s.CachedInfo().State.Msgs; n != 2 {
		t.Errorf("%d messages", n)
	}
	for filter, want := range map[string]int{"sc.audit.*.*.m.>": 2, "sc.audit.*.*.m": 0, "sc.audit.prompt.suppressed.>": 2} {
		info, err := s.Info(ctx, jetstream.WithSubjectFilter(filter))
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, count := range info.State.Subjects {
			n += int(count)
		}
		if n != want {
			t.Errorf("%s finds %d, want %d", filter, n, want)
		}
	}
	if err := js.DeleteStream(ctx, Stream); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	err = l.Record(short, one.Identify("3"))
	if !errors.Is(err, jetstream.ErrNoStreamResponse) && !errors.Is(err, nats.ErrNoResponders) && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("stored without a stream: %v", err)
	}
	if strings.Contains(fmt.Sprint(err), "prompt.suppressed.m") {
		t.Errorf("the error names a member: %v", err)
	}
	if l.recent.has(one.Identify("3").ID) {
		t.Error("what was not stored is taken for stored")
	}
}
