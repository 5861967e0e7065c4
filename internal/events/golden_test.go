package events

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/nats-io/nats.go"
)

// The golden messages are the fixtures as they travel: NATS headers and body,
// byte for byte. Decoders of other hands read them in ../../test.
func TestGoldenMessages(t *testing.T) {
	dir := filepath.Join("testdata", "nats")
	want := map[string]bool{}
	for _, typ := range Types() {
		header, body, err := encode(fixtureEvent(t, typ), DefaultSource)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, string(typ)+".msg")
		want[filepath.Base(name)] = true
		got := wire(header, body)
		if *update {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, got, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		golden, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, golden) {
			t.Errorf("%s is written as\n%s\nwant\n%s", typ, got, golden)
		}
	}
	found, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		if !want[f.Name()] {
			t.Errorf("%s is of no type", f.Name())
		}
	}
}

// wire writes a message as the NATS protocol does, its headers sorted.
func wire(header nats.Header, body []byte) []byte {
	var b bytes.Buffer
	fmt.Fprint(&b, "NATS/1.0\r\n")
	for _, name := range slices.Sorted(maps.Keys(header)) {
		fmt.Fprintf(&b, "%s: %s\r\n", name, header[name][0])
	}
	fmt.Fprint(&b, "\r\n")
	b.Write(body)
	return b.Bytes()
}
