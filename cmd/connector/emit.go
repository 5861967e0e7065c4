package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/schemas"
)

type eventsEmitCmd struct {
	broker          `embed:""`
	Type            string `arg:"" help:"Event type; prompt.opened will do."`
	Member          string `help:"Member id in the event." placeholder:"ID"`
	Connection      string `help:"Connection id in the event." placeholder:"ID"`
	Data            string `help:"JSON object whose fields replace those of the sample." placeholder:"JSON"`
	TestEnvironment bool   `env:"-" help:"Say that this is a test environment. Without it nothing is published, and no environment variable can say it."`
}

// Run publishes a made-up event for a consumer's tests. It goes to a stream and
// subjects of its own: whoever wants made-up events reads these on purpose.
func (c eventsEmitCmd) Run(ctx context.Context, std streams) error {
	if !c.TestEnvironment {
		return errors.New("emit: made-up events are for test environments; say that this is one: --test-environment")
	}
	servers, _, err := c.options(ctx)
	if err != nil {
		return err
	}
	for server := range strings.SplitSeq(servers, ",") {
		if !loopbackURL(server) {
			return errors.New("emit: made-up events are published on loopback only, where connector dev listens")
		}
	}
	nc, js, _, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	// A server may tell of others, and the client may have gone to one.
	if !loopbackURL(nc.ConnectedUrl()) {
		return errors.New("emit: made-up events are published on loopback only, where connector dev listens")
	}
	e, err := c.sample(time.Now().UTC())
	if err != nil {
		return err
	}
	stream, err := testStream(ctx, js)
	if err != nil {
		return err
	}
	e, ack, err := emit(ctx, js, stream, e)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(std.out, "%s  %s.%s  #%d, stream %s, sequence %d\n", e.Type, events.TestPrefix, strings.TrimSuffix(e.Type.Kind()+"."+e.Tokens(), "."), e.Sequence, ack.Stream, ack.Sequence)
	return err
}

func loopbackURL(server string) bool {
	server = strings.TrimSpace(server)
	if !strings.Contains(server, "://") {
		server = "nats://" + server
	}
	u, err := url.Parse(server)
	return err == nil && loopback(u.Hostname()+":"+cmp.Or(u.Port(), "4222"))
}

// sample makes the event of the type's fixture: now, of other tokens, and with
// what the flags say. Its sequence is still that of the fixture.
func (c eventsEmitCmd) sample(now time.Time) (events.Event, error) {
	typ := events.Type(fullType(c.Type))
	raw, err := fs.ReadFile(schemas.FS, "fixtures/"+typ.SchemaFile())
	if err != nil {
		return events.Event{}, fmt.Errorf("emit: there is no event type %.80q; see: connector schema list", c.Type)
	}
	var e events.Event
	if err := json.Unmarshal(raw, &e); err != nil {
		return events.Event{}, fmt.Errorf("emit: %w", err)
	}
	body, err := json.Marshal(e.Data)
	if err != nil {
		return events.Event{}, fmt.Errorf("emit: %w", err)
	}
	var data map[string]any
	if err := json.Unmarshal(body, &data); err != nil {
		return events.Event{}, fmt.Errorf("emit: %w", err)
	}
	for flag, set := range map[string]struct{ field, value string }{
		"--member": {"memberId", c.Member}, "--connection": {"connectionId", c.Connection},
	} {
		if _, has := data[set.field]; set.value != "" && !has {
			return events.Event{}, fmt.Errorf("emit: %s: %s is about none", flag, typ)
		} else if set.value != "" {
			replaceField(data, set.field, set.value)
		}
	}
	c.retoken(&e, data)
	if !e.Expires.IsZero() {
		e.Expires = now.Add(e.Expires.Sub(e.Time))
	}
	e.Time, e.Recorded, e.CausationID, e.TraceParent = now, now, "", ""
	if c.Data != "" {
		var given map[string]any
		if err := json.Unmarshal([]byte(c.Data), &given); err != nil {
			return events.Event{}, errors.New("emit: --data is no JSON object")
		}
		maps.Copy(data, given)
	}
	return withData(e, data)
}

// replaceField sets a field wherever it is: heads tell of one member many times.
func replaceField(v any, field, value string) {
	switch v := v.(type) {
	case map[string]any:
		for name, inner := range v {
			if name == field {
				v[name] = value
				continue
			}
			replaceField(inner, field, value)
		}
	case []any:
		for _, inner := range v {
			replaceField(inner, field, value)
		}
	}
}

// retoken gives e the tokens of the ids in its data, under the secret that is
// known to everybody.
func (c eventsEmitCmd) retoken(e *events.Event, data map[string]any) {
	memberID, _ := data["memberId"].(string)
	connectionID, _ := data["connectionId"].(string)
	tokens := events.TestTokenizer()
	if e.Member != "" {
		e.Member = tokens.Member(memberID)
	}
	if connectionID == "" || e.Part == "" {
		return
	}
	connection := tokens.Connection(memberID, connectionID, 0)
	if id, ok := data["promptId"].(string); ok {
		_, number, _ := strings.Cut(id, ".")
		data["promptId"] = string(connection) + "." + number
	}
	if _, episode, ok := strings.Cut(e.CorrelationID, "."); ok {
		e.CorrelationID = string(connection) + "." + episode
	}
	e.Part = string(connection)
}

// withData gives e other data, which must be what the schema says.
func withData(e events.Event, data map[string]any) (events.Event, error) {
	raw, err := json.Marshal(e)
	if err != nil {
		return e, fmt.Errorf("emit: %w", err)
	}
	var envelope map[string]any
	if err := json.Unmarshal(raw, &envelope); err != nil {
		return e, fmt.Errorf("emit: %w", err)
	}
	envelope["data"] = data
	if raw, err = json.Marshal(envelope); err != nil {
		return e, fmt.Errorf("emit: %w", err)
	}
	if faults := newChecker(false).event(raw); len(faults) > 0 {
		return e, fmt.Errorf("emit: that is no %s: %s", e.Type, strings.Join(faults, "; "))
	}
	var read events.Event
	if err := json.Unmarshal(raw, &read); err != nil {
		return e, fmt.Errorf("emit: %w", err)
	}
	return read, nil
}

// testStream returns the stream of made-up events, which is made if need be. The
// server refuses to make one whose subjects are those of another stream.
func testStream(ctx context.Context, js jetstream.JetStream) (jetstream.Stream, error) {
	subjects := []string{events.TestPrefix + ".>"}
	stream, err := js.Stream(ctx, events.TestStream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = js.CreateStream(ctx, jetstream.StreamConfig{
			Name: events.TestStream, Description: "connector: made-up events for consumers' tests",
			Subjects: subjects, Storage: jetstream.MemoryStorage, MaxMsgsPerSubject: 64, MaxAge: 24 * time.Hour, AllowDirect: true,
		})
	}
	if err != nil {
		return nil, fmt.Errorf("emit: stream %s: %w", events.TestStream, err)
	}
	if !slices.Equal(stream.CachedInfo().Config.Subjects, subjects) {
		return nil, fmt.Errorf("emit: stream %s is not that of made-up events: its subjects are others", events.TestStream)
	}
	return stream, nil
}

// emit publishes e as the next event of its subject, so that sequences have no
// gap. It returns e as it was published.
func emit(ctx context.Context, js jetstream.JetStream, stream jetstream.Stream, e events.Event) (events.Event, *jetstream.PubAck, error) {
	msg, err := events.TestMessage(e)
	if err != nil {
		return e, nil, fmt.Errorf("emit: %w", err)
	}
	var after uint64
	e.Sequence = 1
	last, err := stream.GetLastMsgForSubject(ctx, msg.Subject)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
	case err != nil:
		return e, nil, fmt.Errorf("emit: %w", err)
	default:
		after = last.Sequence
		before, err := strconv.ParseUint(firstHeader(last.Header, "ce-sequence"), 10, 64)
		if err != nil {
			return e, nil, fmt.Errorf("emit: the last message on %s is none of ours", msg.Subject)
		}
		e.Sequence = before + 1
	}
	if msg, err = events.TestMessage(e); err != nil {
		return e, nil, fmt.Errorf("emit: %w", err)
	}
	ack, err := js.PublishMsg(ctx, msg, jetstream.WithExpectStream(events.TestStream), jetstream.WithExpectLastSequencePerSubject(after))
	if err != nil {
		return e, nil, fmt.Errorf("emit: %w", err)
	}
	return e, ack, nil
}

func firstHeader(h map[string][]string, name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}
