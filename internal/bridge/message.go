package bridge

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/replay"
)

// contentType is that of CloudEvents in structured mode.
const contentType = "application/cloudevents+json"

// A message is what is posted.
type message struct {
	id     string
	typ    events.Type
	replay bool // it is a copy that a replay made
	body   []byte
}

// structure puts the attributes, which are headers in the stream, and the data
// into one JSON object. It takes all attributes, so that one that this version
// does not know gets through, and the data as it is. Its errors quote nothing.
func structure(h nats.Header, data []byte) (message, error) {
	attributes := map[string]string{}
	for name, values := range h {
		if name, ok := strings.CutPrefix(name, "ce-"); ok && len(values) > 0 {
			attributes[name] = values[0]
		}
	}
	switch {
	case attributes["specversion"] != "1.0":
		return message{}, errors.New("no CloudEvent 1.0")
	case attributes["id"] == "" || attributes["source"] == "" || attributes["type"] == "":
		return message{}, errors.New("a CloudEvent without id, source or type")
	case attributes["data"] != "" || !json.Valid(data):
		return message{}, errors.New("a CloudEvent whose data is no JSON")
	}
	var b bytes.Buffer
	b.WriteByte('{')
	first := []string{"specversion", "id", "source", "type"}
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(attributes)), func(n string) bool { return slices.Contains(first, n) })
	for _, name := range slices.Concat(first, names) {
		quoted, err := json.Marshal(attributes[name])
		if err != nil {
			return message{}, errors.New("a CloudEvent with an attribute that is no text")
		}
		b.WriteString(`"` + name + `":`)
		b.Write(quoted)
		b.WriteByte(',')
	}
	b.WriteString(`"data":`)
	b.Write(data)
	b.WriteByte('}')
	if !json.Valid(b.Bytes()) {
		return message{}, errors.New("a CloudEvent with an attribute whose name is no word")
	}
	return message{attributes["id"], events.Type(attributes["type"]), attributes[strings.TrimPrefix(replay.Mark, "ce-")] != "", b.Bytes()}, nil
}

// holds reports what keeps a message from being an event of its type: what is
// signed is what the contract says. Of a type that came later only the data's
// being an object is known. Its errors quote nothing.
func holds(t events.Type, h nats.Header, data []byte) error {
	if slices.Contains(events.Types(), t) {
		_, err := events.Decode(h, data)
		return err
	}
	if !bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) {
		return errors.New("a CloudEvent whose data is no object")
	}
	return nil
}
