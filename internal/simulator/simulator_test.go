package simulator

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
)

type client struct {
	t    *testing.T
	base string
	now  *time.Time
	sim  *Simulator
}

func serve(t *testing.T, members int) *client {
	t.Helper()
	now := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	s := New(Config{Seed: 1, Members: members, Now: func() time.Time { return now }})
	srv := httptest.NewServer(s.Handler())
	t.Cleanup(srv.Close)
	return &client{t, srv.URL, &now, s}
}

// do sends a request and returns the status and the body.
func (c *client) do(method, path, body string, header ...string) (int, string) {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header[header[i]] = []string{header[i+1]}
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

func (c *client) query(token, query string) string {
	c.t.Helper()
	body, err := json.Marshal(map[string]string{"query": query})
	if err != nil {
		c.t.Fatal(err)
	}
	_, answer := c.do("POST", "/v1/graphql", string(body), "Authorization", "Bearer "+token)
	return answer
}

// access logs a member in by token exchange.
func (c *client) access(m MemberView) (access, refresh string) {
	c.t.Helper()
	form := exchangeForm(m.IDToken)
	_, body := c.do("POST", "/identity/oauth/token", form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	var grant struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	if json.Unmarshal([]byte(body), &grant) != nil || grant.Access == "" {
		c.t.Fatalf("exchange: %s", body)
	}
	return grant.Access, grant.Refresh
}

func (c *client) statuses(token string) string {
	return c.query(token, `{getMemberConnections{integrationType status}}`)
}

// plain is everything of the members but their tokens.
func (c *client) plain() string {
	c.t.Helper()
	all := c.sim.Members()
	for i := range all {
		all[i].IDToken, all[i].RefreshToken = "", ""
	}
	body, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		c.t.Fatal(err)
	}
	return string(body)
}

// Equal seeds give equal members: whenever they are started, whatever happened
// to others before they were made, and whatever faults there were.
func TestSeedIsDeterministic(t *testing.T) {
	a, b := serve(t, 5), serve(t, 4)
	*b.now = b.now.Add(400*24*time.Hour + 3*time.Hour)
	b.sim = New(Config{Seed: 1, Members: 4, Now: func() time.Time { return *b.now }})
	first := b.sim.Members()[0]
	for _, err := range []error{b.sim.SetConsent(first.ID, "deny"), b.sim.SetFaults(Faults{ErrorRate: 0.5})} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		b.sim.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/v1/graphql", strings.NewReader("{}")))
	}
	if _, err := b.sim.AddMembers(1, NewMember{}); err != nil {
		t.Fatal(err)
	}
	all := b.sim.Members()
	for i, m := range a.sim.Members() {
		x, _ := json.Marshal([]any{m.ID, m.Connections, m.Tasks, m.Recommendations})
		y, _ := json.Marshal([]any{all[i].ID, all[i].Connections, all[i].Tasks, all[i].Recommendations})
		if i > 0 && !bytes.Equal(x, y) {
			t.Errorf("%s\n%s", x, y)
		}
	}
	if again := serve(t, 5); a.plain() != again.plain() {
		t.Error("equal seeds, different members")
	}
}

// An answer to the same question is the same, byte by byte.
func TestAnswersAreDeterministic(t *testing.T) {
	c := serve(t, 1)
	token, _ := c.access(c.sim.Members()[0])
	const all = `{subscriptions{entry{resource{id subscriptionStatus{extension{id valueString} notificationEvent{id timestamp}}}}}
		getMemberConnections{id created statusUpdated lastSynced} tasks{entry{resource{id lastModified}}} consents{entry{resource{id dateTime}}}}`
	first := c.query(token, all)
	for range 20 {
		if again := c.query(token, all); again != first {
			t.Fatalf("%s\n%s", first, again)
		}
	}
}

// What was before the start has a date of its own; a clock that is behind it
// has no future in its past.
func TestThePastIsPast(t *testing.T) {
	for _, now := range []time.Time{time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), time.Now()} {
		for _, m := range New(Config{Seed: 1, Members: 3, Now: func() time.Time { return now }}).Members() {
			for _, r := range m.Connections {
				for _, field := range []string{"created", "statusUpdated", "lastSynced"} {
					if at, err := time.Parse("2006-01-02T15:04:05.000000", r.text(field)); err != nil || at.After(now) {
						t.Errorf("at %s: %s is %v, %v", now, field, at, err)
					}
				}
			}
		}
	}
}

// Every seeded member can show everything: a connection of each type, something
// to connect, ids that no subject may hold as they are.
func TestSeededMembers(t *testing.T) {
	for seed := range uint64(20) {
		twins := 0
		for _, m := range New(Config{Seed: seed, Members: 25}).Members() {
			kinds, ids := map[string]bool{}, map[string]bool{}
			for _, r := range m.Connections {
				id := r.text("id")
				if ids[id] {
					twins++
				}
				kinds[r.text("integrationType")], ids[id] = true, true
				if !strings.ContainsAny(id, "-_") {
					t.Errorf("%s holds neither - nor _", id)
				}
			}
			if len(kinds) != 3 || len(m.Recommendations) == 0 || m.Consent != "permit" || m.Identity != "validated" ||
				len(m.Tasks) != 1 || m.Tasks[0]["status"] != "completed" || !strings.ContainsAny(m.ID, "-_") {
				t.Errorf("%+v", m)
			}
			for _, alias := range m.Recommendations {
				if ids[alias] {
					t.Errorf("%s is connected and recommended", alias)
				}
			}
		}
		if twins == 0 {
			t.Errorf("seed %d: nobody has a source twice", seed)
		}
	}
}

func TestConsentRules(t *testing.T) {
	c := serve(t, 1)
	m := c.sim.Members()[0]
	token, _ := c.access(m)
	var direct string
	for _, r := range m.Connections {
		if r.text("integrationType") == "DIRECT_IAS" {
			direct = r.text("id")
		}
	}
	if got := c.query(token, `mutation{disconnectConnection(connectionId:"`+direct+`"){status}}`); !strings.Contains(got, "DISCONNECTED") {
		t.Fatal(got)
	}
	deny := c.query(token, `mutation{createConsent(consentInput:{status:ACTIVE,provision:{type:DENY},category:[{coding:[{code:"IAS_IMPORT_RECORDS"}]}]}){status provision{type} category{coding{code}}}}`)
	if !strings.Contains(deny, `"DENY"`) || !strings.Contains(deny, "ias:import:records") {
		t.Error(deny)
	}
	if got := c.statuses(token); !strings.Contains(got, "ACCESS_ENDED") || !strings.Contains(got, `"PROA","status":"CONNECTED"`) {
		t.Error(got)
	}
	if got := c.query(token, `mutation{activateDirectConnection(connectionId:"`+direct+`"){status statusUpdated}}`); !strings.Contains(got, "business-rule") {
		t.Errorf("activated while consent is revoked: %s", got)
	}
	if got := c.query(token, `{tasks{entry{resource{status}}}}`); !strings.Contains(got, "rejected") {
		t.Error(got)
	}
	if err := c.sim.SetConsent(m.ID, "permit"); err != nil {
		t.Fatal(err)
	}
	if got := c.statuses(token); strings.Contains(got, "ACCESS_ENDED") || !strings.Contains(got, "DISCONNECTED") {
		t.Errorf("what the member disconnected stays so: %s", got)
	}
	*c.now = c.now.Add(10 * time.Second)
	if got := c.query(token, `{tasks{entry{resource{status}}}}`); !strings.Contains(got, "completed") {
		t.Error(got)
	}
	if got := c.query(token, `mutation{activateDirectConnection(connectionId:"`+direct+`"){status statusUpdated}}`); !strings.Contains(got, "CONNECTED") {
		t.Error(got)
	}
}

// Deleting takes a while: the connection is listed as being deleted, and then
// only for who asks for it. Reads that lag see each of that later.
func TestDeletedRowsAreHidden(t *testing.T) {
	for _, lag := range []time.Duration{0, time.Minute} {
		c := serve(t, 1)
		if err := c.sim.SetFaults(Faults{Lag: Duration(lag)}); err != nil {
			t.Fatal(err)
		}
		m := c.sim.Members()[0]
		token, _ := c.access(m)
		id := connectionOf(t, m, "DIRECT_IAS")
		read := func(arguments string) string {
			got := c.query(token, `{getMemberConnections`+arguments+`{id status syncStatus}}`)
			_, row, _ := strings.Cut(got, `"id":"`+id+`",`)
			row, _, _ = strings.Cut(row, "}")
			return row
		}
		const connected, deleting, deleted = `"status":"CONNECTED","syncStatus":"RETRIEVED"`, `"status":"DELETED","syncStatus":"DELETING"`, `"status":"DELETED","syncStatus":"DATA_DELETED"`
		if got := c.query(token, `mutation{deleteConnection(connectionId:"`+id+`"){status statusUpdated}}`); !strings.Contains(got, `"DELETED"`) {
			t.Error(got)
		}
		for _, tt := range []struct {
			after                time.Duration
			listed, unlisted, on string
		}{
			{0, deleting, "", deleting},
			{2*time.Second - 1, deleting, "", deleting},
			{1, "", deleted, ""},
		} {
			*c.now = c.now.Add(tt.after)
			if lag > 0 {
				if got := read(""); got != connected {
					t.Errorf("lagging: %s", got)
				}
				*c.now = c.now.Add(lag)
			}
			if got := read(""); got != tt.listed {
				t.Errorf("listed: %q, want %q", got, tt.listed)
			}
			if got := read(`(syncStatus:["DATA_DELETED"])`); got != tt.unlisted {
				t.Errorf("asked for: %q, want %q", got, tt.unlisted)
			}
			if got := read(`(syncStatus:"DELETING")`); got != tt.on {
				t.Errorf("asked for what is going: %q, want %q", got, tt.on)
			}
			if lag > 0 {
				break // one step of that kind is enough
			}
		}
		if lag > 0 {
			continue
		}
		if got := read(`(syncStatus:[])`); got != "" {
			t.Errorf("an empty filter is none: %q", got)
		}
		if got := c.query(token, `{getMemberConnections(syncStatus:[]){id}}`); strings.Count(got, `"id"`) != len(m.Connections)-1 {
			t.Errorf("an empty filter is none: %s", got)
		}
		if got := c.query(token, `{getMemberConnections(status:["CONNECTED"],integrationType:"PROA"){id}}`); strings.Count(got, `"id"`) != 1 {
			t.Error(got)
		}
		// What was connected again meanwhile is not deleted after all.
		other := connectionOf(t, m, "PROA")
		c.query(token, `mutation{deleteConnection(connectionId:"`+other+`"){status}}`)
		if err := c.sim.Login(m.ID, other); err != nil {
			t.Fatal(err)
		}
		*c.now = c.now.Add(time.Minute)
		if got := c.query(token, `{getMemberConnections(integrationType:["PROA"]){status syncStatus}}`); !strings.Contains(got, `"CONNECTED","syncStatus":"RETRIEVED"`) {
			t.Error(got)
		}
	}
}

// Disconnecting and deleting take the row that still works.
func TestTwinsAreDisconnectedOneByOne(t *testing.T) {
	c := serve(t, 0)
	if err := c.sim.AddMember(NewMember{ID: "ann", Connections: []Row{{"id": "a-1"}, {"id": "a-1", "integrationType": "INDIRECT_IAS"}}}); err != nil {
		t.Fatal(err)
	}
	token, _ := c.access(c.sim.Members()[0])
	for _, tt := range []struct{ operation, want string }{
		{"disconnect", "DISCONNECTED CONNECTED"},
		{"disconnect", "DISCONNECTED DISCONNECTED"},
		{"disconnect", "DISCONNECTED DISCONNECTED"},
		{"delete", "DELETED DISCONNECTED"},
		{"disconnect", "DELETED DISCONNECTED"},
		{"delete", "DELETED DELETED"},
		{"delete", "DELETED DELETED"},
	} {
		if got := c.query(token, `mutation{`+tt.operation+`Connection(connectionId:"a-1"){status statusUpdated}}`); strings.Contains(got, `"errors"`) {
			t.Errorf("%s: %s", tt.operation, got)
		}
		rows := c.sim.Members()[0].Connections
		if got := rows[0].text("status") + " " + rows[1].text("status"); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.operation, got, tt.want)
		}
	}
	if got := c.query(token, `mutation{disconnectConnection(connectionId:"a-1"){status}}`); !strings.Contains(got, "business-rule") {
		t.Errorf("a deleted one is disconnected: %s", got)
	}
}

func TestRefreshRotates(t *testing.T) {
	c := serve(t, 1)
	_, first := c.access(c.sim.Members()[0])
	refresh := func(token string) string {
		_, body := c.do("POST", "/v1/graphql", `{"query":"{refresh{accessToken idToken refreshToken}}","variables":"{}"}`, "refresh_token", token, "clientkey", "k")
		var a struct {
			Data struct{ Refresh struct{ RefreshToken string } }
		}
		_ = json.Unmarshal([]byte(body), &a)
		return a.Data.Refresh.RefreshToken
	}
	second := refresh(first)
	if second == "" || second == first {
		t.Fatal("not rotated")
	}
	if refresh(first) != second {
		t.Error("the previous token stays valid, for the same next one, until that is used")
	}
	third := refresh(second)
	if third == "" || refresh(first) != "" {
		t.Error("the first use of the new token ends the previous one")
	}
}

func TestTokensAreSpoilt(t *testing.T) {
	c := serve(t, 1)
	m := c.sim.Members()[0]
	token, _ := c.access(m)
	if err := c.sim.SetToken(m.ID, TokenChange{Access: "expired"}); err != nil {
		t.Fatal(err)
	}
	if got := c.statuses(token); !strings.Contains(got, "UNAUTHENTICATED") || strings.Contains(got, `"data"`) {
		t.Error(got)
	}
	// No clock decides that: the next token may be of the same instant.
	fresh, refresh := c.access(m)
	if !strings.Contains(c.statuses(fresh), "CONNECTED") {
		t.Error("a token issued afterwards is refused")
	}
	if err := c.sim.SetToken(m.ID, TokenChange{Refresh: "revoked"}); err != nil {
		t.Fatal(err)
	}
	if _, body := c.do("POST", "/v1/graphql", `{"query":"{refresh{accessToken}}"}`, "refresh_token", refresh, "clientkey", "k"); !strings.Contains(body, "UNAUTHENTICATED") {
		t.Error("refreshed: ", body)
	}
	if got := c.statuses(fresh); !strings.Contains(got, "UNAUTHENTICATED") {
		t.Error("access outlives the grant: ", got)
	}
	// What is shown and given to enrol is a grant that works, and stays the same.
	shown := c.sim.Members()[0].RefreshToken
	if _, lines := c.do("GET", "/sim/members?format=enrol", ""); lines != `{"id":"`+m.ID+`","refreshToken":"`+shown+"\"}\n" {
		t.Error("to enrol: ", lines)
	}
	if _, body := c.do("POST", "/v1/graphql", `{"query":"{refresh{accessToken}}"}`, "refresh_token", shown, "clientkey", "k"); !strings.Contains(body, `"accessToken"`) {
		t.Error("what is shown does not work: ", body)
	}
	for _, bad := range []string{`{}`, `{"access":"revoked"}`, `{"refresh":"expired"}`} {
		if status, body := c.do("PUT", "/sim/members/"+m.ID+"/token", bad); status != 400 {
			t.Errorf("%s: %d %s", bad, status, body)
		}
	}
}

func claims(t *testing.T, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%d parts", len(parts))
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]any
	if err := json.Unmarshal(body, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// Tokens are JWTs with what b.well's have, and live as long as is wanted.
func TestTokenLife(t *testing.T) {
	for _, tt := range []struct{ life, want time.Duration }{{0, time.Hour}, {3 * time.Second, 3 * time.Second}} {
		now := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
		s := New(Config{Members: 1, TokenLife: tt.life, Now: func() time.Time { return now }})
		srv := httptest.NewServer(s.Handler())
		t.Cleanup(srv.Close)
		c := &client{t, srv.URL, &now, s}
		m := s.Members()[0]
		form := exchangeForm(m.IDToken)
		_, body := c.do("POST", "/identity/oauth/token", form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
		var grant struct {
			Access  string  `json:"access_token"`
			ID      string  `json:"id_token"`
			Expires float64 `json:"expires_in"`
		}
		if err := json.Unmarshal([]byte(body), &grant); err != nil || grant.Expires != tt.want.Seconds() {
			t.Errorf("%s: %v", body, err)
		}
		access, id := claims(t, grant.Access), claims(t, grant.ID)
		if access["exp"] != float64(now.Add(tt.want).Unix()) || access["iat"] != float64(now.Unix()) || access["nbt"] != nil ||
			access["clientFhirPersonId"] != m.ID || access["bwellFhirPersonId"] == nil || access["scope"] == nil {
			t.Errorf("access token: %v", access)
		}
		if id["custom:clientFhirPersonId"] != m.ID || id["custom:bwellFhirPatientId"] == nil {
			t.Errorf("id token: %v", id)
		}
		now = now.Add(tt.want - time.Second)
		if got := c.statuses(grant.Access); !strings.Contains(got, "CONNECTED") {
			t.Error("too early:", got)
		}
		now = now.Add(2 * time.Second)
		if got := c.statuses(grant.Access); !strings.Contains(got, "Token Expired") {
			t.Error("too late:", got)
		}
	}
}

func TestBrowserLogin(t *testing.T) {
	c := serve(t, 1)
	m := c.sim.Members()[0]
	token, _ := c.access(m)
	id := m.Connections[0].text("id")
	if err := c.sim.SetConnection(m.ID, id, Row{"status": "EXPIRED"}); err != nil {
		t.Fatal(err)
	}
	var a struct {
		Data struct {
			GetOauthUrl struct{ RedirectUrl string }
		}
	}
	_ = json.Unmarshal([]byte(c.query(token, `{getOauthUrl(connectionId:"`+id+`"){redirectUrl}}`)), &a)
	path := strings.TrimPrefix(a.Data.GetOauthUrl.RedirectUrl, c.base)
	if status, body := c.do("GET", path, ""); status != 200 || !strings.Contains(body, "Sign in and share") {
		t.Fatal(status, body)
	}
	if status, _ := c.do("POST", path, ""); status != http.StatusSeeOther {
		t.Error(status)
	}
	if c.sim.Members()[0].Connections[0].text("status") != "CONNECTED" {
		t.Error("not connected after the login")
	}
	if status, _ := c.do("POST", path, ""); status != http.StatusGone {
		t.Errorf("the URL worked twice: %d", status)
	}
}

// connectionOf returns the id of a member's first connection of a type.
func connectionOf(t *testing.T, m MemberView, integrationType string) string {
	t.Helper()
	for _, r := range m.Connections {
		if r.text("integrationType") == integrationType {
			return r.text("id")
		}
	}
	t.Fatalf("no %s connection", integrationType)
	return ""
}

// A login does nothing for an IAS connection while consent is revoked, and says
// so: over the control API, and to the browser.
func TestLoginWithoutConsent(t *testing.T) {
	c := serve(t, 1)
	m := c.sim.Members()[0]
	token, _ := c.access(m)
	ias, proa, offer := connectionOf(t, m, "INDIRECT_IAS"), connectionOf(t, m, "PROA"), m.Recommendations[0]
	login := func(id string, want int) {
		t.Helper()
		if status, body := c.do("POST", "/sim/members/"+m.ID+"/connections/"+id+"/login", ""); status != want {
			t.Errorf("%s: %d %s", id, status, body)
		}
	}
	mint := func(id string) string {
		t.Helper()
		var a struct {
			Data struct {
				GetOauthUrl struct{ RedirectUrl string }
			}
		}
		_ = json.Unmarshal([]byte(c.query(token, `{getOauthUrl(connectionId:"`+id+`"){redirectUrl}}`)), &a)
		return strings.TrimPrefix(a.Data.GetOauthUrl.RedirectUrl, c.base)
	}
	status := func(id, integration string) string {
		t.Helper()
		for _, r := range c.sim.Members()[0].Connections {
			if r.text("id") == id && r.text("integrationType") == integration {
				return r.text("status")
			}
		}
		return "none"
	}
	// A second source by IAS was disconnected by the member before.
	if err := c.sim.SetConnection(m.ID, "left-by_me", Row{"integrationType": "INDIRECT_IAS", "status": "DISCONNECTED"}); err != nil {
		t.Fatal(err)
	}
	if err := c.sim.SetConnection(m.ID, proa, Row{"integrationType": "PROA", "status": "EXPIRED"}); err != nil {
		t.Fatal(err)
	}
	if err := c.sim.SetConsent(m.ID, "deny"); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{ias, "left-by_me", offer} {
		login(id, 409)
		if path := mint(id); path != "" {
			code, body := c.do("POST", path, "")
			if code != http.StatusSeeOther || strings.Contains(body, "success") {
				t.Errorf("%s: %d %s", id, code, body)
			}
			if code, body := c.do("GET", "/oauth/done?status_code=error", ""); code != 200 || !strings.Contains(body, "not connected") || strings.Contains(body, "You are connected") ||
				!strings.Contains(body, `status_code:"error"`) {
				t.Errorf("the page at the end: %d %s", code, body)
			}
		}
	}
	if a, b, d := status(ias, "INDIRECT_IAS"), status("left-by_me", "INDIRECT_IAS"), status(offer, "INDIRECT_IAS"); a != "ACCESS_ENDED" || b != "DISCONNECTED" || d != "none" {
		t.Errorf("%s, %s, %s", a, b, d)
	}
	login(proa, 200) // which consent does not concern
	if got := status(proa, "PROA"); got != "CONNECTED" {
		t.Error(got)
	}
	if err := c.sim.SetConsent(m.ID, "permit"); err != nil {
		t.Fatal(err)
	}
	login("left-by_me", 200)
	login(offer, 200)
	if a, b, d := status(ias, "INDIRECT_IAS"), status("left-by_me", "INDIRECT_IAS"), status(offer, "INDIRECT_IAS"); a != "CONNECTED" || b != "CONNECTED" || d != "CONNECTED" {
		t.Errorf("%s, %s, %s", a, b, d)
	}
	// Access that has ended while consent is given comes back by a login.
	if err := c.sim.SetConnection(m.ID, ias, Row{"integrationType": "INDIRECT_IAS", "status": "ACCESS_ENDED"}); err != nil {
		t.Fatal(err)
	}
	login(ias, 200)
	if got := status(ias, "INDIRECT_IAS"); got != "CONNECTED" {
		t.Error(got)
	}
	login("no-such_source", 404)
}

// OAuth is for PROA, INDIRECT_IAS and what is recommended.
func TestOAuthIsNotForAll(t *testing.T) {
	c := serve(t, 1)
	m := c.sim.Members()[0]
	token, _ := c.access(m)
	if err := c.sim.SetConnection(m.ID, "basic-1", Row{"category": "BASIC"}); err != nil {
		t.Fatal(err)
	}
	direct := connectionOf(t, m, "DIRECT_IAS")
	for id, want := range map[string]string{
		connectionOf(t, m, "PROA"): "redirectUrl", connectionOf(t, m, "INDIRECT_IAS"): "redirectUrl", m.Recommendations[0]: "redirectUrl",
		direct: "business-rule", "basic-1": "business-rule", "no-such_source": "not-found",
	} {
		if got := c.query(token, `{getOauthUrl(connectionId:"`+id+`"){redirectUrl}}`); !strings.Contains(got, want) {
			t.Errorf("%s: %s", id, got)
		}
	}
	if status, body := c.do("POST", "/sim/members/"+m.ID+"/connections/"+direct+"/login", ""); status != 409 {
		t.Errorf("a login to what is activated: %d %s", status, body)
	}
}

// Where an id stands twice, integrationType says which row is meant.
func TestTwins(t *testing.T) {
	c := serve(t, 0)
	if err := c.sim.AddMember(NewMember{ID: "ann", Connections: []Row{{"id": "a-1", "integrationType": "PROA"}, {"id": "a-1", "integrationType": "INDIRECT_IAS"}, {"id": "b-1"}}}); err != nil {
		t.Fatal(err)
	}
	rows := func() string {
		var all []string
		for _, r := range c.sim.Members()[0].Connections {
			all = append(all, r.text("id")+" "+r.text("integrationType")+" "+r.text("status"))
		}
		return strings.Join(all, ", ")
	}
	const path = "/sim/members/ann/connections/a-1"
	for _, tt := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"PUT", path, `{"integrationType":"INDIRECT_IAS","status":"EXPIRED"}`, 200, "a-1 PROA CONNECTED, a-1 INDIRECT_IAS EXPIRED, b-1 PROA CONNECTED"},
		{"PUT", path, `{"status":"ERROR"}`, 200, "a-1 PROA ERROR, a-1 INDIRECT_IAS EXPIRED, b-1 PROA CONNECTED"},
		{"POST", path + "/login", ``, 200, "a-1 PROA CONNECTED, a-1 INDIRECT_IAS CONNECTED, b-1 PROA CONNECTED"},
		{"DELETE", path + "?integrationType=DIRECT_IAS", ``, 404, "a-1 PROA CONNECTED, a-1 INDIRECT_IAS CONNECTED, b-1 PROA CONNECTED"},
		{"DELETE", path + "?integrationType=PROA", ``, 200, "a-1 INDIRECT_IAS CONNECTED, b-1 PROA CONNECTED"},
		{"DELETE", path, ``, 200, "b-1 PROA CONNECTED"},
		{"DELETE", path, ``, 404, "b-1 PROA CONNECTED"},
	} {
		if status, body := c.do(tt.method, tt.path, tt.body); status != tt.status || rows() != tt.want {
			t.Errorf("%s %s %s: %d %s: %s", tt.method, tt.path, tt.body, status, body, rows())
		}
	}
	if err := c.sim.AddMember(NewMember{ID: "bob", Connections: []Row{{"id": "a-1"}, {"id": "a-1", "integrationType": "INDIRECT_IAS"}}}); err != nil {
		t.Fatal(err)
	}
	if status, _ := c.do("DELETE", "/sim/members/bob/connections/a-1", ""); status != 200 || len(c.sim.Members()[1].Connections) != 0 {
		t.Error("without a type, both go")
	}
}

func TestFaults(t *testing.T) {
	c := serve(t, 1)
	token, _ := c.access(c.sim.Members()[0])
	for _, tt := range []struct {
		faults string
		status int
		holds  string
	}{
		{`{"status":429}`, 429, "Too Many Requests"},
		{`{"errorRate":1,"status":503,"retryAfter":3}`, 503, "INTERNAL_SERVER_ERROR"},
		{`{"status":200}`, 200, "OperationOutcome"},
		{`{"malformed":"html"}`, 200, "<html>"},
		{`{"malformed":"empty"}`, 200, ""},
		{`{"down":true}`, 0, "EOF"},
		{`{"partial":"tasks"}`, 200, `"path":["tasks"]`},
		{`{}`, 200, `"CONNECTED"`},
	} {
		if status, body := c.do("PUT", "/sim/faults", tt.faults); status != 200 {
			t.Fatal(body)
		}
		status, body := c.do("POST", "/v1/graphql", `{"query":"{getMemberConnections{status} tasks{total}}"}`, "Authorization", "Bearer "+token)
		if status != tt.status || !strings.Contains(body, tt.holds) {
			t.Errorf("%s: %d %.200s", tt.faults, status, body)
		}
	}
	for _, bad := range []string{`{"errorRate":2}`, `{"malformed":"odd"}`, `{"latency":3}`, `{"what":1}`, `[`} {
		if status, body := c.do("PUT", "/sim/faults", bad); status != 400 || !strings.Contains(body, "simulator") {
			t.Errorf("%s: %d %s", bad, status, body)
		}
	}
}

// pipes is a network without a wire, as bubbles need it.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if c, open := <-p; open {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error { close(p); return nil }

func (pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p pipes) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	p <- server
	return client, nil
}

// Nobody waits for an answer whose client has gone, or when the simulator is
// told to stop: an hour of latency ends after the minute that it takes.
func TestAWaitEnds(t *testing.T) {
	for _, path := range []string{"/v1/graphql", "/identity/oauth/token"} {
		for name, tt := range map[string]struct{ leaves, stops, want time.Duration }{
			"the client leaves":          {time.Minute, 2 * time.Hour, time.Minute},
			"the simulator stops":        {2 * time.Hour, time.Minute, time.Minute},
			"stopped before it began":    {2 * time.Hour, 0, 0},
			"nobody leaves, nobody asks": {2 * time.Hour, 2 * time.Hour, time.Hour},
		} {
			t.Run(path+", "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					client, leave := context.WithTimeout(t.Context(), tt.leaves)
					defer leave()
					running, stop := context.WithTimeout(t.Context(), tt.stops)
					defer stop()
					s := New(Config{Members: 1, Stop: running.Done()})
					if err := s.SetFaults(Faults{Latency: Duration(time.Hour)}); err != nil {
						t.Fatal(err)
					}
					var took time.Duration
					h := s.Handler()
					srv := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						began := time.Now()
						h.ServeHTTP(w, r)
						took = time.Since(began)
					})}
					wire := make(pipes)
					go func() { _ = srv.Serve(wire) }()
					transport := &http.Transport{DialContext: wire.dial, DisableKeepAlives: true}
					r, err := http.NewRequestWithContext(client, http.MethodPost, "http://b.well"+path, strings.NewReader(`{"query":"{tasks{total}}"}`))
					if err != nil {
						t.Fatal(err)
					}
					resp, err := transport.RoundTrip(r)
					if left := client.Err() != nil; left != (err != nil) {
						t.Errorf("left: %t, answered: %v", left, err)
					}
					if err == nil {
						_ = resp.Body.Close()
					}
					if err := srv.Shutdown(t.Context()); err != nil {
						t.Fatal(err)
					}
					if took != tt.want {
						t.Errorf("took %s, want %s", took, tt.want)
					}
				})
			})
		}
	}
}

// A body that is too long is refused, late or not.
func TestTooLong(t *testing.T) {
	c := serve(t, 1)
	for _, faults := range []string{`{}`, `{"latency":"1ns"}`} {
		c.do("PUT", "/sim/faults", faults)
		if status, body := c.do("POST", "/v1/graphql", `{"query":"`+strings.Repeat(" ", maxBody)+`"}`); status != 400 || !strings.Contains(body, "BAD_REQUEST") {
			t.Errorf("%s: %d %s", faults, status, body)
		}
	}
}

func TestAnyValueCanBeSet(t *testing.T) {
	c := serve(t, 0)
	if err := c.sim.AddMember(NewMember{ID: "ann"}); err != nil {
		t.Fatal(err)
	}
	c.do("PUT", "/sim/members/ann/connections/x-1", `{"status":"SLEEPY","category":null,"integrationType":null}`)
	token, _ := c.access(c.sim.Members()[0])
	if got := c.query(token, `query Q($unused:Int){getMemberConnections{...f __typename}} fragment f on Connection{id s:status category}`); !strings.Contains(got, `"s":"SLEEPY"`) || !strings.Contains(got, `"category":null`) {
		t.Error(got)
	}
	if status, _ := c.do("PUT", "/sim/members/bob/connections/x-1", `{}`); status != 404 {
		t.Error(status)
	}
}

// A member without IAL2 can be made and shown, is refused an activation, and
// verificationStatus says why.
func TestIdentity(t *testing.T) {
	c := serve(t, 0)
	const direct = `"connections":[{"id":"lab-1_x","integrationType":"DIRECT_IAS","status":"EXPIRED"}]`
	for _, body := range []string{`{"id":"ann","identity":"attested",` + direct + `}`, `{"id":"bob",` + direct + `}`} {
		if status, answer := c.do("POST", "/sim/members", body); status != 200 {
			t.Fatal(status, answer)
		}
	}
	all := c.sim.Members()
	ann, _ := c.access(all[0])
	bob, _ := c.access(all[1])
	identity := func(member, body string, want int) {
		t.Helper()
		if status, answer := c.do("PUT", "/sim/members/"+member+"/identity", body); status != want {
			t.Errorf("%s: %d %s", body, status, answer)
		}
	}
	const activate, verification = `mutation{activateDirectConnection(connectionId:"lab-1_x"){status}}`, `{verificationStatus{status errorCode}}`
	for _, status := range []string{"attested", "in-process", "req-revalid", "val-fail", "reval-fail"} {
		identity("ann", `{"status":"`+status+`"}`, 200)
		if got := c.query(ann, activate); !strings.Contains(got, "business-rule") || c.sim.Members()[0].Connections[0].text("status") != "EXPIRED" {
			t.Errorf("%s: %s", status, got)
		}
		if got := c.query(ann, verification); !strings.Contains(got, `"status":"`+status+`"`) || !strings.Contains(got, `"errorCode":null`) {
			t.Errorf("%s: %s", status, got)
		}
		if _, got := c.do("GET", "/sim/members", ""); !strings.Contains(got, `"identity":"`+status+`"`) {
			t.Errorf("%s is not shown", status)
		}
	}
	identity("ann", `{"status":"val-fail","errorCode":"PERSON_MATCH_ERROR"}`, 200)
	if got := c.query(ann, verification); !strings.Contains(got, `"PERSON_MATCH_ERROR"`) {
		t.Error(got)
	}
	identity("ann", `{"status":"validated"}`, 200)
	for _, token := range []string{ann, bob} {
		if got := c.query(token, activate); !strings.Contains(got, `"CONNECTED"`) {
			t.Error(got)
		}
	}
	identity("ann", `{"status":"sure"}`, 400)
	identity("ann", `{}`, 400)
	identity("zoe", `{"status":"attested"}`, 404)
	for _, bad := range []string{`{"id":"eve","identity":"sure"}`, `{"id":"eve","count":2}`, `{"count":2,"connections":[{"id":"a"}]}`} {
		if status, answer := c.do("POST", "/sim/members", bad); status != 400 {
			t.Errorf("%s: %d %s", bad, status, answer)
		}
	}
	if status, answer := c.do("POST", "/sim/members", `{"count":1,"identity":"in-process"}`); status != 200 || c.sim.Members()[2].Identity != "in-process" {
		t.Error(status, answer)
	}
}

// A field may have any value but not any name: misspelt, it would change nothing,
// and nobody would know. What is refused changes nothing else either.
func TestOnlyFieldsThatThereAre(t *testing.T) {
	c := serve(t, 1)
	id := c.sim.Members()[0].ID
	path := "/sim/members/" + id + "/connections/" + c.sim.Members()[0].Connections[0].text("id")
	before := c.plain()
	for _, tt := range []struct{ method, path, body, names string }{
		{"PUT", path, `{"stauts":"EXPIRED"}`, `"stauts"`},
		{"PUT", path, `{"status":"EXPIRED","Status":"EXPIRED"}`, `"Status"`},
		{"PUT", path, `{"status":"EXPIRED","":null}`, `""`},
		{"PUT", path, `{"status":"EXPIRED","__typename":"Connection"}`, `"__typename"`},
		{"PUT", path + "-new", `{"isDirect":true}`, `"isDirect"`},
		{"POST", "/sim/members", `{"id":"ann","connections":[{"id":"a-1"},{"id":"b-1","statuss":"EXPIRED"}]}`, `"statuss"`},
	} {
		if status, body := c.do(tt.method, tt.path, tt.body); status != 400 || !strings.Contains(body, strings.ReplaceAll(tt.names, `"`, `\"`)) {
			t.Errorf("%s: %d %s", tt.body, status, body)
		}
		if after := c.plain(); after != before {
			t.Fatalf("%s was refused and did something:\n%s", tt.body, after)
		}
	}
	// All there are can be set.
	for _, f := range gqlparser.MustLoadSchema(&ast.Source{Input: SDL}).Types["Connection"].Fields {
		for _, value := range []string{`null`, `"A_NEW_WORD"`, `7`, `[{"a":[]}]`} {
			if status, body := c.do("PUT", path, `{"`+f.Name+`":`+value+`}`); status != 200 {
				t.Errorf("%s to %s: %d %s", f.Name, value, status, body)
			}
		}
	}
	if status, body := c.do("PUT", "/sim/members/nobody/connections/x-1", `{"stauts":1}`); status != 400 {
		t.Errorf("a wrong name, of nobody: %d %s", status, body)
	}
}

// Values that Go cannot compare are values like others.
func TestAnyValueCanBeSetTwice(t *testing.T) {
	c := serve(t, 1)
	m := c.sim.Members()[0]
	path := "/sim/members/" + m.ID + "/connections/" + m.Connections[0].text("id")
	updated := func() any { return c.sim.Members()[0].Connections[0]["statusUpdated"] }
	var last any
	for i, change := range []struct {
		status string
		moves  bool
	}{{`[1]`, true}, {`[1]`, false}, {`[2]`, true}, {`{"a":[]}`, true}, {`null`, true}, {`null`, false}} {
		*c.now = c.now.Add(time.Minute)
		if status, body := c.do("PUT", path, `{"status":`+change.status+`}`); status != 200 {
			t.Fatalf("%d: %s: %d %s", i, change.status, status, body)
		}
		if now := updated(); (now != last) != change.moves {
			t.Errorf("%d: %s: statusUpdated from %v to %v", i, change.status, last, now)
		} else {
			last = now
		}
	}
}

// What is refused leaves nothing behind.
func TestRefusedMembersAreNotMade(t *testing.T) {
	c := serve(t, 0)
	for _, bad := range []string{
		`{"id":"z","connections":[{"id":"q"},{}]}`, `{"id":"z","connections":[{"id":7}]}`, `{"id":"z","connections":[null]}`,
		`{"id":"z","identity":"sure"}`, `{"id":"z"} {"id":"y"}`, `{"id":"z"}]`, `null`, `{}`,
		`{"id":"z\u0000"}`, `{"id":"\n"}`, `{"id":"a\tz"}`, `{"id":"z\u007f"}`, `{"id":"\u0085z"}`,
	} {
		if status, body := c.do("POST", "/sim/members", bad); status != 400 || !strings.Contains(body, "simulator") {
			t.Errorf("%s: %d %s", bad, status, body)
		}
		if all := c.sim.Members(); len(all) != 0 {
			t.Fatalf("%s was refused and left %v", bad, all)
		}
	}
	if status, body := c.do("POST", "/sim/members", `{"id":"z","connections":[{"id":"q"}]}`); status != 200 {
		t.Error(status, body)
	}
	if status, body := c.do("POST", "/sim/members", `{"id":"z"}`); status != 400 {
		t.Errorf("made twice: %d %s", status, body)
	}
	// An id may hold what people write.
	if status, body := c.do("POST", "/sim/members", `{"id":"Zoë O'Neill/+1 %20 \u2603"}`); status != 200 {
		t.Error(status, body)
	}
}

// A seeded member never takes the place of one who was made by name.
func TestSeededMembersFindAnID(t *testing.T) {
	c := serve(t, 1)
	if err := c.sim.AddMember(NewMember{ID: "member-0003"}); err != nil {
		t.Fatal(err)
	}
	ids, err := c.sim.AddMembers(2, NewMember{})
	if err != nil || len(c.sim.Members()) != 4 {
		t.Error(ids, err)
	}
	seen := map[string]bool{}
	for _, m := range c.sim.Members() {
		if seen[m.ID] || m.ID == "member-0003" && len(m.Connections) != 0 {
			t.Errorf("%s stands twice or was replaced", m.ID)
		}
		seen[m.ID] = true
	}
}

// Everything that is read lags, what b.well does by itself too; the control API
// says what is true.
func TestReadsLag(t *testing.T) {
	c := serve(t, 1)
	m := c.sim.Members()[0]
	token, _ := c.access(m)
	offer := m.Recommendations[0]
	reads := func(want ...string) {
		t.Helper()
		got := c.query(token, `{getMemberConnections{status} subscriptions{entry{resource{subscriptionStatus{extension{id valueString}}}}}
			consents{entry{resource{provision{type}}}} tasks{entry{resource{status}}} careTeams{total} verificationStatus{status}
			getDataSource(connectionId:"`+m.Connections[0].text("id")+`"){name}}`)
		for _, word := range want {
			without, isNot := strings.CutPrefix(word, "!")
			if strings.Contains(got, without) == isNot {
				t.Errorf("%s: want %s in %s", c.now.Format("04:05"), word, got)
			}
		}
	}
	pass := func(d time.Duration) { *c.now = c.now.Add(d) }
	set := func(path, body string) {
		t.Helper()
		if status, answer := c.do("PUT", "/sim/members/"+m.ID+path, body); status != 200 {
			t.Fatal(answer)
		}
	}
	if status, body := c.do("PUT", "/sim/faults", `{"lag":"10s"}`); status != 200 {
		t.Fatal(body)
	}
	const deny = `mutation{createConsent(consentInput:{status:ACTIVE,provision:{type:%},category:[{coding:[{code:"IAS_IMPORT_RECORDS"}]}]}){id}}`
	c.query(token, strings.Replace(deny, "%", "DENY", 1))
	set("/identity", `{"status":"attested"}`)
	set("/connections/"+m.Connections[0].text("id"), `{"name":"Another Name"}`)
	set("/connections/"+offer, `{"status":"CONNECTED"}`)
	if now := c.sim.Members()[0]; now.Consent != "deny" || now.Identity != "attested" || len(now.Recommendations) != 0 {
		t.Errorf("the control API lags: %+v", now)
	}
	old := []string{`"permit"`, `!"deny"`, `"completed"`, `!"rejected"`, `!"ACCESS_ENDED"`, `"validated"`, `"careTeams":{"total":1}`, "!Another Name"}
	reads(old...)
	pass(10*time.Second - time.Nanosecond)
	reads(old...)
	pass(time.Nanosecond)
	reads(`"deny"`, `"rejected"`, `"ACCESS_ENDED"`, `"attested"`, `"careTeams":{"total":0}`, "Another Name")

	// The search goes on by itself; nobody sees it sooner for that.
	c.query(token, strings.Replace(deny, "%", "PERMIT", 1))
	pass(time.Minute)
	reads(`"completed"`, `!"ACCESS_ENDED"`)
	set("/consent", `{"provision":"deny"}`)
	set("/consent", `{"provision":"permit"}`)
	for _, status := range []string{"completed", "ready", "in-progress", "completed"} {
		reads(`"tasks":{"entry":[{"resource":{"status":"` + status + `"}}]}`)
		if status == "completed" {
			pass(8 * time.Second)
		}
		pass(2 * time.Second)
	}

	set("/consent", `{"provision":"deny"}`)
	reads(`!"ACCESS_ENDED"`)
	c.do("PUT", "/sim/faults", `{}`)
	reads(`"ACCESS_ENDED"`, `"rejected"`)
}

// Who may ask is decided before anything is executed.
func TestAuthentication(t *testing.T) {
	c := serve(t, 2)
	m, other := c.sim.Members()[0], c.sim.Members()[1]
	access, refresh := c.access(m)
	stale, _ := c.access(other)
	if err := c.sim.SetToken(other.ID, TokenChange{Access: "expired"}); err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(access, ".")
	const read, mixed = `{getMemberConnections{id}}`, `{refresh{accessToken} tasks{total}}`
	for _, tt := range []struct {
		name, query string
		header      []string
		status      int
		want        string // of the body; a message means that there is no data
	}{
		{"nothing", read, nil, 401, "No token available"},
		{"an empty header", read, []string{"Authorization", ""}, 401, "No token available"},
		{"another scheme", read, []string{"Authorization", "Basic YTpi"}, 401, "No token available"},
		{"no scheme", read, []string{"Authorization", access}, 401, "No token available"},
		{"a scheme and no token", read, []string{"Authorization", "Bearer "}, 401, "No token available"},
		{"no JWT", read, []string{"Authorization", "Bearer abc"}, 401, "Malformed Token"},
		{"two parts", read, []string{"Authorization", "Bearer " + parts[0] + "." + parts[1]}, 401, "Malformed Token"},
		{"somebody else's signature", read, []string{"Authorization", "Bearer " + parts[0] + "." + parts[1] + ".c2lnbmVk"}, 401, "Invalid signature"},
		{"an id token", read, []string{"Authorization", "Bearer " + m.IDToken}, 401, "Invalid signature"},
		{"over", read, []string{"Authorization", "Bearer " + stale}, 401, "Token Expired"},
		{"good", read, []string{"Authorization", "Bearer " + access}, 200, `"data"`},
		{"a scheme in lower case", read, []string{"Authorization", "bearer " + access}, 200, `"data"`},
		{"to begin with", `{initSdk(clientKey:"k"){logLevel}}`, nil, 200, `"initSdk":null`},
		{"the name of a type", `{__typename}`, nil, 200, `"Query"`},
		{"refresh", `{refresh{accessToken}}`, []string{"refresh_token", refresh, "clientkey", "k"}, 200, `"accessToken"`},
		{"refresh with a token that is over", `{refresh{accessToken}}`, []string{"refresh_token", refresh, "clientkey", "k", "Authorization", "Bearer " + stale}, 200, `"accessToken"`},
		{"refresh without a client key", `{refresh{accessToken}}`, []string{"refresh_token", refresh}, 400, `{"message":"Bad Request","statusCode":400}`},
		{"refresh with a blank client key", `{refresh{accessToken}}`, []string{"refresh_token", refresh, "clientkey", " "}, 400, `{"message":"Bad Request","statusCode":400}`},
		{"login", `{getToken{accessToken{jwtToken}}}`, []string{"Authorization", m.IDToken, "ClientKey", "k"}, 200, `"jwtToken"`},
		{"login with a scheme", `{getToken{accessToken{jwtToken}}}`, []string{"Authorization", "Bearer " + m.IDToken, "clientkey", "k"}, 200, `"UNAUTHENTICATED"`},
		{"login without a client key", `{getToken{accessToken{jwtToken}}}`, []string{"Authorization", m.IDToken}, 400, `{"message":"Bad Request","statusCode":400}`},
		{"both kinds at once, without a token", mixed, []string{"refresh_token", refresh, "clientkey", "k"}, 401, "No token available"},
		{"a look at the schema", `{__schema{types{name}}}`, []string{"Authorization", "Bearer " + access}, 200, "GRAPHQL_VALIDATION_FAILED"},
	} {
		body, err := json.Marshal(map[string]string{"query": tt.query})
		if err != nil {
			t.Fatal(err)
		}
		status, got := c.do("POST", "/v1/graphql", string(body), tt.header...)
		if status != tt.status || !strings.Contains(got, tt.want) || status != 200 && strings.Contains(got, `"data"`) {
			t.Errorf("%s: %d %s", tt.name, status, got)
		}
		if status == 401 && !strings.Contains(got, `"code":"UNAUTHENTICATED"`) {
			t.Errorf("%s: no code: %s", tt.name, got)
		}
	}
}

// The operation that is asked for is the one that is run, or none.
func TestOperationNames(t *testing.T) {
	c := serve(t, 1)
	token, _ := c.access(c.sim.Members()[0])
	const one, two = `query One{tasks{total}}`, `query One{tasks{total}} query Two{consents{total}}`
	for _, tt := range []struct{ query, name, want string }{
		{one, ``, `"tasks"`},
		{one, `"One"`, `"tasks"`},
		{one, `null`, `"tasks"`},
		{one, `"Two"`, `GRAPHQL_VALIDATION_FAILED`},
		{two, `"Two"`, `"consents"`},
		{two, `"Three"`, `GRAPHQL_VALIDATION_FAILED`},
		{two, ``, `GRAPHQL_VALIDATION_FAILED`},
	} {
		body := `{"query":"` + tt.query + `"}`
		if tt.name != "" {
			body = `{"query":"` + tt.query + `","operationName":` + tt.name + `}`
		}
		status, got := c.do("POST", "/v1/graphql", body, "Authorization", "Bearer "+token)
		if status != 200 || !strings.Contains(got, tt.want) || strings.Contains(got, `"data"`) == strings.HasPrefix(tt.want, "GRAPHQL") {
			t.Errorf("%s: %d %s", body, status, got)
		}
	}
}

// Every dialect of b.well's layers, word by word.
func TestDialects(t *testing.T) {
	c := serve(t, 1)
	m := c.sim.Members()[0]
	token, _ := c.access(m)
	const (
		graphql  = `{"query":"{tasks{total}}"}`
		resource = `"resource":{"issue":[{"code":"%","details":{"text":"$"},"severity":"error"}],"resourceType":"OperationOutcome"}`
		router   = `{"data":{"tasks":null},"errors":[{"extensions":{"code":"DOWNSTREAM_SERVICE_ERROR","errors":[{"extensions":{"code":"%"},"message":"$"}],` +
			`"serviceName":"fhir","statusCode":#},"message":"Failed to fetch from Subgraph 'fhir'.","path":["tasks"]}]}`
	)
	plain := func(message, code string) string {
		return `{"errors":[{"extensions":{"code":"` + code + `"},"message":"` + message + `"}]}`
	}
	inside := func(message, code, issue string) string {
		return `{"data":{"tasks":null},"errors":[{"extensions":{"code":"` + code + `",` + strings.NewReplacer("%", issue, "$", message).Replace(resource) +
			`},"message":"` + message + `","path":["tasks"]}]}`
	}
	nested := func(message, code, status string) string {
		return strings.NewReplacer("%", code, "$", message, "#", status).Replace(router)
	}
	want := map[string]struct {
		status         int
		body, identity string // what the identity service says
	}{
		"auth-trouble":          {503, plain("Service unavailable", "INTERNAL_SERVER_ERROR"), `{"message":"Internal server error","statusCode":503}`},
		"forbidden":             {403, plain("Forbidden", "FORBIDDEN"), `{"message":"Forbidden","statusCode":403}`},
		"identity-400":          {400, `{"message":"Bad Request","statusCode":400}`, `{"message":"Bad Request","statusCode":400}`},
		"identity-500":          {500, `{"message":"Internal server error","statusCode":500}`, `{"message":"Internal server error","statusCode":500}`},
		"outcome-500":           {200, inside("Internal server error", "500", "processing"), ""},
		"outcome-business-rule": {200, inside("The connection does not allow this", "400", "business-rule"), ""},
		"outcome-exception":     {200, inside("Internal server error", "500", "exception"), ""},
		"outcome-invalid":       {200, inside("The request is not valid", "400", "invalid"), ""},
		"outcome-not-found":     {200, inside("There is no such connection", "404", "not-found"), ""},
		"outcome-throttled":     {200, inside("Too many requests", "429", "throttled"), ""},
		"outcome-timeout":       {200, inside("The source did not answer in time", "504", "timeout"), ""},
		"outcome-transient":     {200, inside("Try again later", "503", "transient"), ""},
		"overload":              {429, "Too Many Requests", "Too Many Requests"},
		"resolver": {
			200, `{"data":{"tasks":null},"errors":[{"extensions":{"code":"INTERNAL_SERVER_ERROR"},"message":"Internal server error","path":["tasks"]}]}`,
			"",
		},
		"router":          {200, nested("Internal server error", "INTERNAL_SERVER_ERROR", "500"), ""},
		"router-401":      {200, nested("Token Expired", "UNAUTHENTICATED", "401"), ""},
		"router-403":      {200, nested("Forbidden", "FORBIDDEN", "403"), ""},
		"token-expired":   {401, plain("Token Expired", "UNAUTHENTICATED"), `{"message":"Unauthorized","statusCode":401}`},
		"token-malformed": {401, plain("Malformed Token", "UNAUTHENTICATED"), `{"message":"Unauthorized","statusCode":401}`},
		"token-missing":   {401, plain("No token available", "UNAUTHENTICATED"), `{"message":"Unauthorized","statusCode":401}`},
		"token-signature": {401, plain("Invalid signature", "UNAUTHENTICATED"), `{"message":"Unauthorized","statusCode":401}`},
		"validation": {
			200, `{"errors":[{"extensions":{"code":"GRAPHQL_VALIDATION_FAILED"},"message":"Cannot query field \"isDirect\" on type \"Connection\"."}]}`,
			"",
		},
	}
	form := exchangeForm(m.IDToken).Encode()
	for _, name := range Dialects() {
		w, ok := want[name]
		if !ok {
			t.Errorf("%s is not expected", name)
			continue
		}
		if status, body := c.do("PUT", "/sim/faults", `{"dialect":"`+name+`"}`); status != 200 {
			t.Fatal(body)
		}
		if status, body := c.do("POST", "/v1/graphql", graphql, "Authorization", "Bearer "+token); status != w.status || strings.TrimSpace(body) != w.body {
			t.Errorf("%s: %d\n%s\nwant\n%s", name, status, body, w.body)
		}
		if w.status == 200 { // of which the identity service has none
			w.status, w.identity = 500, `{"message":"Internal server error","statusCode":500}`
		}
		if status, body := c.do("POST", "/identity/oauth/token", form, "Content-Type", "application/x-www-form-urlencoded"); status != w.status || strings.TrimSpace(body) != w.identity {
			t.Errorf("%s, identity: %d %s, want %s", name, status, body, w.identity)
		}
	}
	for status, code := range map[string]string{"400": "BAD_REQUEST", "404": "NOT_FOUND", "408": "REQUEST_TIMEOUT", "425": "TOO_EARLY", "500": "INTERNAL_SERVER_ERROR", "502": "INTERNAL_SERVER_ERROR"} {
		c.do("PUT", "/sim/faults", `{"status":`+status+`}`)
		if got, body := c.do("POST", "/v1/graphql", graphql); strconv.Itoa(got) != status || !strings.Contains(body, `"code":"`+code+`"`) {
			t.Errorf("%s: %d %s", status, got, body)
		}
	}
	for _, bad := range []string{`{"dialect":"klingon"}`, `{"dialect":"router","status":500}`, `{"dialect":"overload","partial":"tasks"}`, `{"status":503,"partial":"tasks"}`} {
		if status, body := c.do("PUT", "/sim/faults", bad); status != 400 || !strings.Contains(body, "simulator") {
			t.Errorf("%s: %d %s", bad, status, body)
		}
	}
}

// What a request for faults can say: nothing is taken that does nothing.
func TestFaultRequests(t *testing.T) {
	c := serve(t, 1)
	token, _ := c.access(c.sim.Members()[0])
	read := func() (int, string) {
		return c.do("POST", "/v1/graphql", `{"query":"{getMemberConnections{status} tasks{total}}"}`, "Authorization", "Bearer "+token)
	}
	for _, tt := range []struct {
		faults string
		status int
		want   string
	}{
		{`{"malformed":true}`, 200, "<html>"},
		{`{"malformed":false}`, 200, `"CONNECTED"`},
		{`{"partial":true}`, 200, `"path":["tasks"]`},
		{`{"partial":false}`, 200, `"CONNECTED"`},
		{`{"partial":null}`, 200, `"CONNECTED"`},
		{`{"partial":"tasks","status":200}`, 200, `"path":["tasks"]`},
		{`{"partial":"tasks","errorRate":1}`, 200, `"path":["tasks"]`},
		{`{"partial":"activateDirectConnection"}`, 200, `"CONNECTED"`},
		{`{"latency":"1ns"}`, 200, `"CONNECTED"`},
		{`{"down":false}`, 200, `"CONNECTED"`},
	} {
		if status, body := c.do("PUT", "/sim/faults", tt.faults); status != 200 {
			t.Errorf("%s: %d %s", tt.faults, status, body)
		}
		if status, body := read(); status != tt.status || !strings.Contains(body, tt.want) {
			t.Errorf("%s: %d %s", tt.faults, status, body)
		}
	}
	c.do("PUT", "/sim/faults", `{"status":503}`)
	for _, bad := range []string{
		`{"retryAfter":3}`, `{"malformed":"html","retryAfter":3}`, `{"partial":"nonsense"}`, `{"partial":"connections"}`, `{"malformed":"nonsense"}`,
		`{"malformed":1}`, `{"partial":[]}`, `{"errorRate":-0.1}`, `{"errorRate":"1"}`, `{"status":99}`, `{"status":302}`, `{"status":204}`, `{"status":600}`,
		`{"latency":"-1s"}`, `{"lag":"soon"}`, `{"down":true,"malformed":"html"}`, `{"down":true,"status":500}`, `{"malformed":"html","dialect":"router"}`,
		`{"partial":"tasks","malformed":"html"}`, `{"Status":500,"nonsense":1}`, `[]`, `"html"`, ``,
	} {
		if status, body := c.do("PUT", "/sim/faults", bad); status != 400 || !strings.Contains(body, "simulator: ") {
			t.Errorf("%s: %d %s", bad, status, body)
		}
		if status, _ := read(); status != 503 {
			t.Fatalf("%s was refused and replaced what there was", bad)
		}
	}
}

// The error rate is a share of answers, of whatever kind they are.
func TestErrorRate(t *testing.T) {
	c := serve(t, 1)
	token, _ := c.access(c.sim.Members()[0])
	for _, faults := range []string{
		`{"errorRate":0.3}`, `{"errorRate":0.3,"status":429}`, `{"errorRate":0.3,"dialect":"router"}`, `{"errorRate":0.3,"malformed":"truncated"}`,
		`{"errorRate":0.3,"partial":"tasks"}`, `{"errorRate":0.3,"down":true}`,
	} {
		if status, body := c.do("PUT", "/sim/faults", faults); status != 200 {
			t.Fatal(body)
		}
		good := 0
		for range 200 {
			status, body := c.do("POST", "/v1/graphql", `{"query":"{getMemberConnections{status} tasks{total}}"}`, "Authorization", "Bearer "+token)
			if status == 200 && json.Valid([]byte(body)) && !strings.Contains(body, `"errors"`) {
				good++
			}
		}
		if good < 110 || good > 170 { // the seed is fixed, and so is the number
			t.Errorf("%s: %d of 200 are well", faults, good)
		}
	}
}

// Retry-After is there if somebody asked for it.
func TestRetryAfter(t *testing.T) {
	c := serve(t, 1)
	token, _ := c.access(c.sim.Members()[0])
	for _, tt := range []struct{ faults, want string }{
		{`{"dialect":"overload"}`, ""},
		{`{"dialect":"overload","retryAfter":3}`, "3"},
		{`{"dialect":"router","retryAfter":4}`, "4"},
		{`{"status":503,"retryAfter":5}`, "5"},
		{`{"errorRate":1,"retryAfter":6}`, "6"},
		{`{"status":429}`, ""},
	} {
		if status, body := c.do("PUT", "/sim/faults", tt.faults); status != 200 {
			t.Fatal(body)
		}
		r := httptest.NewRequest("POST", "/v1/graphql", strings.NewReader(`{"query":"{tasks{total}}"}`))
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		c.sim.Handler().ServeHTTP(w, r)
		if got := w.Header().Get("Retry-After"); got != tt.want {
			t.Errorf("%s: Retry-After %q, want %q", tt.faults, got, tt.want)
		}
	}
}

// The exchange wants what RFC 8693 has, and refuses in OAuth's words.
func TestExchange(t *testing.T) {
	c := serve(t, 1)
	m := c.sim.Members()[0]
	access, _ := c.access(m)
	for _, tt := range []struct {
		name   string
		change url.Values
		status int
		want   string
	}{
		{"as it should be", nil, 200, `"issued_token_type":"urn:ietf:params:oauth:token-type:access_token"`},
		{"without the type that is wanted", url.Values{"requested_token_type": nil}, 200, `"refresh_token"`},
		{"another grant", url.Values{"grant_type": {"client_credentials"}}, 400, "unsupported_grant_type"},
		{"no grant", url.Values{"grant_type": nil}, 400, "unsupported_grant_type"},
		{"no token", url.Values{"subject_token": nil}, 400, "invalid_request"},
		{"no type", url.Values{"subject_token_type": nil}, 400, "invalid_request"},
		{"another type", url.Values{"subject_token_type": {"urn:ietf:params:oauth:token-type:saml2"}}, 400, "invalid_request"},
		{"another type wanted", url.Values{"requested_token_type": {"urn:ietf:params:oauth:token-type:id_token"}}, 400, "invalid_request"},
		{"no JWT", url.Values{"subject_token": {"nonsense"}}, 400, "invalid_grant"},
		{"an access token", url.Values{"subject_token": {access}}, 400, "invalid_grant"},
	} {
		form := exchangeForm(m.IDToken)
		for field, value := range tt.change {
			if form[field] = value; value == nil {
				form.Del(field)
			}
		}
		status, body := c.do("POST", "/identity/oauth/token", form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
		if status != tt.status || !strings.Contains(body, tt.want) {
			t.Errorf("%s: %d %s", tt.name, status, body)
		}
	}
}

func exchangeForm(idToken string) url.Values {
	return url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token": {idToken},
		"subject_token_type":   {"urn:ietf:params:oauth:token-type:jwt"},
		"requested_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
	}
}

// Who asked for what is counted, also when it came to nothing.
func TestCalls(t *testing.T) {
	c := serve(t, 1)
	m := c.sim.Members()[0]
	access, refresh := c.access(m)
	c.query(access, `{tasks{total} again:tasks{total} getMemberConnections{id}}`)
	renew := func() {
		c.do("POST", "/v1/graphql", `{"query":"{refresh{accessToken}}"}`, "refresh_token", refresh, "clientkey", "k")
	}
	renew()
	c.do("POST", "/v1/graphql", `{"query":"{getToken{idToken{jwtToken}}}"}`, "Authorization", m.IDToken, "clientkey", "k")
	if err := c.sim.SetFaults(Faults{Status: 503}); err != nil {
		t.Fatal(err)
	}
	c.query(access, `{tasks{total}}`)
	renew()
	c.do("POST", "/v1/graphql", `{}`)
	form := exchangeForm(m.IDToken)
	c.do("POST", "/identity/oauth/token", form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	for _, f := range []Faults{{Down: true}, {Malformed: "html"}} {
		if err := c.sim.SetFaults(f); err != nil {
			t.Fatal(err)
		}
		c.query(access, `{tasks{total}}`)
	}
	if err := c.sim.SetFaults(Faults{}); err != nil {
		t.Fatal(err)
	}
	if err := c.sim.SetToken(m.ID, TokenChange{Refresh: "revoked"}); err != nil {
		t.Fatal(err)
	}
	c.query(access, `{tasks{total}}`)
	c.query("nobody's", `{tasks{total}}`)
	c.query(access, `{nonsense}`)
	renew()
	want := map[string]map[string]int{
		m.ID: {"exchange": 1, "tasks": 2, "getMemberConnections": 1, "refresh": 1, "getToken": 1, "faulted": 4, "refused": 1},
		"":   {"faulted": 2, "refused": 1, "refresh": 1}, // a refresh token that is gone is nobody's
	}
	if got := c.sim.Calls(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// A field that a document selects more than once is one field, with all that is
// selected of it.
func TestSelectionsAreMerged(t *testing.T) {
	c := serve(t, 1)
	m := c.sim.Members()[0]
	token, _ := c.access(m)
	id := connectionOf(t, m, "PROA")
	for query, want := range map[string]string{
		`{tasks{total} tasks{entry{resource{status}}} ...f} fragment f on Query{tasks{entry{resource{code{coding{code}}}}}}`://
		`{"data":{"tasks":{"entry":[{"resource":{"code":{"coding":[{"code":"network-data-retrieval"}]},"status":"completed"}}],"total":1}}}`,
		`{getDataSource(connectionId:"` + id + `"){...on DataSource{a:id} id} getDataSource(connectionId:"` + id + `"){a:id}}`://
		`{"data":{"getDataSource":{"a":"` + id + `","id":"` + id + `"}}}`,
		`{careTeams{entry{resource{participant{member{resource{...on Organization{__typename} ...on Practitioner{id}}}}}}}}`://
		`{"data":{"careTeams":{"entry":[{"resource":{"participant":[{"member":{"resource":{"__typename":"Organization"}}}]}}]}}}`,
		`query($yes:Boolean=true){tasks{total @skip(if:$yes) id @include(if:false)}}`: `{"data":{"tasks":{}}}`,
	} {
		if got := c.query(token, query); got != want {
			t.Errorf("%s\n%s\nwant\n%s", query, got, want)
		}
	}
	const deny = `createConsent(consentInput:{status:ACTIVE,provision:{type:DENY},category:[{coding:[{code:"IAS_IMPORT_RECORDS"}]}]})`
	c.query(token, `mutation{`+deny+`{id} `+deny+`{status}}`)
	if got := c.query(token, `{consents{total}}`); got != `{"data":{"consents":{"total":2}}}` {
		t.Errorf("consent was given twice: %s", got)
	}
	// What is set to anything comes as it was set, where the schema has a word.
	if err := c.sim.SetConnection(m.ID, id, Row{"status": map[string]any{"a": []any{"b", 1}}, "type": []any{}}); err != nil {
		t.Fatal(err)
	}
	if got := c.query(token, `{getMemberConnections{status type}}`); !strings.Contains(got, `{"status":{"a":["b",1]},"type":[]}`) {
		t.Error(got)
	}
}

// Whatever the schema promises is answered.
func TestEveryRootIsResolved(t *testing.T) {
	schema := gqlparser.MustLoadSchema(&ast.Source{Input: SDL})
	for _, root := range []*ast.Definition{schema.Query, schema.Mutation} {
		for _, f := range root.Fields {
			if (&call{}).resolver(f.Name) == nil && !strings.HasPrefix(f.Name, "__") {
				t.Errorf("nothing resolves %s", f.Name)
			}
		}
	}
}

func TestConsents(t *testing.T) {
	c := serve(t, 0)
	for _, body := range []string{`{"id":"none","consent":"none","connections":[{"id":"a-1","integrationType":"INDIRECT_IAS","status":"EXPIRED"}]}`, `{"id":"deny","consent":"deny"}`, `{"id":"permit"}`} {
		if status, answer := c.do("POST", "/sim/members", body); status != 200 {
			t.Fatal(answer)
		}
	}
	if status, _ := c.do("POST", "/sim/members", `{"id":"x","consent":"perhaps"}`); status != 400 {
		t.Error(status)
	}
	for i, want := range []string{`none []`, `deny ["rejected"]`, `permit ["completed"]`} {
		m := c.sim.Members()[i]
		var tasks []any
		for _, task := range m.Tasks {
			tasks = append(tasks, task["status"])
		}
		if got := fmt.Sprintf("%s %q", m.Consent, tasks); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	token, _ := c.access(c.sim.Members()[0])
	give := func(status, provision, category string) string {
		return c.query(token, `mutation{createConsent(consentInput:{status:`+status+`,provision:{type:`+provision+`},category:[{coding:[{code:"`+category+`"}]}]}){id status provision{type} category{coding{code}}}}`)
	}
	if got := c.query(token, `{consents{total entry{resource{id}}} tasks{total}}`); got != `{"data":{"consents":{"entry":null,"total":0},"tasks":{"total":0}}}` {
		t.Error(got)
	}
	// What is not in force, or of another kind, changes nothing.
	for _, got := range []string{
		give("REJECTED", "PERMIT", "IAS_IMPORT_RECORDS"), give("ENTERED_IN_ERROR", "DENY", "IAS_IMPORT_RECORDS"), give("ACTIVE", "DENY", "TOS"), give("ACTIVE", "DENY", "DATA_SHARING"),
	} {
		if !strings.Contains(got, `"id"`) || c.sim.Members()[0].Consent != "none" {
			t.Error(got)
		}
	}
	if got := give("ACTIVE", "PERMIT", "IAS_IMPORT_RECORDS"); !strings.Contains(got, `"ias:import:records"`) || !strings.Contains(got, `"PERMIT"`) || !strings.Contains(got, `"active"`) {
		t.Error(got)
	}
	if m := c.sim.Members()[0]; m.Consent != "permit" || m.Tasks[0]["status"] != "ready" {
		t.Errorf("the first consent starts a search: %+v", m)
	}
	give("INACTIVE", "DENY", "IAS_IMPORT_RECORDS")
	if c.sim.Members()[0].Consent != "permit" {
		t.Error("an inactive consent is in force")
	}
	var listed struct {
		Data struct {
			Consents struct {
				Entry []struct {
					ID       string
					Resource struct{ ID, DateTime, Status string }
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(c.query(token, `{consents{entry{id resource{id dateTime status}}}}`)), &listed); err != nil {
		t.Fatal(err)
	}
	var ids, dates []string
	for _, e := range listed.Data.Consents.Entry {
		if e.ID != e.Resource.ID {
			t.Errorf("the entry's id is %s, its resource's %s", e.ID, e.Resource.ID)
		}
		ids, dates = append(ids, e.ID), append(dates, e.Resource.DateTime)
	}
	if len(ids) != 6 || !slices.IsSorted(ids) {
		t.Errorf("not listed by id: %v", ids)
	}
	slices.Sort(dates)
	if len(slices.Compact(dates)) != 6 {
		t.Errorf("two consents of one date: %v", dates) // they were given at one instant
	}
	for filter, want := range map[string]int{
		`category:{value:{value:"IAS_IMPORT_RECORDS"}}`: 4, `category:{values:[{code:"ias:import:records"},{code:"IAS_IMPORT_RECORDS"}]}`: 4,
		`category:{value:{code:"DATA_SHARING"}}`: 1, `category:{value:{code:"dataSharing"}}`: 1, `category:{value:{code:"HEALTH_MATCH"}}`: 0,
		`status:{value:{code:"active"}}`: 3, `status:{value:{code:"entered-in-error"}}`: 1, `status:{notEquals:{values:[{code:"active"},{code:"inactive"}]}}`: 2,
		`id:{value:"` + ids[0] + `"}`: 1, `id:{values:["` + ids[0] + `","` + ids[1] + `"]}`: 2, `_count:4`: 4, `_count:4,_getpagesoffset:1`: 2, `_count:4,_getpagesoffset:2`: 0, `_getpagesoffset:1`: 6,
	} {
		if got := c.query(token, `{consents(`+filter+`){entry{id}}}`); strings.Count(got, `"id"`) != want {
			t.Errorf("%s: %s, want %d", filter, got, want)
		}
	}
}

// Consent is spelt the same wherever it is set; only who is new has none.
func TestConsentIsSpeltInAnyCase(t *testing.T) {
	c := serve(t, 1)
	consent := "/sim/members/" + c.sim.Members()[0].ID + "/consent"
	for _, tt := range []struct {
		spelt     string
		made, set int
		want      string
	}{
		{"permit", 200, 200, "permit"},
		{"PERMIT", 200, 200, "permit"},
		{"deny", 200, 200, "deny"},
		{"Deny", 200, 200, "deny"},
		{"DENY", 200, 200, "deny"},
		{"none", 200, 400, "none"},
		{"NONE", 200, 400, "none"},
		{"permıt", 400, 400, ""},
		{"perhaps", 400, 400, ""},
	} {
		if status, body := c.do("POST", "/sim/members", `{"id":"`+tt.spelt+`","consent":"`+tt.spelt+`"}`); status != tt.made {
			t.Errorf("made with %s: %d %s", tt.spelt, status, body)
		}
		if status, body := c.do("PUT", consent, `{"provision":"`+tt.spelt+`"}`); status != tt.set {
			t.Errorf("set to %s: %d %s", tt.spelt, status, body)
		}
		all := c.sim.Members()
		if made := all[len(all)-1]; made.ID == tt.spelt && made.Consent != tt.want {
			t.Errorf("made with %s: %s", tt.spelt, made.Consent)
		}
		if tt.set == 200 && all[0].Consent != tt.want {
			t.Errorf("set to %s: %s", tt.spelt, all[0].Consent)
		}
	}
	status, body := c.do("POST", "/sim/members", `{"count":1,"consent":"NONE"}`)
	if all := c.sim.Members(); status != 200 || all[len(all)-1].Consent != "none" {
		t.Error(status, body)
	}
}

// Whoever leaves is gone at once, and their tokens name nobody.
func TestLeaving(t *testing.T) {
	c := serve(t, 3)
	m := c.sim.Members()[2]
	token, refresh := c.access(m)
	status := `{accountDeletionStatusByClientPerson(clientPersonId:"` + m.ID + `"){id status}}`
	for _, tt := range []struct{ operation, severity, status string }{
		{"CANCEL_DELETE", "error", `ByClientPerson":null`},
		{"REQUEST_DELETE", "information", `"requested"`},
		{"CANCEL_DELETE", "information", `"cancelled"`},
		{"CANCEL_DELETE", "error", `"cancelled"`},
		{"DELETION_IN_PROGRESS", "error", `"cancelled"`},
	} {
		if got := c.query(token, `mutation{updateUserAccountStatus(operation:`+tt.operation+`){resourceType issue{severity code details{text}}}}`); !strings.Contains(got, `"severity":"`+tt.severity+`"`) ||
			strings.Contains(got, `"errors"`) {
			t.Errorf("%s: %s", tt.operation, got)
		}
		if got := c.query(token, status); !strings.Contains(got, tt.status) {
			t.Errorf("%s: %s", tt.operation, got)
		}
	}
	if got := c.query(token, strings.ReplaceAll(status, m.ID, "member-0001")); !strings.Contains(got, "FORBIDDEN") {
		t.Error(got)
	}
	if got := c.query(token, `mutation{updateUserAccountStatus(operation:IMMEDIATE_EXECUTION){issue{severity}}}`); !strings.Contains(got, "information") {
		t.Error(got)
	}
	if got := c.statuses(token); !strings.Contains(got, "UNAUTHENTICATED") {
		t.Error(got)
	}
	if _, got := c.do("POST", "/v1/graphql", `{"query":"{refresh{accessToken}}"}`, "refresh_token", refresh, "clientkey", "k"); !strings.Contains(got, "UNAUTHENTICATED") {
		t.Error(got)
	}
	if status, _ := c.do("PUT", "/sim/members/"+m.ID+"/consent", `{"provision":"deny"}`); status != 404 || len(c.sim.Members()) != 2 {
		t.Error("still there")
	}
	if ids, err := c.sim.AddMembers(1, NewMember{}); err != nil || ids[0] == m.ID {
		t.Errorf("%v has the name and the tokens of who left, %v", ids, err)
	}
}

// What leads a browser to a page is good for that page, once and for a while.
func TestSecretsAreGoodForOneThing(t *testing.T) {
	c := serve(t, 1)
	m := c.sim.Members()[0]
	token, _ := c.access(m)
	until := func(field, query string) string {
		t.Helper()
		var a struct{ Data map[string]any }
		if err := json.Unmarshal([]byte(c.query(token, query)), &a); err != nil || a.Data[field] == nil {
			t.Fatalf("%s: %v", query, err)
		}
		if url, ok := a.Data[field].(string); ok {
			return strings.TrimPrefix(url, c.base)
		}
		for _, v := range a.Data[field].(map[string]any) {
			return strings.TrimPrefix(v.(string), c.base)
		}
		return ""
	}
	oauth := until("getOauthUrl", `{getOauthUrl(connectionId:"`+connectionOf(t, m, "PROA")+`"){redirectUrl}}`)
	verify := until("createVerificationUrl", `mutation{createVerificationUrl(includeAttributeMatchingCheck:false)}`)
	code := until("createAuthCode", `mutation{createAuthCode(clientKey:"k",clientPersonId:"`+m.ID+`",expirationDate:"2026-03-01T09:10:00Z"){authCode}}`)
	exchange := func(code string) string {
		return c.query(token, `mutation{exchangeAuthCode(authCode:"`+code+`"){accessToken{jwtToken}}}`)
	}
	state := func(path string) string { _, s, _ := strings.Cut(path, "state="); return s }
	for _, wrong := range []string{"/oauth/authorize?state=" + state(verify), "/oauth/authorize?state=" + code, "/identity/verify?state=" + state(oauth), "/identity/verify?state=", "/oauth/authorize"} {
		for _, method := range []string{"GET", "POST"} {
			if status, _ := c.do(method, wrong, ""); status != http.StatusGone {
				t.Errorf("%s %s: %d", method, wrong, status)
			}
		}
	}
	for _, wrong := range []string{state(oauth), state(verify), "", "nonsense"} {
		if got := exchange(wrong); !strings.Contains(got, "UNAUTHENTICATED") {
			t.Errorf("%q: %s", wrong, got)
		}
	}
	if got := c.query(token, `mutation{createAuthCode(clientKey:"k",clientPersonId:"`+m.ID+`",expirationDate:"2026-03-01T09:00:00Z"){authCode}}`); !strings.Contains(got, "invalid") {
		t.Error(got)
	}
	for _, callback := range []string{"nonsense", "javascript:alert(1)", "/relative"} {
		if got := c.query(token, `mutation{createVerificationUrl(callbackURL:"`+callback+`")}`); !strings.Contains(got, "invalid") {
			t.Errorf("%s: %s", callback, got)
		}
	}
	if got := exchange(code); !strings.Contains(got, "jwtToken") {
		t.Error(got)
	}
	if got := exchange(code); !strings.Contains(got, "UNAUTHENTICATED") {
		t.Errorf("twice: %s", got)
	}
	if err := c.sim.SetIdentity(m.ID, Identity{Status: "val-fail", ErrorCode: "PERSON_MATCH_ERROR"}); err != nil {
		t.Fatal(err)
	}
	if status, body := c.do("GET", verify, ""); status != 200 || !strings.Contains(body, "Prove who you are") {
		t.Error(status, body)
	}
	if status, _ := c.do("POST", verify, ""); status != http.StatusSeeOther || c.sim.Members()[0].Identity != "validated" {
		t.Error(status)
	}
	if status, _ := c.do("POST", verify, ""); status != http.StatusGone {
		t.Error("twice:", status)
	}
	*c.now = c.now.Add(10 * time.Minute)
	if status, _ := c.do("GET", oauth, ""); status != http.StatusGone {
		t.Error("after ten minutes:", status)
	}
}

// Connections by password, and what there is to connect.
func TestBasicConnections(t *testing.T) {
	c := serve(t, 1)
	m := c.sim.Members()[0]
	token, _ := c.access(m)
	offer := m.Recommendations[0]
	connect := func(id, more string) string {
		return c.query(token, `mutation{createConnection(connectionId:"`+id+`"`+more+`){id name category integrationType status created}}`)
	}
	const login = `,username:"u",password:"p"`
	for _, tt := range []struct{ id, more, want string }{
		{"no-such_source", login, "not-found"},
		{offer, "", "invalid"},
		{offer, `,username:"u"`, "invalid"},
		{connectionOf(t, m, "PROA"), login, "business-rule"}, // it is connected by OAuth
		{offer, login, `"category":"BASIC","created":"2026-03-01T09:00:00.000000"`},
		{offer, login, "Already Connected"},
	} {
		if got := connect(tt.id, tt.more); !strings.Contains(got, tt.want) {
			t.Errorf("%s %s: %s, want %s", tt.id, tt.more, got, tt.want)
		}
	}
	if got := c.query(token, `{subscriptions{entry{id resource{subscriptionStatus{extension{id valueString}}}}} careTeams{entry{id}}}`); !strings.Contains(got, `"hapi"`) || !strings.Contains(got, `"careTeams":{"entry":null}`) {
		t.Error(got)
	}
	if err := c.sim.SetConnection(m.ID, offer, Row{"status": "EXPIRED"}); err != nil {
		t.Fatal(err)
	}
	if got := connect(offer, login); !strings.Contains(got, `"CONNECTED"`) {
		t.Error(got)
	}
	if err := c.sim.SetConsent(m.ID, "deny"); err != nil {
		t.Fatal(err)
	}
	var another string
	for _, o := range sources() {
		if !slices.ContainsFunc(m.Connections, func(r Row) bool { return r.text("id") == o.Alias }) && o.Alias != offer {
			another = o.Alias
		}
	}
	if got := connect(another, login+`,integrationType:"INDIRECT_IAS"`); !strings.Contains(got, "business-rule") {
		t.Errorf("an IAS connection without consent: %s", got)
	}
	if got := connect(another, `,integrationType:"DIRECT"`); !strings.Contains(got, `"integrationType":"DIRECT"`) {
		t.Error(got)
	}
	if got := c.query(token, `{getDataSource(connectionId:"`+another+`"){id name}}`); !strings.Contains(got, `"id":"`+another+`"`) {
		t.Error(got)
	}
	for search, want := range map[string]int{`search:"HOSPITAL"`: 1, `search:"nothing of that name"`: 0, ``: 8, `paging:{pageNumber:1,pageSize:5}`: 3, `search:null,paging:{pageNumber:9}`: 0} {
		if got := c.query(token, `{searchHealthResources(searchInput:{`+search+`}){pagingInfo{totalItems} results{endpoint{name}}}}`); strings.Count(got, `"endpoint"`) != want {
			t.Errorf("%s: %s, want %d", search, got, want)
		}
	}
}

func FuzzGraphQL(f *testing.F) {
	s := New(Config{Seed: 1, Members: 1})
	h := s.Handler()
	for _, seed := range []string{`{"query":"{tasks{total}}"}`, `{"query":"{"}`, `[]`, `{"query":"{a}","variables":7}`, `{"query":"query($a:SearchToken){tasks(code:$a){total}}","variables":{"a":{"value":3}}}`} {
		f.Add([]byte(seed))
	}
	token := s.jwt(s.members[s.order[0]], time.Hour, "access")
	f.Fuzz(func(t *testing.T, body []byte) {
		r := httptest.NewRequest("POST", "/v1/graphql", bytes.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if !json.Valid(w.Body.Bytes()) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}
