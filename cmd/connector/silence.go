package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/user"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/judge"
	"github.com/smartconnect/connector/internal/members"
)

type silenceCmd struct {
	Add    silenceAddCmd    `cmd:"" help:"Hold prompts until a time. What is open stays open."`
	List   silenceListCmd   `cmd:"" help:"List the silences in force."`
	Expire silenceExpireCmd `cmd:"" help:"End a silence now."`
	Import silenceImportCmd `cmd:"" help:"Add silences from JSON lines, as silence list --json prints them."`
}

// operator says who acts.
type operator struct {
	By string `help:"Who does this; default the user of this machine." placeholder:"NAME"`
}

func (o operator) name() string {
	if o.By != "" {
		return o.By
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}

type silenceAddCmd struct {
	keyed      `embed:""`
	operator   `embed:""`
	Member     string        `help:"Only this member (id)."`
	Connection string        `name:"connection" help:"Only the source that this connection id names."`
	Type       string        `name:"integration-type" help:"Only connections of this type." enum:",PROA,DIRECT_IAS,INDIRECT_IAS" default:""`
	When       string        `name:"when" help:"Only prompts of this reason." enum:",expired,disconnected,deleted,error,unknown_type,restore_overdue" default:""`
	For        time.Duration `help:"How long." placeholder:"DURATION" xor:"end" required:""`
	Until      time.Time     `help:"Until when." placeholder:"RFC3339" xor:"end" required:""`
	Reason     string        `arg:"" help:"Why."`
}

// Run adds a silence and prints its id.
func (c silenceAddCmd) Run(ctx context.Context, std streams) error {
	o, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer o.close()
	clock := events.NewClock(o.log, nil)
	if err := clock.Measure(ctx); err != nil {
		return err
	}
	until := c.Until
	if until.IsZero() {
		until = clock.Now().Add(c.For)
	}
	scope, tokens := map[string]string{}, o.keys.Tokenizer()
	if c.Member != "" {
		m := tokens.Member(c.Member)
		if err := o.enrolled(ctx, m); err != nil {
			return err
		}
		scope[judge.ScopeMember] = string(m)
	}
	if c.Connection != "" {
		scope[judge.ScopeSource] = string(tokens.Source(c.Connection))
		if known, err := o.connectedTo(ctx, c.Connection); err != nil {
			return err
		} else if !known {
			fmt.Fprintln(std.err, "note: no member has a connection of that id yet; is it right?")
		}
	}
	if c.Type != "" {
		scope[judge.ScopeType] = c.Type
	}
	if c.When != "" {
		scope[judge.ScopeReason] = c.When
	}
	id := newSilenceID()
	s := events.Silence{Scope: scope, Until: until.UTC(), By: c.name(), Reason: c.Reason}
	if err := judge.Silence(ctx, o.log, id, s, clock.Now()); err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(std.out).Encode(silenceLine{id, s})
	}
	fmt.Fprintln(std.out, id)
	return nil
}

// enrolled refuses a member whom nobody could mean.
func (o opened) enrolled(ctx context.Context, m events.MemberToken) error {
	store, _, _, err := openMembers(ctx, o.js, o.keys, nil)
	if err != nil {
		return err
	}
	if _, err = store.Get(ctx, m); errors.Is(err, members.ErrNotEnrolled) {
		return errors.New("silence: nobody of that id is enrolled; see: connector members list")
	}
	return err
}

var errFound = errors.New("found")

// connectedTo reports whether any member has a connection of an id.
func (o opened) connectedTo(ctx context.Context, connectionID string) (bool, error) {
	err := o.log.Members(ctx, func(_ events.MemberToken, head events.Head[events.Member]) error {
		if slices.ContainsFunc(head.Snapshot.Connections, func(c events.MemberConnection) bool { return c.ConnectionID == connectionID }) {
			return errFound
		}
		return nil
	})
	if errors.Is(err, errFound) {
		return true, nil
	}
	return false, err
}

func newSilenceID() string { return strings.ToLower(rand.Text())[:10] }

// A silenceLine is a silence with its id, as a line of JSON.
type silenceLine struct {
	ID string `json:"id,omitempty"`
	events.Silence
}

type silenceListCmd struct {
	keyed `embed:""`
}

// Run lists the silences in force.
func (c silenceListCmd) Run(ctx context.Context, std streams) error {
	o, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer o.close()
	view, stop, err := o.judgements(ctx)
	if err != nil {
		return err
	}
	defer stop()
	clock := events.NewClock(o.log, nil)
	if err := clock.Measure(ctx); err != nil {
		return err
	}
	all := view.Silences(clock.Now())
	table := tabwriter.NewWriter(std.out, 0, 8, 2, ' ', 0)
	if !c.JSON {
		fmt.Fprintln(table, "ID\tUNTIL\tSCOPE\tBY\tREASON")
	}
	for _, id := range slices.Sorted(maps.Keys(all)) {
		s := all[id]
		if c.JSON {
			if err := json.NewEncoder(std.out).Encode(silenceLine{id, s}); err != nil {
				return err
			}
			continue
		}
		var scope []string
		for _, word := range slices.Sorted(maps.Keys(s.Scope)) {
			scope = append(scope, word+"="+s.Scope[word])
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", id, s.Until.Local().Format("2006-01-02 15:04"), strings.Join(scope, " "), s.By, s.Reason)
	}
	return table.Flush()
}

// judgements returns what is judged now. It follows on until stop is called.
func (o opened) judgements(ctx context.Context) (view *judge.View, stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	view = judge.NewView(o.log, o.keys.Tokenizer())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = view.Run(ctx) // it ends when it is asked to
	}()
	stop = func() {
		cancel()
		<-done
	}
	waited, enough := context.WithTimeout(ctx, 10*time.Second)
	defer enough()
	if err := view.Wait(waited, 0); err != nil {
		stop()
		return nil, nil, fmt.Errorf("read what is judged: %w", err)
	}
	return view, stop, nil
}

type silenceExpireCmd struct {
	broker   `embed:""`
	operator `embed:""`
	ID       string `arg:"" help:"Id of the silence."`
}

// Run ends a silence. What it held opens, if it is still due.
func (c silenceExpireCmd) Run(ctx context.Context, std streams) error {
	nc, _, log, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	clock := events.NewClock(log, nil)
	if err := clock.Measure(ctx); err != nil {
		return err
	}
	err = judge.EndSilence(ctx, log, c.ID, c.name(), clock.Now())
	if errors.Is(err, judge.ErrNothing) {
		return errors.New("expire the silence: none of that id is in force; see: connector silence list")
	}
	if err == nil {
		fmt.Fprintln(std.out, "Ended.")
	}
	return err
}

type silenceImportCmd struct {
	broker `embed:""`
	File   string `name:"file" short:"f" help:"File of JSON lines; - is standard input." default:"-"`
}

// Run adds every silence; a bad line is said and the others go on.
func (c silenceImportCmd) Run(ctx context.Context, std streams) error {
	in := std.in
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return fmt.Errorf("import silences: %w", err)
		}
		defer f.Close()
		in = f
	}
	nc, _, log, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	clock := events.NewClock(log, nil)
	if err := clock.Measure(ctx); err != nil {
		return err
	}
	added, refused, err := importSilences(in, std.err, func(s silenceLine) error {
		now := clock.Now()
		if err := judge.CheckSilence(s.ID, s.Silence, now); err != nil {
			return refusedLine{err}
		}
		return judge.Silence(ctx, log, s.ID, s.Silence, now)
	})
	fmt.Fprintf(std.out, "Added %d, refused %d.\n", added, refused)
	switch {
	case added > 0 && err != nil:
		fmt.Fprintln(std.err, "connector:", err)
		return errPartly
	case err != nil:
		return err
	case refused > 0 && added > 0:
		return errPartly
	case refused > 0:
		return fmt.Errorf("import silences: none of %d could be added", refused)
	default:
		return nil
	}
}

// refusedLine is what is wrong with a line; the next may be good.
type refusedLine struct{ error }

// importSilences adds one silence a line. An error is one that the next line
// would meet too; those before are added all the same.
func importSilences(in io.Reader, complain io.Writer, add func(silenceLine) error) (added, refused int, err error) {
	lines := bufio.NewReader(in)
	for n := 1; ; n++ {
		line, err := readLine(lines)
		if errors.Is(err, io.EOF) {
			return added, refused, nil
		}
		if err != nil {
			return added, refused, fmt.Errorf("import silences: read line %d: %w", n, err)
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		s, err := readSilence(line)
		if err == nil {
			s.ID = cmp.Or(s.ID, newSilenceID())
			err = add(s)
		}
		switch bad, ok := errors.AsType[refusedLine](err); {
		case err == nil:
			added++
		case ok:
			fmt.Fprintf(complain, "line %d: %s\n", n, bad)
			refused++
		default:
			return added, refused, fmt.Errorf("import silences: line %d and what follows not added: %w", n, err)
		}
	}
}

// readSilence reads a line, and says what is wrong with it in the words of a
// file and not of a decoder. It quotes no value: one may be a member's id.
func readSilence(line []byte) (silenceLine, error) {
	var s silenceLine
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	err := d.Decode(&s)
	kind, isKind := errors.AsType[*json.UnmarshalTypeError](err)
	_, isTime := errors.AsType[*time.ParseError](err)
	switch {
	case isKind && kind.Field != "":
		err = fmt.Errorf("%s: want no %s here", kind.Field, kind.Value)
	case isTime:
		err = errors.New("until: want a time like 2026-03-14T06:00:00Z")
	case err != nil && strings.HasPrefix(err.Error(), "json: unknown field"):
		err = errors.New("there is a field that is none of id, scope, until, by, reason")
	case err != nil:
		err = errors.New("no JSON object of the form {id?, scope, until, by, reason}")
	default:
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return s, nil
		}
		err = errors.New("something follows the object; write one silence a line")
	}
	return silenceLine{}, refusedLine{err}
}

type stormCmd struct {
	Show    stormShowCmd    `cmd:"" help:"Say whether prompts are held because too much changed at once."`
	Release stormReleaseCmd `cmd:"" help:"Let the held prompts go."`
}

type stormShowCmd struct {
	broker `embed:""`
}

// Run says how the storm stands.
func (c stormShowCmd) Run(ctx context.Context, std streams) error {
	nc, _, log, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	last, err := log.Judgement(ctx, events.StormHeld, "")
	if err != nil {
		return err
	}
	s, ok := last.Event.Data.(*events.Storm)
	switch at := last.Event.Recorded.Local().Format("2006-01-02 15:04:05"); {
	case !ok:
		fmt.Fprintln(std.out, "There was no storm.")
	case last.Event.Type == events.StormHeld:
		fmt.Fprintf(std.out, "Prompts are held since %s: %d of %d members changed at once.\nLet them go with: connector storm release\n", at, s.Changed, s.Members)
	default:
		fmt.Fprintf(std.out, "Released at %s by %s.\n", at, s.By)
	}
	return nil
}

type stormReleaseCmd struct {
	broker   `embed:""`
	operator `embed:""`
}

// Run releases the storm. What it held opens, if it is still due.
func (c stormReleaseCmd) Run(ctx context.Context, std streams) error {
	nc, _, log, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	clock := events.NewClock(log, nil)
	if err := clock.Measure(ctx); err != nil {
		return err
	}
	err = judge.ReleaseStorm(ctx, log, c.name(), clock.Now())
	if errors.Is(err, judge.ErrNothing) {
		return errors.New("release the storm: none is held; see: connector storm show")
	}
	if err == nil {
		fmt.Fprintln(std.out, "Released.")
	}
	return err
}
