package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/judge"
	"github.com/smartconnect/connector/internal/reconnect"
)

// What would silence nobody is refused, with the line and what is wanted, and
// the good lines are added.
func TestImportedSilencesAreChecked(t *testing.T) {
	w := newWorld(t, 0)
	member := string(w.keys.Tokenizer().Member("ann@example.org"))
	line := func(scope string) string {
		return fmt.Sprintf(`{"scope":{%s},"until":"2999-01-01T00:00:00Z","by":"ann","reason":"maintenance"}`, scope)
	}
	bad := []struct{ line, want string }{
		{line(`"reason":"nonsense"`), "reason: want one with which prompts open: expired, disconnected, deleted, error, unknown_type, restore_overdue"},
		{line(`"reason":"EXPIRED"`), "reason: want one"},
		{line(`"reason":"access_ended"`), "reason: want one"},
		{line(`"integrationType":"PROAA"`), "integrationType: want one of PROA, DIRECT_IAS, INDIRECT_IAS"},
		{line(`"member":"ann@example.org"`), "member: want a token, 26 characters of a-z and 2-7"},
		{line(`"member":"` + member[1:] + `"`), "member: want a token"},
		{line(`"member":"` + strings.ToUpper(member) + `"`), "member: want a token"},
		{line(`"source":"river_clinic"`), "source: want a token"},
		{line(`"source":""`), "source: want a token"},
		{line(`"ann@example.org":"x"`), "a word that is none of member, source, integrationType, reason"},
		{line(``), "say what it is for"},
		{line(`"reason":"error"`) + " and more", "something follows the object"},
		{line(`"reason":"error"`) + line(`"reason":"error"`), "something follows the object"},
		{strings.Replace(line(`"reason":"error"`), "{", `{"id":"Big Works",`, 1), "an id is at most 64 characters of a-z, 0-9 and -"},
		{strings.Replace(line(`"reason":"error"`), "{", `{"id":"a.b",`, 1), "an id is at most"},
		{strings.Replace(line(`"reason":"error"`), "{", `{"id":"*",`, 1), "an id is at most"},
		{strings.Replace(line(`"reason":"error"`), "{", `{"id":"`+strings.Repeat("a", 65)+`",`, 1), "an id is at most"},
		{strings.Replace(line(`"reason":"error"`), "2999-01-01T00:00:00Z", "tomorrow", 1), "until: want a time like"},
		{strings.Replace(line(`"reason":"error"`), "2999", "1999", 1), "which is past"},
		{`{"scope":{"reason":"error"},"by":"ann"}`, "say until when"},
		{strings.Replace(line(`"reason":"error"`), `"by":"ann",`, "", 1), "say who"},
		{strings.Replace(line(`"reason":"error"`), `"by"`, `"ann@example.org"`, 1), "a field that is none of"},
		{`{"scope":["member"]}`, "scope: want no array here"},
		{`silence ann@example.org`, "no JSON object"},
		{`null`, "say until when"},
	}
	var all []string
	for _, b := range bad {
		all = append(all, b.line)
	}
	run := func(lines ...string) (int, string, []string) {
		file := filepath.Join(t.TempDir(), "silences")
		w.must(os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o600))
		code, out, complaints := w.run("", "silence", "import", "--nats", w.url, "-f", file)
		return code, out, strings.Split(strings.TrimSpace(complaints), "\n")
	}
	code, out, said := run(all...)
	if code != exitFailed || out != fmt.Sprintf("Added 0, refused %d.\n", len(bad)) || len(said) != len(bad)+1 {
		t.Errorf("code %d, %s%q", code, out, said)
	}
	for i, b := range bad {
		if i >= len(said) || !strings.HasPrefix(said[i], fmt.Sprintf("line %d: ", i+1)) || !strings.Contains(said[i], b.want) || strings.Contains(said[i], "@") {
			t.Errorf("%s:\n%q, want %q", b.line, said[min(i, len(said)-1)], b.want)
		}
	}

	good := []string{line(`"member":"` + member + `"`), "", bad[0].line, line(`"integrationType":"PROA","reason":"unknown_type"`), line(`"reason":"restore_overdue"`)}
	if code, out, said := run(good...); code != exitPartly || out != "Added 3, refused 1.\n" || len(said) != 1 || !strings.HasPrefix(said[0], "line 3: ") {
		t.Errorf("code %d, %s%q", code, out, said)
	}
	list := []string{"silence", "list", "--nats", w.url, "--key-file", w.keyFile, "--json"}
	code, exported, _ := w.run("", list...)
	if code != exitOK || strings.Count(exported, "\n") != 3 {
		t.Errorf("code %d:\n%s", code, exported)
	}
	// What is listed can be imported, and takes its own place.
	if code, out, _ := w.run(exported, "silence", "import", "--nats", w.url); code != exitOK || out != "Added 3, refused 0.\n" {
		t.Errorf("code %d, %s", code, out)
	}
	if _, again, _ := w.run("", list...); again != exported {
		t.Errorf("%s\nwas\n%s", again, exported)
	}
}

// Silences are set and ended by hand, and a member nobody has enrolled is
// refused: it would be a mistyped one.
func TestSilencesByHand(t *testing.T) {
	w := newWorld(t, 1)
	w.enrol()
	add := func(args ...string) (int, string, string) {
		return w.run("", append([]string{"silence", "add", "--nats", w.url, "--key-file", w.keyFile, "--for", "1h", "--by", "ann", "maintenance"}, args...)...)
	}
	if code, _, said := add("--member", "nobody"); code != exitFailed || !strings.Contains(said, "nobody of that id is enrolled; see: connector members list") {
		t.Errorf("code %d: %s", code, said)
	}
	if code, _, said := add("--when", "nonsense"); code != exitUsage {
		t.Errorf("code %d: %s", code, said)
	}
	code, id, said := add("--connection", "nowhere", "--when", "restore_overdue")
	if code != exitOK || !strings.Contains(said, "no member has a connection of that id") {
		t.Errorf("code %d: %s", code, said)
	}
	if code, _, said := add("--member", w.sim.Members()[0].ID); code != exitOK || said != "" {
		t.Errorf("code %d: %s", code, said)
	}
	for _, c := range []struct {
		id   string
		code int
	}{{strings.TrimSpace(id), exitOK}, {strings.TrimSpace(id), exitFailed}, {"*", exitFailed}, {"Big Works", exitFailed}} {
		if code, _, said := w.run("", "silence", "expire", "--nats", w.url, c.id); code != c.code || code != exitOK && !strings.Contains(said, "none of that id is in force") {
			t.Errorf("%s: code %d: %s", c.id, code, said)
		}
	}
}

// A silence by reason means the reason with which the decider would open the
// prompt: here the two are held together.
func TestSilencesKnowTheDecidersReasons(t *testing.T) {
	p := reconnect.DefaultPolicy()
	p.PromptRestoreOverdue, p.Group, p.UnknownTypes = true, 0, map[string]events.Action{}
	categories := []string{"", "BASIC", "OAUTH", "IDENTITY", events.Unknown}
	for _, c := range categories {
		p.UnknownTypes[c] = events.ActOAuth
	}
	now, seen := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC), map[string]bool{}
	for _, status := range []events.Status{
		"", events.Connected, events.Expired, events.Disconnected, events.Deleted, events.AccessIsOver, events.Failing, events.Unknown,
	} {
		for _, integration := range []events.IntegrationType{"", events.PROA, events.DirectIAS, events.IndirectIAS, "DIRECT", "IAL2", events.Unknown} {
			for _, category := range categories {
				state := events.ConnectionState{Status: status, IntegrationType: integration, Category: category}
				since := now.Add(-48 * time.Hour)
				member := &events.Member{
					Book: events.NewBook("inc"), Consent: events.MemberConsent{Read: true, Provision: events.Permit},
					Connections: []events.MemberConnection{{
						Token: "c", State: state, BrokenSince: since, ConfirmedAt: since, Episode: 1, EpisodeSince: since,
					}},
				}
				opened := ""
				if v := p.Explain(reconnect.Standing{Member: member, Now: now}).Connections[0].Verdict; v.Outcome == reconnect.Opened {
					opened = v.Reason
				}
				if got := judge.ReasonOf(state); got != opened {
					t.Errorf("%+v: a silence takes it for %q, the decider opens for %q", state, got, opened)
				}
				if seen[opened] = true; opened == "" {
					continue
				}
				s := events.Silence{Scope: map[string]string{judge.ScopeReason: opened}, Until: now.Add(time.Hour), By: "ann"}
				if err := judge.CheckSilence("a", s, now); err != nil {
					t.Errorf("%s: %v", opened, err)
				}
			}
		}
	}
	if len(seen) != 7 {
		t.Errorf("the decider opens for %v, want six reasons", seen)
	}
}

// What the decider says holds a prompt back leads to the event that says so.
func TestHoldsAreNamedInTheDecidersWords(t *testing.T) {
	w := newWorld(t, 0)
	ctx, tokens, now := t.Context(), w.keys.Tokenizer(), time.Now().UTC().Truncate(time.Second)
	since := now.Add(-time.Hour)
	member := &events.Member{
		Book: events.NewBook("inc"), MemberID: "ann", Consent: events.MemberConsent{Read: true, Provision: events.Permit},
		Connections: []events.MemberConnection{{
			Token: "c", ConnectionID: "clinic", State: events.ConnectionState{Status: events.Expired, IntegrationType: events.PROA},
			BrokenSince: since, ConfirmedAt: since, Episode: 1, EpisodeSince: since,
		}},
	}
	silence := func(word, is string) *events.Silence {
		return &events.Silence{Scope: map[string]string{word: is}, Until: now.Add(time.Hour), By: "ann"}
	}
	source := string(tokens.Source("clinic"))
	for _, x := range []struct {
		told, over events.Type
		part       string
		data       events.Data
		reason     string
	}{
		{events.StormHeld, events.StormReleased, "", &events.Storm{}, "storm"},
		{events.ObserverLost, events.ObserverResumed, "", &events.Observer{}, "blind"},
		{events.SourceDegraded, events.SourceRestored, source, &events.Source{}, "source_degraded"},
		{events.SilenceSet, events.SilenceEnded, "a", silence(judge.ScopeReason, "expired"), "silenced"},
		{events.SilenceSet, events.SilenceEnded, "b", silence(judge.ScopeMember, string(tokens.Member("ann"))), "silenced"},
	} {
		look := func() (reconnect.Verdict, map[string]string) {
			view, stop, err := opened{w.js, w.log, w.keys, nil}.judgements(ctx)
			w.must(err)
			defer stop()
			held := heldBy(view)(member, now)
			return reconnect.DefaultPolicy().Explain(reconnect.Standing{Member: member, Held: held, Now: now}).Connections[0].Verdict, held.Told
		}
		was, err := w.log.Judge(ctx, events.Judgement{}, events.Event{Type: x.told, Part: x.part, Data: x.data}, now)
		w.must(err)
		v, told := look()
		if name := cmp.Or(told[v.Reason+".c"], told[v.Reason]); v.Reason != x.reason || name != was.Event.ID {
			t.Errorf("%s %s: %+v, told %v, want %s by %s", x.told, x.part, v, told, x.reason, was.Event.ID)
		}
		_, err = w.log.Judge(ctx, was, events.Event{Type: x.over, Part: x.part, Data: x.data}, now)
		w.must(err)
		if v, told := look(); v.Outcome == reconnect.HeldBack && v.Reason != "grouping" || len(told) > 0 {
			t.Errorf("%s %s is over: %+v, told %v", x.told, x.part, v, told)
		}
	}
}

// What holds prompts back is seen in the metrics of every replica.
func TestMetricsShowWhatHolds(t *testing.T) {
	w := newWorld(t, 0)
	address, _ := w.serve(nil)
	shows := func(storm, sources, lost, silences int) func() bool {
		return func() bool {
			_, page := w.get(address + "/metrics")
			for name, want := range map[string]int{"storm_held": storm, "sources_degraded": sources, "observer_lost": lost, "silences": silences} {
				if !strings.Contains(page, fmt.Sprintf("\nconnector_%s %d\n", name, want)) {
					return false
				}
			}
			return true
		}
	}
	w.until("nothing holds", shows(0, 0, 0, 0))
	now := time.Now()
	storm, err := w.log.Judge(t.Context(), events.Judgement{}, events.Event{Type: events.StormHeld, Data: &events.Storm{}}, now)
	w.must(err)
	w.until("a storm is held", shows(1, 0, 0, 0))
	for _, id := range []string{"a", "b"} {
		s := events.Silence{Scope: map[string]string{judge.ScopeReason: "error"}, Until: now.Add(time.Hour), By: "ann"}
		w.must(judge.Silence(t.Context(), w.log, id, s, now))
	}
	w.until("two silences are in force", shows(1, 0, 0, 2))
	_, err = w.log.Judge(t.Context(), storm, events.Event{Type: events.StormReleased, Data: &events.Storm{}}, now)
	w.must(err)
	w.until("the storm is released", shows(0, 0, 0, 2))
}

// A broker that is gone is no fault of the lines: those that follow are not
// tried one by one, and what was added before stays and is said.
func TestImportStopsWhereItCannotGoOn(t *testing.T) {
	const line = `{"scope":{"reason":"error"},"until":"2999-01-01T00:00:00Z","by":"ann","reason":"maintenance"}` + "\n"
	gone := errors.New("nobody answers")
	for _, c := range []struct {
		name string
		in   io.Reader
		fail int // of calls
	}{
		{"the broker is gone", strings.NewReader("\n" + line + line + line), 2},
		{"the file ends in an error", io.MultiReader(strings.NewReader("\n"+line), iotest.ErrReader(gone)), 9},
	} {
		var said strings.Builder
		calls := 0
		added, refused, err := importSilences(c.in, &said, func(silenceLine) error {
			if calls++; calls == c.fail {
				return gone
			}
			return nil
		})
		if added != 1 || refused != 0 || !errors.Is(err, gone) || !strings.Contains(err.Error(), "line 3") || said.Len() > 0 || calls > 2 {
			t.Errorf("%s: added %d, refused %d, %v, %d calls, said %q", c.name, added, refused, err, calls, said.String())
		}
	}
}
