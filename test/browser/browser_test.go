// Package browser opens links in a real browser, on a screen of a phone's size,
// against the whole program: NATS, a simulated b.well, a connector in a process
// of its own, and a proxy before it that lets nothing through but links.
package browser

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"github.com/smartconnect/connector/internal/embednats"
	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/members"
	"github.com/smartconnect/connector/internal/secret"
	"github.com/smartconnect/connector/internal/simulator"
	"github.com/smartconnect/connector/internal/topology"
)

const bearer = "a-bearer-token-of-a-test-0123456789"

// Links, from a break to prompt.resolved, through a member's browser.
func TestLinksInABrowser(t *testing.T) {
	chrome := chromium(t)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	h := newHouse(ctx, t)
	phone := newPhone(ctx, t, chrome)

	t.Run("to the provider's login and back", func(t *testing.T) {
		p := h.broken(ctx, t, "PROA")
		link := h.link(ctx, t, p.PromptID)
		phone.open(t, link, 200, "provider-login", "Cedar Family Care", h.sim.Name(h.member.ID, p.ConnectionID))
		if at := phone.location(t); !strings.HasPrefix(at, h.simURL+"/oauth/authorize?") {
			t.Fatal("the link did not lead to the provider")
		}
		if from := phone.referrer(t); from != "" {
			t.Error("the provider is told where the member came from")
		}
		phone.tap(t, 200, "provider-done", "You are connected")
		if done := h.resolved(ctx, t, p.PromptID); done.Downtime == nil {
			t.Errorf("%+v", done)
		}
		phone.open(t, link, 410, "used", "This link was already used")
		phone.in(t, "es")
		phone.open(t, link, 410, "used-es", "Este enlace ya se usó")
		phone.in(t, "en")
		for i := len(link) - 60; i < len(link); i += 20 {
			phone.open(t, changed(link, i), 404, "invalid", "This link does not work")
		}
	})

	t.Run("one confirming tap activates", func(t *testing.T) {
		p := h.broken(ctx, t, "DIRECT_IAS")
		link := h.link(ctx, t, p.PromptID)
		before := h.activations()
		phone.dark(t, true)
		phone.open(t, link, 200, "activate-dark", "Turn your connection back on")
		phone.dark(t, false)
		phone.open(t, link, 200, "activate", "Turn your connection back on")
		if h.activations() != before {
			t.Fatal("activated without the confirming tap")
		}
		phone.tap(t, 200, "connected", "You are connected again")
		h.resolved(ctx, t, p.PromptID)
		if h.activations() != before+1 {
			t.Errorf("activated %d times", h.activations()-before)
		}
		phone.open(t, link, 410, "", "This link was already used")
	})

	// A browser on a page that fetches or frames a link has tapped nothing.
	t.Run("through a button where the browser does not say that somebody tapped", func(t *testing.T) {
		p := h.broken(ctx, t, "INDIRECT_IAS")
		link := h.link(ctx, t, p.PromptID)
		for _, method := range []string{"HEAD", "GET"} {
			r, err := http.NewRequestWithContext(ctx, method, link, nil)
			if err != nil {
				t.Fatal(err)
			}
			if status, body := do(t, r); status != 200 || method == "GET" && !strings.Contains(body, "<button>") {
				t.Errorf("%s: %d %s", method, status, body)
			}
		}
		phone.silent(t, true) // as an old browser, or behind a proxy that drops headers
		phone.open(t, link, 200, "oauth", "Turn your connection back on")
		phone.tap(t, 200, "", h.sim.Name(h.member.ID, p.ConnectionID)) // the form may lead to another host
		phone.silent(t, false)
		phone.tap(t, 200, "", "You are connected")
		h.resolved(ctx, t, p.PromptID)
	})

	t.Run("kind refusals", func(t *testing.T) {
		p := h.broken(ctx, t, "PROA")
		unlucky, late := h.link(ctx, t, p.PromptID), h.link(ctx, t, p.PromptID)
		h.must(t, h.sim.SetFaults(simulator.Faults{Status: 503}))
		phone.open(t, unlucky, 502, "upstream", "That did not work just now")
		h.must(t, h.sim.SetFaults(simulator.Faults{}))
		phone.tap(t, 200, "", h.sim.Name(h.member.ID, p.ConnectionID)) // try again: the link still works
		h.must(t, h.sim.Login(h.member.ID, p.ConnectionID))
		h.resolved(ctx, t, p.PromptID)
		phone.open(t, late, 410, "closed", "This request is closed")
		phone.open(t, h.proxy+"/go/", 404, "", "This link does not work")
	})

	t.Run("over the API", func(t *testing.T) {
		p := h.broken(ctx, t, "PROA")
		path := "/v1/prompts/" + p.PromptID + "/start"
		for _, c := range []struct {
			token, member string
			status        int
			word          string
		}{
			{"", h.member.ID, 401, `"error":"unauthorized"`},
			{bearer + "x", h.member.ID, 401, `"error":"unauthorized"`},
			{bearer, "somebody-else", 404, `"error":"not_found"`},
			{bearer, "", 400, `"error":"bad_request"`},
		} {
			if status, body := h.post(ctx, t, path, c.token, c.member); status != c.status || !strings.Contains(body, c.word) {
				t.Errorf("%d %s, want %d %s", status, body, c.status, c.word)
			}
		}
		status, body := h.post(ctx, t, path, bearer, h.member.ID)
		var started struct{ Method, RedirectURL string }
		if err := json.Unmarshal([]byte(body), &started); err != nil || status != 200 || started.Method != "oauth" {
			t.Fatalf("%d, %v", status, err)
		}
		phone.open(t, started.RedirectURL, 200, "", h.sim.Name(h.member.ID, p.ConnectionID))
		phone.tap(t, 200, "", "You are connected")
		if status, body := h.post(ctx, t, "/v1/members/"+url.PathEscape(h.member.ID)+"/poll", bearer, ""); status != 200 {
			t.Errorf("poll: %d %s", status, body)
		}
		if status, _ := h.post(ctx, t, "/v1/members/somebody-else/poll", bearer, ""); status != 404 {
			t.Errorf("poll of nobody: %d", status)
		}
		h.resolved(ctx, t, p.PromptID)
		if status, body := h.post(ctx, t, path, bearer, h.member.ID); status != 409 || !strings.Contains(body, `"error":"stale_prompt"`) {
			t.Errorf("the old prompt: %d %s", status, body)
		}
	})

	for _, told := range []string{h.member.ID, "/go/", "/oauth/", bearer, "somebody-else"} {
		if strings.Contains(h.log.String(), told) {
			t.Errorf("the connector's log has %q", told)
		}
	}
	phone.complaints(t)
}

func changed(link string, i int) string {
	body := []byte(link)
	if body[i] == 'A' {
		body[i] = 'B'
	} else {
		body[i] = 'A'
	}
	return string(body)
}

func do(t *testing.T, r *http.Request) (int, string) {
	t.Helper()
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

// chromium returns the browser. Without one it skips t, and fails t where CI=true.
func chromium(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("CHROME_BIN"); path != "" {
		return path
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("no Chromium, and CI=true wants the browser test; CHROME_BIN may name one")
	}
	t.Skip("LOUD SKIP: no Chromium, so the browser test did not run; CHROME_BIN may name one")
	return ""
}

// house is everything but the browser.
type house struct {
	js     jetstream.JetStream
	events *events.Log
	token  events.MemberToken
	member simulator.MemberView
	sim    *simulator.Simulator
	simURL string
	own    string // where the connector answers
	proxy  string // where members reach it
	log    *journal
}

// journal collects what the connector logs.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func (h *house) must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newHouse(ctx context.Context, t *testing.T) *house {
	t.Helper()
	dir := t.TempDir()
	h := &house{log: &journal{}}
	program := filepath.Join(dir, "connector")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", program, "../../cmd/connector").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	server, err := embednats.Start(embednats.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	h.must(t, err)
	t.Cleanup(server.Stop)
	nc, err := nats.Connect(server.URL())
	h.must(t, err)
	t.Cleanup(nc.Close)
	h.js, err = jetstream.New(nc)
	h.must(t, err)
	subjects, err := events.NewSubjects("")
	h.must(t, err)
	h.events = events.NewLog(h.js, subjects, "")
	h.must(t, topology.Apply(ctx, h.js, topology.Config{Prefix: subjects.Prefix()}, false))
	keyFile, tokenFile := filepath.Join(dir, "key"), filepath.Join(dir, "token")
	h.must(t, members.GenerateKeys(keyFile))
	h.must(t, os.WriteFile(tokenFile, []byte(bearer+"\n"), 0o600))
	keys, err := members.LoadKeys(keyFile)
	h.must(t, err)

	h.sim = simulator.New(simulator.Config{Seed: 7, Members: 1})
	sim := httptest.NewServer(h.sim.Handler())
	t.Cleanup(sim.Close)
	h.simURL = sim.URL
	h.member = h.sim.Members()[0]
	h.token = keys.Tokenizer().Member(h.member.ID)
	bucket, err := h.js.KeyValue(ctx, topology.Members)
	h.must(t, err)
	_, _, err = members.NewStore(bucket, keys).Enrol(ctx, members.Enrolment{ID: h.member.ID, RefreshToken: secret.New(h.member.RefreshToken)})
	h.must(t, err)

	// What a member reaches: /go/ below a path, and nothing else.
	own := make(chan string, 1)
	var target *url.URL
	before := http.NewServeMux()
	before.Handle("/reconnect/go/", http.StripPrefix("/reconnect", &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}))
	proxy := httptest.NewUnstartedServer(before)
	h.proxy = "http://" + proxy.Listener.Addr().String() + "/reconnect"

	cmd := exec.CommandContext(ctx, program, "run", "--fast", "--nats", server.URL(), "--bwell", sim.URL, "--client-key", "a2V5",
		"--key-file", keyFile, "--http-listen", "127.0.0.1:0", "--http-token-file", tokenFile, "--links", "--links-base-url", h.proxy)
	out, err := cmd.StderrPipe()
	h.must(t, err)
	h.must(t, cmd.Start())
	var read sync.WaitGroup
	read.Go(func() {
		for lines := bufio.NewScanner(io.TeeReader(out, h.log)); lines.Scan(); {
			var line struct{ Address, Message string }
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Address != "" {
				own <- line.Address
			}
		}
	})
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		read.Wait()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(h.log)
		}
	})
	select {
	case at := <-own:
		h.own = "http://" + at
	case <-ctx.Done():
		t.Fatalf("the connector does not answer:\n%s", h.log)
	}
	target, err = url.Parse(h.own)
	h.must(t, err)
	proxy.Start()
	t.Cleanup(proxy.Close)
	h.until(ctx, t, "the member is known", func() bool {
		head, err := h.events.Member(ctx, h.token)
		return err == nil && head.Snapshot != nil && len(head.Snapshot.Connections) == len(h.member.Connections)
	})
	return h
}

func (h *house) until(ctx context.Context, t *testing.T, what string, so func() bool) {
	t.Helper()
	for !so() {
		select {
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// broken lets a connection of a type expire and waits for its prompt.
func (h *house) broken(ctx context.Context, t *testing.T, integration string) (p events.Prompt) {
	t.Helper()
	id := ""
	for _, c := range h.member.Connections {
		if c["integrationType"] == integration {
			id, _ = c["id"].(string)
		}
	}
	h.must(t, h.sim.SetConnection(h.member.ID, id, simulator.Row{"status": "EXPIRED", "integrationType": integration}))
	h.until(ctx, t, "a prompt for "+integration, func() bool {
		head, err := h.events.Agenda(ctx, h.token)
		if err != nil || head.Snapshot == nil || len(head.Snapshot.Prompts) != 1 {
			return false
		}
		p = head.Snapshot.Prompts[0]
		return string(p.IntegrationType) == integration
	})
	return p
}

// resolved waits until prompt.resolved of a prompt is on the stream.
func (h *house) resolved(ctx context.Context, t *testing.T, promptID string) (p *events.Prompt) {
	t.Helper()
	s, err := h.js.Stream(ctx, events.Stream)
	h.must(t, err)
	subject := h.events.Subjects().Prefix() + ".prompt." + string(h.token) + "." + promptID[:strings.LastIndexByte(promptID, '.')]
	h.until(ctx, t, "prompt.resolved", func() bool {
		msg, err := s.GetLastMsgForSubject(ctx, subject)
		h.must(t, err)
		e, err := events.Decode(msg.Header, msg.Data)
		h.must(t, err)
		p, _ = e.Data.(*events.Prompt)
		return e.Type == events.PromptResolved && p.PromptID == promptID
	})
	return p
}

// link asks the connector for a link to a prompt.
func (h *house) link(ctx context.Context, t *testing.T, promptID string) string {
	t.Helper()
	body, err := json.Marshal(map[string]any{"promptId": promptID, "memberId": h.member.ID, "ttl": 600})
	h.must(t, err)
	reply, err := h.js.Conn().RequestWithContext(ctx, "sc.svc.v1.prompt.link", body)
	h.must(t, err)
	var made struct {
		URL     string
		Expires time.Time
	}
	if err := json.Unmarshal(reply.Data, &made); err != nil || !strings.HasPrefix(made.URL, h.proxy+"/go/") || !made.Expires.After(time.Now()) {
		t.Fatalf("%v, %s", err, reply.Header.Get(micro.ErrorCodeHeader))
	}
	return made.URL
}

func (h *house) activations() int { return h.sim.Calls()[h.member.ID]["activateDirectConnection"] }

func (h *house) post(ctx context.Context, t *testing.T, path, token, memberID string) (int, string) {
	t.Helper()
	body, err := json.Marshal(map[string]string{"memberId": memberID})
	h.must(t, err)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.own+path, bytes.NewReader(body))
	h.must(t, err)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return do(t, r)
}

// phone is a browser on a small screen.
type phone struct {
	ctx     context.Context //nolint:containedctx // chromedp keeps the browser in it
	dir     string
	mu      sync.Mutex
	entries []string
}

const width, height = 390, 844

func newPhone(ctx context.Context, t *testing.T, chrome string) *phone {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chrome), chromedp.UserDataDir(t.TempDir()), chromedp.Flag("disable-gpu", true), chromedp.Flag("lang", "en-US"))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox)
	}
	ctx, stop := chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(stop)
	ctx, stop = chromedp.NewContext(ctx)
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // and wait for the browser
		stop()
	})
	p := &phone{ctx: ctx, dir: t.ArtifactDir()}
	err := chromedp.Listen(ctx, func(ev any) {
		p.mu.Lock()
		defer p.mu.Unlock()
		switch ev := ev.(type) {
		case *log.EventEntryAdded:
			if ev.Entry.Source != log.EntrySourceNetwork { // pages of refusals have statuses of refusals
				p.entries = append(p.entries, ev.Entry.Text)
			}
		case *runtime.EventExceptionThrown:
			p.entries = append(p.entries, ev.ExceptionDetails.Text)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	p.do(t, call(log.Enable, cdp.Empty{}), chromedp.EmulateViewport(width, height, chromedp.EmulateScale(2), chromedp.EmulateMobile, chromedp.EmulateTouch, chromedp.EmulatePortrait))
	p.in(t, "en")
	t.Log("screenshots are in", p.dir)
	return p
}

func call[P any](c cdp.Command[P, cdp.Empty], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, c, params)
		return err
	})
}

func (p *phone) do(t *testing.T, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(p.ctx, steps...); err != nil {
		t.Fatal(err)
	}
}

// in sets the languages that the browser asks for.
func (p *phone) in(t *testing.T, lang string) {
	t.Helper()
	agent := "Mozilla/5.0 (Linux; Android 14; Phone) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Mobile Safari/537.36"
	p.do(t, call(emulation.SetUserAgentOverride, emulation.SetUserAgentOverrideParams{UserAgent: agent, AcceptLanguage: lang}))
}

func (p *phone) dark(t *testing.T, on bool) {
	t.Helper()
	scheme := map[bool]string{true: "dark", false: "light"}[on]
	p.do(t, call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}))
}

// silent makes the browser one that does not say what its requests are for.
func (p *phone) silent(t *testing.T, on bool) {
	t.Helper()
	headers := network.Headers{}
	if on {
		headers["Sec-Fetch-Mode"], headers["Sec-Fetch-Dest"] = "", ""
	}
	p.do(t, call(network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: headers}))
}

// open goes to a link as a tap on it does.
func (p *phone) open(t *testing.T, link string, status int64, picture string, titles ...string) {
	t.Helper()
	p.page(t, status, picture, titles, chromedp.Navigate(link))
}

// tap taps the one button of the page.
func (p *phone) tap(t *testing.T, status int64, picture string, titles ...string) {
	t.Helper()
	box, err := chromedp.Run(p.ctx, chromedp.Dimensions(chromedp.CSS("button, .button")))
	if err != nil {
		t.Fatal(err)
	}
	if box.Height < 44 || box.Width < 200 {
		t.Errorf("the button is %d × %d: too small for a thumb", box.Width, box.Height)
	}
	p.page(t, status, picture, titles, chromedp.Click(chromedp.CSS("button, .button")))
}

// page takes steps that lead to a page, looks at it and takes its picture.
func (p *phone) page(t *testing.T, status int64, picture string, titles []string, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 30*time.Second)
	defer cancel()
	answer, err := chromedp.RunResponse(ctx, steps...)
	if err != nil {
		t.Fatalf("%s: %v", titles, err)
	}
	title, err := chromedp.Run(ctx, chromedp.Text(chromedp.CSS("h1")))
	if err != nil {
		t.Fatal(err)
	}
	if answer.Status != status || title != titles[0] && title != titles[len(titles)-1] {
		t.Errorf("%d %q, want %d %q", answer.Status, title, status, titles)
	}
	wide, err := chromedp.Run(ctx, chromedp.Evaluate[int](`document.documentElement.scrollWidth`))
	if err != nil {
		t.Fatal(err)
	}
	if wide > width {
		t.Errorf("%q is %d wide on a screen of %d", title, wide, width)
	}
	if picture == "" {
		return
	}
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.dir, picture+".png"), png, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (p *phone) location(t *testing.T) string {
	t.Helper()
	at, err := chromedp.Run(p.ctx, chromedp.Location())
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func (p *phone) referrer(t *testing.T) string {
	t.Helper()
	from, err := chromedp.Run(p.ctx, chromedp.Evaluate[string](`document.referrer`))
	if err != nil {
		t.Fatal(err)
	}
	return from
}

// complaints fails t for what the browser complained about: a policy that was
// broken, a script that failed.
func (p *phone) complaints(t *testing.T) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, text := range p.entries {
		t.Errorf("the browser complains: %s", text)
	}
}
