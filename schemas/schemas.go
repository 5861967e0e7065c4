// Package schemas holds the public contract of the events: for every event
// type the JSON Schema of its data and one whole event as an example, the
// schema of the envelope, those of the requests the connector answers, and an
// AsyncAPI document that ties them to subjects.
//
// The schemas are closed, which is right for who writes: a field that is not
// there is a mistake. Who reads applies them as [ForReaders] makes them.
package schemas

import (
	"embed"
	"encoding/json"
	"fmt"
)

// Version is the version of the contract as it is here: that of the newest
// folder below released/, or, once something was added to it, the next.
const Version = "1.1.0"

// FS holds <type>.json, the JSON Schema of the type's data;
// fixtures/<type>.json, a whole event in CloudEvents' JSON format;
// envelope.json, the schema of such an event; record.json, that of an entry of
// the audit record; services/<subject>.request.json and .reply.json;
// asyncapi.yaml; and texts/<language>.json, what to push by action and urgency.
//
//go:embed asyncapi.yaml *.json fixtures/*.json services/*.json texts/*.json
var FS embed.FS

// ForReaders returns a schema as it holds for who reads: fields that it does
// not name may come, since later versions add some.
func ForReaders(schema []byte) ([]byte, error) {
	var v any
	if err := json.Unmarshal(schema, &v); err != nil {
		return nil, fmt.Errorf("open a schema for readers: %w", err)
	}
	open(v)
	return json.MarshalIndent(v, "", "  ")
}

// open drops what closes v and what is in it. No property of ours bears the
// keyword's name with false as its schema.
func open(v any) {
	switch v := v.(type) {
	case map[string]any:
		if v["additionalProperties"] == false {
			delete(v, "additionalProperties")
		}
		for _, inner := range v {
			open(inner)
		}
	case []any:
		for _, inner := range v {
			open(inner)
		}
	}
}
