package acting

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"
	"github.com/rs/zerolog"

	"github.com/smartconnect/connector/internal/audit"
	"github.com/smartconnect/connector/internal/conflict"
	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/reconnect"
)

// Prompts are what links lead to.
type Prompts interface {
	Starter
	// Prompt returns an open prompt and whose it is, without asking b.well
	// anything.
	Prompt(ctx context.Context, r reconnect.StartRequest) (events.MemberToken, events.Prompt, error)
}

// LinkConfig says how links are made and opened. Fields are required unless
// noted.
type LinkConfig struct {
	BaseURL string        // where members reach /go/; https, plain http only on loopback
	MaxTTL  time.Duration // the longest a link may live, and how long one lives by default
	Confirm bool          // optional: one tap before the redirect to a provider too
	Signer  Signer
	Used    jetstream.KeyValue // remembers a used link for longer than MaxTTL
	Prompts Prompts
	Ledger  reconnect.Ledger
	Now     func() time.Time // default time.Now
}

// Links makes signed links to prompts and serves them. Whoever holds a link may
// act on its prompt, once. It is safe for concurrent use.
type Links struct {
	config LinkConfig
	pages  pages
}

// Bounds of a link's life.
const (
	MinLinkTTL = time.Minute
	MaxLinkTTL = 7 * 24 * time.Hour
)

// NewLinks returns Links, or says what is wrong with c.
func NewLinks(c LinkConfig) (*Links, error) {
	base, err := url.Parse(c.BaseURL)
	switch {
	case err != nil || base.Host == "" || base.User != nil || base.RawQuery != "" || base.Fragment != "":
		return nil, errors.New("links: the base URL is not https://host or https://host/path")
	case base.Scheme != "https" && (base.Scheme != "http" || !loopback(base.Hostname())):
		return nil, errors.New("links: the base URL must be https; plain http only on loopback")
	case c.MaxTTL < MinLinkTTL || c.MaxTTL > MaxLinkTTL:
		return nil, fmt.Errorf("links: a longest life of %s, want %s to %s", c.MaxTTL, MinLinkTTL, MaxLinkTTL)
	}
	c.BaseURL = strings.TrimRight(base.String(), "/")
	if c.Now == nil {
		c.Now = time.Now
	}
	p, err := loadPages()
	return &Links{c, p}, err
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// A LinkRequest asks for a link to an open prompt.
type LinkRequest struct {
	PromptID string `json:"promptId"`
	MemberID string `json:"memberId,omitempty"` // checked if given
	TTL      int64  `json:"ttl,omitempty"`      // seconds; default the longest
}

// A Link is as good as the member's tap: give it to the member only, keep it
// nowhere.
type Link struct {
	URL     string    `json:"url"`
	Expires time.Time `json:"expires"`
}

// Mint makes a link to an open prompt that can be acted on by a tap. An error
// is a [reconnect.Refusal], or wraps one.
func (l *Links) Mint(ctx context.Context, r LinkRequest) (Link, error) {
	ttl := l.config.MaxTTL
	if r.TTL != 0 {
		ttl = time.Duration(r.TTL) * time.Second
	}
	if r.PromptID == "" || ttl < MinLinkTTL || ttl > l.config.MaxTTL || r.TTL > int64(MaxLinkTTL/time.Second) {
		return Link{}, fmt.Errorf("%w: want promptId, and a ttl of %.0f to %.0f seconds if any", reconnect.BadRequest, MinLinkTTL.Seconds(), l.config.MaxTTL.Seconds())
	}
	m, p, err := l.config.Prompts.Prompt(ctx, reconnect.StartRequest{PromptID: r.PromptID, MemberID: r.MemberID})
	if err != nil {
		return Link{}, err
	}
	if p.Action != events.ActOAuth && p.Action != events.ActDirect {
		return Link{}, reconnect.NotSupported
	}
	made := link{prompt: r.PromptID, expires: l.config.Now().Add(ttl).Truncate(time.Second).UTC()}
	_, _ = rand.Read(made.nonce[:]) // never fails
	if err := l.config.Ledger.Record(ctx, made.entry(audit.LinkMinted, m, l.config.Now())); err != nil {
		return Link{}, fmt.Errorf("%w: %w", reconnect.Upstream, err) // what is not on record is not handed out
	}
	zerolog.Ctx(ctx).Info().Str("prompt", r.PromptID).Time("expires", made.expires).Msg("link minted")
	return Link{URL: l.config.BaseURL + "/go/" + made.token(l.config.Signer), Expires: made.expires}, nil
}

// Handle answers a prompt.link request of the micro service.
func (l *Links) Handle(ctx context.Context, req micro.Request) {
	ctx, cancel := context.WithTimeout(ctx, actFor)
	defer cancel()
	var r LinkRequest
	if len(req.Data()) > maxBody || json.Unmarshal(req.Data(), &r) != nil {
		reconnect.Answer(ctx, req, nil, reconnect.BadRequest)
		return
	}
	made, err := l.Mint(ctx, r)
	reconnect.Answer(ctx, req, made, err)
}

// Handler serves /go/{token}.
//
// Messengers, mail scanners and browsers fetch links that nobody tapped, so what
// uses a link up is a tap: a browser's own navigation, or the button on a page.
// A GET that shows neither gets a page with the button.
func (l *Links) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /go/{token}", func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodHead:
			l.pages.head(w, r)
			w.WriteHeader(http.StatusOK) // nothing is looked up, and nothing told
		case prefetching(r):
			l.pages.head(w, r)
			w.WriteHeader(http.StatusServiceUnavailable) // so that the answer is not used when the tap comes
		default:
			l.visit(w, r, navigating(r) && !l.config.Confirm)
		}
	})
	mux.HandleFunc("POST /go/{token}", func(w http.ResponseWriter, r *http.Request) { l.visit(w, r, true) })
	mux.HandleFunc("/go/{token}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", "GET, HEAD, POST")
		l.show(w, r, pageNotAllowed, link{})
	})
	mux.HandleFunc("/go/", func(w http.ResponseWriter, r *http.Request) { l.show(w, r, pageInvalid, link{}) })
	return mux
}

// prefetching reports whether a browser fetches the link before anybody tapped.
func prefetching(r *http.Request) bool {
	for _, name := range []string{"Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"} {
		if v := strings.ToLower(r.Header.Get(name)); strings.Contains(v, "prefetch") || strings.Contains(v, "preview") {
			return true
		}
	}
	return false
}

// navigating reports whether a browser says that this is a page somebody goes
// to. All current browsers say so on https, and no page or script can pretend;
// what builds previews is no browser and does not.
func navigating(r *http.Request) bool {
	return r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
}

// visit answers one visit of a link. tapped says that the member meant it: only
// then anything is done. Direct activation wants the button, thus a POST.
func (l *Links) visit(w http.ResponseWriter, r *http.Request, tapped bool) {
	ctx, cancel := context.WithTimeout(r.Context(), actFor)
	defer cancel()
	r = r.WithContext(ctx)
	said, ok := readToken(l.config.Signer, r.PathValue("token"))
	switch {
	case !ok:
		l.show(w, r, pageInvalid, said)
		return
	case !l.config.Now().Before(said.expires):
		l.show(w, r, pageExpired, said)
		return
	}
	if used, err := l.used(ctx, said); err != nil {
		l.fail(w, r, err)
		return
	} else if used {
		l.show(w, r, pageUsed, said)
		return
	}
	m, p, err := l.config.Prompts.Prompt(ctx, reconnect.StartRequest{PromptID: said.prompt})
	if err != nil {
		l.fail(w, r, err)
		return
	}
	switch {
	case p.Action == events.ActOAuth && tapped, p.Action == events.ActDirect && r.Method == http.MethodPost:
		l.act(w, r, m, said)
	case p.Action == events.ActOAuth:
		l.show(w, r, pageOAuth, said)
	case p.Action == events.ActDirect:
		l.show(w, r, pageActivate, said)
	case p.Action == events.ActVerifyIdentity:
		l.fail(w, r, reconnect.IdentityRequired)
	default:
		l.fail(w, r, reconnect.ReconnectInApp)
	}
}

// act uses the link up, and only then acts on its prompt.
func (l *Links) act(w http.ResponseWriter, r *http.Request, m events.MemberToken, said link) {
	ctx := r.Context()
	revision, err := l.config.Used.Create(ctx, said.key(), nil, jetstream.KeyTTL(said.expires.Sub(l.config.Now())+clocksDiffer))
	if conflict.Is(err) {
		l.show(w, r, pageUsed, said)
		return
	}
	if err != nil {
		l.fail(w, r, fmt.Errorf("claim a link: %w", err))
		return
	}
	var started reconnect.Started
	if err = l.config.Ledger.Record(ctx, said.entry(audit.LinkUsed, m, l.config.Now())); err == nil {
		started, err = l.config.Prompts.Start(ctx, reconnect.StartRequest{PromptID: said.prompt})
	}
	switch why := refusal(err); {
	case err == nil:
	case why == reconnect.Upstream || why == reconnect.TooMany:
		// The member may try again. If b.well did act after all, the next start
		// reads the connection first and finds it well.
		release, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if err := l.config.Used.Delete(release, said.key(), jetstream.LastRevision(revision)); err != nil {
			zerolog.Ctx(ctx).Warn().Err(err).Str("prompt", said.prompt).Msg("link stays used")
		}
		fallthrough
	default:
		l.fail(w, r, err)
		return
	}
	switch {
	case started.RedirectURL != "":
		said.log(ctx, "redirected")
		l.pages.head(w, r)
		w.Header().Set("Location", started.RedirectURL)
		w.WriteHeader(http.StatusSeeOther)
	case started.Status == string(events.Connected):
		l.show(w, r, pageConnected, said)
	default:
		l.show(w, r, pageAsked, said)
	}
}

// clocksDiffer is by how much the clocks of two replicas may differ before a
// used link could be used again.
const clocksDiffer = time.Hour

// entry is what is recorded of a link. The prompt's id begins with its
// connection's token.
func (l link) entry(what audit.What, m events.MemberToken, now time.Time) audit.Entry {
	c, _, _ := strings.Cut(l.prompt, ".")
	e := audit.Entry{At: now.UTC(), What: what, Member: m, Part: c, PromptID: l.prompt, Until: l.expires}
	return e.Identify(l.prompt, l.key(), now.UTC().Format(time.RFC3339Nano))
}

func (l link) key() string { return hex.EncodeToString(l.nonce[:]) }

// log says what became of a visit. The token is never logged.
func (l link) log(ctx context.Context, why string) {
	zerolog.Ctx(ctx).Info().Str("prompt", l.prompt).Str("why", why).Msg("link opened")
}

func (l *Links) used(ctx context.Context, said link) (bool, error) {
	_, err := l.config.Used.Get(ctx, said.key())
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look whether a link was used: %w", err)
	}
	return true, nil
}

// show answers with a page.
func (l *Links) show(w http.ResponseWriter, r *http.Request, p pageName, said link) {
	said.log(r.Context(), string(p))
	l.pages.show(w, r, p)
}

// fail answers with the page of the refusal in err.
func (l *Links) fail(w http.ResponseWriter, r *http.Request, err error) {
	why := refusal(err)
	refused(r.Context(), why, err)
	l.pages.show(w, r, pageOf(why))
}
