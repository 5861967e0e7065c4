package simulator

import (
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// The ways to log in, to prove who one is, and to leave.

// access reports whether a root field needs no access token, and whether it then
// needs the client key: those do that log in or renew a login.
func access(root string) (open, keyed bool) {
	switch root {
	case "getToken", "login", "refresh":
		return true, true
	case "__typename", "initSdk", "createAuthCode", "exchangeAuthCode", "createGuestAccessToken":
		return true, false
	default:
		return false, false
	}
}

// admit decides who may ask for roots before anything is executed. It returns
// another status than 200, and what to answer, if not this caller.
func (c *call) admit(roots []string) (status int, refusal map[string]any) {
	authenticated := false
	for _, root := range roots {
		open, keyed := access(root)
		if keyed && strings.TrimSpace(c.header.Get("clientkey")) == "" {
			return http.StatusBadRequest, identityFault(http.StatusBadRequest)
		}
		authenticated = authenticated || !open
	}
	if !authenticated {
		return http.StatusOK, nil
	}
	m, err := c.s.whose(bearer(c.header), "access")
	switch {
	case errors.Is(err, errGuest):
		return http.StatusForbidden, failure(coded("Forbidden", "FORBIDDEN"))
	case err != nil:
		return http.StatusUnauthorized, failure(coded(err.Error(), "UNAUTHENTICATED"))
	}
	c.member = m
	return http.StatusOK, nil
}

// bearer returns the token of an authorization of that kind, else nothing.
func bearer(h http.Header) string {
	scheme, token, _ := strings.Cut(h.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return token
}

// owner returns the id of the member whose request this is, as far as the tokens
// say, whether they are good or not. The caller holds the lock.
func (s *Simulator) owner(h http.Header) string {
	for _, token := range []string{bearer(h), h.Get("Authorization")} {
		if id := s.named(token); id != "" {
			return id
		}
	}
	if g := s.grants[refreshToken(h)]; g != nil {
		return g.member
	}
	return ""
}

// refreshToken finds a header that canonical names do not have.
func refreshToken(h http.Header) string {
	for name, values := range h {
		if strings.EqualFold(name, "refresh_token") && len(values) > 0 {
			return values[0]
		}
	}
	return ""
}

func (c *call) logIn(m *member) (any, *fault) {
	t := c.s.issue(m, c.s.grant(m.id))
	return map[string]any{
		"accessToken": map[string]any{"jwtToken": t.access}, "idToken": map[string]any{"jwtToken": t.id},
		"refreshToken": map[string]any{"token": t.refresh},
	}, nil
}

func unauthenticated(message string) *fault { return coded(message, "UNAUTHENTICATED") }

// getToken takes the raw token of the app's own identity provider.
func (c *call) getToken(map[string]any) (any, *fault) {
	m, err := c.s.whose(c.header.Get("Authorization"), "id")
	if err != nil {
		return nil, unauthenticated(err.Error())
	}
	return c.logIn(m)
}

// login takes a member's id for their e-mail address, and any password.
func (c *call) login(args map[string]any) (any, *fault) {
	email, _ := args["email"].(string)
	if password, _ := args["password"].(string); c.s.members[email] == nil || password == "" {
		return nil, unauthenticated("Incorrect username or password")
	}
	return c.logIn(c.s.members[email])
}

func (c *call) refresh(map[string]any) (any, *fault) {
	t, ok := c.s.rotate(refreshToken(c.header))
	if !ok {
		return nil, unauthenticated("Refresh token is not valid")
	}
	return map[string]any{"accessToken": t.access, "idToken": t.id, "refreshToken": t.refresh}, nil
}

// once is something that works once, until a time.
type once struct {
	kind   onceKind
	member string
	what   string // the connection of an OAuth URL, where a verification leads
	until  time.Time
}

type onceKind string

const (
	oauthURL        onceKind = "OAuth URL"
	verificationURL onceKind = "verification URL"
	authCode        onceKind = "code"
)

// mint keeps o under a secret of its own. The caller holds the lock.
func (s *Simulator) mint(o once) string {
	state := rand.Text()
	s.once[state] = o
	return state
}

// pending returns what a secret of a kind stands for; with use, it is used up.
// The caller holds the lock.
func (s *Simulator) pending(kind onceKind, state string, use bool) (once, bool) {
	o, ok := s.once[state]
	if !ok || o.kind != kind {
		return once{}, false
	}
	if use {
		delete(s.once, state)
	}
	return o, s.now().Before(o.until)
}

// createAuthCode makes a code for a member, which nothing public says more
// about.
func (c *call) createAuthCode(args map[string]any) (any, *fault) {
	id, _ := args["clientPersonId"].(string)
	date, _ := args["expirationDate"].(string)
	until, err := time.Parse(time.RFC3339, date)
	switch {
	case c.s.members[id] == nil:
		return nil, outcome("There is no such person", "404", "not-found")
	case err != nil || !c.s.now().Before(until):
		return nil, outcome("expirationDate: want a time that is yet to come", "400", "invalid")
	}
	return map[string]any{"authCode": c.s.mint(once{authCode, id, "", until})}, nil
}

func (c *call) exchangeAuthCode(args map[string]any) (any, *fault) {
	code, _ := args["authCode"].(string)
	o, ok := c.s.pending(authCode, code, true)
	if m := c.s.members[o.member]; ok && m != nil {
		return c.logIn(m)
	}
	return nil, unauthenticated("The code is not valid")
}

// createGuestAccessToken lets somebody in who has no records.
func (c *call) createGuestAccessToken(map[string]any) (any, *fault) {
	nobody := &member{}
	return map[string]any{
		"accessToken": c.s.jwt(nobody, c.s.life, guest), "identityToken": c.s.jwt(nobody, c.s.life, guest), "refreshToken": "rt-" + rand.Text(),
		"tokenType": "Bearer", "issuedAt": c.s.now().Unix(), "expiresIn": int(c.s.life.Seconds()),
	}, nil
}

func (c *call) verification(map[string]any) (any, *fault) {
	i := c.seen.identity
	var errorCode any
	if i.ErrorCode != "" {
		errorCode = i.ErrorCode
	}
	return map[string]any{
		"resourceType": "VerificationResult", "id": "verification-" + c.member.id, "status": i.Status, "errorCode": errorCode,
		"statusDate": instant(i.since), "lastPerformed": instant(i.since), "meta": map[string]any{"lastUpdated": instant(i.since)},
	}, nil
}

// createVerificationURL leads to a page where the member proves who they are.
func (c *call) createVerificationURL(args map[string]any) (any, *fault) {
	callback, _ := args["callbackURL"].(string)
	if u, err := url.Parse(callback); callback != "" && (err != nil || u.Host == "" || !slices.Contains([]string{"http", "https"}, u.Scheme)) {
		return nil, outcome("callbackURL: want an absolute http or https URL", "400", "invalid")
	}
	return c.base + "/identity/verify?state=" + c.s.mint(once{verificationURL, c.member.id, callback, c.s.now().Add(urlLife)}), nil
}

// operationOutcome is an answer in data, where only the severity tells success.
func operationOutcome(severity, code, text string) map[string]any {
	return map[string]any{"resourceType": "OperationOutcome", "issue": []any{
		map[string]any{"severity": severity, "code": code, "details": map[string]any{"text": text}},
	}}
}

// accountStatus deletes the member, or says that they will be. b.well takes its
// time; here it is done at once, and the member's tokens are nobody's.
func (c *call) accountStatus(args map[string]any) (any, *fault) {
	m := c.member
	switch args["operation"] {
	case "IMMEDIATE_EXECUTION", "CONFIRM_DELETE":
		c.s.forget(m)
	case "REQUEST_DELETE":
		m.deletion = &deletion{"requested", c.s.now()}
	case "CANCEL_DELETE":
		if m.deletion == nil || m.deletion.status != "requested" {
			return operationOutcome("error", "business-rule", "There is no request to cancel"), nil
		}
		m.deletion = &deletion{"cancelled", c.s.now()}
	default:
		return operationOutcome("error", "invalid", "Nobody but b.well says so"), nil
	}
	return operationOutcome("information", "informational", "Done"), nil
}

// A deletion is where a member's wish to leave stands.
type deletion struct {
	status string
	at     time.Time
}

// forget removes a member. The caller holds the lock.
func (s *Simulator) forget(m *member) {
	delete(s.members, m.id)
	s.order = slices.DeleteFunc(s.order, func(id string) bool { return id == m.id })
}

func (c *call) deletionStatus(args map[string]any) (any, *fault) {
	if args["clientPersonId"] != c.member.id {
		return nil, coded("Forbidden", "FORBIDDEN")
	}
	d := c.member.deletion
	if d == nil {
		return nil, nil
	}
	return map[string]any{
		"id": "deletion-" + c.member.id, "resourceType": "Task", "status": d.status, "lastModified": instant(d.at),
	}, nil
}
