package acting

import (
	"context"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"github.com/smartconnect/connector/internal/audit"
	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/natstest"
	"github.com/smartconnect/connector/internal/reconnect"
	"github.com/smartconnect/connector/internal/topology"
)

const memberToken events.MemberToken = "mmmmmmmmmmmmmmmmmmmmmmmmmm"

const provider = "https://provider.example/authorize?state=s3"

// linked is a prompt with links to it.
type linked struct {
	t      *testing.T
	links  *Links
	kv     jetstream.KeyValue
	now    time.Time
	action events.Action
	asked  error  // what Prompt answers
	gate   func() // Prompt waits for it; may be nil

	mu      sync.Mutex
	answer  reconnect.Started
	err     error // what Start answers
	started int

	record     []audit.Entry
	unrecorded error // what Record answers
}

func (l *linked) Prompt(_ context.Context, r reconnect.StartRequest) (events.MemberToken, events.Prompt, error) {
	if r.MemberID != "" && r.MemberID != member {
		return "", events.Prompt{}, reconnect.NotFound
	}
	if l.gate != nil {
		l.gate()
	}
	return memberToken, events.Prompt{PromptID: r.PromptID, Action: l.action}, l.asked
}

// Record keeps the record in memory, unless it refuses.
func (l *linked) Record(_ context.Context, entries ...audit.Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unrecorded == nil {
		l.record = append(l.record, entries...)
	}
	return l.unrecorded
}

func (l *linked) Start(_ context.Context, r reconnect.StartRequest) (reconnect.Started, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.started++
	if r != (reconnect.StartRequest{PromptID: prompt}) {
		l.t.Errorf("started %+v", r)
	}
	return l.answer, l.err
}

func newLinked(t *testing.T, action events.Action) *linked {
	t.Helper()
	_, js := natstest.Log(t)
	kv, err := js.KeyValue(t.Context(), topology.Links)
	if err != nil {
		t.Fatal(err)
	}
	l := &linked{t: t, kv: kv, now: time.Now(), action: action, answer: reconnect.Started{Method: "oauth", RedirectURL: provider}}
	if action == events.ActDirect {
		l.answer = reconnect.Started{Method: "activate_direct", Status: "CONNECTED"}
	}
	l.links, err = NewLinks(l.config())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *linked) config() LinkConfig {
	return LinkConfig{
		BaseURL: "https://links.example.org/reconnect/", MaxTTL: time.Hour, Signer: keys(l.t), Used: l.kv, Prompts: l, Ledger: l,
		Now: func() time.Time { return l.now },
	}
}

func (l *linked) mint() (path string) {
	l.t.Helper()
	made, err := l.links.Mint(l.t.Context(), LinkRequest{PromptID: prompt, MemberID: member})
	if err != nil {
		l.t.Fatal(err)
	}
	path, ok := strings.CutPrefix(made.URL, "https://links.example.org/reconnect")
	if !ok || !strings.HasPrefix(path, "/go/") {
		l.t.Fatalf("minted %s", made.URL)
	}
	return path
}

// visit opens a path and checks what every answer must have.
func (l *linked) visit(method, path string, headers ...string) *httptest.ResponseRecorder {
	l.t.Helper()
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, log := over(l.t, l.links.Handler(), r)
	h := answer.Header()
	if h.Get("Cache-Control") != "no-store" || h.Get("Referrer-Policy") != "no-referrer" ||
		!strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'none'; ") || !strings.Contains(h.Get("Vary"), "Accept-Language") {
		l.t.Errorf("%s: %v", method, h)
	}
	if strings.Contains(log, "/go/") || len(path) > 20 && strings.Contains(log, path[4:20]) || strings.Contains(log, "provider") {
		l.t.Errorf("the log shows the link: %s", log)
	}
	return answer
}

// shows checks which page an answer is, in English.
func (l *linked) shows(answer *httptest.ResponseRecorder, status int, title string) {
	l.t.Helper()
	body := html.UnescapeString(answer.Body.String())
	if answer.Code != status || !strings.Contains(body, "<h1>"+title+"</h1>") || !strings.Contains(body, `<html lang="en">`) {
		l.t.Errorf("%d %s\nwant %d %q", answer.Code, body, status, title)
	}
	if answer.Header().Get("Location") != "" || strings.Contains(body, "<script") || strings.Contains(body, "provider.example") {
		l.t.Errorf("%v %s", answer.Header(), body)
	}
}

func (l *linked) redirected(answer *httptest.ResponseRecorder) {
	l.t.Helper()
	if answer.Code != http.StatusSeeOther || answer.Header().Get("Location") != provider || answer.Body.Len() != 0 {
		l.t.Errorf("%d %v %s", answer.Code, answer.Header(), answer.Body)
	}
}

// A tap in a browser as the browser tells of it.
func tap() []string {
	return []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Accept-Language", "en-US,en;q=0.9"}
}

const usedTitle = "This link was already used"

func TestLinkToAProvider(t *testing.T) {
	l := newLinked(t, events.ActOAuth)
	path := l.mint()
	l.redirected(l.visit("GET", path, tap()...))
	l.shows(l.visit("GET", path, tap()...), 410, usedTitle)
	l.shows(l.visit("POST", path), 410, usedTitle)
	if l.started != 1 {
		t.Errorf("started %d times", l.started)
	}
	again := l.mint()
	if again == path {
		t.Error("two links are one")
	}
	l.redirected(l.visit("GET", again, tap()...))
}

// What fetches a link without a tap leaves it as it was.
func TestNobodyTapped(t *testing.T) {
	l := newLinked(t, events.ActOAuth)
	path := l.mint()
	for range 3 {
		for _, headers := range [][]string{
			{"Sec-Purpose", "prefetch;prerender"},
			{"Purpose", "prefetch"},
			{"X-Moz", "prefetch"},
			{"X-Purpose", "preview"},
		} {
			if answer := l.visit("GET", path, append(tap(), headers...)...); answer.Code != 503 || answer.Body.Len() != 0 {
				t.Errorf("%v: %d %s", headers, answer.Code, answer.Body)
			}
		}
		if answer := l.visit("HEAD", path, tap()...); answer.Code != 200 || answer.Body.Len() != 0 {
			t.Errorf("HEAD: %d %s", answer.Code, answer.Body)
		}
		for _, headers := range [][]string{
			{"User-Agent", "SomethingBot/1.0"},
			{"Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"},
			{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"},
			{"Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"},
		} {
			answer := l.visit("GET", path, headers...)
			l.shows(answer, 200, "Turn your connection back on")
			if !strings.Contains(answer.Body.String(), `<form method="post">`) {
				t.Errorf("a browser that does not say so has no way on: %s", answer.Body)
			}
			if strings.Contains(answer.Header().Get("Content-Security-Policy"), "form-action") {
				t.Error("the form may not lead to the provider")
			}
		}
	}
	if l.started != 0 {
		t.Fatalf("started %d times", l.started)
	}
	l.redirected(l.visit("POST", path))
}

func TestConfirmAlways(t *testing.T) {
	l := newLinked(t, events.ActOAuth)
	c := l.config()
	c.Confirm = true
	var err error
	if l.links, err = NewLinks(c); err != nil {
		t.Fatal(err)
	}
	path := l.mint()
	l.shows(l.visit("GET", path, tap()...), 200, "Turn your connection back on")
	l.redirected(l.visit("POST", path))
}

func TestLinkThatActivates(t *testing.T) {
	l := newLinked(t, events.ActDirect)
	path := l.mint()
	for range 2 {
		answer := l.visit("GET", path, tap()...)
		l.shows(answer, 200, "Turn your connection back on")
		if !strings.HasSuffix(answer.Header().Get("Content-Security-Policy"), "; form-action 'self'") {
			t.Errorf("%v", answer.Header())
		}
	}
	if l.started != 0 {
		t.Fatal("activated without the confirming tap")
	}
	l.shows(l.visit("POST", path), 200, "You are connected again")
	l.shows(l.visit("POST", path), 410, usedTitle)
	l.shows(l.visit("GET", path, tap()...), 410, usedTitle)
	l.answer.Status = "PENDING"
	l.shows(l.visit("POST", l.mint()), 200, "Thank you")
}

// Many taps at once, on as many replicas: one acts.
func TestLinkIsUsedOnce(t *testing.T) {
	l := newLinked(t, events.ActDirect)
	path := l.mint()
	codes := make(chan int, 20)
	var taps, unused sync.WaitGroup
	unused.Add(cap(codes))
	l.gate = func() { // nobody claims before all have seen it unused
		unused.Done()
		unused.Wait()
	}
	for range cap(codes) {
		taps.Go(func() {
			answer := httptest.NewRecorder()
			l.links.Handler().ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), "POST", path, nil))
			codes <- answer.Code
		})
	}
	taps.Wait()
	close(codes)
	count := map[int]int{}
	for code := range codes {
		count[code]++
	}
	if l.started != 1 || count[200] != 1 || count[410] != cap(codes)-1 {
		t.Errorf("started %d times: %v", l.started, count)
	}
}

// Every refusal has a kind page. Where nothing was done, the link goes on working.
func TestLinkRefused(t *testing.T) {
	for why, want := range map[reconnect.Refusal]struct {
		status int
		title  string
		again  bool
	}{
		reconnect.StalePrompt:      {410, "This request is closed", false},
		reconnect.NotFound:         {410, "This request is closed", false},
		reconnect.ConsentEnded:     {403, "Sharing is turned off", false},
		reconnect.IdentityRequired: {403, "Please confirm who you are", false},
		reconnect.ReconnectInApp:   {422, "Please reconnect in your app", false},
		reconnect.NotSupported:     {422, "Please reconnect in your app", false},
		reconnect.TooMany:          {429, "One moment, please", true},
		reconnect.Upstream:         {502, "That did not work just now", true},
	} {
		t.Run(string(why), func(t *testing.T) {
			l := newLinked(t, events.ActDirect)
			l.err = fmt.Errorf("%w: %w", why, errors.New("the cause"))
			path := l.mint()
			answer := l.visit("POST", path)
			l.shows(answer, want.status, want.title)
			if strings.Contains(answer.Body.String(), "the cause") {
				t.Errorf("%s", answer.Body)
			}
			l.err = nil
			if want.again {
				l.shows(l.visit("POST", path), 200, "You are connected again")
			} else {
				l.shows(l.visit("POST", path), 410, usedTitle)
			}
			l.asked = why // seen before anything was claimed
			l.shows(l.visit("POST", l.mintAnyhow()), want.status, want.title)
		})
	}
	for action, title := range map[events.Action]string{
		events.ActVerifyIdentity: "Please confirm who you are", events.ActReenter: "Please reconnect in your app", events.ActReconnectInApp: "Please reconnect in your app",
	} {
		l := newLinked(t, events.ActDirect)
		path := l.mint()
		l.action = action
		answer := l.visit("POST", path)
		l.shows(answer, answer.Code, title)
		if l.started > 0 {
			t.Errorf("%s: started", action)
		}
	}
}

// mintAnyhow makes a link to a prompt that answers with a refusal.
func (l *linked) mintAnyhow() string {
	asked := l.asked
	l.asked = nil
	defer func() { l.asked = asked }()
	return l.mint()
}

func TestBadLinks(t *testing.T) {
	l := newLinked(t, events.ActOAuth)
	path := l.mint()
	const invalid = "This link does not work"
	for i := len("/go/"); i < len(path); i++ {
		changed := []byte(path)
		changed[i] = "AB"[(changed[i]^1)&1]
		if string(changed) == path {
			changed[i] ^= 3
		}
		l.shows(l.visit("GET", string(changed), tap()...), 404, invalid)
		l.shows(l.visit("POST", string(changed)), 404, invalid)
	}
	mine := l.links
	other, err := NewLinks(l.config()) // another key
	if err != nil {
		t.Fatal(err)
	}
	l.links = other
	theirs := l.mint()
	l.links = mine
	for _, bad := range []string{
		theirs, "/go/", "/go/x", "/go/" + strings.Repeat("A", maxToken+1), "/go/" + strings.Repeat("A", 50_000),
		path + "A", path + "/x", path + "%0A", path + "%2F", path[:len(path)-1],
	} {
		l.shows(l.visit("GET", bad, tap()...), 404, invalid)
	}
	for _, method := range []string{"PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"} {
		if answer := l.visit(method, path); answer.Code != 405 || answer.Header().Get("Allow") != "GET, HEAD, POST" {
			t.Errorf("%s: %d %v", method, answer.Code, answer.Header())
		}
	}
	minted := l.now
	l.now = minted.Add(time.Hour)
	l.shows(l.visit("GET", path, tap()...), 410, "This link is too old")
	l.shows(l.visit("POST", path), 410, "This link is too old")
	if l.started != 0 {
		t.Fatalf("started %d times", l.started)
	}
	l.now = minted.Add(time.Hour - 2*time.Second)
	l.redirected(l.visit("GET", path, tap()...))
}

// What comes over NATS is no more trusted than what comes over HTTP.
func TestMintOverNATS(t *testing.T) {
	l := newLinked(t, events.ActOAuth)
	nc := natstest.JetStream(t).Conn()
	s, err := micro.AddService(nc, micro.Config{Name: "test", Version: "1.0.0"})
	if err != nil {
		t.Fatal(err)
	}
	handle := micro.HandlerFunc(func(r micro.Request) { l.links.Handle(t.Context(), r) })
	if err := s.AddEndpoint("link", handle, micro.WithEndpointSubject("link")); err != nil {
		t.Fatal(err)
	}
	for body, want := range map[string]string{
		`{"promptId":"` + prompt + `","memberId":"` + member + `","ttl":60}`:          "",
		`{"promptId":"` + prompt + `","more":"` + strings.Repeat("x", maxBody) + `"}`: "bad_request",
		`{"promptId":"` + prompt + `","ttl":"60"}`:                                    "bad_request",
		`{"promptId":"` + prompt + `","ttl":1e99}`:                                    "bad_request",
		`{"promptId":["` + prompt + `"]}`:                                             "bad_request",
		`{"promptId":"` + prompt + `","memberId":"bob"}`:                              "not_found",
		"":         "bad_request",
		"null":     "bad_request",
		"\x00\xff": "bad_request",
	} {
		reply, err := nc.RequestWithContext(t.Context(), "link", []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		if got := reply.Header.Get(micro.ErrorCodeHeader); got != want || (want == "") != strings.Contains(string(reply.Data), `"url":"https://links.example.org/reconnect/go/`) {
			t.Errorf("%.60q: %q %s, want %q", body, got, reply.Data, want)
		}
	}
}

func TestMint(t *testing.T) {
	l := newLinked(t, events.ActOAuth)
	for _, c := range []struct {
		name string
		r    LinkRequest
		want error
		ttl  time.Duration
	}{
		{"as long as may be", LinkRequest{PromptID: prompt}, nil, time.Hour},
		{"shorter", LinkRequest{PromptID: prompt, TTL: 90}, nil, 90 * time.Second},
		{"a second too short", LinkRequest{PromptID: prompt, TTL: 59}, reconnect.BadRequest, 0},
		{"a second too long", LinkRequest{PromptID: prompt, TTL: 3601}, reconnect.BadRequest, 0},
		{"negative", LinkRequest{PromptID: prompt, TTL: -60}, reconnect.BadRequest, 0},
		{"beyond all durations", LinkRequest{PromptID: prompt, TTL: 1 << 62}, reconnect.BadRequest, 0},
		{"wraps around to an hour", LinkRequest{PromptID: prompt, TTL: 1<<63/1_000_000_000*2 + 4}, reconnect.BadRequest, 0},
		{"for nothing", LinkRequest{}, reconnect.BadRequest, 0},
		{"another's", LinkRequest{PromptID: prompt, MemberID: "bob"}, reconnect.NotFound, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			made, err := l.links.Mint(t.Context(), c.r)
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Fatal(err)
			}
			if left := made.Expires.Sub(l.now); err == nil && (left > c.ttl || left < c.ttl-time.Second) {
				t.Errorf("lives %s, want %s", left, c.ttl)
			}
		})
	}
	for _, action := range []events.Action{events.ActReenter, events.ActVerifyIdentity, events.ActReconnectInApp, events.ActUnknown} {
		l.action = action
		if _, err := l.links.Mint(t.Context(), LinkRequest{PromptID: prompt}); !errors.Is(err, reconnect.NotSupported) {
			t.Errorf("%s: %v", action, err)
		}
	}
}

func TestLinkConfig(t *testing.T) {
	l := newLinked(t, events.ActOAuth)
	for _, base := range []string{"", "links.example.org", "/go", "ftp://links.example.org", "http://links.example.org", "https://u:p@links.example.org", "https://links.example.org/?a=b", "https://links.example.org/#x", "://"} {
		c := l.config()
		c.BaseURL = base
		if _, err := NewLinks(c); err == nil {
			t.Errorf("took %q", base)
		}
	}
	for _, ttl := range []time.Duration{0, -time.Hour, time.Minute - 1, MaxLinkTTL + 1} {
		c := l.config()
		c.MaxTTL = ttl
		if _, err := NewLinks(c); err == nil {
			t.Errorf("took %s", ttl)
		}
	}
	c := l.config()
	c.BaseURL = "http://127.0.0.1:8080"
	if _, err := NewLinks(c); err != nil {
		t.Error(err)
	}
	if MaxLinkTTL+clocksDiffer > topology.LinksMemory {
		t.Error("a link outlives the memory of its use")
	}
}

// Every page in both languages: whole, without script, without anything from
// elsewhere.
func TestPages(t *testing.T) {
	p, err := loadPages()
	if err != nil {
		t.Fatal(err)
	}
	for accept, lang := range map[string]string{
		"": "en", "en": "en", "es": "es", "es-MX,es;q=0.9,en;q=0.8": "es", "fr": "en", "fr,es;q=0.5": "es", "de;q=0.1,en-GB": "en",
		"*": "en", "\x00;;q=,": "en", strings.Repeat("es-", 5000): "en", strings.Repeat("x-", 30_000): "en",
	} {
		for name, kind := range kinds() {
			r := httptest.NewRequest("GET", "/go/x", nil)
			r.Header.Set("Accept-Language", accept)
			w := httptest.NewRecorder()
			p.show(w, r, name)
			body := w.Body.String()
			if w.Code != kind.status || w.Header().Get("Content-Language") != lang || !strings.Contains(body, `<html lang="`+lang+`">`) {
				t.Fatalf("%.20q %s: %d %v", accept, name, w.Code, w.Header())
			}
			for _, bad := range []string{"<script", "src=", "http:", "https:", "url(", "onclick", "<no value>", "ZgotmplZ"} {
				if strings.Contains(body, bad) {
					t.Errorf("%s in %s has %s", name, lang, bad)
				}
			}
			// Messengers show the page to whoever sees the message.
			if word := regexp.MustCompile(`(?i)health|medic|clinic|hospital|doctor|provider|patient|record|salud|médic|clínic|hospital|paciente|proveedor|registro`).FindString(body); word != "" {
				t.Errorf("%s in %s says %q", name, lang, word)
			}
			buttons := strings.Count(body, "<button>") + strings.Count(body, `class="button"`)
			if (buttons == 1) != (kind.way != "") || strings.Contains(body, "></button>") || strings.Contains(body, "></a>") {
				t.Errorf("%s in %s has %d buttons, its way is %q", name, lang, buttons, kind.way)
			}
		}
	}
}

// A link is on record before it is handed out, and its use before anything is
// done. What cannot be put on record leaves the link as it was.
func TestLinksAreOnRecord(t *testing.T) {
	l := newLinked(t, events.ActOAuth)
	path := l.mint()
	l.unrecorded = reconnect.Upstream
	if made, err := l.links.Mint(t.Context(), LinkRequest{PromptID: prompt}); !errors.Is(err, reconnect.Upstream) || made != (Link{}) {
		t.Errorf("minted off the record: %v", err)
	}
	if answer := l.visit("GET", path, tap()...); answer.Code != 502 || l.started != 0 {
		t.Errorf("%d, started %d times off the record", answer.Code, l.started)
	}
	l.unrecorded = nil
	l.redirected(l.visit("GET", path, tap()...))
	l.shows(l.visit("GET", path, tap()...), 410, usedTitle)
	var got []audit.What
	for _, e := range l.record {
		got = append(got, e.What)
		if e.Member != memberToken || e.PromptID != prompt || e.Part+".1" != prompt || e.Until.IsZero() || e.ID == "" {
			t.Errorf("%+v", e)
		}
	}
	if !slices.Equal(got, []audit.What{audit.LinkMinted, audit.LinkUsed}) {
		t.Errorf("on record: %v", got)
	}
}
