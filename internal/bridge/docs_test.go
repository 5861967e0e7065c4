package bridge

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

const page = "../../docs/webhooks.md"

// snippet returns the first snippet of a language on the page.
func snippet(t *testing.T, language string) string {
	t.Helper()
	body, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(body), "```"+language+"\n")
	text, _, closed := strings.Cut(rest, "```")
	if !ok || !closed {
		t.Fatalf("docs/webhooks.md has no snippet of %s", language)
	}
	return text
}

// The example in deploy is a config, whose files lie beside it.
func TestExample(t *testing.T) {
	body, err := os.ReadFile("../../deploy/bridge.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "secrets"), 0o700); err != nil {
		t.Fatal(err)
	}
	secret := "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 32))
	for name, text := range map[string]string{"bridge.yaml": string(body), "secrets/portal-webhook": secret, "secrets/care-team-webhook": secret} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Load(filepath.Join(dir, "bridge.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Endpoints) != 2 || len(c.Endpoints[0].Secrets) != 2 || !c.Endpoints[1].AllowPrivate {
		t.Errorf("%+v", c)
	}
	for _, e := range c.Endpoints {
		e.CA = "" // there is none to be had without asking somebody
		if _, err := c.newPost(e, func(name string) (string, bool) { return secret, name == "PORTAL_WEBHOOK_OLD" }); err != nil {
			t.Error(err)
		}
	}
}

// The page has a row for each setting, and for no other.
func TestPageListsSettings(t *testing.T) {
	body, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(body), "## Settings")
	var said, have []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\|").FindAllStringSubmatch(table, -1) {
		said = append(said, m[1])
	}
	for _, v := range []any{Config{}, Endpoint{}} {
		for _, f := range reflect.VisibleFields(reflect.TypeOf(v)) {
			if key := f.Tag.Get("yaml"); key != "" && key != "endpoints" {
				have = append(have, key)
			}
		}
	}
	slices.Sort(said)
	slices.Sort(have)
	if !slices.Equal(said, have) {
		t.Errorf("docs/webhooks.md has %v, want %v", said, have)
	}
}

// The receiver in Go compiles, and takes what a bridge posts and nothing else.
func TestReceiverInGo(t *testing.T) {
	w := newWorld(t)
	secret := w.secret("secret")
	program := filepath.Join(w.dir, "receiver")
	w.must(os.WriteFile(program+".go", []byte(snippet(t, "go")), 0o600))
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, program+".go").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	w.must(err)
	address := l.Addr().String()
	w.must(l.Close())
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, program)
	cmd.Env = append(os.Environ(), "WEBHOOK_SECRET="+secret, "LISTEN="+address)
	w.must(cmd.Start())
	defer func() { cancel(); _ = cmd.Wait() }()
	w.until("listening", func() bool {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	c := w.config(strings.Replace(at("portal", "http://"+address+"/connector"), "ca: ca.pem, ", "", 1))
	if r, err := c.Test(ctx, "portal", os.LookupEnv); err != nil || r.Why != Delivered {
		t.Errorf("%+v, %v", r, err)
	}
	w.secret("secret") // another one, which the receiver does not know
	if r, err := c.Test(ctx, "portal", os.LookupEnv); err != nil || r.Status != 401 {
		t.Errorf("%+v, %v", r, err)
	}
}

// The verifier in TypeScript takes what the bridge signs and nothing else.
func TestVerifierInTypeScript(t *testing.T) {
	node, err := exec.LookPath("node")
	if errors.Is(err, exec.ErrNotFound) {
		if os.Getenv("CI") != "" {
			t.Fatal("CI has no Node")
		}
		t.Skip("no Node here")
	}
	w := newWorld(t)
	secret, r := w.secret("secret"), w.receiver(nil)
	if _, err := w.config(at("portal", r.URL)).Test(t.Context(), "portal", os.LookupEnv); err != nil {
		t.Fatal(err)
	}
	q := r.requests()[0]
	// Node runs JavaScript: the types are taken away, which stand here only.
	text := snippet(t, "ts")
	const typed = "export function verify(secrets: string[], headers: Record<string, string | undefined>, body: Buffer): boolean {"
	if !strings.Contains(text, typed) {
		t.Fatal("the snippet has other types")
	}
	text = strings.Replace(text, typed, "function verify(secrets, headers, body) {", 1)
	type call struct {
		Name    string
		Secrets []string
		Headers map[string]string
		Body    string
		Want    bool
	}
	headers := func(change ...string) map[string]string {
		h := map[string]string{}
		for _, name := range []string{"webhook-id", "webhook-timestamp", "webhook-signature"} {
			h[name] = q.header.Get(name)
		}
		for i := 0; i < len(change); i += 2 {
			h[change[i]] = change[i+1]
		}
		return h
	}
	// Signed as it should be, an hour ago.
	past := request{q.header.Clone(), q.body}
	past.header.Set("webhook-timestamp", fmt.Sprint(time.Now().Add(-time.Hour).Unix()))
	other, body := w.secret("other"), string(q.body)
	calls := []call{
		{"as sent", []string{secret}, headers(), body, true},
		{"in a rotation", []string{other, secret}, headers(), body, true},
		{"by two secrets", []string{secret}, headers("webhook-signature", "v1,AAAA "+q.header.Get("webhook-signature")), body, true},
		{"another secret", []string{other}, headers(), body, false},
		{"another body", []string{secret}, headers(), body + " ", false},
		{"another id", []string{secret}, headers("webhook-id", "x"), body, false},
		{"too old", []string{secret}, headers("webhook-timestamp", past.header.Get("webhook-timestamp"), "webhook-signature", byHand(t, secret, past)), body, false},
		{"no time", []string{secret}, headers("webhook-timestamp", "soon"), body, false},
		{"no signature", []string{secret}, headers("webhook-signature", ""), body, false},
	}
	in, err := json.Marshal(calls)
	w.must(err)
	file := filepath.Join(w.dir, "verify.mjs")
	w.must(os.WriteFile(file, []byte(text+`
for (const c of `+string(in)+`) {
  const got = verify(c.Secrets, c.Headers, Buffer.from(c.Body));
  console.log(c.Name, got === c.Want ? "ok" : "WRONG");
}`), 0o600))
	out, err := exec.CommandContext(t.Context(), node, file).CombinedOutput()
	if err != nil || strings.Count(string(out), " ok\n") != len(calls) {
		t.Errorf("%v\n%s", err, out)
	}
}
