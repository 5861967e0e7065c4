package acting

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"

	"golang.org/x/text/language"

	"github.com/smartconnect/connector/internal/reconnect"
)

// A pageName says which page a member sees. It is also the word in the log.
type pageName string

const (
	pageOAuth      pageName = "oauth"           // a button that leads to the provider
	pageActivate   pageName = "activate_direct" // a button that connects
	pageConnected  pageName = "connected"
	pageAsked      pageName = "asked" // done, and not connected yet
	pageInvalid    pageName = "invalid"
	pageExpired    pageName = "expired"
	pageUsed       pageName = "used"
	pageClosed     pageName = "closed"
	pageNoConsent  pageName = "consent_ended"
	pageIdentity   pageName = "identity_required"
	pageInApp      pageName = "reconnect_in_app"
	pageTooOften   pageName = "rate_limited"
	pageTryAgain   pageName = "upstream"
	pageNotAllowed pageName = "method_not_allowed"
)

// pageOf returns the page that tells of a refusal.
func pageOf(why reconnect.Refusal) pageName {
	switch why {
	case reconnect.NotFound, reconnect.StalePrompt:
		return pageClosed
	case reconnect.ConsentEnded:
		return pageNoConsent
	case reconnect.IdentityRequired:
		return pageIdentity
	case reconnect.ReconnectInApp, reconnect.NotSupported:
		return pageInApp
	case reconnect.TooMany:
		return pageTooOften
	default:
		return pageTryAgain
	}
}

// pageKind is what is the same in all languages.
type pageKind struct {
	status int
	mark   string // which sign stands above the text: ask, done, info
	way    string // what the button does: post, again, or nothing
}

func kinds() map[pageName]pageKind {
	return map[pageName]pageKind{
		pageOAuth:      {http.StatusOK, "ask", "post"},
		pageActivate:   {http.StatusOK, "ask", "post"},
		pageConnected:  {http.StatusOK, "done", ""},
		pageAsked:      {http.StatusOK, "done", ""},
		pageInvalid:    {http.StatusNotFound, "info", ""},
		pageExpired:    {http.StatusGone, "info", ""},
		pageUsed:       {http.StatusGone, "info", ""},
		pageClosed:     {http.StatusGone, "info", ""},
		pageNoConsent:  {http.StatusForbidden, "info", ""},
		pageIdentity:   {http.StatusForbidden, "info", ""},
		pageInApp:      {http.StatusUnprocessableEntity, "info", ""},
		pageTooOften:   {http.StatusTooManyRequests, "info", "again"},
		pageTryAgain:   {http.StatusBadGateway, "info", "again"},
		pageNotAllowed: {http.StatusMethodNotAllowed, "info", ""},
	}
}

// words are the text of a page.
type words struct {
	Title  string   `json:"title"`
	Text   []string `json:"text"`
	Button string   `json:"button"`
}

//go:embed pages
var pageFiles embed.FS

// pages are the rendered pages by language. They say nothing about a member or
// a connection, so that there are only so many.
type pages struct {
	policy  string // Content-Security-Policy, but for where forms may lead
	matcher language.Matcher
	tags    []language.Tag // as matcher counts them
	bodies  []map[pageName][]byte
}

func loadPages() (pages, error) {
	text, err := pageFiles.ReadFile("pages/page.html")
	if err != nil {
		return pages{}, fmt.Errorf("pages: %w", err)
	}
	style, err := pageFiles.ReadFile("pages/page.css")
	if err != nil {
		return pages{}, fmt.Errorf("pages: %w", err)
	}
	t, err := template.New("page").Parse(string(text))
	if err != nil {
		return pages{}, fmt.Errorf("pages: %w", err)
	}
	sum := sha256.Sum256(style)
	p := pages{
		policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; frame-ancestors 'none'; base-uri 'none'",
		tags:   []language.Tag{language.English, language.Spanish},
	}
	p.matcher = language.NewMatcher(p.tags)
	for _, tag := range p.tags {
		raw, err := pageFiles.ReadFile("pages/" + tag.String() + ".json")
		if err != nil {
			return pages{}, fmt.Errorf("pages: %w", err)
		}
		var texts map[pageName]words
		if err := json.Unmarshal(raw, &texts); err != nil {
			return pages{}, fmt.Errorf("pages in %s: %w", tag, err)
		}
		bodies := map[pageName][]byte{}
		for name, kind := range kinds() {
			w, ok := texts[name]
			if !ok {
				return pages{}, fmt.Errorf("pages in %s: no text for %s", tag, name)
			}
			var body bytes.Buffer
			err := t.Execute(&body, map[string]any{
				"Lang": tag.String(), "Style": template.CSS(style), "Mark": kind.mark, "Way": kind.way, //nolint:gosec // a file of ours
				"Title": w.Title, "Text": w.Text, "Button": w.Button,
			})
			if err != nil {
				return pages{}, fmt.Errorf("pages in %s: %s: %w", tag, name, err)
			}
			bodies[name] = body.Bytes()
		}
		p.bodies = append(p.bodies, bodies)
	}
	return p, nil
}

// head sets what every answer says, a redirect too: keep it nowhere, tell
// nobody where the browser came from.
func (p pages) head(w http.ResponseWriter, r *http.Request) (lang int) {
	_, lang = language.MatchStrings(p.matcher, r.Header.Get("Accept-Language"))
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", p.tags[lang].String())
	h.Set("Vary", "Accept-Language, Sec-Fetch-Mode, Sec-Fetch-Dest, Sec-Purpose")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Robots-Tag", "noindex, nofollow")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Content-Security-Policy", p.policy+"; form-action 'self'")
	return lang
}

func (p pages) show(w http.ResponseWriter, r *http.Request, name pageName) {
	lang := p.head(w, r)
	if name == pageOAuth {
		// Browsers apply form-action to the redirect that answers the form, and
		// the provider's address is minted only then.
		w.Header().Set("Content-Security-Policy", p.policy)
	}
	w.WriteHeader(kinds()[name].status)
	_, _ = w.Write(p.bodies[lang][name])
}
