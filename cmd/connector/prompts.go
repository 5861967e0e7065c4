package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"golang.org/x/time/rate"

	"github.com/smartconnect/connector/internal/acting"
	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/reconnect"
)

type promptsCmd struct {
	List  promptsListCmd  `cmd:"" help:"List open prompts."`
	Show  promptsShowCmd  `cmd:"" help:"Show one open prompt."`
	Start promptsStartCmd `cmd:"" help:"Act on a prompt as the member's tap does."`
	Link  promptsLinkCmd  `cmd:"" help:"Make a link that acts on a prompt once."`
	Ack   promptsAckCmd   `cmd:"" help:"Acknowledge a prompt: no more reminders, or none for a while."`
	Open  promptsOpenCmd  `cmd:"" help:"Have members asked about what broke before the connector first looked."`
}

func openPrompt(a *events.Agenda, c events.ConnectionToken) string {
	if a == nil {
		return "-"
	}
	for _, p := range a.Prompts {
		if strings.HasPrefix(p.PromptID, string(c)+".") {
			return p.PromptID + " " + string(p.Action)
		}
	}
	return "-"
}

// openPrompts reads the open prompts of all members from their agendas.
func openPrompts(ctx context.Context, log *events.Log, each func(events.Prompt) error) error {
	return log.Agendas(ctx, func(_ events.MemberToken, head events.Head[events.Agenda]) error {
		for _, p := range head.Snapshot.Prompts {
			if err := each(p); err != nil {
				return err
			}
		}
		return nil
	})
}

type promptsListCmd struct {
	maybeKeyed `embed:""`
	JSON       bool `name:"json" help:"Print JSON lines."`
}

// Run lists the open prompts.
func (c promptsListCmd) Run(ctx context.Context, std streams) error {
	nc, log, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	table := tabwriter.NewWriter(std.out, 0, 8, 2, ' ', 0)
	if !c.JSON {
		fmt.Fprintln(table, "PROMPT\tACTION\tREASON\tURGENCY\tOPENED\tREMINDERS")
	}
	err = openPrompts(ctx, log, func(p events.Prompt) error {
		if c.JSON {
			return json.NewEncoder(std.out).Encode(p)
		}
		_, err := fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\n", p.PromptID, p.Action, p.Reason, p.Urgency,
			p.OpenedAt.Local().Format("2006-01-02 15:04:05"), p.Reminder)
		return err
	})
	if err != nil {
		return err
	}
	return table.Flush()
}

type promptsShowCmd struct {
	maybeKeyed `embed:""`
	Prompt     string `arg:"" help:"Prompt id."`
	JSON       bool   `name:"json" help:"Print JSON on one line."`
}

// Run prints one open prompt as JSON.
func (c promptsShowCmd) Run(ctx context.Context, std streams) error {
	nc, log, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	found := false
	err = openPrompts(ctx, log, func(p events.Prompt) error {
		if p.PromptID != c.Prompt {
			return nil
		}
		found = true
		e := json.NewEncoder(std.out)
		if !c.JSON {
			e.SetIndent("", "  ")
		}
		return e.Encode(p)
	})
	if err == nil && !found {
		err = errors.New("show prompt: it is not open; see: connector prompts list")
	}
	return err
}

type promptsStartCmd struct {
	maybeKeyed `embed:""`
	Prompt     string `arg:"" help:"Prompt id."`
}

// Run asks the running connector to act, and prints what it answers. The answer
// may hold a URL that is as good as a password.
func (c promptsStartCmd) Run(ctx context.Context, std streams) error {
	return c.request(ctx, std, "prompt.start", "start the prompt", reconnect.StartRequest{PromptID: c.Prompt})
}

type promptsLinkCmd struct {
	maybeKeyed `embed:""`
	Prompt     string        `arg:"" help:"Prompt id."`
	TTL        time.Duration `name:"ttl" help:"How long the link works; default as long as the connector allows." placeholder:"DURATION"`
}

// Run asks the running connector for a link, and prints it. Whoever holds it
// may act.
func (c promptsLinkCmd) Run(ctx context.Context, std streams) error {
	return c.request(ctx, std, "prompt.link", "make a link", acting.LinkRequest{PromptID: c.Prompt, TTL: int64(c.TTL.Seconds())})
}

type promptsAckCmd struct {
	maybeKeyed `embed:""`
	Prompt     string        `arg:"" help:"Prompt id."`
	Snooze     time.Duration `help:"Remind again after this time, as far as the policy allows." placeholder:"DURATION"`
}

// Run asks the running connector to take note, and prints what it answers.
func (c promptsAckCmd) Run(ctx context.Context, std streams) error {
	if c.Snooze < 0 {
		return errors.New("acknowledge: --snooze is negative")
	}
	return c.request(ctx, std, "prompt.ack", "acknowledge the prompt", reconnect.AckRequest{PromptID: c.Prompt, Seconds: int64(c.Snooze.Seconds())})
}

type promptsOpenCmd struct {
	maybeKeyed `embed:""`
	Baseline   bool    `help:"All that was broken at first sight. Nothing else can be opened by hand." required:""`
	Rate       float64 `help:"Prompts per second." default:"10"`
	DryRun     bool    `help:"Only count."`
}

// Run releases the breaks that are older than our first look, one by one. It
// can be interrupted and run again: what was released stays so.
func (c promptsOpenCmd) Run(ctx context.Context, std streams) error {
	if c.Rate <= 0 {
		return errors.New("open prompts: --rate must be above 0")
	}
	nc, log, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	var all []reconnect.ReleaseRequest
	err = log.Members(ctx, func(m events.MemberToken, head events.Head[events.Member]) error {
		for _, known := range head.Snapshot.Connections {
			if known.FirstSight && !known.Removed() && known.State.Status.Broken() {
				all = append(all, reconnect.ReleaseRequest{Member: m, Connection: known.Token})
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if c.DryRun {
		fmt.Fprintf(std.out, "%d connections broke before the connector first looked.\n", len(all))
		return nil
	}
	pace := rate.NewLimiter(rate.Limit(c.Rate), 1)
	released, before := 0, 0
	for _, r := range all {
		if err := pace.Wait(ctx); err != nil {
			return fmt.Errorf("open prompts: stopped after %d of %d: %w", released+before, len(all), context.Cause(ctx))
		}
		err := ask(ctx, nc, "prompt.release", r, nil)
		switch word, refused := errors.AsType[reconnect.Refusal](err); {
		case refused && word == reconnect.StalePrompt:
			before++ // healed meanwhile, or released before
		case err != nil:
			return fmt.Errorf("open prompts: after %d of %d: %w", released+before, len(all), err)
		default:
			released++
		}
	}
	fmt.Fprintf(std.out, "Released %d; %d needed nothing.\n", released, before)
	return nil
}

// ask asks the micro service of a running connector. An error may be a
// [reconnect.Refusal].
func ask(ctx context.Context, nc *nats.Conn, endpoint string, q any, answer *[]byte) error {
	body, err := json.Marshal(q)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	reply, err := nc.RequestWithContext(ctx, servicePrefix+"."+endpoint, body)
	if err != nil {
		return fmt.Errorf("%w; is a connector running on this NATS?", err)
	}
	if code := reply.Header.Get(micro.ErrorCodeHeader); code != "" {
		return refusedRequest{reconnect.Refusal(code), reply.Header.Get(micro.ErrorHeader)}
	}
	if answer != nil {
		*answer = reply.Data
	}
	return nil
}

// refusedRequest is a refusal in the words of whoever refused.
type refusedRequest struct {
	word reconnect.Refusal
	text string
}

// Error implements error.
func (r refusedRequest) Error() string { return string(r.word) + ": " + r.text }

// Unwrap returns the word.
func (r refusedRequest) Unwrap() error { return r.word }

// request asks the micro service of a running connector, and prints the answer.
func (k maybeKeyed) request(ctx context.Context, std streams, endpoint, what string, q any) error {
	nc, _, err := k.connect(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	var answer []byte
	err = ask(ctx, nc, endpoint, q, &answer)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	fmt.Fprintln(std.out, string(answer))
	return nil
}
