package simulator

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
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
	if c.member != nil {
		c.s.advance(c.member)
		c.seen = c.s.seen(c.member)
	}
	r := c.resolver(field)
	if r == nil {
		panic("simulator: the schema has a field that nothing resolves: " + field) // a test asks for each
	}
	return r
}

func (c *call) resolver(field string) resolver {
	switch field {
	case "initSdk":
		return func(map[string]any) (any, *fault) { return nil, nil }
	case "getToken":
		return c.getToken
	case "login":
		return c.login
	case "refresh":
		return c.refresh
	case "createAuthCode":
		return c.createAuthCode
	case "exchangeAuthCode":
		return c.exchangeAuthCode
	case "createGuestAccessToken":
		return c.createGuestAccessToken
	case "verificationStatus":
		return c.verification
	case "createVerificationUrl":
		return c.createVerificationURL
	case "updateUserAccountStatus":
		return c.accountStatus
	case "accountDeletionStatusByClientPerson":
		return c.deletionStatus
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
	case "createConsent":
		return c.createConsent
	case "getOauthUrl":
		return c.oauthURL
	case "activateDirectConnection":
		return c.activate
	case "disconnectConnection":
		return c.disconnect
	case "deleteConnection":
		return c.remove
	case "createConnection":
		return c.createConnection
	case "getDataSource":
		return c.dataSource
	case "searchHealthResources":
		return c.search
	case "requestConnection":
		return c.requestConnection
	default:
		return nil
	}
}

func (s *Simulator) count(member, field string) {
	if s.calls[member] == nil {
		s.calls[member] = map[string]int{}
	}
	s.calls[member][field]++
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

// texts reads a list of texts, which may be one text without a list around it.
// An empty list asks for nothing in particular.
func texts(v any) ([]string, bool) {
	if s, ok := v.(string); ok {
		return []string{s}, true
	}
	list, _ := v.([]any)
	var out []string
	for _, x := range list {
		if s, ok := x.(string); ok {
			out = append(out, s)
		}
	}
	return out, len(out) > 0
}

// A search is what a list is asked for, by the names of its arguments.
type search map[string]any

// token reports whether a resource that has some codes is what a search token
// asks for.
func (q search) token(argument string, has ...string) bool {
	want, without := codes(q[argument])
	return (want == nil || overlap(want, has)) && !overlap(without, has)
}

// text reports the same of a search string or reference.
func (q search) text(argument string, is string) bool {
	asked, _ := q[argument].(map[string]any)
	want, ok := texts(asked["values"])
	if one, is := asked["value"].(string); is {
		want, ok = append(want, one), true
	}
	return !ok || slices.Contains(want, is)
}

// codes returns the codes a search token asks for, and those it excludes.
func codes(v any) (want, without []string) {
	token, _ := v.(map[string]any)
	want = codesIn(token)
	without = codesIn(token["notEquals"])
	values, _ := token["values"].([]any)
	for _, value := range append(values, token["value"]) {
		one, _ := value.(map[string]any)
		without = append(without, codesIn(one["notEquals"])...)
	}
	return want, without
}

// codesIn returns the codes of a value, of its value and of its values.
func codesIn(v any) []string {
	m, _ := v.(map[string]any)
	var all []string
	for _, field := range []string{"code", "value"} {
		switch x := m[field].(type) {
		case string:
			all = append(all, x)
		case map[string]any:
			all = append(all, codesIn(x)...)
		}
	}
	values, _ := m["values"].([]any)
	for _, x := range values {
		all = append(all, codesIn(x)...)
	}
	return all
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

// overlap compares codes of categories as b.well's readers have to: what is
// written IAS_IMPORT_RECORDS is read ias:import:records.
func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(x string) bool {
		return slices.ContainsFunc(b, func(y string) bool { return x == y || plain(stored(x)) == plain(stored(y)) })
	})
}

// bundle pages a list as the FHIR server does: by id, which says nothing of age;
// a page number counts only with a page size; a bundle without entries has null
// for them.
func bundle(list []map[string]any, q search) map[string]any {
	slices.SortFunc(list, func(a, b map[string]any) int { return strings.Compare(a["id"].(string), b["id"].(string)) })
	total := len(list)
	if n, ok := number(q["_count"]); ok && n > 0 {
		n = min(n, maxPage)
		page, _ := number(q["_getpagesoffset"])
		from := min(max(page, 0)*n, total)
		list = list[from:min(from+n, total)]
	} else {
		list = list[:min(defaultPage, total)]
	}
	var entry any
	if len(list) > 0 {
		entries := make([]any, len(list))
		for i, r := range list {
			entries[i] = map[string]any{"id": r["id"], "resource": r}
		}
		entry = entries
	}
	return map[string]any{"total": total, "entry": entry}
}

// What the FHIR server sends at most, unasked and asked.
const defaultPage, maxPage = 100, 1000

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
	const proa = "https://icanbwell.com/proa"
	var list []map[string]any
	for i, r := range c.seen.rows {
		if r.text("integrationType") != "PROA" || r.text("syncStatus") == "DATA_DELETED" || !search(args).text("_source", proa) {
			continue
		}
		kind := "oauth"
		if r.text("category") == "BASIC" {
			kind = "hapi"
		}
		var extensions []any
		for _, e := range [][2]string{ // b.well's words, with getMemberConnections'
			{"service_slug", r.text("id")},
			{"token-status", r.text("status")},
			{"connection_name", r.text("name")},
			{"connection_type", kind},
			{"category", r.text("type")},
			{"data-connection-status", r.text("syncStatus")},
		} {
			extensions = append(extensions, map[string]any{"id": e[0], "url": "https://icanbwell.com/codes/" + e[0], "valueString": e[1]})
		}
		list = append(list, map[string]any{
			"id": fmt.Sprintf("subscription-%s-%04d", c.member.id, i), "meta": map[string]any{"source": proa},
			"subscriptionStatus": []any{map[string]any{
				"meta": map[string]any{"lastUpdated": zoned(r["statusUpdated"])}, "error": r["syncErrors"], "extension": extensions,
				"notificationEvent": []any{
					map[string]any{"id": "created-date", "timestamp": zoned(r["created"])},
					map[string]any{"id": "data-last-updated", "timestamp": zoned(r["lastSynced"])},
				},
			}},
		})
	}
	return bundle(list, args), nil
}

// zoned writes a connection's date as FHIR resources have it, if it is one.
func zoned(date any) any {
	text, _ := date.(string)
	if at, err := time.Parse("2006-01-02T15:04:05.999999", text); err == nil {
		return instant(at)
	}
	return date
}

func (c *call) tasks(args map[string]any) (any, *fault) {
	q := search(args)
	var list []map[string]any
	for _, t := range c.seen.tasks {
		performers, _ := t["performerType"].([]any)
		id, _ := t["id"].(string)
		status, _ := t["status"].(string)
		if q.token("code", codesOf(t["code"])...) && q.token("status", status) && q.token("performer", codesOf(performers...)...) &&
			q.token("identifier") && q.token("_tag") && q.text("id", id) && q.text("subject", "Patient/"+c.member.id) {
			list = append(list, t)
		}
	}
	return bundle(list, args), nil
}

func (c *call) careTeams(args map[string]any) (any, *fault) {
	const recommended, active = "recommended-connections", "active"
	id := "careteam-" + c.member.id
	var people []any
	for _, o := range c.seen.open() {
		people = append(people, map[string]any{"member": map[string]any{
			"reference": "Organization/org-" + o.Alias, "type": "Organization",
			"resource": map[string]any{
				"__typename": "Organization", "resourceType": "Organization", "id": "org-" + o.Alias, "name": o.Name, "alias": []any{o.Alias},
			},
		}})
	}
	q := search(args)
	if people == nil || !q.token("category", recommended) || !q.token("status", active) || !q.text("id", id) {
		return bundle(nil, args), nil
	}
	return bundle([]map[string]any{{
		"resourceType": "CareTeam", "id": id, "status": active, "name": "Recommended connections",
		"category":    []any{map[string]any{"coding": []any{map[string]any{"code": recommended}}}},
		"participant": people,
	}}, args), nil
}

// source returns what is known of a place to connect: to this member, or at all.
func (c *call) source(id string) (offer, bool) {
	all := append(slices.Clone(c.member.offers), sources()...)
	i := slices.IndexFunc(all, func(o offer) bool { return o.Alias == id })
	if i < 0 {
		return offer{}, false
	}
	return all[i], true
}

func (c *call) dataSource(args map[string]any) (any, *fault) {
	id, _ := args["connectionId"].(string)
	if rows := c.seen.rowsOf(id, ""); len(rows) > 0 {
		return rows[0], nil
	}
	if o, ok := c.source(id); ok {
		return map[string]any{"id": id, "name": o.Name, "category": "OAUTH", "type": "CLINICAL", "integrationType": nil}, nil
	}
	return nil, missing()
}

// search finds the places that there are by their names.
func (c *call) search(args map[string]any) (any, *fault) {
	input, _ := args["searchInput"].(map[string]any)
	words, _ := input["search"].(string)
	paging, _ := input["paging"].(map[string]any)
	size, ok := number(paging["pageSize"])
	if !ok || size <= 0 {
		size = 20
	}
	var found []any
	for _, o := range sources() {
		if !strings.Contains(strings.ToLower(o.Name), strings.ToLower(words)) {
			continue
		}
		endpoint := []any{map[string]any{"name": o.Alias}}
		found = append(found, map[string]any{
			"type": "PRACTICE", "id": "org-" + o.Alias, "content": o.Name, "endpoint": endpoint,
			"organization": []any{map[string]any{"name": o.Name, "endpoint": endpoint}},
		})
	}
	page, _ := number(paging["pageNumber"])
	from := min(max(page, 0)*size, len(found))
	return map[string]any{
		"pagingInfo": map[string]any{"pageNumber": page, "pageSize": size, "totalItems": len(found), "totalPages": (len(found) + size - 1) / size},
		"results":    found[from:min(from+size, len(found))],
	}, nil
}

func (c *call) requestConnection(map[string]any) (any, *fault) {
	return operationOutcome("information", "informational", "The source was asked for"), nil
}

// change sets fields of the connection that an operation names: of two with one
// id the first that fits the earliest of picks.
func (c *call) change(args map[string]any, to Row, picks ...func(Row) bool) (any, *fault) {
	id, _ := args["connectionId"].(string)
	rows := c.member.rowsOf(id, "")
	if len(rows) == 0 {
		return nil, missing()
	}
	for _, pick := range picks {
		i := slices.IndexFunc(rows, pick)
		if i < 0 {
			continue
		}
		c.s.remember(c.member, c.s.now())
		r := rows[i]
		if r["status"] != to["status"] {
			r["statusUpdated"] = zoneless(c.s.now())
		}
		maps.Copy(r, to)
		return r, nil
	}
	return nil, forbidden()
}

func is(status ...string) func(Row) bool {
	return func(r Row) bool { return slices.Contains(status, r.text("status")) }
}

func not(f func(Row) bool) func(Row) bool { return func(r Row) bool { return !f(r) } }

// activate accepts EXPIRED and DISCONNECTED; it refuses a deleted connection,
// revoked consent, and a member whose identity is not proven.
func (c *call) activate(args map[string]any) (any, *fault) {
	if c.member.identity.Status != validated || c.member.provision() == "deny" {
		return nil, forbidden()
	}
	lapsed := is("EXPIRED", "DISCONNECTED")
	return c.change(args, Row{"status": "CONNECTED", "syncStatus": "RETRIEVED", "syncErrors": nil}, func(r Row) bool {
		return r.text("integrationType") == "DIRECT_IAS" && lapsed(r)
	})
}

func (c *call) disconnect(args map[string]any) (any, *fault) {
	return c.change(args, Row{"status": "DISCONNECTED"}, not(is("DELETED", "DISCONNECTED")), is("DISCONNECTED"))
}

// remove deletes: the data goes a while later, and then b.well stops listing
// the connection.
func (c *call) remove(args map[string]any) (any, *fault) {
	if r, failed := c.change(args, Row{"status": "DELETED", "syncStatus": "DELETING"}, not(is("DELETED"))); failed == nil {
		c.member.erasures = append(c.member.erasures, erasure{c.s.now().Add(step), r.(Row)})
		return r, nil
	}
	return c.change(args, Row{"status": "DELETED"}, is("DELETED"))
}

// createConnection connects a source by username and password, any of them: what
// b.well calls BASIC. A type other than DIRECT is in b.well's newer pages.
func (c *call) createConnection(args map[string]any) (any, *fault) {
	text := func(name string) string { s, _ := args[name].(string); return s }
	id, kind := text("connectionId"), text("integrationType")
	if kind != "DIRECT" && (text("username") == "" || text("password") == "") {
		return nil, outcome("A username and a password are required", "400", "invalid")
	}
	rows := c.member.rowsOf(id, kind)
	o, known := c.source(id)
	made := row(id, o.Name, cmp.Or(kind, "PROA"), c.s.now())
	made["category"] = "BASIC"
	switch {
	case len(rows) > 0:
		made = rows[0]
	case !known:
		return nil, missing()
	}
	switch {
	case made.ias() && c.member.provision() == "deny", len(rows) > 0 && made.text("category") != "BASIC":
		return nil, forbidden()
	// Just after a delete b.well may still think so.
	case slices.ContainsFunc(c.seen.rowsOf(id, kind), is("CONNECTED")), slices.ContainsFunc(rows, is("CONNECTED")):
		return nil, outcome("Already Connected", "409", "business-rule")
	}
	c.s.remember(c.member, c.s.now())
	if len(rows) == 0 {
		c.member.rows = append(c.member.rows, made)
	}
	c.s.connect(made)
	return made, nil
}

// urlLife is how long the URLs are good that a member's browser is sent to.
const urlLife = 10 * time.Minute

func (c *call) oauthURL(args map[string]any) (any, *fault) {
	id, _ := args["connectionId"].(string)
	rows := c.member.rowsOf(id, "")
	switch {
	case len(rows) == 0 && !slices.ContainsFunc(c.member.offers, func(o offer) bool { return o.Alias == id }):
		return nil, missing()
	case len(rows) > 0 && !slices.ContainsFunc(rows, Row.byOAuth):
		return nil, forbidden()
	}
	return map[string]any{"redirectUrl": c.base + "/oauth/authorize?state=" + c.s.mint(once{oauthURL, c.member.id, id, c.s.now().Add(urlLife)})}, nil
}
