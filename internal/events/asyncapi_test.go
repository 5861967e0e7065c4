package events

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"go.yaml.in/yaml/v3"

	"github.com/smartconnect/connector/internal/topology"
	"github.com/smartconnect/connector/schemas"
)

var update = flag.Bool("update", false, "write schemas/asyncapi.yaml and the golden messages anew")

// The AsyncAPI document is made of the Go types, the schemas, the fixtures and
// the topology, so it says nothing that they do not.
func TestAsyncAPI(t *testing.T) {
	got := asyncAPI(t)
	name := filepath.Join("..", "..", "schemas", "asyncapi.yaml")
	if *update {
		if err := os.WriteFile(name, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("schemas/asyncapi.yaml is not what the types, schemas, fixtures and the topology say; rewrite it: go test ./internal/events -run AsyncAPI -update")
	}
}

// pairs is an object whose order is kept.
type pairs []any

func (p pairs) node() *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for i := 0; i < len(p); i += 2 {
		key, _ := p[i].(string)
		n.Content = append(n.Content, scalar(key), nodeOf(p[i+1]))
	}
	return n
}

func scalar(v any) *yaml.Node {
	n := &yaml.Node{}
	if err := n.Encode(v); err != nil {
		panic(err) // only what this file builds comes here
	}
	return n
}

func nodeOf(v any) *yaml.Node {
	switch v := v.(type) {
	case pairs:
		return v.node()
	case []pairs:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for _, p := range v {
			n.Content = append(n.Content, p.node())
		}
		return n
	default:
		return scalar(v)
	}
}

func ref(to string) pairs { return pairs{"$ref", to} }

// tokenNames names the tokens of a kind, as parameters of its channel.
func tokenNames(kind string) []string {
	member, part, _ := about(kind)
	var names []string
	if member {
		names = append(names, "member")
	}
	if part {
		name := kind
		if kind == "prompt" {
			name = "connection"
		}
		names = append(names, name)
	}
	return names
}

func asyncAPI(t *testing.T) []byte {
	t.Helper()
	stream, record := streamOf(Stream), streamOf(topology.Audit)

	var channels, operations, messages pairs
	for _, kind := range Kinds() {
		channels = append(channels, kind, channelOf(kind, stream))
		operations = append(operations, "publish."+kind, pairs{
			"action", "send", "channel", ref("#/channels/" + kind), "summary", "Published by the connector; subscribe to it.",
			"bindings",
			pairs{"nats", pairs{"bindingVersion", "0.1.0"}},
		})
	}
	for _, typ := range Types() {
		messages = append(messages, short(typ), messageOf(t, typ))
	}
	entry := object(t, "record.json")
	messages = append(messages, "record", pairs{
		"name", "record", "title", entry["title"], "summary", entry["description"], "contentType", jsonType, "payload", ref("./record.json"),
	})
	channels = append(channels, "record", recordChannel(record))
	operations = append(operations, "publish.record", pairs{
		"action", "send", "channel", ref("#/channels/record"), "summary", "Recorded by the connector, for audits.",
		"bindings",
		pairs{"nats", pairs{"bindingVersion", "0.1.0"}},
	})
	for _, name := range services(t) {
		address := strings.TrimPrefix(name, "sc.svc.v1.")
		for _, way := range []string{"request", "reply"} {
			raw := object(t, "services/"+name+"."+way+".json")
			messages = append(messages, address+"."+way, pairs{
				"name", address + "." + way, "title", raw["title"], "summary", raw["description"], "contentType", jsonType,
				"payload", ref("./services/" + name + "." + way + ".json"),
			})
		}
		channels = append(
			channels,
			address, pairs{
				"address", name, "title", name, "description", "Requests to the connector's NATS micro service. It is outside the stream: requests may carry credentials and are never stored.",
				"messages",
				pairs{address + ".request", ref("#/components/messages/" + address + ".request")},
			},
			address+".replies", pairs{
				"address", nil, "title", "Replies of " + name, "description", "The reply subject of the request.",
				"messages",
				pairs{address + ".reply", ref("#/components/messages/" + address + ".reply"), "refusal", ref("#/components/messages/refusal")},
			},
		)
		operations = append(operations, "serve."+address, pairs{
			"action", "receive", "channel", ref("#/channels/" + address), "summary", object(t, "services/"+name+".request.json")["description"],
			"bindings",
			pairs{"nats", pairs{"queue", "q", "bindingVersion", "0.1.0"}},
			"reply",
			pairs{"channel", ref("#/channels/" + address + ".replies")},
		})
	}
	refusal := object(t, "services/sc.svc.v1.refusal.json")
	messages = append(messages, "refusal", pairs{
		"name", "refusal", "title", refusal["title"], "summary", refusal["description"], "headers", ref("./services/sc.svc.v1.refusal.json"),
	})

	doc := pairs{
		"asyncapi", "3.0.0",
		"id", "urn:smartconnect:connector",
		"info",
		pairs{
			"title", "Smart Connect connector", "version", schemas.Version,
			"description", "Every change of b.well record connections, and when to ask members to reconnect, as CloudEvents on NATS JetStream.\n" +
				"Made from the Go types, the schemas and the topology by a test; do not edit. What readers may rely on is in docs/events.md.\n" +
				"Subjects begin with sc.v1 unless the deployment says otherwise; <prefix>.timer.> and <prefix>.due.> are the connector's own and carry no events.",
		},
		"servers",
		pairs{"nats", pairs{"host", "localhost:4222", "protocol", "nats", "description", "NATS 2.12.1 or newer with JetStream."}},
		"defaultContentType", jsonType,
		"channels", channels,
		"operations", operations,
		"components",
		pairs{"schemas", pairs{"headers", headersSchema(t)}, "messages", messages},
	}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(doc.node()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func channelOf(kind string, stream jetstream.StreamConfig) pairs {
	address, filter := DefaultPrefix+"."+kind, DefaultPrefix+"."+kind
	var parameters pairs
	for _, name := range tokenNames(kind) {
		address += ".{" + name + "}"
		filter += ".*"
		what := "Keyed token of the " + name + ": it says nothing without the deployment's secret."
		if name == "silence" {
			what = "Id of the silence."
		}
		parameters = append(parameters, name, pairs{"description", what})
	}
	var told pairs
	head := false
	for _, typ := range Types() {
		if typ.Kind() == kind {
			told = append(told, short(typ), ref("#/components/messages/"+short(typ)))
			head = head || typ == MemberSnapshot || typ == AgendaSnapshot
		}
	}
	replay := "Deliver by start sequence or time; within a subject the attribute sequence grows by one, a jump is a gap: read the head."
	if head {
		replay = "Deliver last per subject: the last message is the whole truth, earlier ones are history. A message without a body is a tombstone."
	}
	c := pairs{"address", address, "title", "Events of kind " + kind}
	if len(parameters) > 0 {
		c = append(c, "parameters", parameters)
	}
	return append(c, "messages", told, "x-jetstream", pairs{
		"stream", stream.Name, "filter", filter, "head", head,
		"retention",
		pairs{
			"policy", stream.Retention.String(), "maxMsgsPerSubject", stream.MaxMsgsPerSubject, "maxAge", stream.MaxAge.String(),
			"note", "The oldest messages of a subject go first; maxAge 0s is no limit. maxMsgsPerSubject can be configured.",
		},
		"replay", replay,
	})
}

// streamOf returns a stream of the topology.
func streamOf(name string) jetstream.StreamConfig {
	all := topology.Desired(topology.Config{Prefix: DefaultPrefix})
	return all[slices.IndexFunc(all, func(s topology.Stream) bool { return s.Config.Name == name })].Config
}

func recordChannel(stream jetstream.StreamConfig) pairs {
	return pairs{
		"address", "sc.audit.{about}.{what}.{member}.{part}", "title", "The audit record",
		"parameters",
		pairs{
			"about",
			pairs{"description", "First word of what happened: prompt, access, act, link, silence, storm, source, observer, event."},
			"what",
			pairs{"description", "Second word of what happened: opened, suppressed, …"},
			"member",
			pairs{"description", "Keyed token of the member. Left out where all members are concerned."},
			"part",
			pairs{"description", "Keyed token of the connection, source or recommendation, or the id of the silence. Left out where there is none."},
		},
		"messages",
		pairs{"record", ref("#/components/messages/record")},
		"x-jetstream",
		pairs{
			"stream", stream.Name, "filter", stream.Subjects[0], "head", false,
			"retention",
			pairs{"policy", stream.Retention.String(), "maxMsgsPerSubject", stream.MaxMsgsPerSubject, "maxAge", stream.MaxAge.String()},
			"replay", "Deliver by start sequence or time; drop entries whose id you have seen.",
		},
	}
}

func messageOf(t *testing.T, typ Type) pairs {
	t.Helper()
	raw := object(t, typ.SchemaFile())
	e := fixtureEvent(t, typ)
	header, body, err := encode(e, DefaultSource)
	if err != nil {
		t.Fatal(err)
	}
	headers := pairs{}
	for _, name := range slices.Sorted(maps.Keys(header)) {
		headers = append(headers, name, header[name][0])
	}
	var payload any
	if err := json.Unmarshal(body, &payload); err != nil {
		t.Fatal(err)
	}
	return pairs{
		"name", string(typ), "title", raw["title"], "summary", raw["description"], "contentType", jsonType,
		"headers",
		pairs{
			"type", "object", // the specification asks for it here
			"allOf", []pairs{ref("#/components/schemas/headers"), {"type", "object", "properties", pairs{"ce-type", pairs{"const", string(typ)}}}},
		},
		"payload", ref("./" + typ.SchemaFile()),
		"correlationId",
		pairs{"location", "$message.header#/ce-correlationid", "description", "The episode, where there is one."},
		"examples",
		[]pairs{{"name", "fixture", "headers", headers, "payload", payload}},
	}
}

// headersSchema is the envelope as headers.
func headersSchema(t *testing.T) pairs {
	t.Helper()
	raw := object(t, "envelope.json")
	properties, _ := raw["properties"].(map[string]any)
	var attributes pairs
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		if name != "data" {
			attributes = append(attributes, "ce-"+name, properties[name])
		}
	}
	attributes = append(attributes, "content-type", pairs{"type", "string", "const", jsonType, "description", "As ce-datacontenttype says, for the official Go SDK."})
	var always []string
	for _, name := range raw["required"].([]any) {
		if name != "data" {
			always = append(always, "ce-"+name.(string))
		}
	}
	return pairs{
		"type", "object", "description", "CloudEvents 1.0 in binary mode.",
		"properties", attributes, "required", append(always, "content-type"),
	}
}

func short(typ Type) string {
	return strings.TrimSuffix(strings.TrimPrefix(string(typ), "smartconnect."), ".v1")
}

// services lists the subjects of the requests that have schemas, each with a
// request and a reply.
func services(t *testing.T) []string {
	t.Helper()
	found, err := fs.Glob(schemas.FS, "services/*.request.json")
	if err != nil || len(found) == 0 {
		t.Fatalf("%d requests, %v", len(found), err)
	}
	for i := range found {
		found[i] = strings.TrimSuffix(path.Base(found[i]), ".request.json")
	}
	return found
}

func object(t *testing.T, name string) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(file(t, name), &v); err != nil {
		t.Fatal(fmt.Errorf("%s: %w", name, err))
	}
	return v
}
