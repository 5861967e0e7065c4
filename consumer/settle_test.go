package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/smartconnect/connector/consumer"
)

// told is what a subscription's handlers and Settled were told, as lines.
type told struct{ lines, outcomes []string }

func (h *told) add(format string, args ...any) {
	h.lines = append(h.lines, fmt.Sprintf(format, args...))
}

// subscription handles opened, reminded and resolved prompts; fail decides
// which calls fail.
func (h *told) subscription(fail func(e consumer.Event) error) consumer.Subscription {
	prompt := func(what string) func(context.Context, consumer.Event, consumer.Prompt) error {
		return func(_ context.Context, e consumer.Event, p consumer.Prompt) error {
			if fail != nil {
				if err := fail(e); err != nil {
					return err
				}
			}
			h.add("%s %s #%d", what, p.PromptID, e.Sequence)
			return nil
		}
	}
	return consumer.Subscription{
		Durable: "test", Workers: 1, Tries: 3,
		Handlers: consumer.Handlers{
			PromptOpened: prompt("opened"), PromptReminded: prompt("reminded"), PromptResolved: prompt("resolved"),
			Replayed: func(_ context.Context, e consumer.Event) error {
				h.add("replayed %s #%d", e.Type.Kind(), e.Sequence)
				return nil
			},
			Gap: func(_ context.Context, g consumer.GapError) error {
				what := "gap"
				if g.Restored {
					what = "restored"
				}
				h.add("%s %d-%d of %s", what, g.From, g.To, g.Member)
				return nil
			},
			Poison: func(_ context.Context, p consumer.Poison) error {
				h.add("poison after %d tries: %v", p.Tries, p)
				return nil
			},
		},
		Settled: func(_ consumer.Event, o consumer.Outcome, _ error) { h.outcomes = append(h.outcomes, string(o)) },
	}
}

func (h *told) want(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(h.lines, want) {
		t.Errorf("told:\n  %s\nwant:\n  %s", strings.Join(h.lines, "\n  "), strings.Join(want, "\n  "))
	}
	h.lines = nil
}

func ask(id string) consumer.Prompt {
	return consumer.Prompt{
		MemberID: "id", ConnectionID: "clinic", PromptID: id, Action: consumer.ActOAuth, Urgency: consumer.Required, Notify: true,
		ConnectionStatus: consumer.Expired, OpenedAt: time.Unix(1, 0),
	}
}

func resolved(id string) consumer.Prompt {
	p := ask(id)
	p.ClosedAt, p.Downtime = time.Unix(1, 0), new(int64)
	return p
}

func TestASubjectStaysInOrderWhileItFails(t *testing.T) {
	stream, h, broken := consumer.NewMemory(time.Unix(1e9, 0)), &told{}, 2
	stream.Publish(consumer.PromptOpened, "m", "a", ask("a.1"))
	stream.Publish(consumer.PromptOpened, "m", "b", ask("b.1"))
	stream.Publish(consumer.PromptReminded, "m", "a", ask("a.1"))
	stream.Publish(consumer.PromptResolved, "m", "a", resolved("a.1"))
	s := h.subscription(func(e consumer.Event) error {
		if e.Part == "a" && e.Sequence == 1 && broken > 0 {
			broken--
			return errors.New("the gateway is down")
		}
		return nil
	})
	if err := stream.Deliver(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	h.want(t, "opened b.1 #1", "opened a.1 #1", "reminded a.1 #2", "resolved a.1 #3")
}

func TestWhatFailsTooOftenIsPoison(t *testing.T) {
	for name, f := range map[string]func(e consumer.Event) error{
		"error": func(consumer.Event) error { return errors.New("no") },
		"panic": func(consumer.Event) error { panic("no") },
	} {
		t.Run(name, func(t *testing.T) {
			stream, h := consumer.NewMemory(time.Unix(1e9, 0)), &told{}
			stream.Publish(consumer.PromptOpened, "m", "a", ask("a.1"))
			stream.Publish(consumer.PromptReminded, "m", "a", ask("a.1"))
			s := h.subscription(func(e consumer.Event) error {
				if e.Sequence == 1 {
					return f(e)
				}
				return nil
			})
			refuse := 2
			s.Handlers.Poison = func(_ context.Context, p consumer.Poison) error {
				if refuse > 0 {
					refuse--
					return errors.New("the shelf is full")
				}
				h.add("poison after %d tries", p.Tries)
				return nil
			}
			if err := stream.Deliver(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			h.want(t, "poison after 5 tries", "reminded a.1 #2")
		})
	}
}

func TestDoublesAndGaps(t *testing.T) {
	stream, h := consumer.NewMemory(time.Unix(1e9, 0)), &told{}
	ledger := consumer.NewMemoryLedger()
	deliver := func() {
		t.Helper()
		s := h.subscription(nil)
		s.Ledger = ledger
		if err := stream.Deliver(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	var all []consumer.Event
	for range 6 {
		all = append(all, stream.Publish(consumer.PromptReminded, "m", "a", ask("a.1")))
	}
	stream.Lose(all[0]) // the first that is seen sets the count
	stream.Lose(all[3])
	stream.Lose(all[4])
	deliver()
	h.want(t, "reminded a.1 #2", "reminded a.1 #3", "gap 4-5 of m", "reminded a.1 #6")
	for _, e := range all {
		stream.Again(e)
	}
	deliver()
	h.want(t)
	if n := len(h.outcomes); !slices.Equal(h.outcomes[n-3:], []string{"double", "double", "double"}) {
		t.Errorf("outcomes %q", h.outcomes)
	}
	// A member who is forgotten and enrolled again counts from 1: no gap, no double.
	stream.Forget("m")
	stream.Publish(consumer.PromptOpened, "m", "a", ask("a.1"))
	lost := stream.Publish(consumer.PromptReminded, "m", "a", ask("a.1"))
	stream.Publish(consumer.PromptReminded, "m", "a", ask("a.1"))
	stream.Lose(lost)
	deliver()
	h.want(t, "opened a.1 #1", "gap 2-2 of m", "reminded a.1 #3")
}

// forgetful is a ledger that does not keep when an event was stored, such as a
// table that was made before marks had it.
type forgetful struct{ *consumer.MemoryLedger }

func (l forgetful) Done(ctx context.Context, subject string, m consumer.Mark) error {
	m.Stored = time.Time{}
	return l.MemoryLedger.Done(ctx, subject, m)
}

// A stream that is restored from a backup gives the places and the sequences of
// what was lost to other events. They are news, and what was done before the
// backup is not.
func TestARestoredStreamIsAnotherStream(t *testing.T) {
	for name, ledger := range map[string]consumer.Ledger{
		"":           consumer.NewMemoryLedger(),
		"no time":    forgetful{consumer.NewMemoryLedger()},
		"everything": nil,
	} {
		t.Run(name, func(t *testing.T) {
			stream, h := consumer.NewMemory(time.Unix(1e9, 0)), &told{}
			again := ledger == nil // a new durable reads all that there is once more
			if again {
				ledger = consumer.NewMemoryLedger()
			}
			deliver := func(durable string) {
				t.Helper()
				s := h.subscription(nil)
				s.Ledger, s.Durable = ledger, durable
				if err := stream.Deliver(t.Context(), s); err != nil {
					t.Fatal(err)
				}
			}
			stream.Publish(consumer.PromptOpened, "m", "a", ask("a.1"))
			backup := stream.Publish(consumer.PromptOpened, "m", "b", ask("b.1"))
			lost := stream.Publish(consumer.PromptReminded, "m", "a", ask("a.1"))
			stream.Publish(consumer.PromptResolved, "m", "a", resolved("a.1"))
			stream.Publish(consumer.PromptOpened, "m", "c", ask("c.1"))
			deliver("d")
			h.want(t, "opened a.1 #1", "opened b.1 #1", "reminded a.1 #2", "resolved a.1 #3", "opened c.1 #1")

			stream.Restore(backup)
			anew := stream.Publish(consumer.PromptResolved, "m", "a", resolved("a.1"))
			stream.Publish(consumer.PromptOpened, "m", "a", ask("a.2"))
			stream.Publish(consumer.PromptReminded, "m", "b", ask("b.1"))
			if anew.Sequence != lost.Sequence || anew.StreamSequence > lost.StreamSequence {
				t.Fatalf("the test restores nothing: %+v after %+v", anew, lost)
			}
			durable := "d"
			if again {
				durable = "anew"
			}
			deliver(durable)
			h.want(t, "restored 2-3 of m", "resolved a.1 #2", "opened a.2 #3", "reminded b.1 #2")
			for _, e := range []consumer.Event{backup, anew} {
				stream.Again(e)
			}
			deliver(durable)
			h.want(t)
		})
	}
}

// What was told of a stream that is no more is told again if the telling fails.
func TestARestoredStreamIsToldUntilItIsHeard(t *testing.T) {
	stream, h, deaf := consumer.NewMemory(time.Unix(1e9, 0)), &told{}, true
	s := h.subscription(nil)
	s.Ledger = consumer.NewMemoryLedger()
	backup := stream.Publish(consumer.PromptOpened, "m", "a", ask("a.1"))
	stream.Publish(consumer.PromptResolved, "m", "a", resolved("a.1"))
	if err := stream.Deliver(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	stream.Restore(backup)
	stream.Publish(consumer.PromptReminded, "m", "a", ask("a.1"))
	gap := s.Handlers.Gap
	s.Handlers.Gap = func(ctx context.Context, g consumer.GapError) error {
		if deaf {
			deaf = false
			return errors.New("nobody listens")
		}
		return gap(ctx, g)
	}
	if err := stream.Deliver(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	h.want(t, "opened a.1 #1", "resolved a.1 #2", "restored 2-2 of m", "reminded a.1 #2")
}

// A process that died with events in hand gets newer ones before them.
func TestWhatADeadProcessHadInHandComesFirst(t *testing.T) {
	stream, h := consumer.NewMemory(time.Unix(1e9, 0)), &told{}
	ledger := consumer.NewMemoryLedger()
	s := h.subscription(nil)
	s.Ledger = ledger
	first := stream.Publish(consumer.PromptOpened, "m", "a", ask("a.1"))
	if err := stream.Deliver(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	second := stream.Publish(consumer.PromptReminded, "m", "a", ask("a.1"))
	third := stream.Publish(consumer.PromptResolved, "m", "a", resolved("a.1"))
	hold := stream.Hold(second) // the broker waits for the dead process
	if err := stream.Deliver(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	hold()
	if err := stream.Deliver(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	h.want(t, fmt.Sprintf("opened a.1 #%d", first.Sequence), fmt.Sprintf("reminded a.1 #%d", second.Sequence), fmt.Sprintf("resolved a.1 #%d", third.Sequence))
}

func TestReplaySafe(t *testing.T) {
	now := time.Unix(1e9, 0)
	stream, h := consumer.NewMemory(now), &told{}
	opened := stream.Publish(consumer.PromptOpened, "m", "a", ask("a.1"))
	stream.Publish(consumer.PromptResolved, "m", "a", resolved("a.1"))
	stream.Advance(25 * time.Hour)
	stream.Publish(consumer.PromptOpened, "m", "a", ask("a.2"))
	stream.Replay(opened, "again")
	s := h.subscription(nil)
	if err := stream.Deliver(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	// Late requests are no news; that something is over is.
	h.want(t, "replayed prompt #1", "resolved a.1 #2", "opened a.2 #3", "replayed prompt #1")

	s.Projection, s.Durable = true, "projection"
	if err := stream.Deliver(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	h.want(t, "opened a.1 #1", "resolved a.1 #2", "opened a.2 #3", "opened a.1 #1")

	s.Projection, s.MaxAge, s.Durable = false, -1, "any age"
	if err := stream.Deliver(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	h.want(t, "opened a.1 #1", "resolved a.1 #2", "opened a.2 #3", "replayed prompt #1")
}

// header returns a whole envelope but for what is changed; empty: left out.
func header(change map[string]string) nats.Header {
	h := nats.Header{}
	for k, v := range map[string]string{
		"ce-specversion": "1.0", "ce-id": "x", "ce-source": "urn:x", "ce-type": string(consumer.PromptReminded), "ce-subject": "m.a",
		"ce-time": "2001-09-09T01:46:40Z", "ce-recordedtime": "2001-09-09T01:46:40Z", "ce-sequence": "2",
		"ce-datacontenttype": "application/json", "ce-dataclassification": "restricted", "ce-dataregulation": "HIPAA",
	} {
		h[k] = []string{v}
	}
	if t, ok := change["ce-type"]; ok {
		h["ce-type"] = []string{t}
	}
	h["ce-dataschema"] = []string{"urn:smartconnect:schema:" + h["ce-type"][0] + ".json"}
	for k, v := range change {
		if v == "" {
			delete(h, k)
			continue
		}
		h[k] = []string{v}
	}
	return h
}

const body = `{"memberId":"secret-member","connectionId":"c","promptId":"a.1","action":"oauth","reason":"expired","urgency":"required","notify":true,"connectionStatus":"EXPIRED","openedAt":"2001-09-09T01:46:40Z","reminder":1,"flapCount":0}`

// with returns a body in which one thing is another.
func with(is, other string) string { return strings.Replace(body, is, other, 1) }

// bad lists messages that no handler can use, each with a word of the reason.
func bad() map[string]struct {
	header nats.Header
	data   string
	want   string
} {
	return map[string]struct {
		header nats.Header
		data   string
		want   string
	}{
		"unknown type":          {header(map[string]string{"ce-type": "smartconnect.prompt.sneezed.v1"}), body, `unknown type "smartconnect.prompt.sneezed.v1"`},
		"unknown major version": {header(map[string]string{"ce-type": "smartconnect.prompt.reminded.v2"}), body, `unknown type "smartconnect.prompt.reminded.v2"`},
		"broken body":           {header(nil), `{"memberId":"secret-member",`, "no JSON object"},
		"body without a field":  {header(nil), `{"memberId":"secret-member"}`, "has no connectionId"},
		"field of another type": {header(nil), strings.Replace(body, `"a.1"`, `17`, 1), "not what its schema says"},
		"null":                  {header(nil), "null", "no JSON object"},
		"a word of no list":     {header(nil), with(`"urgency":"required"`, `"urgency":"BOGUS"`), "urgency"},
		"another of no list":    {header(nil), with(`"action":"oauth"`, `"action":"pray"`), "action"},
		"an empty word":         {header(nil), with(`"urgency":"required"`, `"urgency":""`), "urgency"},
		"a word in another key": {header(nil), with(`"urgency":"required"`, `"urgency":"required","URGENCY":"BOGUS"`), "urgency"},
		"less than nothing":     {header(nil), with(`"reminder":1`, `"reminder":-1`), "reminder"},
		"less than never":       {header(nil), with(`"flapCount":0`, `"flapCount":-1`), "flapCount"},
		"an empty prompt id":    {header(nil), with(`"a.1"`, `""`), "promptId"},
		"an empty member id":    {header(nil), with(`"secret-member"`, `""`), "memberId"},
		"an empty connection":   {header(nil), with(`"connectionId":"c"`, `"connectionId":""`), "connectionId"},
		"opened at no time":     {header(nil), with(`"openedAt":"2001-09-09T01:46:40Z"`, `"openedAt":"0001-01-01T00:00:00Z"`), "openedAt"},
		"opened at no clock":    {header(nil), with(`"openedAt":"2001-09-09T01:46:40Z"`, `"openedAt":"yesterday"`), "not what its schema says"},
		"closed at no time":     {header(map[string]string{"ce-type": string(consumer.PromptResolved)}), with(`"flapCount":0`, `"flapCount":0,"closedAt":"0001-01-01T00:00:00Z","downtime":1`), "closedAt"},
		"down for less than 0":  {header(map[string]string{"ce-type": string(consumer.PromptResolved)}), with(`"flapCount":0`, `"flapCount":0,"closedAt":"2001-09-09T01:46:40Z","downtime":-1`), "downtime"},
		"no header at all":      {nil, body, "ce-specversion"},
		"other specversion":     {header(map[string]string{"ce-specversion": "2.0"}), body, "ce-specversion"},
		"no id":                 {header(map[string]string{"ce-id": ""}), body, "no ce-id"},
		"no type":               {header(map[string]string{"ce-type": ""}), body, "no ce-type"},
		"no source":             {header(map[string]string{"ce-source": ""}), body, "no ce-source"},
		"no sequence":           {header(map[string]string{"ce-sequence": ""}), body, "ce-sequence"},
		"no time":               {header(map[string]string{"ce-time": ""}), body, "ce-time"},
		"time before all times": {header(map[string]string{"ce-time": "0001-01-01T00:00:00Z"}), body, "ce-time"},
		"other content type":    {header(map[string]string{"ce-datacontenttype": "text/xml"}), body, "ce-datacontenttype"},
		"no content type":       {header(map[string]string{"ce-datacontenttype": ""}), body, "no ce-datacontenttype"},
		"no schema":             {header(map[string]string{"ce-dataschema": ""}), body, "no ce-dataschema"},
		"another's schema":      {header(map[string]string{"ce-dataschema": "urn:x:" + string(consumer.PromptOpened) + ".json"}), body, "ce-dataschema"},
		"no classification":     {header(map[string]string{"ce-dataclassification": ""}), body, "no ce-dataclassification"},
		"no regulation":         {header(map[string]string{"ce-dataregulation": ""}), body, "no ce-dataregulation"},
		"sequence with a zero":  {header(map[string]string{"ce-sequence": "02"}), body, "ce-sequence"},
		"no subject":            {header(map[string]string{"ce-subject": ""}), body, "ce-subject"},
		"another member":        {header(map[string]string{"ce-subject": "other.a"}), body, "ce-subject"},
		"another connection":    {header(map[string]string{"ce-subject": "m.b"}), body, "ce-subject"},
		"a token too many":      {header(map[string]string{"ce-subject": "m.a.b"}), body, "ce-subject"},
		"of another kind":       {header(map[string]string{"ce-type": string(consumer.AccessEnded)}), body, "is none of the kind prompt"},
		"of no kind":            {header(map[string]string{"ce-type": "prompt"}), body, "is none of the kind prompt"},
	}
}

func TestBadInputIsPoison(t *testing.T) {
	for name, c := range bad() {
		t.Run(name, func(t *testing.T) { badIsPoison(t, c.header, c.data, c.want, 0) })
		t.Run(name+", late", func(t *testing.T) { badIsPoison(t, c.header, c.data, c.want, 48*time.Hour) })
	}
}

func badIsPoison(t *testing.T, header nats.Header, data, want string, late time.Duration) {
	stream, h := consumer.NewMemory(time.Unix(1e9, 0).Add(late)), &told{}
	stream.Publish(consumer.PromptOpened, "m", "a", ask("a.1"))
	stream.PublishRaw("sc.v1.prompt.m.a", header, []byte(data))
	stream.Publish(consumer.PromptOpened, "m", "b", ask("b.1"))
	s := h.subscription(nil)
	var why error
	s.Handlers.Poison = func(_ context.Context, p consumer.Poison) error {
		why = p.Err
		h.add("poison")
		return nil
	}
	if err := stream.Deliver(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	h.want(t, "opened a.1 #1", "poison", "opened b.1 #1")
	if why == nil || !strings.Contains(why.Error(), want) || strings.Contains(why.Error(), "secret") {
		t.Errorf("reason %v, want %q and no identity", why, want)
	}
	if !errors.Is(why, consumer.ErrMalformed) && !errors.Is(why, consumer.ErrUnknownType) {
		t.Errorf("reason %v wraps neither sentinel", why)
	}
}

func TestUnknownTypesHaveAWayOfTheirOwn(t *testing.T) {
	stream, h := consumer.NewMemory(time.Unix(1e9, 0)), &told{}
	stream.PublishRaw("sc.v1.prompt.m.a", header(map[string]string{"ce-type": "smartconnect.prompt.reminded.v2"}), []byte(body))
	s := h.subscription(nil)
	s.Handlers.Unknown = func(_ context.Context, e consumer.Event) error {
		h.add("unknown %s #%d", e.Type, e.Sequence)
		return nil
	}
	if err := stream.Deliver(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	h.want(t, "unknown smartconnect.prompt.reminded.v2 #2")
}

// A copy of something unknown is unknown before it is a copy: who sets no
// Replayed would acknowledge it unread.
func TestACopyOfAnUnknownTypeIsUnknown(t *testing.T) {
	for _, typ := range []string{"smartconnect.prompt.sneezed.v1", "smartconnect.prompt.opened.v2"} {
		for _, replayed := range []bool{false, true} {
			stream, h := consumer.NewMemory(time.Unix(1e9, 0)), &told{}
			copied := header(map[string]string{"ce-type": typ, "ce-replay": "monday"})
			stream.PublishRaw("sc.v1.prompt.m.a", copied, []byte(body))
			s := h.subscription(nil)
			if !replayed {
				s.Handlers.Replayed = nil
			}
			if err := stream.Deliver(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			h.want(t, fmt.Sprintf("poison after 0 tries: consumer: unknown type %q", typ))
			s.Durable = "knows"
			s.Handlers.Unknown = func(_ context.Context, e consumer.Event) error {
				h.add("unknown %s of %s", e.Type, e.Replay)
				return nil
			}
			if err := stream.Deliver(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			h.want(t, fmt.Sprintf("unknown %s of monday", typ))
		}
	}
}

// A prompt on a subject of another kind would push whom the access concerns.
func TestAKindStaysOnItsSubjects(t *testing.T) {
	stream, h := consumer.NewMemory(time.Unix(1e9, 0)), &told{}
	stream.PublishRaw("sc.v1.access.m", header(map[string]string{"ce-type": string(consumer.PromptOpened), "ce-subject": "m", "ce-sequence": "1"}), []byte(body))
	s := h.subscription(nil)
	s.Handlers.AccessEnded = func(context.Context, consumer.Event, consumer.Access) error { return nil }
	if err := stream.Deliver(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	h.want(t, `poison after 0 tries: consumer: malformed: ce-type "smartconnect.prompt.opened.v1" is none of the kind access, which its subject says`)
}

func TestForgottenMembersAreTold(t *testing.T) {
	stream := consumer.NewMemory(time.Unix(1e9, 0))
	stream.Publish(consumer.PromptOpened, "m", "a", ask("a.1"))
	stream.Forget("m")
	var gone []string
	s := consumer.Subscription{Durable: "d", Handlers: consumer.Handlers{
		AgendaSnapshot: func(context.Context, consumer.Event, consumer.Agenda) error { return nil },
		Forgotten:      func(_ context.Context, member string) error { gone = append(gone, member); return nil },
		Poison:         func(_ context.Context, p consumer.Poison) error { return p.Err },
	}}
	if err := stream.Deliver(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(gone, []string{"m"}) {
		t.Errorf("forgotten: %q", gone)
	}
	if _, err := stream.Client().Agenda(t.Context(), "m"); !errors.Is(err, consumer.ErrNothing) {
		t.Errorf("the agenda of a forgotten member: %v", err)
	}
}

// A service deletes what it keeps of a forgotten member. A head that lost its
// body says no such thing.
func TestOnlyATombstoneForgets(t *testing.T) {
	head := header(map[string]string{"ce-type": string(consumer.AgendaSnapshot), "ce-subject": "m"})
	for name, h := range map[string]nats.Header{
		"a whole head":        head,
		"half a head":         {"ce-id": {"x"}},
		"no type":             header(map[string]string{"ce-type": "", "ce-subject": "m"}),
		"a copy":              {"ce-replay": {"monday"}},
		"the broker's marker": {"Nats-Marker-Reason": {"MaxAge"}},
	} {
		t.Run(name, func(t *testing.T) {
			stream, poison := consumer.NewMemory(time.Unix(1e9, 0)), 0
			stream.PublishRaw("sc.v1.agenda.m", h, nil)
			s := consumer.Subscription{Durable: "d", Handlers: consumer.Handlers{
				AgendaSnapshot: func(context.Context, consumer.Event, consumer.Agenda) error { return nil },
				Forgotten:      func(context.Context, string) error { t.Error("forgotten"); return nil },
				Poison:         func(context.Context, consumer.Poison) error { poison++; return nil },
			}}
			if err := stream.Deliver(t.Context(), s); err != nil || poison != 1 {
				t.Errorf("%d poison, %v", poison, err)
			}
			if _, err := stream.Client().Agenda(t.Context(), "m"); !errors.Is(err, consumer.ErrMalformed) {
				t.Errorf("its agenda: %v", err)
			}
		})
	}
}

func TestSubscriptionsThatMakeNoSense(t *testing.T) {
	poison := func(context.Context, consumer.Poison) error { return nil }
	opened := func(context.Context, consumer.Event, consumer.Prompt) error { return nil }
	gap := func(context.Context, consumer.GapError) error { return nil }
	for _, id := range []string{"Member 4711", "member.4711", "*", ""} {
		s := consumer.Subscription{Members: []string{id}, Handlers: consumer.Handlers{PromptOpened: opened, Poison: poison, Gap: gap}}
		if err := consumer.NewMemory(time.Now()).Deliver(t.Context(), s); err == nil || !strings.Contains(err.Error(), "Members are tokens") || strings.Contains(err.Error(), "4711") {
			t.Errorf("member %q: %v", id, err)
		}
	}
	for name, h := range map[string]consumer.Handlers{
		"Poison is required": {PromptOpened: opened},
		"Gap is required":    {PromptOpened: opened, Poison: poison},
		"no handler is set":  {Poison: poison},
		"set MemberSnapshot": {PromptOpened: opened, Poison: poison, Gap: gap, Forgotten: func(context.Context, string) error { return nil }},
	} {
		if err := consumer.NewMemory(time.Now()).Deliver(t.Context(), consumer.Subscription{Handlers: h}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCurrent(t *testing.T) {
	stream := consumer.NewMemory(time.Now())
	client := stream.Client()
	check := func(id string, want bool) {
		t.Helper()
		p, ok, err := client.Current(t.Context(), id)
		if err != nil || ok != want || ok && p.PromptID != id {
			t.Errorf("%s: %+v, %v, %v; want %v", id, p, ok, err, want)
		}
	}
	stream.Publish(consumer.PromptOpened, "m", "a", ask("a.1"))
	check("a.1", true)
	stream.Publish(consumer.PromptResolved, "m", "a", resolved("a.1"))
	check("a.1", false)
	stream.Publish(consumer.PromptOpened, "m", "a", ask("a.2"))
	check("a.1", false)
	check("a.2", true)
	for _, nonsense := range []string{"", ".", "a", "*.1", "b.1", "a.b.1", ">.1"} {
		check(nonsense, false)
	}
}

// An end of access holds until consent is given again, and no longer: then a
// push for it would ask for what the member has just done.
func TestCurrentAccess(t *testing.T) {
	stream := consumer.NewMemory(time.Unix(1e9, 0))
	client := stream.Client()
	check := func(e consumer.Event, want bool) {
		t.Helper()
		a, ok, err := client.CurrentAccess(t.Context(), e)
		if err != nil || ok != want || ok && !a.EndedAt.Equal(e.Recorded) {
			t.Errorf("%s: %+v, %v, %v; want %v", e.ID, a, ok, err, want)
		}
	}
	over := func() consumer.Event {
		stream.Advance(time.Minute)
		return stream.Publish(consumer.AccessEnded, "m", "", consumer.Access{
			MemberID: "id", Action: consumer.ActRestoreConsent, Reason: "consent_ended",
			Connections: []consumer.AccessConnection{{ConnectionID: "clinic", IntegrationType: consumer.DirectIAS}},
		})
	}
	first := over()
	check(first, true)
	stream.Publish(consumer.PromptOpened, "m", "a", ask("a.1"))
	check(first, true) // what else is asked says nothing of it
	stream.Advance(time.Minute)
	stream.Publish(consumer.AccessRestored, "m", "", consumer.Access{MemberID: "id", Action: consumer.ActNone, Reason: "consent_restored", Connections: []consumer.AccessConnection{}})
	check(first, false)
	second := over()
	check(second, true)
	check(first, false) // the second speaks for itself
	if agenda, err := client.Agenda(t.Context(), "m"); err != nil || len(agenda.Prompts) != 1 {
		t.Errorf("the agenda lost its prompt: %+v, %v", agenda, err)
	}
	stream.Forget("m")
	check(second, false)

	given := consumer.Agenda{Access: &consumer.AgendaAccess{EndedAt: second.Recorded, PermittedAt: second.Recorded.Add(time.Hour)}}
	if _, over := given.Ended(second); over {
		t.Error("consent is given again, and still it is asked for")
	}
	if _, over := new(consumer.Agenda).Ended(second); over {
		t.Error("access never ended")
	}
}

// ledgers and brokers that fail are told of like handlers that do: whoever only
// saw that nothing comes could not know why.
func TestWhatHoldsUpIsTold(t *testing.T) {
	stream, h := consumer.NewMemory(time.Unix(1e9, 0)), &told{}
	stream.Publish(consumer.PromptOpened, "m", "a", ask("a.1"))
	stream.Publish(consumer.PromptReminded, "m", "a", ask("a.1"))
	s := h.subscription(func(e consumer.Event) error {
		if e.Sequence == 1 && len(h.outcomes) < 5 {
			return errors.New("not now")
		}
		return nil
	})
	s.Tries, s.Ledger = 10, &moody{MemoryLedger: consumer.NewMemoryLedger(), fails: 2}
	// A try is due at once, so that only the order makes the second wait.
	s.Delay = func(int) time.Duration { return 0 }
	s.Settled = func(e consumer.Event, o consumer.Outcome, err error) {
		h.outcomes = append(h.outcomes, fmt.Sprintf("#%d %s %v", e.Sequence, o, err))
	}
	if err := stream.Deliver(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	h.want(t, "opened a.1 #1", "reminded a.1 #2")
	want := []string{
		"#1 failed the ledger is away", "#2 failed the ledger is away",
		"#1 failed not now", "#2 waiting <nil>", "#1 failed not now",
		"#2 waiting <nil>", "#1 handled <nil>", "#2 handled <nil>",
	}
	if !slices.Equal(h.outcomes, want) {
		t.Errorf("told of %q, want %q", h.outcomes, want)
	}
}

// moody is a ledger that cannot be read at first.
type moody struct {
	*consumer.MemoryLedger
	fails int
}

func (l *moody) Last(ctx context.Context, subject string) (consumer.Mark, error) {
	if l.fails > 0 {
		l.fails--
		return consumer.Mark{}, errors.New("the ledger is away")
	}
	return l.MemoryLedger.Last(ctx, subject)
}

// Whoever is asked and never answers holds up no worker for ever, and with it
// the stop of the service.
func TestNobodyHoldsUpAWorker(t *testing.T) {
	for name, l := range map[string]consumer.Ledger{"reading": silent{reads: true}, "writing": silent{}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				stream, h := consumer.NewMemory(time.Now()), &told{}
				stream.Publish(consumer.PromptOpened, "m", "a", ask("a.1"))
				s := h.subscription(nil)
				ctx, cancel := context.WithCancel(t.Context())
				s.Ledger, s.Timeout = l, time.Minute
				s.Settled = func(_ consumer.Event, o consumer.Outcome, err error) {
					if o != consumer.Failed || !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("%s, %v", o, err)
					}
					cancel()
				}
				if err := stream.Deliver(ctx, s); !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
		})
	}
}

// silent is a ledger that never answers, or never an entry.
type silent struct{ reads bool }

func (l silent) Last(ctx context.Context, _ string) (consumer.Mark, error) {
	if !l.reads {
		return consumer.Mark{}, nil
	}
	<-ctx.Done()
	return consumer.Mark{}, ctx.Err()
}

func (silent) Done(ctx context.Context, _ string, _ consumer.Mark) error {
	<-ctx.Done()
	return ctx.Err()
}
