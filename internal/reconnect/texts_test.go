package reconnect

import (
	"encoding/json"
	"regexp"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/smartconnect/connector/internal/audit"
	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/natstest"
	"github.com/smartconnect/connector/internal/topology"
	"github.com/smartconnect/connector/schemas"
)

// Whatever a member can be asked has a text in every language, and nothing else
// has: by prompts what a policy can open, by other events what their schemas
// allow.
func TestPushTexts(t *testing.T) {
	l, js := natstest.Log(t)
	durable, err := js.Consumer(t.Context(), topology.Events, topology.Decider)
	if err != nil {
		t.Fatal(err)
	}
	var want []events.Action
	for _, a := range []events.Action{
		events.ActOAuth, events.ActDirect, events.ActReenter, events.ActVerifyIdentity, events.ActReconnectInApp,
		events.ActRestoreConsent, events.ActSignIn, events.ActWait, events.ActNone, events.ActUnknown,
	} {
		p := atOnce()
		p.UnknownTypes = map[string]events.Action{"": a}
		if _, err := New(Config{Log: l, Source: durable, DeadLetters: Letters{js}, Ledger: audit.NewLedger(js), Policy: p}); err == nil {
			want = append(want, a)
		}
	}
	if len(want) == 0 {
		t.Fatal("nothing can be asked by a prompt")
	}
	others := askedByOthers(t)
	if !slices.Contains(others, events.ActRestoreConsent) || !slices.Contains(others, events.ActSignIn) {
		t.Fatalf("events that are no prompts ask %v", others)
	}
	want = append(want, others...)
	for _, lang := range []string{"en", "es"} {
		t.Run(lang, func(t *testing.T) {
			raw, err := schemas.FS.ReadFile("texts/" + lang + ".json")
			if err != nil {
				t.Fatal(err)
			}
			var texts map[events.Action]map[events.Urgency]map[string]string
			if err := json.Unmarshal(raw, &texts); err != nil {
				t.Fatal(err)
			}
			for a := range texts {
				if !slices.Contains(want, a) {
					t.Errorf("a text for %s, which nobody is asked", a)
				}
			}
			seen := map[string]bool{}
			for _, a := range want {
				if len(texts[a]) != 2 {
					t.Errorf("%s: %d urgencies", a, len(texts[a]))
				}
				for _, u := range []events.Urgency{events.Required, events.Optional} {
					text := texts[a][u]
					title, body := text["title"], text["body"]
					if len(text) != 2 || title == "" || body == "" || utf8.RuneCountInString(title) > 40 || utf8.RuneCountInString(body) > 120 {
						t.Errorf("%s, %s: %q: want a title of at most 40 and a body of at most 120 characters", a, u, text)
					}
					if seen[title+body] {
						t.Errorf("%s, %s: %q says the same as another", a, u, body)
					}
					seen[title+body] = true
					for _, s := range []string{title, body} {
						if why := unfit(s); why != "" {
							t.Errorf("%s, %s: %q has %s", a, u, s, why)
						}
					}
				}
			}
		})
	}
}

// askedByOthers returns what events that are no prompts can ask of a member.
func askedByOthers(t *testing.T) []events.Action {
	t.Helper()
	var all []events.Action
	for _, kind := range events.Types() {
		switch kind.Kind() {
		case "prompt", "agenda": // an agenda repeats prompts
			continue
		}
		raw, err := schemas.FS.ReadFile(kind.SchemaFile())
		if err != nil {
			t.Fatal(err)
		}
		var schema struct {
			Properties struct {
				Action struct{ Enum []events.Action }
			}
		}
		if err := json.Unmarshal(raw, &schema); err != nil {
			t.Fatal(err)
		}
		for _, a := range schema.Properties.Action.Enum {
			if a != events.ActNone && !slices.Contains(all, a) {
				all = append(all, a)
			}
		}
	}
	return all
}

// unfit says why a text should not stand on a locked screen for all to read.
func unfit(s string) string {
	for why, pattern := range map[string]string{
		"a digit":          `\d`,
		"a placeholder":    `[{}<>%$\[\]|_\\]`,
		"an address":       `(?i)https?:|www|://|@|[a-z]\.[a-z]`,
		"space around it":  `^\s|\s$|\s\s|\n`,
		"a word of health": `(?i)health|medic|clinic|hospital|doctor|provider|patient|record|lab|pharma|insur|care|b\.?well|salud|médic|clínic|paciente|proveedor|registro|expediente|farmac|segur`,
		"a raised voice":   `!|[A-ZÁÉÍÓÚÑ]{3}`,
	} {
		if regexp.MustCompile(pattern).MatchString(s) {
			return why
		}
	}
	return ""
}

func TestUnfitTexts(t *testing.T) {
	for s, why := range map[string]string{
		"Sign in within 3 days":         "a digit",
		"Hello {name}":                  "a placeholder",
		"Go to example.org":             "an address",
		"River Clinic needs you":        "a word of health",
		"Sus registros médicos":         "a word of health",
		"Act now!":                      "a raised voice",
		"Two  spaces":                   "space around it",
		"Please sign in. Open the app.": "",
	} {
		if got := unfit(s); got != why {
			t.Errorf("%q has %q, want %q", s, got, why)
		}
	}
}
