package events

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
)

// Where made-up events go. They have a stream and subjects of their own, below
// no deployment's prefix, so no durable of a connector hears them and no head
// of it is theirs; and their source says what they are, wherever they are
// copied to.
const (
	TestStream = "SC_TEST"
	TestPrefix = "test.sc.v1"
	TestSource = "urn:smartconnect:test"
)

// testIncarnation goes into the ids of made-up events.
const testIncarnation = "test"

// UnmarshalJSON reads an event in CloudEvents' JSON format by the rules of
// [Decode].
func (e *Event) UnmarshalJSON(raw []byte) error {
	var envelope map[string]json.RawMessage
	if err := json.Unmarshal(raw, &envelope); err != nil {
		return fmt.Errorf("%w: no object", ErrMalformed)
	}
	header := nats.Header{}
	for name, value := range envelope {
		if name == "data" {
			continue
		}
		var text string
		if err := json.Unmarshal(value, &text); err != nil {
			return fmt.Errorf("%w: %.40q is no text", ErrMalformed, name)
		}
		header["ce-"+name] = []string{text}
	}
	read, err := Decode(header, envelope["data"])
	if err != nil {
		return err
	}
	*e = read
	return nil
}

// TestMessage returns the message of a made-up event. Whatever e says, it goes
// below TestPrefix and comes from TestSource.
func TestMessage(e Event) (*nats.Msg, error) {
	e.Source = TestSource
	subject := Subjects{TestPrefix}.Of(e)
	if err := e.stamp(testIncarnation, subject); err != nil {
		return nil, err
	}
	header, body, err := encode(e, TestSource)
	if err != nil {
		return nil, err
	}
	return &nats.Msg{Subject: subject, Header: header, Data: body}, nil
}

// TestTokenizer makes the tokens of made-up events. They are those of no
// deployment: the same member has others there.
func TestTokenizer() Tokenizer {
	return Tokenizer{[]byte(strings.Repeat(TestPrefix+" ", 4))}
}
