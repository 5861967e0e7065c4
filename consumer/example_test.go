package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/smartconnect/connector/consumer"
)

// A service that pushes: what it does is tried against a stream in memory.
func ExampleClient_Run() {
	stream := consumer.NewMemory(time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC))
	client := stream.Client()
	notify := consumer.Subscription{
		Durable: "notify",
		Handlers: consumer.Handlers{
			PromptOpened: func(_ context.Context, e consumer.Event, p consumer.Prompt) error {
				if p.Notify {
					fmt.Println("push", e.ID, "please reconnect by", p.Action)
				}
				return nil
			},
			PromptResolved: func(_ context.Context, _ consumer.Event, p consumer.Prompt) error {
				fmt.Println("take back", p.PromptID)
				return nil
			},
			Replayed: func(ctx context.Context, e consumer.Event) error {
				fmt.Println("no news:", e.Type)
				return nil
			},
			Gap:    func(_ context.Context, g consumer.GapError) error { fmt.Println(g); return nil },
			Poison: func(_ context.Context, p consumer.Poison) error { fmt.Println("poison:", p); return nil },
		},
	}

	prompt := consumer.Prompt{
		MemberID: "member-1", ConnectionID: "clinic", PromptID: "conn.1", Action: consumer.ActOAuth, Reason: "expired", Urgency: consumer.Required, Notify: true,
		ConnectionStatus: consumer.Expired, OpenedAt: time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC),
	}
	opened := stream.Publish(consumer.PromptOpened, "member", "conn", prompt)
	lost := stream.Publish(consumer.PromptReminded, "member", "conn", prompt)
	closed, downtime := prompt, int64(90)
	closed.ClosedAt, closed.Downtime = time.Date(2026, 3, 1, 9, 1, 30, 0, time.UTC), &downtime
	stream.Publish(consumer.PromptResolved, "member", "conn", closed)
	stream.Lose(lost)
	stream.Replay(opened, "monday")
	if err := stream.Deliver(context.Background(), notify); err != nil {
		fmt.Println(err)
	}
	_, current, _ := client.Current(context.Background(), "conn.1")
	fmt.Println("still asked:", current)
	// Output:
	// push sc.v1.prompt.member.conn-1 please reconnect by oauth
	// consumer: sc.v1.prompt.member.conn: events 2 to 2 are lost
	// take back conn.1
	// no news: smartconnect.prompt.opened.v1
	// still asked: false
}

// A tap on a prompt, and what the connector may answer.
func ExampleClient_StartPrompt() {
	stream := consumer.NewMemory(time.Now())
	stream.OnStart(func(promptID, _ string) (consumer.Started, error) {
		if promptID == "conn.1" {
			return consumer.Started{}, consumer.StalePrompt
		}
		return consumer.Started{Method: "oauth", RedirectURL: "https://login.example/authorize"}, nil
	})
	client := stream.Client()
	for _, prompt := range []string{"conn.1", "conn.2"} {
		started, err := client.StartPrompt(context.Background(), prompt)
		if refusal, ok := errors.AsType[consumer.Refusal](err); ok {
			fmt.Println(prompt, "is refused:", string(refusal))
			continue
		}
		fmt.Println(prompt, "goes by", started.Method)
	}
	// Output:
	// conn.1 is refused: stale_prompt
	// conn.2 goes by oauth
}

// Gaps and late deliveries have the same way back: the agenda, which is whole.
func ExampleClient_Agenda() {
	stream := consumer.NewMemory(time.Now())
	prompt := consumer.Prompt{
		MemberID: "member-1", ConnectionID: "clinic", PromptID: "conn.1", Action: consumer.ActDirect, Reason: "expired", Urgency: consumer.Optional,
		ConnectionStatus: consumer.Disconnected, OpenedAt: time.Now(),
	}
	stream.Publish(consumer.PromptOpened, "member", "conn", prompt)
	agenda, err := stream.Client().Agenda(context.Background(), "member")
	for _, p := range agenda.Prompts {
		fmt.Println(p.PromptID, p.Action, err)
	}
	_, err = stream.Client().Agenda(context.Background(), "nobody")
	fmt.Println(errors.Is(err, consumer.ErrNothing))
	// Output:
	// conn.1 activate_direct <nil>
	// true
}
