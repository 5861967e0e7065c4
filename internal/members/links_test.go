package members

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// A key file whose keys are rotated verifies the links of before for as long as
// the old key is in it.
func TestLinkKeysRotate(t *testing.T) {
	before := newKeyFile()
	after := newKeyFile()
	after.TokenSecret = before.TokenSecret
	after.Seal[0].ID = "k2"
	after.Seal = append(after.Seal, before.Seal...)
	load := func(f keyFile) Keys {
		t.Helper()
		k, err := f.keys()
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	first, both, last := load(before), load(after), load(keyFile{1, after.TokenSecret, after.Seal[:1]})
	said := []byte("what a link says")
	id, mac := first.SignLink(said)
	if id != "k1" || !first.VerifyLink(id, said, mac) || !both.VerifyLink(id, said, mac) {
		t.Error("a link does not survive that a key is added")
	}
	if last.VerifyLink(id, said, mac) || first.VerifyLink("k2", said, mac) || both.VerifyLink("k2", said, mac) || both.VerifyLink("", said, mac) {
		t.Error("verified under a key that did not sign it")
	}
	if id, mac := both.SignLink(said); id != "k2" || !last.VerifyLink(id, said, mac) || first.VerifyLink(id, said, mac) {
		t.Error("the first key does not sign")
	}
	for i := range mac {
		changed := slices.Clone(mac)
		changed[i] ^= 1
		if first.VerifyLink(id, said, changed) || first.VerifyLink(id, said, mac[:i]) {
			t.Fatalf("byte %d does not matter", i)
		}
	}
	if bytes.Contains(first.seals[0].link, before.Seal[0].Key[:8]) {
		t.Error("the key that seals is the key that signs")
	}
	before.Seal[0].ID = strings.Repeat("k", maxKeyID+1)
	if _, err := before.keys(); err == nil {
		t.Error("took a key id that makes links long")
	}
}
