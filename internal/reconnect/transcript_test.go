package reconnect

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/smartconnect/connector/internal/events"
)

var update = flag.Bool("update", false, "rewrite testdata/decide with what decide does now")

// A transcript is a story. Each "> " line is a time and what happened; the
// lines under it are what was decided: first a verdict per connection, by row
// of the decision table, then what is told. Between two lines the story is
// looked at whenever something falls due ("~ "). Read the diff before
// committing -update.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/decide/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := replay(t, want)
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			} else if !bytes.Equal(got, want) {
				t.Errorf("%s\ngot:\n%s\nwant:\n%s", file, got, want)
			}
		})
	}
}

// A story is a member, what is asked of them, and the clock.
type story struct {
	*history
	policy Policy
	agenda *events.Agenda
	held   Held
	notes  []Note // to be taken at the next look
	now    time.Time
	out    bytes.Buffer
}

func replay(t *testing.T, script []byte) []byte {
	t.Helper()
	s := &story{history: newHistory(), policy: atOnce(), now: t0}
	for sc := bufio.NewScanner(bytes.NewReader(script)); sc.Scan(); {
		line := sc.Text()
		switch {
		case strings.HasPrefix(line, "#") || line == "":
			fmt.Fprintln(&s.out, line)
		case strings.HasPrefix(line, "> "):
			at, what, _ := strings.Cut(line[2:], " ")
			after, err := time.ParseDuration(at)
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			s.dueUntil(t, t0.Add(after))
			fmt.Fprintln(&s.out, line)
			for change := range strings.SplitSeq(what, ", ") {
				s.happen(t, strings.Fields(change))
			}
			s.look(t)
		}
	}
	return s.out.Bytes()
}

// dueUntil looks whenever the agenda asks for it, until the next thing that
// the story tells.
func (s *story) dueUntil(t *testing.T, until time.Time) {
	t.Helper()
	for s.agenda != nil && s.agenda.NextLook.After(s.now) && s.agenda.NextLook.Before(until) {
		s.now = s.agenda.NextLook
		fmt.Fprintf(&s.out, "~ %s due\n", hours(s.now.Sub(t0)))
		s.look(t)
	}
	s.now = until
}

// happen is one thing that the story tells. What the poller finds: "c1 is
// EXPIRED", "c1 type DIRECT_IAS", "c1 category BASIC", "c1 sync DELETING",
// "c1 removed", "confirmed", "consent permit", "lost reauthenticate", "seeing".
// What is judged over all members: "hold storm", "hold silence", "c1 degraded",
// "c1 muted", and "ended" for all of it. What operators and members want:
// "release" for all, "c1 released", "c1 acknowledged", "c1 snoozed 48h", "c1
// refused verify_identity". Else: "policy group 2m", "policy activate EXPIRED",
// "c1 pass 5h", "look".
func (s *story) happen(t *testing.T, words []string) {
	t.Helper()
	words = append(words, "", "")
	first, second, third := words[0], words[1], words[2]
	c := events.ConnectionToken(first)
	only := map[events.ConnectionToken]bool{c: true}
	switch first {
	case "look":
		return
	case "confirmed":
		s.confirmed(s.now)
		return
	case "consent":
		s.consent(events.Provision(second), s.now)
		return
	case "lost":
		s.member.Observation.LostSince, s.member.Observation.Reason = s.now, second
		return
	case "seeing":
		s.member.Observation.LostSince, s.member.Observation.Reason = time.Time{}, ""
		return
	case "hold":
		s.held.Storm, s.held.Silenced = second == "storm", second == "silence"
		return
	case "ended":
		s.held = Held{}
		return
	case "release":
		s.held = Held{Released: true}
		return
	case "policy":
		s.agree(t, second, third)
		return
	}
	switch second {
	case "is":
		s.status(c, events.Status(strings.TrimSuffix(third, "null")), s.now)
	case "type":
		s.find(c).State.IntegrationType = events.IntegrationType(strings.TrimSuffix(third, "null"))
	case "category":
		s.find(c).State.Category = third
	case "sync":
		s.find(c).State.SyncStatus = third
	case "pass": // time in which nobody looks
		s.now = s.now.Add(duration(t, third))
	case "removed":
		s.find(c).RemovedAt = s.now
	case "degraded":
		s.held.Degraded = only
	case "muted":
		s.held.Muted = only
	case "released":
		s.notes = append(s.notes, Note{Kind: Release, Connection: c})
	case "acknowledged":
		s.notes = append(s.notes, Note{Kind: Acknowledge, Connection: c, PromptID: s.open(c)})
	case "snoozed":
		s.notes = append(s.notes, Note{Kind: Snooze, Connection: c, PromptID: s.open(c), For: duration(t, third)})
	case "refused":
		s.notes = append(s.notes, Note{Kind: Instead, Connection: c, PromptID: s.open(c), Action: events.Action(third)})
	default:
		t.Fatalf("nobody knows what %q means", words)
	}
}

// agree changes the policy that holds from now on.
func (s *story) agree(t *testing.T, what, value string) {
	t.Helper()
	switch what {
	case "group":
		s.policy.Group = duration(t, value)
	case "activate":
		s.policy.DirectAuto = append(s.policy.DirectAuto, events.Status(value))
	default:
		t.Fatalf("nobody knows the policy %q", what)
	}
	if err := s.policy.Validate(); err != nil {
		t.Fatal(err)
	}
}

// open returns the open prompt of a connection.
func (s *story) open(c events.ConnectionToken) string {
	for _, a := range s.agenda.Asked {
		if a.Connection == c {
			return promptID(a)
		}
	}
	return ""
}

func duration(t *testing.T, s string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (s *story) look(t *testing.T) {
	t.Helper()
	told, next, d := look(t, s.policy, s.member, s.agenda, s.held, s.now, s.notes...)
	s.agenda, s.notes = next, nil
	if !d.Noted {
		fmt.Fprintln(&s.out, "  void: nothing to note")
	}
	for _, v := range d.Why {
		fmt.Fprintf(&s.out, "  %s: %s, row %d, %s\n", orAccess(v.Connection), v.Outcome, v.Row, v.Reason)
	}
	for _, e := range told {
		fmt.Fprintf(&s.out, "  = %s\n", describe(e))
	}
	for _, c := range d.Activate {
		fmt.Fprintf(&s.out, "  activate %s\n", c.Token)
	}
	if d.Next != nil && !d.NextLook.IsZero() {
		fmt.Fprintf(&s.out, "  next look at %s\n", hours(d.NextLook.Sub(t0)))
	}
}

func orAccess(c events.ConnectionToken) string {
	if c == "" {
		return "access"
	}
	return string(c)
}

func describe(e events.Event) string {
	what := strings.TrimSuffix(strings.TrimPrefix(string(e.Type), "smartconnect."), ".v1")
	switch d := e.Data.(type) {
	case *events.Access:
		list := make([]string, len(d.Connections))
		for i, c := range d.Connections {
			list[i] = strings.TrimPrefix(c.ConnectionID, "id-")
			if e.Type == events.AccessRestored && !c.Restored {
				list[i] += " (not back)"
			}
		}
		return fmt.Sprintf("%s, %s: %s", what, d.Action, strings.Join(list, ", "))
	case *events.Prompt:
		s := fmt.Sprintf("%s %s", what, d.PromptID)
		switch e.Type {
		case events.PromptOpened:
			s += fmt.Sprintf(", %s, %s%s", d.Action, d.Urgency, pushed(d))
		case events.PromptReminded:
			s += fmt.Sprintf(", reminder %d%s", d.Reminder, pushed(d))
		case events.PromptWithdrawn:
			s += ", " + d.Reason
		case events.PromptAcknowledged:
			if !d.SnoozedUntil.IsZero() {
				s += ", snoozed until " + hours(d.SnoozedUntil.Sub(t0))
			}
		default:
		}
		if d.Downtime != nil {
			s += fmt.Sprintf(", down for %s", hours(time.Duration(*d.Downtime)*time.Second))
		}
		if d.FlapCount > 0 {
			s += fmt.Sprintf(", flapped %d times", d.FlapCount)
		}
		if d.Batch != "" {
			s += ", batch " + d.Batch
		}
		return s
	default:
		return what
	}
}

func pushed(p *events.Prompt) string {
	if p.Notify {
		return ", pushed"
	}
	return ", not pushed"
}

// hours writes 26h10m, not 26h10m0s.
func hours(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
