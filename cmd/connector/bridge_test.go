package main

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/smartconnect/connector/internal/bridge"
	"github.com/smartconnect/connector/internal/events"
)

const hookSecret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"

// someBridge returns a bridge with one endpoint that never ran.
func someBridge(t *testing.T) *bridge.Bridge {
	t.Helper()
	c, err := bridge.Load(file(t, "bridge.yaml", "endpoints: [{name: a, url: https://x.example, types: [smartconnect.prompt.*], secrets: [{env: S}]}]"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := bridge.New(nil, events.Subjects{}, c, func(string) (string, bool) { return hookSecret, true })
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// hook is a receiver, with the config of a bridge that posts to it.
type hook struct {
	config string
	status atomic.Int64
	mu     sync.Mutex
	types  []string
	bodies [][]byte
	bad    int // requests whose signature is wrong
}

func newHook(t *testing.T) *hook {
	t.Helper()
	h := &hook{}
	h.status.Store(http.StatusNoContent)
	verifier, err := webhooks.NewWebhook(hookSecret)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var e struct{ Type string }
		h.mu.Lock()
		defer h.mu.Unlock()
		if verifier.Verify(body, r.Header) != nil || json.Unmarshal(body, &e) != nil {
			h.bad++
		}
		h.types, h.bodies = append(h.types, e.Type), append(h.bodies, body)
		w.WriteHeader(int(h.status.Load()))
	}))
	t.Cleanup(s.Close)
	dir := t.TempDir()
	h.config = filepath.Join(dir, "bridge.yaml")
	for name, body := range map[string]string{
		"secret": hookSecret, "ca.pem": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})),
		"bridge.yaml": "endpoints: [{name: portal, url: \"" + s.URL + "/s3cret\", types: [smartconnect.prompt.*, smartconnect.storm.*], secrets: [{file: secret}], ca: ca.pem, allowPrivate: true}]",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

func (h *hook) got() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.types...)
}

// bridgeOn runs the command until stop is called.
func (w *world) bridgeOn(url, config string) (logged func() string, stop func()) {
	w.Helper()
	ctx, cancel := context.WithCancel(w.Context())
	log, ended := &journal{}, make(chan int, 1)
	go func() {
		ended <- program(ctx, []string{"bridge", "--nats", url, "--http-listen", "127.0.0.1:0", "--config", config}, streams{strings.NewReader(""), io.Discard, log})
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		if code := <-ended; code != exitOK {
			w.Errorf("bridge ended with %d: %s", code, log)
		}
	})
	w.Cleanup(stop)
	return log.String, stop
}

func (w *world) prompt(n int) {
	w.Helper()
	m := nats.NewMsg("sc.v1.prompt.m1.c1")
	for name, value := range map[string]string{
		"ce-specversion": "1.0", "ce-id": fmt.Sprintf("e%d", n), "ce-source": events.DefaultSource, "ce-type": string(events.PromptOpened), "ce-sequence": fmt.Sprint(n),
		"ce-subject": "m1.c1", "ce-time": "2026-11-24T10:00:00Z", "ce-recordedtime": "2026-11-24T10:00:01Z", "ce-datacontenttype": "application/json",
		"ce-dataschema": "urn:smartconnect:schema:smartconnect.prompt.opened.v1.json", "ce-dataclassification": "restricted", "ce-dataregulation": "HIPAA",
	} {
		m.Header[name] = []string{value}
	}
	m.Data = []byte(`{"memberId":"member-4711","connectionId":"clinic","promptId":"c1.1","action":"oauth","reason":"expired","urgency":"required","notify":true,` +
		`"connectionStatus":"EXPIRED","openedAt":"2026-11-24T10:00:00Z","reminder":0,"flapCount":0}`)
	_, err := w.js.PublishMsg(w.Context(), m)
	w.must(err)
}

// A whole life: a test event, delivery, an endpoint that is gone, and back. The
// bridge has the permissions that docs/operations.md names, and no others.
func TestBridge(t *testing.T) {
	t.Parallel()
	body, err := os.ReadFile(operations)
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(body), "What a bridge needs")
	block := regexp.MustCompile("(?s)```\npublish:(.*?)subscribe:(.*?)```").FindStringSubmatch(after)
	if block == nil {
		t.Fatal("docs/operations.md names no permissions of a bridge")
	}
	w := newWorldOn(t, 1, &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
		Users: []*server.User{
			{Username: "operator", Password: "p"},
			{Username: "bridge", Password: "p", Permissions: &server.Permissions{
				Publish:   &server.SubjectPermission{Allow: strings.Fields(block[1])},
				Subscribe: &server.SubjectPermission{Allow: strings.Fields(block[2])},
			}},
		},
	}, "operator:p@")
	url := strings.Replace(w.url, "operator:", "bridge:", 1)
	h := newHook(t)

	list := func() string {
		code, out, complaints := w.run("", "bridge", "list", "--nats", url, "--config", h.config)
		if code != exitOK {
			t.Errorf("list: %s", complaints)
		}
		return out
	}
	if out := list(); !regexp.MustCompile(`portal +new +0 +- +- +0 +- +-`).MatchString(out) {
		t.Errorf("list before all: %s", out)
	}
	code, out, complaints := w.run("", "bridge", "test", "portal", "--config", h.config)
	if code != exitOK || !strings.HasPrefix(out, "portal: delivered (HTTP 204), webhook-id test-") {
		t.Errorf("test: code %d, %s%s", code, out, complaints)
	}
	logged, stop := w.bridgeOn(url, h.config)
	w.until("the durable is there", func() bool {
		_, err := w.js.Consumer(t.Context(), events.Stream, "bridge-portal")
		return err == nil
	})
	w.prompt(1)
	w.until("delivered", func() bool { return len(h.got()) == 2 })
	if got := h.got(); got[0] != string(events.PromptOpened) || got[1] != string(events.PromptOpened) || h.bad != 0 {
		t.Errorf("got %v, %d with wrong signatures", got, h.bad)
	}
	for _, body := range h.bodies { // the made-up one too
		if faults := newChecker(false).event(body); len(faults) > 0 {
			t.Errorf("%v: %s", faults, body)
		}
	}
	address := regexp.MustCompile(`"address":"([^"]+)"`)
	w.until("HTTP answers", func() bool { return address.MatchString(logged()) })
	page := "http://" + address.FindStringSubmatch(logged())[1]
	if code, body := w.get(page + "/healthz"); code != 200 {
		t.Errorf("/healthz: %d %s", code, body)
	}
	if code, body := w.get(page + "/readyz"); code != 200 {
		t.Errorf("/readyz: %d %s", code, body)
	}
	if _, body := w.get(page + "/metrics"); !strings.Contains(body, `connector_bridge_delivered_total{endpoint="portal"} 1`) || strings.Contains(body, "s3cret") {
		t.Errorf("/metrics: %s", body)
	}
	w.until("said to be well", func() bool {
		return regexp.MustCompile(`portal +ok +0 +20\d\d-\S+ \S+ +- +0 +- +-`).MatchString(list())
	})

	h.status.Store(http.StatusGone)
	w.prompt(2)
	w.until("paused", func() bool { return regexp.MustCompile(`portal +paused +1 .*gone \(410\)`).MatchString(list()) })
	if code, out, _ := w.run("", "bridge", "test", "portal", "--config", h.config); code != exitFailed || !strings.Contains(out, "gone (HTTP 410)") {
		t.Errorf("test of one that is gone: code %d, %s", code, out)
	}
	h.status.Store(http.StatusOK)
	if code, _, complaints := w.run("", "bridge", "resume", "portal", "--nats", url, "--config", h.config); code != exitOK {
		t.Errorf("resume: %s", complaints)
	}
	w.until("delivered after all", func() bool {
		code, out, _ := w.run("", "bridge", "list", "--json", "--nats", url, "--config", h.config)
		var rows []bridge.Row
		return code == exitOK && json.Unmarshal([]byte(out), &rows) == nil && rows[0].State == bridge.OK && rows[0].Pending == 0 && rows[0].FailingSince.IsZero()
	})
	// While nobody runs it, more comes than the stream keeps: that is found, also
	// with the permissions of the page.
	stop()
	for n := range 70 {
		w.prompt(n + 3)
	}
	later, stop := w.bridgeOn(url, h.config)
	w.until("the gap is listed", func() bool { return regexp.MustCompile(`portal .* 1 +20\d\d-`).MatchString(list()) })
	stop()
	for _, no := range []string{"s3cret", hookSecret[6:], "member-4711", "ermission"} {
		if all := logged() + later(); strings.Contains(all, no) {
			t.Errorf("logged %s: %s", no, all)
		}
	}
	// And they are permissions: what is not named is refused.
	nc, js, _ := connect(t, url)
	soon, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := js.DeleteConsumer(soon, events.Stream, "decider"); err == nil {
		t.Error("a bridge may take the decider's consumer away")
	}
	if err := nc.Publish("sc.v1.prompt.m1.c1", nil); err != nil {
		t.Error(err)
	}
	w.must(nc.Flush())
	if info, err := w.js.Stream(t.Context(), events.Stream); err != nil || info.CachedInfo().State.LastSeq != 72 {
		t.Errorf("a bridge may publish events: %v", err)
	}
}

func TestBridgeUsage(t *testing.T) {
	h := newHook(t)
	for name, tt := range map[string]struct {
		code int
		want string
		args []string
	}{
		"no config":         {exitUsage, "--config", []string{"bridge"}},
		"list, no config":   {exitUsage, "--config", []string{"bridge", "list"}},
		"no such file":      {exitUsage, "nowhere", []string{"bridge", "--config", "nowhere"}},
		"no endpoint named": {exitUsage, "<endpoint>", []string{"bridge", "test", "--config", h.config}},
		"no such endpoint":  {exitFailed, "there are: portal", []string{"bridge", "test", "nobody", "--config", h.config}},
		"a mistake in it":   {exitFailed, "line 1: there is no setting called retries", []string{"bridge", "--config", file(t, "b.yaml", "retries: 3")}},
		"a file of flags":   {exitFailed, "there is no setting called nats", []string{"bridge", "list", "--config", file(t, "c.json", `{"nats":"nats://s3cret"}`)}},
		"endpoints for run": {exitUsage, "no JSON", []string{"topology", "plan", "--config", h.config}},
		"no NATS":           {exitFailed, "connector dev", []string{"bridge", "--nats", "nats://127.0.0.1:1", "--config", h.config}},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, complaints := terminal(t, tt.args...)
			if code != tt.code || !strings.Contains(complaints, tt.want) || out != "" || strings.Contains(complaints, "s3cret") {
				t.Errorf("code %d: %s%s", code, out, complaints)
			}
		})
	}
	// The environment may name the file too.
	t.Setenv("CONNECTOR_CONFIG", h.config)
	if code, _, complaints := terminal(t, "bridge", "test", "portal"); code != exitOK {
		t.Error(complaints)
	}
}
