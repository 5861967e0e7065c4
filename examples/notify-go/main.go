// Command notify-go is a small notification service: it prints what it would
// push. Run it beside connector dev.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/smartconnect/connector/consumer"
)

func main() {
	url := flag.String("nats", nats.DefaultURL, "NATS servers")
	tap := flag.Bool("tap", false, "start each prompt at once, as if the member tapped")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *url, *tap); err != nil {
		fmt.Fprintln(os.Stderr, "notify:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, url string, tap bool) error {
	nc, err := nats.Connect(url, nats.Name("notify-go"))
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	ledger, err := consumer.NewKVLedger(ctx, js, "NOTIFY", "notify-go", 1)
	if err != nil {
		return err
	}
	client := consumer.New(js, consumer.Config{})
	ask := func(ctx context.Context, e consumer.Event, p consumer.Prompt) error {
		_, current, err := client.Current(ctx, p.PromptID)
		if err != nil || !current || !p.Notify {
			return err // over by now, or to be listed in the app only
		}
		// A real service hands e.ID to its push gateway, which ignores what it has seen.
		fmt.Fprintln(os.Stdout, "push", e.ID, "please reconnect:", p.Action)
		if !tap {
			return nil
		}
		started, err := client.StartPrompt(ctx, p.PromptID)
		fmt.Fprintln(os.Stdout, "tap", p.PromptID, started.Method, err) // the URL is for the member's browser alone
		return nil
	}
	closed := func(_ context.Context, _ consumer.Event, p consumer.Prompt) error {
		fmt.Fprintln(os.Stdout, "take back", p.PromptID, p.Reason)
		return nil
	}
	return client.Run(ctx, consumer.Subscription{Durable: "notify-go", Ledger: ledger, Handlers: consumer.Handlers{
		PromptOpened: ask, PromptReminded: ask,
		PromptResolved: closed, PromptWithdrawn: closed, PromptExpired: closed,
		AccessEnded: func(ctx context.Context, e consumer.Event, a consumer.Access) error {
			_, over, err := client.CurrentAccess(ctx, e)
			if err != nil || !over {
				return err // consent was given again meanwhile
			}
			fmt.Fprintln(os.Stdout, "push", e.ID, "access ended:", a.Action, "for", len(a.Connections), "connections")
			return nil
		},
		Gap: func(ctx context.Context, g consumer.GapError) error {
			agenda, err := client.Agenda(ctx, g.Member)
			fmt.Fprintln(os.Stdout, g, "- the member has", len(agenda.Prompts), "open prompts")
			return err
		},
		Poison: func(_ context.Context, p consumer.Poison) error {
			fmt.Fprintln(os.Stderr, "put aside:", p.Subject, p.StreamSequence, p.Err)
			return nil
		},
	}})
}
