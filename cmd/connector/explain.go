package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/reconnect"
)

type explainCmd struct {
	keyed       `embed:""`
	policyFlags `embed:""`
	Fast        bool   `help:"The connector runs with --fast."`
	Member      string `arg:"" help:"Member id."`
	Connection  string `arg:"" optional:"" help:"Connection id; all if left out."`
}

// explained is an explanation as it is printed as JSON.
type explained struct {
	Member events.MemberToken `json:"member"`
	reconnect.Explanation
}

// Run prints why the member is asked what they are asked, and what would change
// it.
func (c explainCmd) Run(ctx context.Context, std streams) error {
	set, err := c.settings(c.Fast)
	if err != nil {
		return err
	}
	at, err := c.standing(ctx, c.Member)
	if err != nil {
		return err
	}
	now := at.now.UTC()
	if !c.JSON {
		now = at.now.Local()
	}
	e := explained{at.member, set.Policy.Explain(reconnect.Standing{
		Member: at.known, Agenda: at.asked, Held: at.held, Now: now, Silences: at.silences,
		Confirm: set.Rules.Confirm, Flap: set.Rules.HoldOpen,
	})}
	if c.Connection != "" {
		e.Connections = slices.DeleteFunc(e.Connections, func(k reconnect.ConnectionExplained) bool { return k.Facts.ConnectionID != c.Connection })
		if len(e.Connections) == 0 {
			return errors.New("explain: the member has no connection of that id; see: connector members show")
		}
	}
	if c.JSON {
		enc := json.NewEncoder(std.out)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false) // commands are to be copied
		return enc.Encode(e)
	}
	e.print(std.out)
	return nil
}

// print writes e for people: a block for the member, and one per connection.
func (e explained) print(w io.Writer) {
	p := page{w, e.At}
	fmt.Fprintf(w, "Member %s at %s\n", e.Member, p.time(e.At))
	p.item("Consent", p.consent(e.Consent))
	p.item("Seen", p.seen(e.Observation))
	p.item("Held back", p.holds(e.Holds))
	pushes := fmt.Sprintf("%d of %d in seven days", e.Pushes.Week, e.Pushes.Most)
	if !e.Pushes.Next.IsZero() {
		pushes += ", the next from " + p.until(e.Pushes.Next)
	}
	p.item("Pushes", pushes)
	if !e.NextLook.IsZero() {
		p.item("Next look", p.until(e.NextLook))
	}
	p.item("Access", inShort(e.Access.Verdict)+notYet(e.Access.Due)+"; "+e.Access.Because)
	p.changes(p.timers(e.Access.Timers, e.Access.Changes))

	for _, c := range e.Connections {
		fmt.Fprintf(w, "\nConnection %s (%s)\n", c.Facts.ConnectionID, c.Facts.Token)
		p.item("Verdict", fmt.Sprintf("%s (%s)%s", inShort(c.Verdict), c.Verdict.Means(), notYet(c.Due)))
		p.item("State", p.state(c.Facts))
		if c.Facts.Episode > 0 {
			p.item("Break", p.breaking(c))
		}
		if c.Prompt != nil {
			p.item("Prompt", p.prompt(*c.Prompt, c.Asked))
		}
		if len(c.Holds) > 0 {
			p.item("Held back", p.holds(c.Holds))
		}
		label := "Rules"
		for _, r := range c.Rules {
			fits := "no "
			if r.Fits {
				fits = "yes"
			}
			p.hang(label, fmt.Sprintf("%2d %s  ", r.Rule, fits), r.Because)
			label = ""
		}
		p.changes(p.timers(c.Timers, c.Changes))
	}
}

// page writes for a terminal.
type page struct {
	w   io.Writer
	now time.Time
}

// What a line of a page has: a label, and no more letters than a narrow
// terminal shows.
const (
	labelWidth = 11
	pageWidth  = 100
)

// item writes a labelled text, on as many lines as it needs.
func (p page) item(label, text string) { p.hang(label, "", text) }

// hang writes a text of which only the first line begins with a mark.
func (p page) hang(label, mark, text string) {
	first := fmt.Sprintf("  %-*s%s", labelWidth, label, mark)
	indent := strings.Repeat(" ", utf8.RuneCountInString(first))
	line, empty := first, true
	for word := range strings.FieldsSeq(text) {
		if !empty && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > pageWidth {
			fmt.Fprintln(p.w, line)
			line, empty = indent, true
		}
		if !empty {
			line += " "
		}
		line += word
		empty = false
	}
	fmt.Fprintln(p.w, strings.TrimRight(line, " "))
}

// timers writes what is pending and what comes of it, and returns the other
// changes.
func (p page) timers(list []reconnect.Timer, changes []reconnect.Change) []reconnect.Change {
	label := "Timers"
	for _, t := range list {
		text := p.until(t.At) + ": " + t.Means
		if i := slices.IndexFunc(changes, func(c reconnect.Change) bool { return c.Kind == "time" && c.At.Equal(t.At) }); i >= 0 {
			text += " => " + inShort(changes[i].Then)
			changes = slices.Delete(slices.Clone(changes), i, i+1)
		}
		p.hang(label, fmt.Sprintf("%-14s", t.Timer), text)
		label = ""
	}
	return changes
}

func (p page) changes(list []reconnect.Change) {
	label := "Changes"
	for _, c := range list {
		text := c.What
		if c.Command != "" {
			text += ": " + c.Command
		}
		p.hang(label, "- ", text+" => "+inShort(c.Then))
		label = ""
	}
}

// time writes a time, always with its day.
func (p page) time(t time.Time) string { return t.In(p.now.Location()).Format(time.DateTime) }

// until writes a time and how far away it is.
func (p page) until(t time.Time) string {
	if d := t.Sub(p.now); d > 0 {
		return fmt.Sprintf("%s (in %s)", p.time(t), span(d))
	}
	return fmt.Sprintf("%s (%s ago)", p.time(t), span(p.now.Sub(t)))
}

// span writes the two largest parts of a time: 3m57s, 2d4h.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= day:
		return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	default:
		return d.Truncate(time.Second).String()
	}
}

// inShort writes a verdict in the words of the log: why, rule, reason, and what
// the member should do, if it is the member's turn.
func inShort(v reconnect.Verdict) string {
	s := v.Outcome
	if v.Row > 0 {
		s += fmt.Sprintf(", rule %d", v.Row)
	}
	if v.Reason != "" {
		s += ", " + v.Reason
	}
	switch v.Action {
	case events.ActNone, events.ActWait, events.ActUnknown, "":
		return s
	default:
		return s + ", " + string(v.Action)
	}
}

func notYet(due bool) string {
	if due {
		return "; not written yet: the decider's next look does it"
	}
	return ""
}

func (p page) consent(c reconnect.ConsentExplained) string {
	s := orDash(string(c.Effective))
	switch {
	case c.By == "":
		s = "not yet read"
	case c.By == "task":
		s += ", going by the task; no consent was read yet"
	case !c.DateTime.IsZero():
		s += ", of " + p.time(c.DateTime)
	}
	return s
}

func (p page) seen(o events.MemberObservation) string {
	switch {
	case o.Blind():
		return fmt.Sprintf("no, since %s: %s", p.until(o.LostSince), o.Reason)
	case o.Started.IsZero():
		return "not yet"
	default:
		return "yes, first " + p.time(o.Started)
	}
}

func (p page) holds(list []reconnect.Hold) string {
	if len(list) == 0 {
		return "no"
	}
	var all []string
	for _, h := range list {
		var silences []string
		for _, s := range h.Silences {
			silences = append(silences, fmt.Sprintf("%s until %s", s.ID, p.time(s.Until)))
		}
		hold := strings.TrimSuffix(h.Reason+": "+strings.Join(silences, ", "), ": ")
		if h.Event != "" {
			hold += fmt.Sprintf(" (event %s)", h.Event)
		}
		all = append(all, hold)
	}
	return strings.Join(all, "; ")
}

func (p page) state(c events.MemberConnection) string {
	s := c.State
	status := said(string(s.Status), s.StatusRaw)
	switch {
	case c.Removed():
		status = fmt.Sprintf("removed since %s, was %s", p.until(c.RemovedAt), status)
	case !c.BrokenSince.IsZero():
		status += " since " + p.until(c.BrokenSince)
	case !c.ConnectedSince.IsZero():
		status += " since " + p.until(c.ConnectedSince)
	}
	return fmt.Sprintf("%s; type %s, category %s, sync %s", status,
		said(string(s.IntegrationType), s.IntegrationTypeRaw), said(s.Category, s.CategoryRaw), said(s.SyncStatus, s.SyncStatusRaw))
}

// said writes what b.well says.
func said(word, raw string) string {
	if raw != "" {
		return fmt.Sprintf("%s (%.40q)", word, raw)
	}
	return cmp.Or(word, "null")
}

func (p page) breaking(c reconnect.ConnectionExplained) string {
	f := c.Facts
	s := fmt.Sprintf("episode %d since %s", f.Episode, p.time(f.EpisodeSince))
	if f.FlapCount > 0 {
		s += fmt.Sprintf(", flaps %d", f.FlapCount)
	}
	switch {
	case f.BrokenSince.IsZero():
	case f.ConfirmedAt.IsZero():
		s += "; not confirmed"
	default:
		s += "; confirmed " + p.time(f.ConfirmedAt)
	}
	if f.FirstSight {
		s += "; first sight: it broke before the first look"
		if c.Asked != nil && c.Asked.Episode == f.Episode && c.Asked.Released {
			s += ", and was released"
		}
	}
	return s
}

func (p page) prompt(open events.Prompt, asked *events.Asked) string {
	s := fmt.Sprintf("%s %s, %s, opened %s", open.PromptID, open.Action, open.Urgency, p.until(open.OpenedAt))
	if open.Reminder > 0 {
		s += fmt.Sprintf(", reminders %d", open.Reminder)
	}
	if open.NotPushed != "" {
		s += ", not pushed: " + open.NotPushed
	}
	if asked == nil {
		return s
	}
	for _, at := range []struct {
		what string
		time time.Time
	}{{"first pushed", asked.PushedAt}, {"acknowledged", asked.AcknowledgedAt}, {"snoozed until", asked.SnoozedUntil}} {
		if !at.time.IsZero() {
			s += fmt.Sprintf(", %s %s", at.what, p.time(at.time))
		}
	}
	return s
}
