package bwell_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/smartconnect/connector/internal/bwell"
	"github.com/smartconnect/connector/internal/secret"
	"github.com/smartconnect/connector/internal/simulator"
)

func TestDocumentsFitTheSchema(t *testing.T) {
	schema, err := gqlparser.LoadSchema(&ast.Source{Name: "schema.graphql", Input: simulator.SDL})
	if err != nil {
		t.Fatal(err)
	}
	for name, document := range bwell.Documents(t) {
		if _, err := gqlparser.LoadQuery(schema, document); err != nil { //nolint:staticcheck // the rules are all we want
			t.Errorf("%s: %v", name, err)
		}
	}
}

// grants are the tokens of one member, as somebody who keeps them has them.
type grants struct {
	client *bwell.Client
	bwell.Grant
}

func (g *grants) Access(context.Context) (secret.Value, error) { return g.Grant.Access, nil }

func (g *grants) Renew(ctx context.Context, _ secret.Value) (secret.Value, error) {
	next, err := g.client.Refresh(ctx, g.Refresh)
	if err == nil {
		g.Grant = next
	}
	return next.Access, err
}

// A world is a simulated b.well, a client of it, and a member with a grant.
type world struct {
	*simulator.Simulator

	client *bwell.Client
	member simulator.MemberView
	grants *grants
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{Simulator: simulator.New(simulator.Config{Seed: 1, Members: 2})}
	server := httptest.NewServer(w.Handler())
	t.Cleanup(server.Close)
	var err error
	w.client, err = bwell.New(bwell.Config{BaseURL: server.URL, ClientKey: secret.New("eyJyIjoiciIsImVudiI6InNpbSIsImtpZCI6ImsifQ=="), Tries: 1})
	if err != nil {
		t.Fatal(err)
	}
	w.member = w.Members()[0]
	grant, err := w.client.Exchange(t.Context(), secret.New(w.member.IDToken))
	if err != nil {
		t.Fatal(err)
	}
	w.grants = &grants{w.client, grant}
	return w
}

// connection returns the id of the member's connection of a type.
func (w *world) connection(t *testing.T, integrationType string) string {
	t.Helper()
	i := slices.IndexFunc(w.member.Connections, func(r simulator.Row) bool { return r["integrationType"] == integrationType })
	if i < 0 {
		t.Fatal("the member has no connection of type " + integrationType)
	}
	return w.member.Connections[i]["id"].(string)
}

func (w *world) set(t *testing.T, id string, fields simulator.Row) {
	t.Helper()
	if err := w.SetConnection(w.member.ID, id, fields); err != nil {
		t.Fatal(err)
	}
}

func (w *world) observe(ctx context.Context) (bwell.Observation, error) {
	return bwell.Do(ctx, w.grants, func(ctx context.Context, access secret.Value) (bwell.Observation, error) {
		return w.client.Observe(ctx, access, bwell.Want{})
	})
}

func TestSimulatorTokens(t *testing.T) {
	w := newWorld(t)
	first := w.grants.Grant
	if first.PersonID != w.member.ID || first.Refresh.IsZero() || time.Until(first.Expires) < time.Minute {
		t.Errorf("%+v, expires in %v", first, time.Until(first.Expires))
	}
	second, err := w.client.Refresh(t.Context(), first.Refresh)
	if err != nil || second.Refresh.IsZero() || second.Refresh == first.Refresh || second.PersonID != w.member.ID {
		t.Errorf("rotation: %+v, %v", second, err)
	}
	// Access tokens end: refreshed once, asked once more.
	if err := w.SetToken(w.member.ID, simulator.TokenChange{Access: "expired"}); err != nil {
		t.Fatal(err)
	}
	before := w.grants.Grant.Access
	if o, err := w.observe(t.Context()); err != nil || !o.Connections.Whole || w.grants.Grant.Access == before {
		t.Errorf("after the access token ended: %+v, %v", o, err)
	}
	// The grant ends: class Auth, from refresh and from observing with it.
	if err := w.SetToken(w.member.ID, simulator.TokenChange{Refresh: "revoked"}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.observe(t.Context()); bwell.ClassOf(err) != bwell.Auth {
		t.Error("after the grant ended:", err)
	}
	if _, err := w.client.Refresh(t.Context(), secret.New("never-issued")); bwell.ClassOf(err) != bwell.Auth {
		t.Error(err)
	}
	if _, err := w.client.Exchange(t.Context(), secret.New("never-issued")); bwell.ClassOf(err) != bwell.Auth {
		t.Error(err)
	}
}

func TestSimulatorObserve(t *testing.T) {
	w := newWorld(t)
	o, err := w.observe(t.Context())
	if err != nil || !o.Connections.Whole || !o.Tasks.Whole || !o.Consents.Whole || o.Date.IsZero() || o.Digest == 0 {
		t.Fatalf("%+v, %v", o, err)
	}
	if len(o.Connections.Items) != len(w.member.Connections) || len(o.Tasks.Items) == 0 || o.Tasks.Items[0].Status.Value != "completed" ||
		len(o.Consents.Items) == 0 || o.Consents.Items[0].Category != bwell.CategoryIAS || o.Consents.Items[0].Provision.Value != "permit" {
		t.Errorf("%+v", o)
	}
	for _, l := range []map[string]int{o.Connections.Unknown, o.Tasks.Unknown, o.Consents.Unknown} {
		if l != nil {
			t.Error("unknown:", l)
		}
	}
	for _, c := range o.Connections.Items {
		if c.Status.Value != "CONNECTED" || c.Name == "" || c.StatusUpdated.IsZero() || c.Created.IsZero() || c.IntegrationType.IsZero() {
			t.Errorf("%+v", c)
		}
	}
	again, err := w.client.Observe(t.Context(), w.grants.Grant.Access, bwell.Want{Seen: o.Digest})
	if err != nil || !again.Same {
		t.Errorf("unchanged: %+v, %v", again, err)
	}

	id := w.connection(t, "PROA")
	w.set(t, id, simulator.Row{"status": "PAUSED", "syncStatus": nil, "integrationType": nil})
	changed, err := w.client.Observe(t.Context(), w.grants.Grant.Access, bwell.Want{NoTasks: true, Seen: o.Digest})
	if err != nil || changed.Same || changed.Tasks.Whole || changed.Tasks.Err != nil || changed.Fingerprint() == o.Fingerprint() {
		t.Fatalf("%+v, %v", changed, err)
	}
	i := slices.IndexFunc(changed.Connections.Items, func(c bwell.Connection) bool { return c.ID == id })
	if c := changed.Connections.Items[i]; c.Status != (bwell.Word{Value: bwell.Unknown, Raw: "PAUSED"}) || !c.SyncStatus.IsZero() || !c.IntegrationType.IsZero() {
		t.Errorf("%+v", c)
	}
}

func TestSimulatorDeletedConnections(t *testing.T) {
	w := newWorld(t)
	id := w.connection(t, "PROA")
	w.set(t, id, simulator.Row{"status": "DELETED", "syncStatus": "DATA_DELETED"})
	o, err := w.observe(t.Context())
	if err != nil || slices.ContainsFunc(o.Connections.Items, func(c bwell.Connection) bool { return c.ID == id && c.Status.Value == "DELETED" }) {
		t.Errorf("it is listed: %+v, %v", o.Connections, err)
	}
	l, err := w.client.DeletedConnections(t.Context(), w.grants.Grant.Access)
	if err != nil || !l.Whole || len(l.Items) != 1 || l.Items[0].ID != id {
		t.Errorf("%+v, %v", l, err)
	}
}

func TestSimulatorConnecting(t *testing.T) {
	w := newWorld(t)
	access := w.grants.Grant.Access
	l, err := w.client.Recommendations(t.Context(), access)
	if err != nil || !l.Whole || len(l.Items) != 1 || l.Items[0].Alias != w.member.Recommendations[0] || l.Items[0].Name == "" {
		t.Fatalf("%+v, %v", l, err)
	}
	for _, id := range []string{l.Items[0].Alias, w.connection(t, "INDIRECT_IAS")} {
		if u, err := w.client.OAuthURL(t.Context(), access, id); err != nil || !strings.HasPrefix(u.Reveal(), "http://127.0.0.1:") {
			t.Error(err)
		}
	}
	if _, err := w.client.OAuthURL(t.Context(), access, "no-such-source"); bwell.ClassOf(err) != bwell.Invalid {
		t.Error("no such source:", err)
	}

	id := w.connection(t, "DIRECT_IAS")
	w.set(t, id, simulator.Row{"status": "EXPIRED"})
	if a, err := w.client.ActivateDirect(t.Context(), access, id); err != nil || a.Status.Value != "CONNECTED" || a.StatusUpdated.IsZero() {
		t.Errorf("%+v, %v", a, err)
	}
	w.set(t, id, simulator.Row{"status": "DELETED"})
	_, err = w.client.ActivateDirect(t.Context(), access, id)
	if e, ok := errors.AsType[*bwell.Error](err); !ok || e.Class != bwell.Invalid || e.Code != "business-rule" || strings.Contains(err.Error(), id) {
		t.Error("deleted:", err)
	}
	if v, err := w.client.Verification(t.Context(), access); err != nil || v.Status.Value != "validated" {
		t.Error(v, err)
	}
}

func TestSimulatorFaults(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		name   string
		faults simulator.Faults
		class  bwell.Class
		whole  string // connections, tasks, consents
	}{
		{"well", simulator.Faults{}, bwell.NoClass, "ctn"},
		{"html", simulator.Faults{Malformed: "html"}, bwell.Transient, ""},
		{"empty", simulator.Faults{Malformed: "empty"}, bwell.Transient, ""},
		{"truncated", simulator.Faults{Malformed: "truncated"}, bwell.Transient, ""},
		{"json", simulator.Faults{Malformed: "json"}, bwell.Transient, ""},
		{"huge", simulator.Faults{Malformed: "huge"}, bwell.Transient, ""},
		{"down", simulator.Faults{Down: true}, bwell.Transient, ""},
		{"failing inside 200", simulator.Faults{Status: 200}, bwell.Transient, ""},
		{"400", simulator.Faults{Status: 400}, bwell.Invalid, ""},
		{"401", simulator.Faults{Status: 401}, bwell.Auth, ""},
		{"403", simulator.Faults{Status: 403}, bwell.Forbidden, ""},
		{"429", simulator.Faults{Status: 429, RetryAfter: 7}, bwell.Transient, ""},
		{"503", simulator.Faults{Status: 503}, bwell.Transient, ""},
		{"connections fail", simulator.Faults{Partial: "getMemberConnections"}, bwell.NoClass, "tn"},
		{"tasks fail", simulator.Faults{Partial: "tasks"}, bwell.NoClass, "cn"},
		{"consents fail", simulator.Faults{Partial: "consents"}, bwell.NoClass, "ct"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := w.SetFaults(tt.faults); err != nil {
				t.Fatal(err)
			}
			o, err := w.client.Observe(t.Context(), w.grants.Grant.Access, bwell.Want{})
			var whole strings.Builder
			for _, l := range []struct {
				sign string
				is   bool
			}{{"c", o.Connections.Whole}, {"t", o.Tasks.Whole}, {"n", o.Consents.Whole}} {
				if l.is {
					whole.WriteString(l.sign)
				}
			}
			if bwell.ClassOf(err) != tt.class || whole.String() != tt.whole {
				t.Errorf("whole %q, %v", whole.String(), err)
			}
			if e, ok := errors.AsType[*bwell.Error](err); ok && e.RetryAfter != time.Duration(tt.faults.RetryAfter)*time.Second {
				t.Error(e.RetryAfter)
			}
		})
	}
}
