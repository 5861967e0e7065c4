package reconnect

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/smartconnect/connector/internal/audit"
	"github.com/smartconnect/connector/internal/events"
)

// A Ledger keeps the record of what was asked and what was not: an
// [audit.Ledger]. What it returned nil for is not lost. The same entry again
// counts once.
type Ledger interface {
	Record(ctx context.Context, entries ...audit.Entry) error
}

// suppressions returns what a decision did not ask, and why. What it did ask is
// told by events, which are recorded by themselves.
//
// An entry's id is made of the facts and the judgements that the decision was
// made from, so that a look that is repeated records nothing new until one of
// them changes.
func suppressions(m events.MemberToken, member *events.Member, agenda *events.Agenda, held Held, why []Verdict, now time.Time) []audit.Entry {
	var entries []audit.Entry
	for _, v := range why {
		prompt, due := reminderDue(agenda, v.Connection, now)
		if !suppresses(v) || prompt != "" && !due {
			continue // it is open, and nothing is due
		}
		e := audit.Entry{
			At: now.UTC(), What: audit.Suppressed, Member: m, Part: string(v.Connection),
			Rule: v.Row, Reason: v.Reason, Action: v.Action, Outcome: v.Outcome,
		}
		if c, ok := member.Connection(v.Connection); ok && c.Episode > 0 {
			e.Episode = events.EpisodeID(c.Token, c.Episode)
		}
		fact, consent, sight := member.Latest["connection."+e.Part], member.Latest["consent"], member.Latest["observation"]
		e.Cause = cmp.Or(held.Told[v.Reason+"."+e.Part], held.Told[v.Reason])
		switch {
		case e.Cause != "":
		case v.Reason == reasonConsentEnded:
			e.Cause = consent
		case v.Reason == reasonBlind && member.Observation.Blind():
			e.Cause = sight
		default:
			e.Cause = cmp.Or(fact, consent)
		}
		words := []string{strconv.Itoa(v.Row), v.Reason, v.Outcome, e.Cause, fact, consent, sight}
		if e.PromptID = prompt; prompt != "" {
			words = append(words, prompt)
		}
		entries = append(entries, e.Identify(words...))
	}
	return entries
}

// reminderDue returns the open prompt of a connection, none if there is none, and
// whether a reminder of it is due.
func reminderDue(agenda *events.Agenda, c events.ConnectionToken, now time.Time) (promptID string, due bool) {
	if agenda == nil || c == "" {
		return "", false
	}
	i := slices.IndexFunc(agenda.Prompts, func(p events.Prompt) bool { return strings.HasPrefix(p.PromptID, string(c)+".") })
	if i < 0 {
		return "", false
	}
	for _, asked := range agenda.Asked {
		if asked.Connection == c {
			due = !asked.RemindAt.IsZero() && !now.Before(asked.RemindAt) && asked.AcknowledgedAt.IsZero()
		}
	}
	return agenda.Prompts[i].PromptID, due
}

// suppresses reports whether somebody would have been asked, but for the rule.
func suppresses(v Verdict) bool {
	switch v.Outcome {
	case HeldBack:
		return v.Row != 2 // it works; only its closing waits
	case Spent:
		return true
	case Nothing:
		return v.Row == 3 // broken, and not asked about while consent has ended
	default:
		return false
	}
}

// byPolicy is who acts where nobody tapped.
const byPolicy = "policy"

// onRecord does something at b.well with an entry before it and one after it. A
// process that dies in between leaves the first, so that nothing is done without
// a trace; what cannot be put on record is not done, and what f got that cannot
// be put on record must not be handed out. f says what it did, or an error that
// is a [Refusal] or wraps one.
func onRecord(ctx context.Context, l Ledger, now func() time.Time, e audit.Entry, f func() (audit.What, error)) error {
	e.ID, e.At, e.What = strings.ToLower(rand.Text()), now().UTC(), audit.Started // each tap is one of its own
	if err := l.Record(ctx, e); err != nil {
		return fmt.Errorf("%w: %w", Upstream, err)
	}
	what, err := f()
	after := e
	after.At, after.What, after.Cause = now().UTC(), what, e.ID
	if err != nil {
		after.What, after.Reason = audit.Refused, string(wordOf(err))
		if wordOf(err) == Upstream {
			after.What = audit.Unknown // b.well may have done it all the same
		}
	}
	recordErr := l.Record(context.WithoutCancel(ctx), after.Identify(e.ID))
	switch {
	case err != nil || recordErr == nil:
		return err
	case what == audit.Minted:
		return fmt.Errorf("%w: %w", Upstream, recordErr)
	default: // it is done, and the next poll shows it
		zerolog.Ctx(ctx).Error().Err(recordErr).Str("member", string(e.Member)).Msg("what was done at b.well is not on record")
		return nil
	}
}

// wordOf returns the word for an error of an action.
func wordOf(err error) Refusal {
	if word, ok := errors.AsType[Refusal](err); ok {
		return word
	}
	return Upstream
}
