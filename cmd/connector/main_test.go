package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// terminal runs a command that needs no world.
func terminal(t *testing.T, args ...string) (code int, out, complaints string) {
	t.Helper()
	return (&world{T: t}).run("", args...)
}

func file(t *testing.T, name, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestUsage(t *testing.T) {
	key := file(t, "key", "{}")
	for name, tt := range map[string]struct {
		args []string
		want string // in what is complained
	}{
		"no command":                   {nil, "expected one of"},
		"a word that is no command":    {[]string{"rnu"}, "unexpected argument rnu"},
		"a group without its command":  {[]string{"members"}, "expected one of"},
		"a flag that is none":          {[]string{"run", "--natz", "x"}, "unknown flag --natz"},
		"a required flag is missing":   {[]string{"keygen"}, "--key-file"},
		"two required are missing":     {[]string{"run"}, "--bwell"},
		"no client key":                {[]string{"run", "--bwell", "x", "--key-file", key}, "--client-key"},
		"a required word is missing":   {[]string{"members", "show", "--key-file", key}, "<member>"},
		"a file that is not there":     {[]string{"run", "--bwell", "x", "--client-key", "x", "--key-file", "nowhere"}, "nowhere"},
		"a number that is none":        {[]string{"sim", "--seed", "x"}, "--seed"},
		"a negative seed":              {[]string{"sim", "--seed=-1"}, "--seed"},
		"a value that is none of few":  {[]string{"topology", "plan", "--replicas", "2"}, "--replicas"},
		"a level that is none":         {[]string{"version", "--log-level", "loud"}, "--log-level"},
		"a duration that is none":      {[]string{"events", "tail", "--since", "yesterday"}, "--since"},
		"a type that is none":          {[]string{"events", "tail", "--type", "prompt.open"}, "connector schema list"},
		"a prefix with a wildcard":     {[]string{"events", "tail", "--prefix", "sc.*"}, "prefix"},
		"a ceiling of nothing":         {[]string{"run", "--bwell", "x", "--client-key", "x", "--key-file", key, "--rate", "0"}, "rate"},
		"a ceiling that is no number":  {[]string{"run", "--bwell", "x", "--client-key", "x", "--key-file", key, "--rate", "NaN"}, "rate"},
		"no ceiling":                   {[]string{"run", "--bwell", "x", "--client-key", "x", "--key-file", key, "--rate", "Inf"}, "rate"},
		"prompts at no rate":           {[]string{"prompts", "open", "--baseline", "--rate", "NaN"}, "--rate"},
		"a snooze below zero":          {[]string{"prompts", "ack", "c.1", "--snooze=-1h"}, "--snooze"},
		"a snooze of no second":        {[]string{"prompts", "ack", "c.1", "--snooze", "500ms"}, "--snooze"},
		"a link of no second":          {[]string{"prompts", "link", "c.1", "--ttl", "500ms"}, "--ttl"},
		"a replica of two tokens":      {[]string{"run", "--bwell", "x", "--client-key", "x", "--key-file", key, "--replica", "a.b"}, "replica"},
		"dev on a public address":      {[]string{"dev", "--nats-listen", "0.0.0.0:4222"}, "--nats-listen"},
		"dev's b.well on all":          {[]string{"dev", "--sim-listen", ":8090"}, "--sim-listen"},
		"members below none":           {[]string{"sim", "--members=-1"}, "members"},
		"a config file that is absent": {[]string{"version", "--config", "nowhere.json"}, "nowhere.json"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, complaints := terminal(t, tt.args...)
			if code != exitUsage || !strings.Contains(complaints, tt.want) || !strings.Contains(complaints, "--help") || out != "" {
				t.Errorf("code %d, want %d and a word about %q\nout: %s\nerr: %s", code, exitUsage, tt.want, out, complaints)
			}
		})
	}
}

func TestHelpAndVersion(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"run", "--help"}, {"members", "--help"}, {"version"}} {
		code, out, complaints := terminal(t, args...)
		if code != exitOK || out == "" || complaints != "" {
			t.Errorf("%v: code %d, out %q, err %q", args, code, out, complaints)
		}
	}
	_, out, _ := terminal(t, "run", "--help")
	for _, want := range []string{"CONNECTOR_NATS", "CONNECTOR_KEY_FILE", "CONNECTOR_BWELL", "nats://127.0.0.1:4222"} {
		if !strings.Contains(out, want) {
			t.Errorf("the help of run lacks %s", want)
		}
	}
}

func TestVersionAsJSON(t *testing.T) {
	code, out, complaints := terminal(t, "version", "--json")
	var v struct{ Version, Revision, Go string }
	if err := json.Unmarshal([]byte(out), &v); code != exitOK || complaints != "" || err != nil || v.Version == "" || v.Revision == "" || v.Go == "" {
		t.Errorf("code %d: %s%s, %v", code, out, complaints, err)
	}
}

func TestFailure(t *testing.T) {
	code, out, complaints := terminal(t, "prompts", "list", "--nats", "nats://127.0.0.1:1")
	if code != exitFailed || !strings.Contains(complaints, "connector dev") || out != "" {
		t.Errorf("code %d, out %q, err %q", code, out, complaints)
	}
}

// Each way to give a flag, alone and against the others.
func TestFlagsThenEnvironmentThenFile(t *testing.T) {
	level := func(t *testing.T, args ...string) string {
		t.Helper()
		var c cli
		parser, err := grammar(&c, streams{}, func(int) {})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parser.Parse(append([]string{"topology", "plan"}, args...)); err != nil {
			t.Fatal(err)
		}
		return c.Topology.Plan.NATS
	}
	config := []string{"--config", file(t, "c.json", `{"nats":"nats://file","log-level":"warn","replicas":3,"fast":true}`)}
	flag := []string{"--nats", "nats://flag"}
	if got := level(t); got != "nats://127.0.0.1:4222" {
		t.Errorf("by default: %s", got)
	}
	if got := level(t, config...); got != "nats://file" {
		t.Errorf("file: %s", got)
	}
	if got := level(t, append(config, flag...)...); got != "nats://flag" {
		t.Errorf("flag over file: %s", got)
	}
	t.Setenv("CONNECTOR_NATS", "nats://environment")
	if got := level(t); got != "nats://environment" {
		t.Errorf("environment: %s", got)
	}
	if got := level(t, config...); got != "nats://environment" {
		t.Errorf("environment over file: %s", got)
	}
	if got := level(t, append(config, flag...)...); got != "nats://flag" {
		t.Errorf("flag over all: %s", got)
	}
	t.Setenv("CONNECTOR_CONFIG", config[1])
	t.Setenv("CONNECTOR_NATS", "")
	_ = os.Unsetenv("CONNECTOR_NATS")
	if got := level(t); got != "nats://file" {
		t.Errorf("a file that the environment names: %s", got)
	}
}

func TestConfigFileOfEveryKind(t *testing.T) {
	var c cli
	parser, err := grammar(&c, streams{}, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	path := file(t, "c.json", `{"seed":18446744073709551615,"story":true,"members":7,"fast":false,"data-dir":"d","http-listen":""}`)
	if _, err := parser.Parse([]string{"dev", "--config", path}); err != nil {
		t.Fatal(err)
	}
	if d := c.Dev; d.Seed != 1<<64-1 || !d.Story || d.Members != 7 || d.Fast || d.DataDir != "d" || d.HTTPListen != "" {
		t.Errorf("%+v", d)
	}
}

func TestBadConfigFile(t *testing.T) {
	for name, tt := range map[string]struct{ body, want string }{
		"no JSON":            {`{"nats": s3cret`, "no JSON"},
		"a list":             {`["s3cret"]`, "no JSON object"},
		"null":               {`null`, "no JSON object"},
		"two objects":        {`{} {"client-key":"s3cret"}`, "no JSON object"},
		"an unknown flag":    {`{"ntas":"s3cret"}`, `"ntas"`},
		"another spelling":   {`{"http_listen":"s3cret"}`, `"http_listen"`},
		"a list in it":       {`{"client-key":["s3cret"]}`, `"client-key"`},
		"an object in it":    {`{"client-key":{"a":"s3cret"}}`, `"client-key"`},
		"null in it":         {`{"client-key":null}`, `"client-key"`},
		"a file in the file": {`{"config":"other.json"}`, `"config"`},
		"half a replica":     {`{"replicas":2.5}`, "--replicas"},
		"a bad choice":       {`{"replicas":4}`, "--replicas"},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, complaints := terminal(t, "topology", "plan", "--config", file(t, "c.json", tt.body))
			if code != exitUsage || !strings.Contains(complaints, tt.want) || strings.Contains(complaints, "s3cret") {
				t.Errorf("code %d: %s", code, complaints)
			}
		})
	}
}

func TestNATSContext(t *testing.T) {
	write := contexts(t)
	write("good", `{"description":"d","url":"nats://there:4222","user":"u","password":"s3cret","color_scheme":"x","nsc":"","windows_ca_certs_match":[],"a_new_flag":false}`)
	write("broken", `{"password":"s3cret"`)
	write("odd", `{"password":["s3cret"]}`)
	write("proxied", `{"socks_proxy":"socks5://u:s3cret@there"}`)
	write("domain", `{"jetstream_domain":"s3cret"}`)
	write("half", `{"cert":"s3cret.pem"}`)
	write("seedless", `{"nkey":"s3cret.nk"}`)
	got, err := readContext("good")
	if err != nil || got.URL != "nats://there:4222" || got.User != "u" || got.Password != "s3cret" {
		t.Errorf("%+v, %v", got, err)
	}
	for name, want := range map[string]string{
		"broken": "no JSON", "odd": "no context of the nats CLI", "proxied": "does not support its socks_proxy", "domain": "does not support its jetstream_domain",
		"absent": "nats context ls", "../context/good": "no file name", ".good": "no file name", "/etc/passwd": "no file name",
	} {
		_, err := readContext(name)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, want := range map[string]string{"absent": "nats context ls", "half": "only one of cert and key", "seedless": "no file of a user's seed"} {
		code, _, complaints := terminal(t, "prompts", "list", "--context", name)
		if code != exitFailed || !strings.Contains(complaints, want) || strings.Contains(complaints, "s3cret") {
			t.Errorf("%s: code %d: %s", name, code, complaints)
		}
	}
}

// What a context says of users reaches nats.go, and --creds outdoes it.
func TestUsersOfNATSContexts(t *testing.T) {
	write := contexts(t)
	creds := file(t, "a.creds", "")
	t.Setenv("HOME", filepath.Dir(creds))
	for name, tt := range map[string]struct {
		body string
		is   func(nats.Options) bool
	}{
		"user":        {`{"user":"u","password":"p","creds":"c"}`, func(o nats.Options) bool { return o.User == "u" && o.Password == "p" && o.UserJWT == nil }},
		"creds":       {`{"creds":"~/a.creds"}`, func(o nats.Options) bool { return o.UserJWT != nil && o.SignatureCB != nil && o.User == "" }},
		"token":       {`{"token":"t"}`, func(o nats.Options) bool { return o.Token == "t" }},
		"JWT":         {`{"user_jwt":"j","user_seed":"s"}`, func(o nats.Options) bool { jwt, err := o.UserJWT(); return jwt == "j" && err == nil }},
		"bearer":      {`{"user_jwt":"j"}`, func(o nats.Options) bool { jwt, err := o.UserJWT(); return jwt == "j" && err == nil }},
		"other inbox": {`{"inbox_prefix":"_OURS"}`, func(o nats.Options) bool { return o.InboxPrefix == "_OURS" }},
	} {
		write("c", tt.body)
		for with, b := range map[string]broker{"alone": {Context: "c"}, "with --creds": {Context: "c", Creds: creds}} {
			_, options, err := b.options(t.Context())
			if err != nil {
				t.Fatalf("%s, %s: %v", name, with, err)
			}
			o := nats.GetDefaultOptions()
			for _, option := range options {
				if err := option(&o); err != nil {
					t.Fatalf("%s, %s: %v", name, with, err)
				}
			}
			if with == "alone" && !tt.is(o) || with != "alone" && (o.User != "" || o.Token != "" || o.SignatureCB == nil) {
				t.Errorf("%s, %s: %+v", name, with, o)
			}
		}
	}
}

// A server that takes who has a key and a certificate, and speaks TLS first, is
// reached by a context that says so.
func TestNATSContextWithKeys(t *testing.T) {
	write := contexts(t)
	tlsServer := httptest.NewTLSServer(http.NotFoundHandler())
	defer tlsServer.Close()
	pair := tlsServer.TLS.Certificates[0]
	private, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert := file(t, "cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})))
	key := file(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAnyClientCert}, TLSHandshakeFirst: true, TLSTimeout: 5,
		Nkeys: []*server.NkeyUser{{Nkey: "UD6RSU2QC4TOG7ZYEDVOQJX6EOFNBSG5LVIUIMY2D2SGXKTMHKTXXQTN"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	defer s.WaitForShutdown()
	defer s.Shutdown()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server is not ready")
	}
	body, err := json.Marshal(map[string]any{
		"url": s.ClientURL(), "nkey": file(t, "user.nk", "SUAOPEHXFHVNLEICNQBXPND4HDQAQ7CCZR6OXIKBEEI7Q2QRQA7AIL2EWI"),
		"ca": cert, "cert": cert, "key": key, "tls_first": true, "inbox_prefix": "_OURS",
	})
	if err != nil {
		t.Fatal(err)
	}
	write("keys", string(body))
	if code, out, complaints := terminal(t, "topology", "apply", "--context", "keys"); code != exitOK {
		t.Errorf("code %d: %s%s", code, out, complaints)
	}
	for _, without := range []string{"nkey", "ca", "cert", "tls_first"} {
		fields := map[string]any{}
		if err := json.Unmarshal(body, &fields); err != nil {
			t.Fatal(err)
		}
		delete(fields, without)
		if without == "cert" {
			delete(fields, "key")
		}
		less, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		write("less", string(less))
		if code, _, complaints := terminal(t, "topology", "plan", "--context", "less"); code != exitFailed || !strings.Contains(complaints, "connect to NATS") {
			t.Errorf("without %s: code %d: %s", without, code, complaints)
		}
	}
}

// contexts is where the nats CLI keeps its contexts, in this test.
func contexts(t *testing.T) (write func(name, body string)) {
	t.Helper()
	home := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", home)
	dir := filepath.Join(home, "nats", "context")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return func(name, body string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name+".json"), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// An address may hold a password, and a piece of a wrong one may be a piece of
// it: no error repeats either, wherever the address came from.
func TestAddressesAreNotRepeated(t *testing.T) {
	write := contexts(t)
	for _, addresses := range []string{
		"nats://user:s3cret%zz@127.0.0.1:1", "nats://user:s3cret word@127.0.0.1:1", "nats://ok,nats://user:s3cret@127.0.0.1:abc",
		"nats://user:s3cret/x@127.0.0.1:1", "nats://user:1#s3cret@127.0.0.1:1", "nats://user:1?s3cret@127.0.0.1:1",
		"nats://user:1/s3cret@127.0.0.1:1", "s3cret%zz@127.0.0.1:1", "nats://user:s3cret@", "nats://user:s3cret,x@127.0.0.1:1",
	} {
		says := func(from, want string, args ...string) {
			t.Helper()
			code, out, complaints := terminal(t, append([]string{"prompts", "list"}, args...)...)
			if code != exitFailed || !strings.Contains(complaints, want) || !strings.Contains(complaints, "nats://host:port") || strings.Contains(out+complaints, "s3cret") {
				t.Errorf("%s, by %s: code %d: %s", addresses, from, code, complaints)
			}
		}
		says("flag", "--nats: address", "--nats", addresses)
		says("file", "--nats: address", "--config", file(t, "c.json", `{"nats":"`+addresses+`"}`))
		write("wrong", `{"url":"`+addresses+`"}`)
		says("context", "NATS context wrong: address", "--context", "wrong")
		t.Run("environment", func(t *testing.T) {
			t.Setenv("CONNECTOR_NATS", addresses)
			says("environment", "--nats: address")
		})
	}
	for _, right := range []string{"", "nats://a", "a:4222, b", "tls://u:p%20w@a:1/,nats://[::1]:2", "wss://a/path", "nats://token@a"} {
		if err := checkAddresses(right); err != nil {
			t.Errorf("%q: %v", right, err)
		}
	}
}

func TestLoopback(t *testing.T) {
	for listen, want := range map[string]bool{
		"127.0.0.1:80": true, "127.9.9.9:80": true, "localhost:0": true, "[::1]:80": true,
		":80": false, "0.0.0.0:80": false, "[::]:80": false, "10.0.0.1:80": false, "example.org:80": false,
		"localhost.example.org:80": false, "127.0.0.1": false, "": false, "[::ffff:10.0.0.1]:80": false,
	} {
		if got := loopback(listen); got != want {
			t.Errorf("%q: %v", listen, got)
		}
	}
}

func TestKeygen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "k")
	code, out, complaints := terminal(t, "keygen", "--key-file", path)
	if code != exitOK || !strings.Contains(out, path) || complaints != "" {
		t.Fatalf("code %d, out %q, err %q", code, out, complaints)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	first, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	code, _, complaints = terminal(t, "keygen", "--key-file", path)
	again, _ := os.ReadFile(path)
	if code != exitFailed || !strings.Contains(complaints, "not overwritten") || string(again) != string(first) {
		t.Errorf("code %d: %s; changed: %v", code, complaints, string(again) != string(first))
	}
	if strings.Contains(out+complaints, string(first[20:60])) {
		t.Error("a key is printed")
	}
	if code, _, _ = terminal(t, "keygen", "--key-file", filepath.Join(t.TempDir(), "no", "such", "folder")); code != exitFailed {
		t.Errorf("no such folder: code %d", code)
	}
}
