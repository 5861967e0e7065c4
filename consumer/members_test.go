package consumer

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/smartconnect/connector/schemas"
)

// FuzzMembers compares the members found in passing with those of the JSON
// decoder.
func FuzzMembers(f *testing.F) {
	fixtures, err := schemas.FS.ReadDir("fixtures")
	if err != nil {
		f.Fatal(err)
	}
	for _, entry := range fixtures {
		body, err := schemas.FS.ReadFile("fixtures/" + entry.Name())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(body))
	}
	f.Add(`{"a":"\\\"b\\",  "c" :{"d":[{"e":1},"f,{"]},"":null , "g":[],"h":{}}`)
	f.Add("{ }")
	f.Fuzz(func(t *testing.T, body string) {
		var object map[string]json.RawMessage
		if json.Unmarshal([]byte(body), &object) != nil || object == nil {
			t.Skip()
		}
		want := slices.Sorted(maps.Keys(object))
		found := map[string]bool{}
		for raw, value := range members([]byte(body)) {
			var key string
			if err := json.Unmarshal([]byte(`"`+string(raw)+`"`), &key); err != nil {
				t.Fatalf("key %q: %v", raw, err)
			}
			found[key] = true
			var begins json.RawMessage
			if err := json.NewDecoder(strings.NewReader(string(value))).Decode(&begins); err != nil {
				t.Errorf("%q begins no value: %v", value, err)
			}
		}
		if got := slices.Sorted(maps.Keys(found)); !slices.Equal(got, want) {
			t.Errorf("members %q, want %q", got, want)
		}
	})
}
