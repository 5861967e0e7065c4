package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/policy"
	"github.com/smartconnect/connector/internal/reconnect"
)

var update = flag.Bool("update", false, "rewrite testdata/explain with what explain prints now")

// sample explains a member with a connection whose break is not confirmed, one
// that is asked about, one that waits for its access and one that never worked,
// who is silenced in part.
func sample() explained {
	now := time.Date(2026, 3, 1, 10, 6, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	broken := func(token events.ConnectionToken, id string, since time.Duration, s events.ConnectionState) events.MemberConnection {
		return events.MemberConnection{
			Token: token, ConnectionID: id, Number: 1, State: s, FirstSeen: ago(90 * 24 * time.Hour),
			BrokenSince: ago(since), ConfirmedAt: ago(since - 10*time.Minute), Episode: 2, EpisodeSince: ago(since), FlapCount: 1,
		}
	}
	member := &events.Member{
		Book: events.NewBook("i"), MemberID: "ann",
		Consent:     events.MemberConsent{Read: true, ConsentID: "k", Provision: events.Permit, DateTime: ago(4 * time.Hour)},
		Observation: events.MemberObservation{Started: ago(90 * 24 * time.Hour), LastComplete: ago(time.Minute)},
		Connections: []events.MemberConnection{
			broken("4fz6o3kq7pdyc2waxn5hrmtlue", "river-clinic_fhir", 3*time.Minute+57*time.Second,
				events.ConnectionState{Status: events.Expired, IntegrationType: events.PROA, Category: "OAUTH", SyncStatus: "SYNCED"}),
			broken("b7m2xkq4hvtyen3zgswdrjau5i", "lakeside_health", 26*time.Hour,
				events.ConnectionState{Status: events.Expired, IntegrationType: events.DirectIAS, Category: "IDENTITY", SyncStatus: "SYNCED"}),
			broken("q3w5vkd7xnzgt4m2hyejbralcu", "hill-hospital_fhir", 5*time.Hour,
				events.ConnectionState{Status: events.AccessIsOver, IntegrationType: events.IndirectIAS, Category: "OAUTH"}),
			broken("zc4t6yvx2mkgq3dnw7hbejrlau", "harbor-insurance_plan", 80*24*time.Hour,
				events.ConnectionState{Status: events.Failing, Category: events.Unknown, CategoryRaw: "PAYER\x1b[2J", SyncStatus: "FAILED"}),
		},
	}
	member.Connections[0].ConfirmedAt = time.Time{}
	member.Connections[3].FirstSight = true
	agenda := &events.Agenda{
		Book: events.NewBook("i"), MemberID: "ann", NextLook: now.Add(14 * time.Minute), Pushes: []time.Time{ago(25 * time.Hour)},
		Prompts: []events.Prompt{{
			PromptID: "b7m2xkq4hvtyen3zgswdrjau5i.3", ConnectionID: "lakeside_health", Action: events.ActDirect, Reason: "expired",
			Urgency: events.Required, OpenedAt: ago(25 * time.Hour), Reminder: 1,
		}},
		Asked: []events.Asked{{
			Connection: "b7m2xkq4hvtyen3zgswdrjau5i", Openings: 3, Episode: 2, Reminders: 1, PushedAt: ago(25 * time.Hour),
			RemindAt: now.Add(14 * time.Minute), ExpiresAt: now.Add(29 * 24 * time.Hour),
		}},
		Access: &events.AgendaAccess{Key: "k", Connections: []events.ConnectionToken{"q3w5vkd7xnzgt4m2hyejbralcu"}, EndedAt: ago(6 * time.Hour), PermittedAt: ago(4 * time.Hour)},
	}
	until := map[string]time.Time{"kd7xnzgt4m": now.Add(8 * time.Hour)}
	set := policy.Defaults()
	return explained{"e7azgnw3hvgeh57yyrwuxjgrqq", set.Policy.Explain(reconnect.Standing{
		Member: member, Agenda: agenda, Now: now, Confirm: set.Rules.Confirm, Flap: set.Rules.HoldOpen,
		Held: reconnect.Held{
			Muted: map[events.ConnectionToken]bool{"zc4t6yvx2mkgq3dnw7hbejrlau": true},
			Told:  map[string]string{"silenced.zc4t6yvx2mkgq3dnw7hbejrlau": "pm54fnat7eljry4s3zswmrg3ai"},
		},
		Silences: map[events.ConnectionToken]map[string]time.Time{"zc4t6yvx2mkgq3dnw7hbejrlau": until},
	})}
}

// What people and programs see, as it is kept and as the page for operators
// shows it.
func TestExplainPrints(t *testing.T) {
	e := sample()
	var text bytes.Buffer
	e.print(&text)
	body, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string][]byte{"member.txt": text.Bytes(), "member.json": append(body, '\n')} {
		file := filepath.Join("testdata", "explain", name)
		if *update {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is no longer what explain prints; rewrite it with -update and read the difference", file)
		}
	}
	for line := range strings.Lines(text.String()) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 100 {
			t.Errorf("%d letters wide: %s", n, line)
		}
		if strings.ContainsRune(line, '\x1b') {
			t.Errorf("a word of b.well's reaches the terminal as it is: %q", line)
		}
	}
	page, err := os.ReadFile(operations)
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(text.String(), "\nConnection hill-hospital_fhir")
	if !strings.Contains(string(page), "```\n"+first+"```\n") {
		t.Errorf("docs/operations.md should show:\n```\n%s```", first)
	}
}
