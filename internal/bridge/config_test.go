package bridge

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/smartconnect/connector/internal/events"
)

const good = `endpoints:
  - name: portal
    url: https://hooks.example.org/connector
    types: [smartconnect.prompt.*]
    secrets: [{file: secret}]
`

func TestConfig(t *testing.T) {
	c, err := parse(strings.NewReader(good))
	if err != nil {
		t.Fatal(err)
	}
	e := c.Endpoints[0]
	if c.Stream != events.Stream || c.MaxDelay != time.Hour || e.Timeout != 15*time.Second || e.Concurrency != 1 || e.Start != "new" || e.Replays || e.AllowPrivate || e.Durable() != "bridge-portal" {
		t.Errorf("%+v", c)
	}
	if got := len(e.types()); got != 6 {
		t.Errorf("%d types of prompts", got)
	}
}

// A mistake is refused, with where it is and without what is in it.
func TestBadConfig(t *testing.T) {
	change := func(from, to string) string {
		if !strings.Contains(good, from) {
			t.Fatalf("no %s", from)
		}
		return strings.Replace(good, from, to, 1)
	}
	second := strings.TrimPrefix(good, "endpoints:\n")
	for name, tt := range map[string]struct{ body, want string }{
		"empty":                   {"", "empty"},
		"no YAML":                 {"endpoints: [", "line 1"},
		"a list":                  {"- s3cret", "line 1"},
		"no endpoints":            {"maxDelay: 1h", "endpoints"},
		"two documents":           {good + "---\n" + good, "more than one document"},
		"unknown key":             {"retries: 3\n" + good, "line 1: there is no setting called retries"},
		"unknown key below":       {change("    url:", "    uri: https://s3cret.example\n    url:"), "line 3: there is no setting called uri"},
		"key in other letters":    {change("    url:", "    allowprivate: true\n    url:"), "line 3: there is no setting called allowprivate"},
		"key twice":               {change("    url:", "    name: s3cret\n    url:"), "line 3"},
		"a duration that is none": {"maxDelay: s3cret\n" + good, "line 1"},
		"too short a delay":       {"maxDelay: 1ms\n" + good, "maxDelay"},
		"too long a delay":        {"maxDelay: 48h\n" + good, "maxDelay"},
		"stream with a dot":       {"stream: a.b\n" + good, "stream"},
		"no name":                 {change("name: portal", "name: ''"), "endpoint number 1: name"},
		"a name with a dot":       {change("portal", "s3cret.example"), "endpoint number 1: name"},
		"two of one name":         {good + second, "portal: there are two"},
		"no URL":                  {change("    url: https://hooks.example.org/connector\n", ""), "url"},
		"http":                    {change("https:", "http:"), "want https"},
		"http to a private host":  {change("url: https://hooks.example.org", "allowPrivate: true\n    url: http://10.0.0.1"), "want https"},
		"http on loopback":        {change("https://hooks.example.org", "http://127.0.0.1"), "want https"},
		"ftp":                     {change("https:", "ftp:"), "want https"},
		"no scheme":               {change("https://", ""), "url"},
		"a password":              {change("https://", "https://user:s3cret@"), "password"},
		"no URL at all":           {change("https://hooks.example.org/connector", `"https://s3cret\x7f"`), "url"},
		"a private address":       {change("hooks.example.org", "10.0.0.1"), "allowPrivate"},
		"a mapped address":        {change("hooks.example.org", "[::ffff:127.0.0.1]"), "allowPrivate"},
		"a link-local address":    {change("url: https://hooks.example.org", "allowPrivate: true\n    url: https://169.254.169.254"), "url"},
		"no types":                {change("[smartconnect.prompt.*]", "[]"), "types"},
		"a type that is none":     {change("smartconnect.prompt.*", "smartconnect.prompts.*"), `no event type is like "smartconnect.prompts.*"`},
		"a pattern with brackets": {change("[smartconnect.prompt.*]", `["smartconnect.[a-z]*"]`), "no event type is like"},
		"no secrets":              {change("[{file: secret}]", "[]"), "secrets"},
		"a secret in the file":    {change("{file: secret}", "whsec_s3cret"), "line 5: a secret is named by file: or by env:"},
		"a secret by value":       {change("{file: secret}", "{value: s3cret}"), "line 5: a secret has file: or env:"},
		"a secret in two places":  {change("{file: secret}", "{file: s3cret, env: S}"), "line 5: a secret is named by"},
		"a secret of nothing":     {change("{file: secret}", "{file: ''}"), "line 5: a secret is named by"},
		"a start that is none":    {change("    types:", "    start: s3cret\n    types:"), "start"},
		"a start to come":         {change("    types:", "    start: -1h\n    types:"), "start"},
		"too short a timeout":     {change("    types:", "    timeout: 10ms\n    types:"), "timeout"},
		"too long a timeout":      {change("    types:", "    timeout: 2m\n    types:"), "timeout"},
		"too many at once":        {change("    types:", "    concurrency: 65\n    types:"), "concurrency"},
		"less than one at once":   {change("    types:", "    concurrency: -1\n    types:"), "concurrency"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse(strings.NewReader(tt.body))
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%v; want a word about %q", err, tt.want)
			}
		})
	}
}

func TestGoodConfigs(t *testing.T) {
	for name, url := range map[string]string{
		"a port":              "https://hooks.example.org:8443/x?y=z",
		"a public address":    "https://93.184.215.14/",
		"an address of IPv6":  "https://[2606:4700::1111]/",
		"loopback":            "http://127.0.0.1:8000/",
		"localhost":           "http://localhost:8000/",
		"a private address":   "https://10.0.0.1/",
		"upper-case scheme":   "HTTPS://hooks.example.org",
		"a name that is ours": "https://localhost/",
	} {
		body := strings.Replace(good, "https://hooks.example.org/connector", fmt.Sprintf("%q\n    allowPrivate: true", url), 1)
		if _, err := parse(strings.NewReader(body)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := parse(strings.NewReader(strings.Replace(good, "    types:", "    start: 2026-11-24T10:00:00Z\n    types:", 1))); err != nil {
		t.Error(err)
	}
}

// Secrets and certificates are read when the bridge starts; what is wrong with
// them is said without quoting them.
func TestBadSecrets(t *testing.T) {
	dir := t.TempDir()
	for name, body := range map[string]string{
		"good": "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 24)), "plain": base64.StdEncoding.EncodeToString(make([]byte, 24)),
		"short": "whsec_" + base64.StdEncoding.EncodeToString([]byte("s3cret")), "long": "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 65)),
		"broken": "whsec_s3cret!", "empty": "",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, tt := range map[string]struct{ from, want string }{
		"good":             {"{file: good}", ""},
		"by an env":        {"{env: GOOD}", ""},
		"no such file":     {"{file: nowhere}", "nowhere"},
		"no such variable": {"{env: NOWHERE}", "NOWHERE"},
		"no prefix":        {"{file: plain}", "want whsec_"},
		"too short":        {"{file: short}", "24 to 64 bytes"},
		"too long":         {"{file: long}", "24 to 64 bytes"},
		"no base64":        {"{file: broken}", "base64"},
		"empty":            {"{file: empty}", "want whsec_"},
		"the second":       {"{file: good}, {file: short}", "secret 2"},
		"no certificates":  {"{file: good}]\n    ca: good #", "ca: it holds no certificate"},
	} {
		body := strings.Replace(good, "{file: secret}", tt.from, 1)
		c, err := parse(strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		c.dir = dir
		_, err = New(nil, events.Subjects{}, c, func(name string) (string, bool) {
			return "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 32)), name == "GOOD"
		})
		if tt.want == "" && err == nil {
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "s3cret") || tt.want == "" {
			t.Errorf("%s: %v; want a word about %q", name, err, tt.want)
		}
	}
}
