package main

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/smartconnect/connector/internal/bwell"
	"github.com/smartconnect/connector/internal/secret"
	"github.com/smartconnect/connector/internal/simulator"
)

// dialects returns the table of docs/simulator.md: by the name of each dialect
// its HTTP status and what class of error it must be.
func dialects(t *testing.T) map[string][2]string {
	t.Helper()
	body, err := os.ReadFile("../../docs/simulator.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(body), "| Dialect |")
	if !ok {
		t.Fatal("docs/simulator.md has no table of dialects")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	all := map[string][2]string{}
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if name := strings.TrimSpace(cells[0]); len(cells) == 4 && strings.HasPrefix(name, "`") {
			all[strings.Trim(name, "`")] = [2]string{strings.TrimSpace(cells[1]), strings.TrimSpace(cells[3])}
		}
	}
	return all
}

// The connector makes of every dialect in which b.well says no what the page
// says: over the network, with the client it has.
func TestDialects(t *testing.T) {
	sim := simulator.New(simulator.Config{Seed: 1, Members: 1})
	server := httptest.NewServer(sim.Handler())
	t.Cleanup(server.Close)
	client, err := bwell.New(bwell.Config{BaseURL: server.URL, ClientKey: secret.New("a2V5"), Tries: 1, ObserveTries: 1})
	if err != nil {
		t.Fatal(err)
	}
	control := func(t *testing.T, body string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, server.URL+"/sim/faults", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", body, resp.Status)
		}
	}
	m := sim.Members()[0]
	login := func(t *testing.T) bwell.Grant {
		t.Helper()
		control(t, `{}`)
		grant, err := client.Exchange(t.Context(), secret.New(m.IDToken))
		if err != nil {
			t.Fatal(err)
		}
		return grant
	}
	grant := login(t)
	documented := dialects(t)
	for _, name := range simulator.Dialects() {
		t.Run(name, func(t *testing.T) {
			row, ok := documented[name]
			if !ok {
				t.Fatal("docs/simulator.md does not know it")
			}
			control(t, `{"dialect":"`+name+`","retryAfter":7}`)
			calls := map[string]func() error{
				"observe":         func() error { _, err := client.Observe(t.Context(), grant.Access, bwell.Want{}); return err },
				"recommendations": func() error { _, err := client.Recommendations(t.Context(), grant.Access); return err },
				"oauth url":       func() error { _, err := client.OAuthURL(t.Context(), grant.Access, m.Recommendations[0]); return err },
				"activate":        func() error { _, err := client.ActivateDirect(t.Context(), grant.Access, "any-one"); return err },
				"verification":    func() error { _, err := client.Verification(t.Context(), grant.Access); return err },
			}
			for call, do := range calls {
				err := do()
				e, ok := errors.AsType[*bwell.Error](err)
				if !ok || e.Class.String() != row[1] || strconv.Itoa(e.HTTPStatus) != row[0] {
					t.Errorf("%s: %v, want HTTP %s, %s", call, err, row[0], row[1])
				} else if e.RetryAfter != 7*time.Second {
					t.Errorf("%s: asked to wait for %v", call, e.RetryAfter)
				}
			}
			// What may pass never costs a grant.
			for call, do := range map[string]func() error{
				"refresh":  func() error { _, err := client.Refresh(t.Context(), grant.Refresh); return err },
				"exchange": func() error { _, err := client.Exchange(t.Context(), secret.New(m.IDToken)); return err },
			} {
				passes := row[1] == bwell.Transient.String() || call == "exchange" && row[0] == "200" // there, it is 500
				if err := do(); err == nil || (bwell.ClassOf(err) == bwell.Transient) != passes {
					t.Errorf("%s: %v", call, err)
				}
			}
			control(t, `{"dialect":"`+name+`"}`)
			_, err := client.Observe(t.Context(), grant.Access, bwell.Want{})
			if e, ok := errors.AsType[*bwell.Error](err); !ok || e.RetryAfter != 0 {
				t.Errorf("asked to wait though nobody said so: %v", err)
			}
			if row[0] != "200" || name == "validation" {
				return
			}
			// One root fails in it; the others come.
			control(t, `{"dialect":"`+name+`","partial":"tasks"}`)
			o, err := client.Observe(t.Context(), grant.Access, bwell.Want{})
			if row[1] == bwell.Auth.String() {
				if bwell.ClassOf(err) != bwell.Auth {
					t.Errorf("a refused token beside data: %v", err)
				}
			} else if err != nil || !o.Connections.Whole || !o.Consents.Whole || o.Tasks.Whole || bwell.ClassOf(o.Tasks.Err).String() != row[1] {
				t.Errorf("partial: %v, tasks: %v", err, o.Tasks.Err)
			}
		})
		delete(documented, name)
	}
	for name := range documented {
		t.Errorf("docs/simulator.md speaks of %s, which there is not", name)
	}
	login(t) // all is well again
	if all := simulator.Dialects(); !slices.IsSorted(all) || len(all) < 15 {
		t.Errorf("%d dialects: %v", len(all), all)
	}
}
