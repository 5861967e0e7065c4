package acting

import (
	"strings"
	"testing"
	"time"

	"github.com/smartconnect/connector/internal/members"
)

func keys(t testing.TB) members.Keys {
	t.Helper()
	k, err := members.NewKeys()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func aLink() link {
	return link{prompt: prompt, expires: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), nonce: [nonceSize]byte{1, 2, 255}}
}

func TestTokenSaysWhatWasSigned(t *testing.T) {
	k := keys(t)
	token := aLink().token(k)
	if got, ok := readToken(k, token); !ok || got != aLink() {
		t.Errorf("%+v, %t", got, ok)
	}
	if _, ok := readToken(keys(t), token); ok {
		t.Error("read under another key")
	}
	if len(token) > 100 {
		t.Errorf("%d characters are too many for a text message", len(token))
	}
	if strings.Trim(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		t.Errorf("%s does not fit in a path", token)
	}
}

// Whatever single character is changed, added or lost: no link.
func TestTokenChangedAnywhere(t *testing.T) {
	k := keys(t)
	token := aLink().token(k)
	try := func(changed string) {
		t.Helper()
		if changed == token {
			return
		}
		if _, ok := readToken(k, changed); ok {
			t.Fatalf("read %q, changed from %q", changed, token)
		}
	}
	for i := range len(token) {
		for c := range 256 {
			try(token[:i] + string([]byte{byte(c)}) + token[i+1:])
			try(token[:i] + string([]byte{byte(c)}) + token[i:])
		}
		try(token[:i] + token[i+1:])
		try(token[:i])
		try(token[i+1:])
	}
	for _, more := range []string{"A", "AA", "AAAA", "=", "==", "\n", "\r\n", " ", ".", "%00", token} {
		try(token + more)
		try(more + token)
	}
	for _, n := range []int{maxToken, maxToken + 1, 1 << 20} {
		try(strings.Repeat("A", n))
		try("AQ" + strings.Repeat("_", n))
	}
}

func FuzzReadToken(f *testing.F) {
	k := keys(f)
	token := aLink().token(k)
	f.Add(token)
	f.Add("")
	f.Add("AQJrMQ")
	f.Add("Af" + token[2:])
	f.Fuzz(func(t *testing.T, s string) {
		if got, ok := readToken(k, s); ok && (s != token || got != aLink()) {
			t.Errorf("read %q as %+v", s, got)
		}
	})
}
