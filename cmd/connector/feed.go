package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/simulator"
)

// feed prints events as sentences. It may name the simulated members and their
// clinics, which nothing else here does.
type feed struct {
	out io.Writer
	sim *simulator.Simulator
}

func (f feed) run(ctx context.Context, js jetstream.JetStream, log *events.Log) error {
	return tail(ctx, js, log, time.Minute, func(e events.Event) error {
		line := f.line(e)
		if line == "" {
			return nil
		}
		_, err := fmt.Fprintf(f.out, "%s  %s\n", e.Recorded.Local().Format("15:04:05"), line)
		return err
	}, func(jetstream.Msg, uint64, error) error { return nil }) // its log tells
}

func (f feed) line(e events.Event) string {
	switch d := e.Data.(type) {
	case *events.Connection:
		return f.connection(e.Type, d)
	case *events.Task:
		if e.Type == events.TaskBaseline {
			return ""
		}
		return fmt.Sprintf("· %-12s record search is %s", d.MemberID, d.Current)
	case *events.Consent:
		if e.Type == events.ConsentBaseline {
			return ""
		}
		return fmt.Sprintf("· %-12s consent: %s", d.MemberID, d.Current)
	case *events.Recommendation:
		return fmt.Sprintf("· %-12s %s %s", d.MemberID, f.name(d.MemberID, d.Alias), map[events.Type]string{
			events.RecommendationFound: "can be connected", events.RecommendationWithdrawn: "is no longer offered",
		}[e.Type])
	case *events.Observation:
		if e.Type == events.ObservationStarted {
			return fmt.Sprintf("· %-12s is watched", d.MemberID)
		}
		return fmt.Sprintf("! %-12s observation %s (%s)", d.MemberID, what(e.Type), d.Reason)
	case *events.Prompt:
		return f.prompt(e.Type, d)
	case *events.Access:
		return fmt.Sprintf("? %-12s access %s: %d connections, %s", d.MemberID, what(e.Type), len(d.Connections), d.Action)
	case *events.Source:
		return fmt.Sprintf("! a source is %s: %.0f %% of %d members fail there", what(e.Type), 100*d.Share, d.Members)
	case *events.Observer:
		return fmt.Sprintf("! our sight of b.well is %s: %.0f %% of polls fail", what(e.Type), 100*d.Share)
	case *events.Storm:
		return fmt.Sprintf("! storm %s: %d of %d members changed at once", what(e.Type), d.Changed, d.Members)
	case *events.Silence:
		return fmt.Sprintf("! silence %s by %s, until %s: %s", what(e.Type), d.By, d.Until.Local().Format("15:04:05"), d.Reason)
	default:
		return ""
	}
}

func (f feed) connection(t events.Type, d *events.Connection) string {
	who := fmt.Sprintf("· %-12s %s", d.MemberID, f.name(d.MemberID, d.ConnectionID))
	switch {
	case t == events.ConnectionBaseline:
		return ""
	case d.Current == nil, t == events.ConnectionRemoved:
		return who + " is gone"
	case t == events.ConnectionExpiring:
		return fmt.Sprintf("%s will expire at %s", who, d.ExpiresAt.Local().Format("2006-01-02 15:04:05"))
	case t == events.ConnectionConfirmed:
		return fmt.Sprintf("%s is still %s", who, d.Current.Status)
	case d.Previous == nil:
		return fmt.Sprintf("%s discovered, %s", who, d.Current.Status)
	case d.Previous.Status != d.Current.Status:
		return fmt.Sprintf("%s (%s) %s → %s", who, d.Current.IntegrationType, orDash(string(d.Previous.Status)), orDash(string(d.Current.Status)))
	default:
		return fmt.Sprintf("%s changed: %v", who, d.Changed)
	}
}

func (f feed) prompt(t events.Type, d *events.Prompt) string {
	who := fmt.Sprintf("%-12s %s", d.MemberID, f.name(d.MemberID, d.ConnectionID))
	switch t {
	case events.PromptOpened:
		return fmt.Sprintf("? %s: please reconnect by %s (%s, %s) %s", who, d.Action, d.Reason, d.Urgency, d.PromptID)
	case events.PromptResolved:
		down := time.Duration(0)
		if d.Downtime != nil {
			down = time.Duration(*d.Downtime) * time.Second
		}
		return fmt.Sprintf("✓ %s: works again after %s", who, down)
	default:
		return fmt.Sprintf("? %s: prompt %s (%s)", who, what(t), d.Reason)
	}
}

// what returns the third word of a type: "withdrawn".
func what(t events.Type) string {
	kind := t.Kind()
	return string(t)[len("smartconnect.")+len(kind)+1 : len(t)-len(".v1")]
}

// name returns the clinic's name in the simulator.
func (f feed) name(memberID, connectionID string) string {
	return f.sim.Name(memberID, connectionID)
}
