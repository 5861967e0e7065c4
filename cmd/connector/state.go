package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/smartconnect/connector/internal/events"
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

	// Broken says of known and asked why it cannot be read, if it cannot.
	Broken map[string]string `json:"broken,omitempty"`
}

func (h *heads) know(head events.Head[events.Member], broken error) {
	h.Known = head.Snapshot
	h.breaks("known", broken)
}

func (h *heads) ask(head events.Head[events.Agenda], broken error) {
	h.Asked = head.Snapshot
	h.breaks("asked", broken)
}

func (h *heads) breaks(which string, err error) {
	if err == nil {
		return
	}
	if h.Broken == nil {
		h.Broken = map[string]string{}
	}
	h.Broken[which] = err.Error()
}

// Run prints one JSON object a line and member.
func (c stateCmd) Run(ctx context.Context, std streams) error {
	nc, js, log, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	only := events.MemberToken(c.Member)
	if c.KeyFile != "" && c.Member != "" {
		if only, err = memberOf(ctx, js, c.KeyFile, c.Member); err != nil {
			return err
		}
	}
	if c.Member != "" {
		if err := (replay.Query{FromSeq: 1, Member: only}).Check(); err != nil {
			return fmt.Errorf("state: %w", err)
		}
	}
	if c.Check {
		return checkStates(ctx, std, js, log, only)
	}
	if only != "" {
		return printState(ctx, std, log, only)
	}
	return printStates(ctx, std, log)
}

// errBroken says how many heads cannot be read, and what is to be done.
func errBroken(n int) error {
	if n == 0 {
		return nil
	}
	return fmt.Errorf("state: %d members have a head that cannot be read, and are stuck: docs/operations.md says what to do", n)
}

func printState(ctx context.Context, std streams, log *events.Log, m events.MemberToken) error {
	h := heads{Member: m}
	known, err := log.Member(ctx, m)
	if err != nil && !errors.Is(err, events.ErrMalformed) {
		return err
	}
	h.know(known, err)
	asked, err := log.Agenda(ctx, m)
	if err != nil && !errors.Is(err, events.ErrMalformed) {
		return err
	}
	h.ask(asked, err)
	if h.Known == nil && h.Asked == nil && h.Broken == nil {
		return fmt.Errorf("state: nothing is known of %s; is the id right, is the member enrolled, has it been polled?", m)
	}
	if err := json.NewEncoder(std.out).Encode(h); err != nil {
		return err
	}
	return errBroken(min(len(h.Broken), 1))
}

func printStates(ctx context.Context, std streams, log *events.Log) error {
	print, broken := json.NewEncoder(std.out), 0
	err := eachState(ctx, log, func(h heads) error {
		broken += min(len(h.Broken), 1)
		return print.Encode(h)
	})
	return errors.Join(err, errBroken(broken))
}

// eachState calls f for every member who has a head, readable or not.
func eachState(ctx context.Context, log *events.Log, f func(heads) error) error {
	// Agendas first: a member head that is read later knows at least as much.
	agendas, order := map[events.MemberToken]heads{}, []events.MemberToken{}
	if err := log.EveryAgenda(ctx, func(m events.MemberToken, a events.Head[events.Agenda], broken error) error {
		h := heads{Member: m}
		h.ask(a, broken)
		agendas[m], order = h, append(order, m)
		return nil
	}); err != nil {
		return err
	}
	if err := log.EveryMember(ctx, func(m events.MemberToken, known events.Head[events.Member], broken error) error {
		h := agendas[m]
		delete(agendas, m)
		h.Member = m
		h.know(known, broken)
		return f(h)
	}); err != nil {
		return err
	}
	for _, m := range order {
		if h, left := agendas[m]; left { // asked of somebody of whom nothing is known
			if err := f(h); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkStates prints a check a line, and fails if events do not add up.
func checkStates(ctx context.Context, std streams, js jetstream.JetStream, log *events.Log, only events.MemberToken) error {
	var tokens []events.MemberToken
	if only != "" {
		tokens = append(tokens, only)
	} else if err := eachState(ctx, log, func(h heads) error {
		tokens = append(tokens, h.Member)
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
	fmt.Fprintf(std.err, "%d members: %d add up, %d differ, %d with too little history, %d with a broken head.\n",
		len(tokens), count[replay.Same], count[replay.Differs], count[replay.TooShort], count[replay.Broken])
	var differ error
	if count[replay.Differs] > 0 {
		differ = errors.New("state: events and heads differ; a member who was being changed while it was read shows so too: check again")
	}
	return errors.Join(differ, errBroken(count[replay.Broken]))
}
