package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/members"
	"github.com/smartconnect/connector/internal/replay"
)

type stateCmd struct {
	broker  `embed:""`
	Member  string `help:"Only this member: the token, or with --key-file the id." placeholder:"MEMBER"`
	KeyFile string `help:"Key file of the deployment, to name a member by id." type:"existingfile" placeholder:"FILE"`
	Check   bool   `help:"Say instead whether the events that are kept add up to the heads."`
}

// heads is what is known and asked of a member, as state prints it.
type heads struct {
	Member events.MemberToken `json:"member"`
	Known  *events.Member     `json:"known"`
	Asked  *events.Agenda     `json:"asked"`
}

// Run prints one JSON object a line and member.
func (c stateCmd) Run(ctx context.Context, std streams) error {
	only := events.MemberToken(c.Member)
	if c.KeyFile != "" && c.Member != "" {
		keys, err := members.LoadKeys(c.KeyFile)
		if err != nil {
			return err
		}
		only = keys.Tokenizer().Member(c.Member)
	}
	if c.Member != "" {
		if err := (replay.Query{FromSeq: 1, Member: only}).Check(); err != nil {
			return fmt.Errorf("state: %w", err)
		}
	}
	nc, js, log, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	if c.Check {
		return checkStates(ctx, std, js, log, only)
	}
	print := json.NewEncoder(std.out)
	if only != "" {
		known, err := log.Member(ctx, only)
		if err != nil {
			return err
		}
		asked, err := log.Agenda(ctx, only)
		if err != nil {
			return err
		}
		if known.Snapshot == nil && asked.Snapshot == nil {
			return fmt.Errorf("state: nothing is known of %s; is the id right, is the member enrolled, has it been polled?", only)
		}
		return print.Encode(heads{only, known.Snapshot, asked.Snapshot})
	}
	// Agendas first: a member head that is read later knows at least as much.
	agendas := map[events.MemberToken]*events.Agenda{}
	if err := log.Agendas(ctx, func(m events.MemberToken, a events.Head[events.Agenda]) error {
		agendas[m] = a.Snapshot
		return nil
	}); err != nil {
		return err
	}
	return log.Members(ctx, func(m events.MemberToken, known events.Head[events.Member]) error {
		return print.Encode(heads{m, known.Snapshot, agendas[m]})
	})
}

// checkStates prints a check a line, and fails if events do not add up.
func checkStates(ctx context.Context, std streams, js jetstream.JetStream, log *events.Log, only events.MemberToken) error {
	var tokens []events.MemberToken
	if only != "" {
		tokens = append(tokens, only)
	} else if err := log.Members(ctx, func(m events.MemberToken, _ events.Head[events.Member]) error {
		tokens = append(tokens, m)
		return nil
	}); err != nil {
		return err
	}
	print, count := json.NewEncoder(std.out), map[string]int{}
	for _, m := range tokens {
		check, err := replay.CheckMember(ctx, js, log.Subjects(), m)
		if err != nil {
			return err
		}
		count[check.Verdict]++
		if err := print.Encode(check); err != nil {
			return err
		}
	}
	fmt.Fprintf(std.err, "%d members: %d add up, %d differ, %d with too little history.\n",
		len(tokens), count[replay.Same], count[replay.Differs], count[replay.TooShort])
	if count[replay.Differs] > 0 {
		return errors.New("state: events and heads differ; a member who was being changed while it was read shows so too: check again")
	}
	return nil
}
