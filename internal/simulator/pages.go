package simulator

import (
	"cmp"
	"html/template"
	"net/http"
)

const (
	pageHead = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="color-scheme" content="light dark"><title>Simulated provider</title>
<style>
:root{--ground:#eef4f0;--card:#fff;--text:#15241c;--soft:#48574e;--main:#12693c;--on:#fff;--note:#fff3d6;--noteText:#5c4300}
@media(prefers-color-scheme:dark){:root{--ground:#0f1713;--card:#19241e;--text:#eef4f0;--soft:#b5c4bb;--main:#74d3a0;--on:#0d1611;--note:#3a2f12;--noteText:#f3dfac}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;background:var(--ground);color:var(--text);font:1.125rem/1.55 system-ui,sans-serif}
aside{background:var(--note);color:var(--noteText);font-size:.9rem;text-align:center;padding:.5rem 1rem}
main{max-width:26rem;margin:12vh auto 2rem;padding:2rem 1.5rem;background:var(--card);border-radius:1.25rem;width:calc(100% - 2.5rem)}
.mark{display:flex;align-items:center;justify-content:center;width:3.5rem;height:3.5rem;margin-bottom:1rem;border-radius:1rem;background:var(--main);color:var(--on);font-size:1.75rem;font-weight:600}
h1{margin:0 0 .5rem;font-size:1.5rem;line-height:1.25;overflow-wrap:anywhere}
p,ul{margin:0 0 .75rem;color:var(--soft)}ul{padding-left:1.25rem}p:last-child{margin:0}
button{width:100%;min-height:3.25rem;margin-top:.75rem;padding:.8rem 1rem;border:0;border-radius:.75rem;background:var(--main);color:var(--on);font:inherit;font-weight:600;cursor:pointer}
:focus-visible{outline:3px solid var(--text);outline-offset:3px}
</style></head><body><aside>A simulated provider. Nothing here is real.</aside><main>`
	pageFoot = `</main></body></html>`

	loginPage = pageHead + `<div class="mark" aria-hidden="true">{{printf "%.1s" .}}</div><h1>{{.}}</h1>
<p>Your app would like to read your records here:</p><ul><li>Visits and notes</li><li>Test results</li><li>Medicines</li></ul>
<form method="post"><button>Sign in and share</button></form>` + pageFoot

	// Whoever opened the page is told how it went, as by b.well's own.
	tell     = `<script>if(window.opener)window.opener.postMessage({status_code:{{.}}},"*")</script>`
	donePage = pageHead + tell + `<div class="mark" aria-hidden="true">✓</div><h1>You are connected</h1><p>You can close this page.</p>` + pageFoot
	failPage = pageHead + tell + `<div class="mark" aria-hidden="true">!</div><h1>You are not connected</h1>
<p>Allow your app to look for your records first. Then ask it for a new link.</p>` + pageFoot

	verifyPage = pageHead + `<h1>Prove who you are</h1><p>A real service would look at your passport and your face. Here one tap is enough.</p>
<form method="post"><button>It is me</button></form>` + pageFoot
	verifiedPage = pageHead + `<div class="mark" aria-hidden="true">✓</div><h1>Thank you</h1><p>You can close this page.</p>` + pageFoot
	stalePage    = pageHead + `<h1>This link was used or is too old</h1><p>Go back to your app and ask for a new one.</p>` + pageFoot
)

func page(w http.ResponseWriter, status int, text string, data any) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = template.Must(template.New("page").Parse(text)).Execute(w, data)
}

// asked returns what the URL of a page is for, and the name to show for it; with
// use, the URL is used up.
func (s *Simulator) asked(kind onceKind, r *http.Request, use bool) (o once, name string, fresh bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, fresh = s.pending(kind, r.URL.Query().Get("state"), use)
	return o, s.name(o.member, o.what), fresh
}

func (s *Simulator) authorize(w http.ResponseWriter, r *http.Request) {
	_, name, fresh := s.asked(oauthURL, r, false)
	if !fresh {
		page(w, http.StatusGone, stalePage, nil)
		return
	}
	page(w, http.StatusOK, loginPage, name)
}

func (s *Simulator) authorized(w http.ResponseWriter, r *http.Request) {
	o, _, fresh := s.asked(oauthURL, r, true)
	if !fresh {
		page(w, http.StatusGone, stalePage, nil)
		return
	}
	code := "success"
	if s.Login(o.member, o.what) != nil {
		code = "error"
	}
	http.Redirect(w, r, "/oauth/done?status_code="+code, http.StatusSeeOther)
}

func (s *Simulator) verify(w http.ResponseWriter, r *http.Request) {
	if _, _, fresh := s.asked(verificationURL, r, false); !fresh {
		page(w, http.StatusGone, stalePage, nil)
		return
	}
	page(w, http.StatusOK, verifyPage, nil)
}

func (s *Simulator) verified(w http.ResponseWriter, r *http.Request) {
	o, _, fresh := s.asked(verificationURL, r, true)
	if !fresh || s.SetIdentity(o.member, Identity{Status: validated}) != nil {
		page(w, http.StatusGone, stalePage, nil)
		return
	}
	http.Redirect(w, r, cmp.Or(o.what, "/identity/done"), http.StatusSeeOther)
}

func authorizationDone(w http.ResponseWriter, r *http.Request) {
	code, text := "error", failPage
	if r.URL.Query().Get("status_code") == "success" {
		code, text = "success", donePage
	}
	page(w, http.StatusOK, text, code)
}
