package consumer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// Memory is the connector's stream for a test of yours: no server, no waiting.
// Publish what the connector would, then Deliver it to your subscription.
type Memory struct {
	mu     sync.Mutex
	now    time.Time
	msgs   []message
	last   map[string]uint64          // sequence by subject
	asked  map[string]Agenda          // by member
	done   map[string]map[uint64]bool // by durable
	held   map[uint64]bool
	seq    uint64
	stores time.Duration // one more for each message: no two are stored at one time
	life   string        // ends the ids of what was published since a restore
	start  func(promptID, memberID string) (Started, error)
	envelope
	table []entry
}

// NewMemory returns an empty stream whose clock stands at now. The clock moves
// by Advance, and when Deliver waits for another try.
func NewMemory(now time.Time) *Memory {
	v, err := readEnvelope(Config{}.withDefaults().Prefix)
	if err != nil {
		panic(err) // the schemas are in this binary
	}
	return &Memory{
		now: now, last: map[string]uint64{}, asked: map[string]Agenda{}, done: map[string]map[uint64]bool{}, held: map[uint64]bool{},
		start:    func(string, string) (Started, error) { return Started{}, NotFound },
		envelope: v, table: new(Handlers).table(),
	}
}

// Client returns a client on the stream.
func (m *Memory) Client() *Client { return newClient(Config{}.withDefaults(), nil, memory{m}) }

// Advance moves the clock.
func (m *Memory) Advance(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = m.now.Add(d)
}

// OnStart sets what the connector answers to a tap, memberID being empty where
// it was not given. A [Refusal] is a refusal.
func (m *Memory) OnStart(f func(promptID, memberID string) (Started, error)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.start = f
}

// Publish stores an event with data of the type's kind, about a member and a
// part (connection, recommendation or source), numbered as the connector does.
// A prompt, an end of access and its return also change the member's agenda. Data that the connector would not
// write, such as a prompt without its urgency, is a mistake in the test, and
// panics; PublishRaw stores anything.
func (m *Memory) Publish(t Type, member, part string, data any) Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.publish(t, member, part, data)
	a, known := m.asked[member]
	if !known {
		a = Agenda{
			Book:    Book{Incarnation: "memory", Sequences: map[string]uint64{}, Latest: map[string]string{}},
			Prompts: []Prompt{}, Asked: []Asked{}, Pushes: []time.Time{},
		}
	}
	switch data := data.(type) {
	case Prompt:
		a.MemberID = data.MemberID
		a.Prompts = slices.DeleteFunc(slices.Clone(a.Prompts), func(known Prompt) bool { return known.PromptID == data.PromptID })
		if t == PromptOpened || t == PromptReminded || t == PromptAcknowledged {
			a.Prompts = append(a.Prompts, data)
		}
	case Access:
		a.MemberID = data.MemberID
		switch t {
		case AccessEnded:
			a.Access = &AgendaAccess{Key: e.ID, Connections: []string{}, EndedAt: e.Recorded}
		case AccessRestored:
			if a.Access != nil {
				restored := *a.Access
				restored.PermittedAt, restored.RestoredAt = e.Recorded, e.Recorded
				a.Access = &restored
			}
		default: // changes nothing that the agenda says
		}
	default:
		return e
	}
	m.asked[member] = a
	m.publish(AgendaSnapshot, member, "", a)
	return e
}

func (m *Memory) publish(t Type, member, part string, data any) Event {
	tokens := strings.Trim(member+"."+part, ".")
	subject := strings.TrimSuffix(m.prefix+"."+t.Kind()+"."+tokens, ".")
	body, err := json.Marshal(data)
	if err != nil {
		panic(fmt.Sprintf("consumer: data of %s: %v", t, err)) // a mistake in the test
	}
	m.last[subject]++
	n := strconv.FormatUint(m.last[subject], 10)
	at := m.now.UTC().Format(time.RFC3339Nano)
	h := nats.Header{
		"ce-specversion": {"1.0"}, "ce-id": {subject + "-" + n + m.life}, "ce-source": {"urn:smartconnect:connector"}, "ce-type": {string(t)},
		"ce-time": {at}, "ce-recordedtime": {at}, "ce-sequence": {n}, "ce-datacontenttype": {"application/json"},
		"ce-dataschema": {"urn:smartconnect:schema:" + string(t) + ".json"}, "ce-dataclassification": {"restricted"}, "ce-dataregulation": {"HIPAA"},
	}
	if tokens != "" {
		h["ce-subject"] = []string{tokens}
	}
	e, err := m.decode(m.store(subject, h, body))
	if err != nil {
		panic(err) // a mistake in the test: such an event cannot be
	}
	i := slices.IndexFunc(m.table, func(known entry) bool { return known.typ == t })
	if i < 0 {
		panic(fmt.Sprintf("consumer: Publish: %s is no type of the contract", t))
	}
	if err := m.table[i].check(e); err != nil {
		panic(fmt.Sprintf("%v; the connector writes no such event", err))
	}
	return e
}

// PublishRaw stores a message as it is, such as a broken one.
func (m *Memory) PublishRaw(subject string, header nats.Header, data []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.store(subject, header, data)
}

func (m *Memory) store(subject string, h nats.Header, data []byte) message {
	m.seq++
	m.stores++
	stored := message{subject: subject, seq: m.seq, stored: m.now.Add(m.stores).UTC(), header: h, data: data}
	m.msgs = append(m.msgs, stored)
	return stored
}

// Restore makes the stream what a backup has that was made right after e: what
// came later is gone, and what comes next gets the numbers that it had.
func (m *Memory) Restore(e Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.msgs = slices.DeleteFunc(m.msgs, func(x message) bool { return x.seq > e.StreamSequence })
	m.seq, m.last, m.asked, m.life = e.StreamSequence, map[string]uint64{}, map[string]Agenda{}, m.life+"-again"
	for _, msg := range m.msgs {
		if n, err := strconv.ParseUint(attribute(msg.header, "ce-sequence"), 10, 64); err == nil {
			m.last[msg.subject] = n
		}
		var a Agenda
		if attribute(msg.header, "ce-type") == string(AgendaSnapshot) && json.Unmarshal(msg.data, &a) == nil {
			m.asked[attribute(msg.header, "ce-subject")] = a
		}
	}
	for _, done := range m.done {
		maps.DeleteFunc(done, func(seq uint64, _ bool) bool { return seq > e.StreamSequence })
	}
}

// Lose takes an event out of the stream, as if it had been too old.
func (m *Memory) Lose(e Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.msgs = slices.DeleteFunc(m.msgs, func(x message) bool { return x.seq == e.StreamSequence })
}

// Again has the next Deliver bring an event once more, as after a lost
// acknowledgement.
func (m *Memory) Again(e Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, done := range m.done {
		delete(done, e.StreamSequence)
	}
}

// Hold has Deliver leave an event out until release is called, as if another
// process had it in hand.
func (m *Memory) Hold(e Event) (release func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held[e.StreamSequence] = true
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.held, e.StreamSequence)
	}
}

// Replay stores a copy of an event as a replay of that name makes it.
func (m *Memory) Replay(e Event, name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.msgs, func(x message) bool { return x.seq == e.StreamSequence })
	if i < 0 {
		return
	}
	h := nats.Header{"ce-replay": {name}}
	maps.Copy(h, m.msgs[i].header)
	m.store(m.msgs[i].subject, h, m.msgs[i].data)
}

// Forget leaves tombstones of a member, as the connector does.
func (m *Memory) Forget(member string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.msgs = slices.DeleteFunc(m.msgs, func(x message) bool { return slices.Contains(strings.Split(x.subject, "."), member) })
	for _, kind := range []string{"member", "agenda"} {
		m.store(m.prefix+"."+kind+"."+member, nil, nil)
	}
	for subject := range m.last {
		if slices.Contains(strings.Split(subject, "."), member) {
			delete(m.last, subject)
		}
	}
	delete(m.asked, member)
}

// Deliver brings s everything that it has not settled yet, in order, and again
// what its handlers refuse, until all is settled. Each call is a new process
// of the service; what it acknowledged is remembered by s.Durable.
func (m *Memory) Deliver(ctx context.Context, s Subscription) error {
	r, err := s.prepare(memory{m}, m.prefix, func() time.Time {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.now
	})
	if err != nil {
		return err
	}
	m.mu.Lock()
	done := m.done[s.Durable]
	if done == nil || r.ordered {
		done = map[uint64]bool{}
		m.done[s.Durable] = done
	}
	m.mu.Unlock()
	l := &lane{}
	for range 100 * r.Tries {
		var wait time.Duration
		settled := true
		for _, msg := range m.pending(r, done) {
			if err := ctx.Err(); err != nil {
				return err
			}
			if v := r.settle(ctx, l, msg); v.later() {
				settled, wait = false, max(wait, v.delay)
				continue
			}
			m.mu.Lock()
			done[msg.seq] = true
			m.mu.Unlock()
		}
		if settled {
			return nil
		}
		m.Advance(wait)
	}
	return errors.New("consumer: a message is never settled: does Poison, or the Ledger, fail for ever?")
}

func (m *Memory) pending(r *runner, done map[uint64]bool) []message {
	m.mu.Lock()
	defer m.mu.Unlock()
	var left []message
	for _, msg := range m.msgs {
		if !done[msg.seq] && !m.held[msg.seq] && slices.ContainsFunc(r.filters, func(f string) bool { return matches(f, msg.subject) }) {
			left = append(left, msg)
		}
	}
	return left
}

// matches reports whether a subject fits a filter with * or a last > in it.
func matches(filter, subject string) bool {
	if above, ok := strings.CutSuffix(filter, ">"); ok && !strings.Contains(above, "*") {
		return strings.HasPrefix(subject, above)
	}
	return slices.EqualFunc(strings.Split(filter, "."), strings.Split(subject, "."), func(f, s string) bool { return f == "*" || f == s })
}

// memory is the broker that a Memory is.
type memory struct{ *Memory }

func (m memory) last(_ context.Context, subject string) (*message, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, msg := range slices.Backward(m.msgs) {
		if matches(subject, msg.subject) {
			return &msg, nil
		}
	}
	return nil, nil
}

func (m memory) next(_ context.Context, subject string, from uint64) (*message, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, msg := range m.msgs {
		if msg.seq >= from && matches(subject, msg.subject) {
			return &msg, nil
		}
	}
	return nil, nil
}

func (m memory) request(_ context.Context, _ string, body []byte) (*nats.Msg, error) {
	var r struct{ PromptID, OfferID, MemberID string }
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, err
	}
	m.mu.Lock()
	start := m.start
	m.mu.Unlock()
	started, err := start(r.PromptID+r.OfferID, r.MemberID)
	if refusal, ok := errors.AsType[Refusal](err); ok {
		return &nats.Msg{Header: nats.Header{micro.ErrorCodeHeader: {string(refusal)}}}, nil
	}
	if err != nil {
		return nil, err
	}
	answer, err := json.Marshal(started)
	return &nats.Msg{Data: answer}, err
}
