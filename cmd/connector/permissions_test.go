package main

import (
	"context"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/rs/zerolog"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/topology"
)

// The permissions in docs/operations.md are enough for everything that run does.
func TestPermissionsThatOperationsNames(t *testing.T) {
	t.Parallel()
	body, err := os.ReadFile(operations)
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```\npublish:(.*?)subscribe:(.*?)```").FindStringSubmatch(string(body))
	if block == nil {
		t.Fatal("docs/operations.md names no permissions")
	}
	w := newWorldOn(t, 1, &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
		Users: []*server.User{
			{Username: "operator", Password: "p"},
			{Username: "connector", Password: "p", Permissions: &server.Permissions{
				Publish:   &server.SubjectPermission{Allow: strings.Fields(block[1])},
				Subscribe: &server.SubjectPermission{Allow: strings.Fields(block[2])},
				Response:  &server.ResponsePermission{MaxMsgs: server.DEFAULT_ALLOW_RESPONSE_MAX_MSGS, Expires: time.Minute},
			}},
		},
	}, "operator:p@")
	w.enrol()

	// As run connects, with what it checks.
	ctx, text := logged(t)
	b := broker{NATS: strings.Replace(w.url, "operator:", "connector:", 1), Prefix: events.DefaultPrefix}
	nc, js, log, err := b.connect(zerolog.New(zerolog.MultiLevelWriter(w.journal, text)).WithContext(ctx))
	w.must(err)
	t.Cleanup(nc.Close)
	w.must(checkTopology(ctx, js, topology.Config{Prefix: events.DefaultPrefix}, func(c topology.Change) { t.Error(c) }))
	w.must(checkBroker(ctx, nc, js, log))

	_, stop := w.serve(func(s *service) { s.nc, s.js, s.log = nc, js, log })
	m := w.sim.Members()[0]
	w.until("known", func() bool { return w.known(m.ID).MemberID != "" })
	id := w.set(m, "PROA", "EXPIRED")
	w.until("asked", func() bool { return len(w.agenda(m.ID).Prompts) == 1 })
	code, _, complaints := w.run("", w.at("prompts", "start", w.agenda(m.ID).Prompts[0].PromptID)...)
	if code != exitOK {
		t.Errorf("start: %s", complaints)
	}
	w.must(w.sim.Login(m.ID, id))
	w.until("resolved", func() bool { return len(w.agenda(m.ID).Prompts) == 0 })
	w.must(w.sim.SetConsent(m.ID, "deny"))
	w.until("ended", func() bool { return w.count(events.AccessEnded) > 0 })
	if err := stop(); err != nil {
		t.Error(err)
	}
	w.must(nc.Flush())
	for line := range strings.Lines(w.journal.String()) {
		if strings.Contains(line, "ermission") || strings.Contains(line, `"level":"error"`) || strings.Contains(line, "timeout") {
			t.Error(line)
		}
	}
	// And they are permissions: what is not named is refused.
	soon, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if err := topology.Apply(soon, js, topology.Config{Prefix: "other"}, true); err == nil {
		t.Error("the connector may change streams")
	}
	if _, err := nc.Request("anything", nil, 100*time.Millisecond); err == nil {
		t.Error("the connector may publish anything")
	}
}
