package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
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

// Validate refuses what is no time to live.
func (c promptsLinkCmd) Validate() error { return wholeSeconds("--ttl", c.TTL) }

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

// Validate refuses what is no snooze.
func (c promptsAckCmd) Validate() error { return wholeSeconds("--snooze", c.Snooze) }

// wholeSeconds refuses what would be told as no time, or as another one. Zero is
// left out.
func wholeSeconds(flag string, d time.Duration) error {
	if d < 0 || d%time.Second != 0 {
		return fmt.Errorf("%s is whole seconds, and not below zero: 90s, 48h", flag)
	}
	return nil
}

// Run asks the running connector to take note, and prints what it answers.
func (c promptsAckCmd) Run(ctx context.Context, std streams) error {
	return c.request(ctx, std, "prompt.ack", "acknowledge the prompt", reconnect.AckRequest{PromptID: c.Prompt, Seconds: int64(c.Snooze.Seconds())})
}

type promptsOpenCmd struct {
	maybeKeyed `embed:""`
	operator   `embed:""`
	Baseline   bool    `help:"All that was broken at first sight. Nothing else can be opened by hand." required:""`
	Rate       float64 `help:"Prompts per second." default:"10"`
	DryRun     bool    `help:"Only count."`
	JSON       bool    `name:"json" help:"Print the result as JSON."`
}

// Validate refuses what is no rate.
func (c promptsOpenCmd) Validate() error {
	if math.IsNaN(c.Rate) || math.IsInf(c.Rate, 0) || c.Rate <= 0 {
		return errors.New("--rate is prompts per second, above 0")
	}
	return nil
}

// openedPrompts is what a release of many came to.
type openedPrompts struct {
	Found    int `json:"found"`    // that broke before the first look, and were not released before
	Released int `json:"released"` // by this command
	Needless int `json:"needless"` // healed or released meanwhile
}

// Run releases the breaks that are older than our first look, one by one. It
// can be interrupted and run again: what was released stays so.
func (c promptsOpenCmd) Run(ctx context.Context, std streams) error {
	nc, log, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	all, err := unreleased(ctx, log, c.name())
	if err != nil {
		return err
	}
	res := openedPrompts{Found: len(all)}
	tell := func(format string, a ...any) error {
		if c.JSON {
			return json.NewEncoder(std.out).Encode(res)
		}
		fmt.Fprintf(std.out, format+"\n", a...)
		return nil
	}
	if c.DryRun {
		return tell("%d connections broke before the connector first looked, and nobody was asked about them.", res.Found)
	}
	pace := rate.NewLimiter(rate.Limit(c.Rate), 1)
	for _, r := range all {
		err := pace.Wait(ctx)
		if err == nil {
			err = ask(ctx, nc, "prompt.release", r, nil)
		}
		switch word, refused := errors.AsType[reconnect.Refusal](err); {
		case refused && word == reconnect.StalePrompt:
			res.Needless++
		case err != nil && res.Released+res.Needless > 0:
			if told := tell("Released %d of %d; %d needed nothing. The same command goes on with the rest.", res.Released, res.Found, res.Needless); told != nil {
				return told
			}
			fmt.Fprintln(std.err, "connector: open prompts:", err)
			return errPartly
		case err != nil:
			return fmt.Errorf("open prompts: %w", err)
		default:
			res.Released++
		}
	}
	return tell("Released %d; %d needed nothing.", res.Released, res.Needless)
}

// unreleased lists what broke before the connector first looked and was not
// released since.
func unreleased(ctx context.Context, log *events.Log, by string) (all []reconnect.ReleaseRequest, err error) {
	released := map[events.ConnectionToken]int{} // with the episode
	err = log.Agendas(ctx, func(_ events.MemberToken, head events.Head[events.Agenda]) error {
		for _, asked := range head.Snapshot.Asked {
			if asked.Released {
				released[asked.Connection] = asked.Episode
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = log.Members(ctx, func(m events.MemberToken, head events.Head[events.Member]) error {
		for _, c := range head.Snapshot.Connections {
			episode, was := released[c.Token]
			if c.FirstSight && !c.Removed() && c.State.Status.Broken() && (!was || episode != c.Episode) {
				all = append(all, reconnect.ReleaseRequest{Member: m, Connection: c.Token, By: by})
			}
		}
		return nil
	})
	return all, err
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
