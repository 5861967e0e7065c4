package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"github.com/smartconnect/connector/internal/acting"
	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/reconnect"
)

type promptsCmd struct {
	List  promptsListCmd  `cmd:"" help:"List open prompts."`
	Show  promptsShowCmd  `cmd:"" help:"Show one open prompt."`
	Start promptsStartCmd `cmd:"" help:"Act on a prompt as the member's tap does."`
	Link  promptsLinkCmd  `cmd:"" help:"Make a link that acts on a prompt once."`
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
func openPrompts(ctx context.Context, js jetstream.JetStream, log *events.Log, each func(events.Prompt) error) error {
	for msg, err := range lastPerSubject(ctx, js, log.Subjects().Agendas()) {
		if err != nil {
			return err
		}
		head, err := events.HeadOf[events.Agenda](msg.Headers(), msg.Data(), 0)
		if err != nil || head.Snapshot == nil {
			continue // a tombstone, or nothing of ours
		}
		for _, p := range head.Snapshot.Prompts {
			if err := each(p); err != nil {
				return err
			}
		}
	}
	return nil
}

type promptsListCmd struct {
	broker `embed:""`
	JSON   bool `name:"json" help:"Print JSON lines."`
}

// Run lists the open prompts.
func (c promptsListCmd) Run(ctx context.Context, std streams) error {
	nc, js, log, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	table := tabwriter.NewWriter(std.out, 0, 8, 2, ' ', 0)
	if !c.JSON {
		fmt.Fprintln(table, "PROMPT\tACTION\tREASON\tURGENCY\tOPENED\tREMINDERS")
	}
	err = openPrompts(ctx, js, log, func(p events.Prompt) error {
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
	broker `embed:""`
	Prompt string `arg:"" help:"Prompt id."`
}

// Run prints one open prompt as JSON.
func (c promptsShowCmd) Run(ctx context.Context, std streams) error {
	nc, js, log, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	found := false
	err = openPrompts(ctx, js, log, func(p events.Prompt) error {
		if p.PromptID != c.Prompt {
			return nil
		}
		found = true
		e := json.NewEncoder(std.out)
		e.SetIndent("", "  ")
		return e.Encode(p)
	})
	if err == nil && !found {
		err = errors.New("show prompt: it is not open; see: connector prompts list")
	}
	return err
}

type promptsStartCmd struct {
	broker `embed:""`
	Prompt string `arg:"" help:"Prompt id."`
}

// Run asks the running connector to act, and prints what it answers. The answer
// may hold a URL that is as good as a password.
func (c promptsStartCmd) Run(ctx context.Context, std streams) error {
	return c.request(ctx, std, "prompt.start", "start the prompt", reconnect.StartRequest{PromptID: c.Prompt})
}

type promptsLinkCmd struct {
	broker `embed:""`
	Prompt string        `arg:"" help:"Prompt id."`
	TTL    time.Duration `name:"ttl" help:"How long the link works; default as long as the connector allows." placeholder:"DURATION"`
}

// Run asks the running connector for a link, and prints it. Whoever holds it
// may act.
func (c promptsLinkCmd) Run(ctx context.Context, std streams) error {
	return c.request(ctx, std, "prompt.link", "make a link", acting.LinkRequest{PromptID: c.Prompt, TTL: int64(c.TTL.Seconds())})
}

// request asks the micro service of a running connector, and prints the answer.
func (b broker) request(ctx context.Context, std streams, endpoint, what string, q any) error {
	nc, _, _, err := b.connect(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	body, err := json.Marshal(q)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	reply, err := nc.RequestWithContext(ctx, servicePrefix+"."+endpoint, body)
	if err != nil {
		return fmt.Errorf("%s: %w; is a connector running on this NATS?", what, err)
	}
	if code := reply.Header.Get(micro.ErrorCodeHeader); code != "" {
		return fmt.Errorf("%s: %s: %s", what, code, reply.Header.Get(micro.ErrorHeader))
	}
	fmt.Fprintln(std.out, string(reply.Data))
	return nil
}
