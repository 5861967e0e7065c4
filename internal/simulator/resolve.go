package simulator

import (
	"crypto/rand"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// call is one GraphQL request: whose it is and what it came with.
type call struct {
	s      *Simulator
	member *member // nil before login
	seen   *state  // what the member's reads show
	header http.Header
	base   string
	spell  spell
}

func forbidden() *fault {
	return outcome("The connection does not allow this", "400", "business-rule")
}

func missing() *fault {
	return outcome("There is no such connection", "404", "not-found")
}

// open are the root fields that need no access token. Those that log in or renew
// a login need the client key.
var open = map[string]struct{ keyed bool }{
	"__typename": {}, "initSdk": {}, "getToken": {true}, "login": {true}, "refresh": {true},
}

// admit decides who may ask for roots before anything is executed. It returns
// another status than 200, and what to answer, if not this caller.
func (c *call) admit(roots []string) (status int, refusal map[string]any) {
	authenticated := false
	for _, root := range roots {
		rule, isOpen := open[root]
		if rule.keyed && strings.TrimSpace(c.header.Get("clientkey")) == "" {
			return http.StatusBadRequest, identityFault(http.StatusBadRequest)
		}
		authenticated = authenticated || !isOpen
	}
	if !authenticated {
		return http.StatusOK, nil
	}
	m, err := c.s.whose(bearer(c.header), "access")
	if err != nil {
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

// resolve returns the resolver of a root field. The caller holds the lock.
func (c *call) resolve(field string) resolver {
	if f := c.spell.failing.fault; f != nil && (c.spell.Partial == "" || string(c.spell.Partial) == field) {
		return func(map[string]any) (any, *fault) { return nil, f }
	}
	if c.member != nil {
		c.s.count(c.member.id, field)
	} else {
		c.s.count(c.s.owner(c.header), field)
	}
	switch field {
	case "initSdk":
		return func(map[string]any) (any, *fault) { return nil, nil }
	case "getToken", "login":
		return c.getToken
	case "refresh":
		return c.refresh
	}
	c.s.advance(c.member)
	c.seen = c.s.seen(c.member)
	switch field {
	case "getMemberConnections":
		return c.connections
	case "subscriptions":
		return c.subscriptions
	case "tasks":
		return c.tasks
	case "consents":
		return c.consents
	case "careTeams":
		return c.careTeams
	case "getOauthUrl":
		return c.oauthURL
	case "getDataSource":
		return c.dataSource
	case "verificationStatus":
		return c.verification
	case "createConsent":
		return c.createConsent
	case "activateDirectConnection":
		return c.activate
	case "disconnectConnection":
		return c.disconnect
	case "deleteConnection":
		return c.remove
	default:
		return func(map[string]any) (any, *fault) { return nil, missing() }
	}
}

func (s *Simulator) count(member, field string) {
	if s.calls[member] == nil {
		s.calls[member] = map[string]int{}
	}
	s.calls[member][field]++
}

// getToken takes the raw token of the app's own identity provider.
func (c *call) getToken(map[string]any) (any, *fault) {
	m, err := c.s.whose(c.header.Get("Authorization"), "id")
	if err != nil {
		return nil, coded(err.Error(), "UNAUTHENTICATED")
	}
	t := c.s.issue(m, c.s.grant(m.id))
	return map[string]any{
		"accessToken": map[string]any{"jwtToken": t.access}, "idToken": map[string]any{"jwtToken": t.id},
		"refreshToken": map[string]any{"token": t.refresh},
	}, nil
}

func (c *call) refresh(map[string]any) (any, *fault) {
	t, ok := c.s.rotate(refreshToken(c.header))
	if !ok {
		return nil, coded("Refresh token is not valid", "UNAUTHENTICATED")
	}
	return map[string]any{"accessToken": t.access, "idToken": t.id, "refreshToken": t.refresh}, nil
}

// connections leaves DATA_DELETED out unless it is asked for.
func (c *call) connections(args map[string]any) (any, *fault) {
	list := []any{}
	sync, asked := texts(args["syncStatus"])
	status, byStatus := texts(args["status"])
	kind, byKind := texts(args["integrationType"])
	for _, r := range c.seen.rows {
		switch {
		case asked && !slices.Contains(sync, r.text("syncStatus")),
			!asked && r.text("syncStatus") == "DATA_DELETED",
			byStatus && !slices.Contains(status, r.text("status")),
			byKind && !slices.Contains(kind, r.text("integrationType")):
			continue
		}
		list = append(list, r)
	}
	return list, nil
}

func texts(v any) ([]string, bool) {
	list, ok := v.([]any)
	var out []string
	for _, x := range list {
		if s, ok := x.(string); ok {
			out = append(out, s)
		}
	}
	return out, ok
}

// codes returns the codes a search token asks for, and those it excludes.
func codes(v any) (want, without []string) {
	token, _ := v.(map[string]any)
	var values []any
	if one := token["value"]; one != nil {
		values = append(values, one)
	}
	if many, ok := token["values"].([]any); ok {
		values = append(values, many...)
	}
	add := func(list []string, v any) []string {
		m, _ := v.(map[string]any)
		for _, f := range []string{"code", "value"} {
			if s, _ := m[f].(string); s != "" {
				list = append(list, s)
			}
		}
		return list
	}
	for _, v := range values {
		want = add(want, v)
		if m, _ := v.(map[string]any); m["notEquals"] != nil {
			without = add(without, m["notEquals"])
		}
	}
	return want, add(without, token["notEquals"])
}

func codesOf(concepts ...any) []string {
	var all []string
	for _, c := range concepts {
		m, _ := c.(map[string]any)
		list, _ := m["coding"].([]any)
		for _, x := range list {
			coding, _ := x.(map[string]any)
			if s, _ := coding["code"].(string); s != "" {
				all = append(all, s)
			}
		}
	}
	return all
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(x string) bool { return slices.Contains(b, x) })
}

// bundle pages a list as the FHIR server does: a page number counts only with a
// page size, and a bundle without entries has null for them.
func bundle(list []any, args map[string]any) map[string]any {
	total := len(list)
	if n, ok := number(args["_count"]); ok && n > 0 {
		page, _ := number(args["_getpagesoffset"])
		from := min(max(page, 0)*n, total)
		list = list[from:min(from+n, total)]
	}
	var entry any
	if len(list) > 0 {
		entries := make([]any, len(list))
		for i, r := range list {
			entries[i] = map[string]any{"resource": r}
		}
		entry = entries
	}
	return map[string]any{"total": total, "entry": entry}
}

func number(v any) (int, bool) {
	switch n := v.(type) {
	case int64:
		return int(n), true
	case float64:
		return int(n), true
	case int:
		return n, true
	default:
		return 0, false
	}
}

// subscriptions is how SDK 2.x reads connections: FHIR Subscription resources,
// the row in extensions, PROA only, no integration type.
func (c *call) subscriptions(args map[string]any) (any, *fault) {
	list := []any{}
	for i, r := range c.seen.rows {
		if r.text("integrationType") != "PROA" || r.text("syncStatus") == "DATA_DELETED" {
			continue
		}
		var extensions []any
		for _, e := range [][2]string{ // b.well's word and getMemberConnections'
			{"service_slug", "id"}, {"token-status", "status"}, {"connection_name", "name"}, {"category", "type"}, {"data-connection-status", "syncStatus"},
		} {
			extensions = append(extensions, map[string]any{"id": e[0], "url": "https://icanbwell.com/codes/" + e[0], "valueString": r.text(e[1])})
		}
		extensions = append(extensions, map[string]any{"id": "connection_type", "valueString": "oauth"})
		list = append(list, map[string]any{
			"id": "subscription-" + c.member.id + "-" + strconv.Itoa(i), "meta": map[string]any{"source": "https://icanbwell.com/proa"},
			"subscriptionStatus": []any{map[string]any{
				"meta": map[string]any{"lastUpdated": r["statusUpdated"]}, "error": r["syncErrors"], "extension": extensions,
				"notificationEvent": []any{
					map[string]any{"id": "created-date", "timestamp": r["created"]}, map[string]any{"id": "data-last-updated", "timestamp": r["lastSynced"]},
				},
			}},
		})
	}
	return bundle(list, args), nil
}

func (c *call) tasks(args map[string]any) (any, *fault) {
	list := []any{}
	want, _ := codes(args["code"])
	status, _ := codes(args["status"])
	_, without := codes(args["performer"])
	for _, t := range c.seen.tasks {
		performers, _ := t["performerType"].([]any)
		is, _ := t["status"].(string)
		if want != nil && !overlap(want, codesOf(t["code"])) || status != nil && !slices.Contains(status, is) ||
			overlap(without, codesOf(performers...)) {
			continue
		}
		list = append(list, t)
	}
	return bundle(list, args), nil
}

func (c *call) consents(args map[string]any) (any, *fault) {
	list := []any{}
	want, _ := codes(args["category"])
	for _, consent := range c.seen.consents {
		category, _ := consent["category"].([]any)
		has := codesOf(category...)
		if want != nil && !slices.ContainsFunc(want, func(w string) bool {
			return slices.ContainsFunc(has, func(h string) bool { return plain(h) == plain(w) })
		}) {
			continue
		}
		list = append(list, consent)
	}
	return bundle(list, args), nil
}

func plain(code string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(":_-", r) {
			return -1
		}
		return r
	}, strings.ToLower(code))
}

func (c *call) careTeams(args map[string]any) (any, *fault) {
	const recommended = "recommended-connections"
	if want, _ := codes(args["category"]); want != nil && !slices.Contains(want, recommended) {
		return bundle(nil, args), nil
	}
	var people []any
	for _, o := range c.seen.open() {
		people = append(people, map[string]any{"member": map[string]any{
			"reference": "Organization/" + o.Alias, "type": "Organization",
			"resource": map[string]any{"__typename": "Organization", "id": "org-" + o.Alias, "name": o.Name, "alias": []any{o.Alias}},
		}})
	}
	if people == nil {
		return bundle(nil, args), nil
	}
	return bundle([]any{map[string]any{
		"id": "careteam-" + c.member.id, "status": "active",
		"category":    []any{map[string]any{"coding": []any{map[string]any{"code": recommended}}}},
		"participant": people,
	}}, args), nil
}

func (c *call) verification(map[string]any) (any, *fault) {
	var errorCode any
	if code := c.seen.identity.ErrorCode; code != "" {
		errorCode = code
	}
	return map[string]any{"status": c.seen.identity.Status, "errorCode": errorCode}, nil
}

func (c *call) dataSource(args map[string]any) (any, *fault) {
	id, _ := args["connectionId"].(string)
	if rows := c.seen.rowsOf(id, ""); len(rows) > 0 {
		return rows[0], nil
	}
	return nil, missing()
}

// createConsent takes the enums upper case, as b.well does, and answers with
// the provision as it was sent.
func (c *call) createConsent(args map[string]any) (any, *fault) {
	input, _ := args["consentInput"].(map[string]any)
	provision, _ := input["provision"].(map[string]any)
	p, _ := provision["type"].(string)
	category, _ := input["category"].([]any)
	ias := slices.ContainsFunc(codesOf(category...), func(code string) bool { return plain(code) == "iasimportrecords" })
	if p == "" {
		return nil, outcome("A provision is required", "400", "invalid")
	}
	c.s.remember(c.member, c.s.now())
	var made map[string]any
	if ias && input["status"] == "ACTIVE" {
		made = c.s.consent(c.member, p, c.s.now())
	} else {
		now := instant(c.s.now())
		made = map[string]any{
			"id": c.member.uuid(), "status": strings.ToLower(input["status"].(string)), "dateTime": now,
			"meta": map[string]any{"lastUpdated": now}, "category": category, "provision": map[string]any{"type": strings.ToLower(p)},
		}
		// Appended in front: only an IAS consent is the last one.
		c.member.consents = append([]map[string]any{made}, c.member.consents...)
	}
	answer := map[string]any{}
	maps.Copy(answer, made)
	answer["provision"] = map[string]any{"type": p}
	return answer, nil
}

// change sets the status of the connection an operation names.
func (c *call) change(args map[string]any, pick func(Row) bool, status, sync string) (any, *fault) {
	id, _ := args["connectionId"].(string)
	rows := c.member.rowsOf(id, "")
	if len(rows) == 0 {
		return nil, missing()
	}
	i := slices.IndexFunc(rows, pick)
	if i < 0 {
		return nil, forbidden()
	}
	c.s.remember(c.member, c.s.now())
	r := rows[i]
	r["status"], r["statusUpdated"] = status, zoneless(c.s.now())
	if sync != "" {
		r["syncStatus"] = sync
	}
	return map[string]any{"status": status, "statusUpdated": r["statusUpdated"]}, nil
}

// activate accepts EXPIRED and DISCONNECTED; it refuses a deleted connection,
// revoked consent, and a member whose identity is not proven.
func (c *call) activate(args map[string]any) (any, *fault) {
	if c.member.identity.Status != validated || c.member.provision() == "deny" {
		return nil, forbidden()
	}
	direct := func(r Row) bool {
		return r.text("integrationType") == "DIRECT_IAS" && (r.text("status") == "EXPIRED" || r.text("status") == "DISCONNECTED")
	}
	return c.change(args, direct, "CONNECTED", "RETRIEVED")
}

func (c *call) disconnect(args map[string]any) (any, *fault) {
	return c.change(args, func(r Row) bool { return r.text("status") != "DELETED" }, "DISCONNECTED", "")
}

// remove deletes: the data goes a while later, and then b.well stops listing
// the connection. Here it goes at once.
func (c *call) remove(args map[string]any) (any, *fault) {
	return c.change(args, func(Row) bool { return true }, "DELETED", "DATA_DELETED")
}

// oauthState is one URL that was minted; each works once.
type oauthState struct {
	member, connection string
	until              time.Time
}

func (c *call) oauthURL(args map[string]any) (any, *fault) {
	id, _ := args["connectionId"].(string)
	rows := c.member.rowsOf(id, "")
	switch {
	case len(rows) == 0 && !slices.ContainsFunc(c.member.offers, func(o offer) bool { return o.Alias == id }):
		return nil, missing()
	case len(rows) > 0 && !slices.ContainsFunc(rows, Row.byOAuth):
		return nil, forbidden()
	}
	state := rand.Text()
	c.s.oauth[state] = oauthState{c.member.id, id, c.s.now().Add(10 * time.Minute)}
	return map[string]any{"redirectUrl": c.base + "/oauth/authorize?state=" + state}, nil
}
