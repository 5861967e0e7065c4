package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/time/rate"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/replay"
)

type eventsReplayCmd struct {
	broker   `embed:""`
	Since    time.Duration `help:"Begin this long ago." xor:"from" placeholder:"DURATION"`
	FromTime time.Time     `help:"Begin with what was stored at this time (RFC 3339)." xor:"from" placeholder:"TIME"`
	FromSeq  uint64        `help:"Begin with this sequence of the stream." xor:"from" placeholder:"N"`
	Until    time.Time     `help:"End with what was stored by this time; default with what is there now." placeholder:"TIME"`
	UntilSeq uint64        `help:"End with this sequence of the stream." placeholder:"N"`
	Type     []string      `help:"Only events of these types; prompt.opened will do." placeholder:"TYPE"`
	Member   string        `help:"Only events of this member: the token, or with --key-file the id." placeholder:"MEMBER"`
	KeyFile  string        `help:"Key file of the deployment, to name a member by id." type:"existingfile" placeholder:"FILE"`

	ToSubject  string `help:"Copy them below this prefix, marked as a replay. Never a live one." xor:"to" placeholder:"PREFIX"`
	ToConsumer string `help:"Make a durable of this name that reads from there on." xor:"to" placeholder:"NAME"`
	Move       bool   `help:"With --to-consumer: a durable that is there is moved, and forgets what it acknowledged."`
	Unsettled  string `help:"With --move, if events are in hand: what was given since the first of them counts as news (may be pushed a second time) or as replayed (is not pushed unasked, also what was never acknowledged)." default:"" enum:"news,replayed," placeholder:"WORD"`

	Name   string `help:"What the copies, or the durable, are marked with; default the time." placeholder:"NAME"`
	Rate   string `help:"Copies per second, as 500/s; default as fast as it goes." env:"-" placeholder:"N/s"`
	DryRun bool   `help:"Say what would be refused, or how many events it would be; change nothing."`
	Resume string `help:"Note in this file how far it came, and go on from there if the file is there." type:"path" placeholder:"FILE"`
	JSON   bool   `name:"json" help:"Print the result as JSON."`
}

// progress is what the file of --resume holds.
type progress struct {
	Asked *asked       `json:"asked,omitempty"` // nil: it was written before this was noted
	Query replay.Query `json:"query"`
	To    string       `json:"to"`
	Name  string       `json:"name"`
	Next  uint64       `json:"next"` // 0: not begun
}

// asked is what the flags said of which the query and the name were made: a time
// ago is another time later, an end that is not given is the one that is there.
type asked struct {
	Since    time.Duration `json:"since,omitempty"`
	FromTime time.Time     `json:"fromTime,omitzero"`
	FromSeq  uint64        `json:"fromSeq,omitempty"`
	Until    time.Time     `json:"until,omitzero"`
	UntilSeq uint64        `json:"untilSeq,omitempty"`
	Name     string        `json:"name,omitempty"`
}

// differs names the flags by which now is another replay than p.
func (p progress) differs(now progress) []string {
	a, b := p.Asked, now.Asked
	if a == nil { // what else was asked then is not known any more
		a = new(*b)
		a.Until = p.Query.Until
	}
	var flags []string
	for _, f := range []struct {
		name string
		same bool
	}{
		{"--since", a.Since == b.Since},
		{"--from-time", a.FromTime.Equal(b.FromTime)},
		{"--from-seq", a.FromSeq == b.FromSeq},
		{"--until", a.Until.Equal(b.Until)},
		{"--until-seq", a.UntilSeq == b.UntilSeq},
		{"--name", b.Name == p.Name || b.Name == "" && (p.Asked == nil || a.Name == "")},
		{"--to-subject", p.To == now.To},
		{"--member", p.Query.Member == now.Query.Member},
		{"--type", slices.Equal(p.Query.Types, now.Query.Types)},
	} {
		if !f.same {
			flags = append(flags, f.name)
		}
	}
	return flags
}

// Validate is called before the command runs.
func (c eventsReplayCmd) Validate() error {
	if !c.DryRun && c.ToSubject == "" && c.ToConsumer == "" {
		return errors.New("say where to: --to-subject, --to-consumer or --dry-run")
	}
	if c.ToConsumer != "" && c.Rate != "" {
		return errors.New("--rate is for copies: who reads a durable asks for as much as it wants")
	}
	if c.ToConsumer != "" && c.Resume != "" {
		return errors.New("--resume is for copies: a durable itself holds how far it came")
	}
	if c.Unsettled != "" && !c.Move {
		return errors.New("--unsettled is for a durable that is moved: it wants --move")
	}
	if strings.ContainsFunc(c.Name, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '%' }) {
		return errors.New("--name travels in a header: letters and digits, no space")
	}
	if _, err := perSecond(c.Rate); err != nil {
		return err
	}
	q := c.query()
	if c.Since > 0 {
		q.From = time.Now().Add(-c.Since) // by our clock: the broker's is asked when it runs
		if c.Resume != "" {
			q.Until = time.Time{} // one that goes on began earlier than that
		}
	}
	if c.KeyFile != "" {
		q.Member = "" // an id
	} else if c.Member != "" && !isToken(c.Member) {
		return errors.New("the member is no token; give the key file to name a member by id")
	}
	if err := q.Check(); err != nil {
		return err
	}
	return c.broker.Validate()
}

// tokenLength is that of 128 bits in base32.
const tokenLength = 26

// isToken reports whether s can be the token of a member. Short ids are made of
// the same letters, and no event has them.
func isToken(s string) bool {
	return len(s) == tokenLength && !strings.ContainsFunc(s, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '2' || r > '7') })
}

// query is what the flags ask for, as far as the flags alone can say.
func (c eventsReplayCmd) query() replay.Query {
	q := replay.Query{FromSeq: c.FromSeq, From: c.FromTime, UntilSeq: c.UntilSeq, Until: c.Until, Member: events.MemberToken(c.Member)}
	for _, t := range c.Type {
		q.Types = append(q.Types, events.Type(fullType(t)))
	}
	return q
}

// Run replays, and says where to go on if it is interrupted.
func (c eventsReplayCmd) Run(ctx context.Context, std streams) error {
	limit, err := perSecond(c.Rate)
	if err != nil {
		return err
	}
	nc, js, log, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	known, err := readProgress(c.Resume)
	if err != nil {
		return err
	}
	p, err := c.plan(ctx, js, log, known)
	if err != nil {
		return err
	}
	if c.ToConsumer != "" {
		return c.position(ctx, std, js, log.Subjects(), p)
	}
	if known != nil && p.Query.UntilSeq != 0 && p.Next > p.Query.UntilSeq {
		// It was ended between the last copy and the end.
		return c.done(std, p, replay.Result{Next: p.Next, Until: p.Query.UntilSeq, Ended: true})
	}
	return c.copy(ctx, std, js, log.Subjects(), p, limit)
}

// positioned is what --json prints of a durable.
type positioned struct {
	Durable string `json:"durable"`
	Stream  string `json:"stream"`
	Pending uint64 `json:"pending"` // events it has to read, before what comes
	Replay  string `json:"replay"`  // what it is marked with
}

// position makes or moves the durable, or says what would come of it.
func (c eventsReplayCmd) position(ctx context.Context, std streams, js jetstream.JetStream, subjects events.Subjects, p progress) error {
	pending, err := replay.Position(ctx, js, subjects, p.Query, replay.Target{
		Name: c.ToConsumer, Mark: p.Name, Move: c.Move, Unsettled: replay.Unsettled(c.Unsettled), DryRun: c.DryRun,
	})
	switch {
	case err != nil:
		return err
	case c.JSON:
		return json.NewEncoder(std.out).Encode(positioned{c.ToConsumer, events.Stream, pending, p.Name})
	case c.DryRun:
		fmt.Fprintf(std.out, "Durable %s on %s would have %d events to read, then what comes.\n", c.ToConsumer, events.Stream, pending)
	default:
		fmt.Fprintf(std.out, "Durable %s on %s has %d events to read, then what comes. What it read before, or found there, is marked as %s.\n",
			c.ToConsumer, events.Stream, pending, p.Name)
	}
	return nil
}

// plan makes the replay that the flags ask for, or goes on with a known one.
func (c eventsReplayCmd) plan(ctx context.Context, js jetstream.JetStream, log *events.Log, known *progress) (progress, error) {
	p := progress{
		Asked: &asked{Since: c.Since, FromTime: c.FromTime, FromSeq: c.FromSeq, Until: c.Until, UntilSeq: c.UntilSeq, Name: c.Name},
		To:    c.ToSubject, Name: c.Name, Query: c.query(),
	}
	if c.KeyFile != "" && c.Member != "" {
		var err error
		if p.Query.Member, err = memberOf(ctx, js, c.KeyFile, c.Member); err != nil {
			return p, err
		}
	}
	if known != nil {
		if flags := known.differs(p); len(flags) > 0 {
			return p, fmt.Errorf("replay: the file of --resume is of another replay: it differs in %s", strings.Join(flags, ", "))
		}
		known.Asked = p.Asked
		if known.Next != 0 {
			known.Query.FromSeq, known.Query.From = known.Next, time.Time{}
		}
		return *known, nil
	}
	if c.Since > 0 {
		clock := events.NewClock(log, nil)
		if err := clock.Measure(ctx); err != nil {
			return p, err
		}
		p.Query.From = clock.Now().Add(-c.Since)
	}
	if p.Name == "" {
		p.Name = "replay-" + time.Now().UTC().Format("20060102T150405")
	}
	return p, p.Query.Check()
}

func (c eventsReplayCmd) copy(ctx context.Context, std streams, js jetstream.JetStream, subjects events.Subjects, p progress, limit rate.Limit) error {
	bar := progressbar.DefaultSilent(0)
	var saved time.Time
	var saveErr error
	save := func() {
		if c.Resume != "" && !c.DryRun {
			saved, saveErr = time.Now(), writeProgress(c.Resume, p)
		}
	}
	run := replay.Replay{JS: js, Subjects: subjects, Query: p.Query, To: p.To, Name: p.Name, Rate: limit, DryRun: c.DryRun}
	run.Begun = func(total, until uint64) {
		p.Query.UntilSeq = until
		save()
		if watched(std.err) {
			bar = progressbar.NewOptions64(int64(total), progressbar.OptionSetWriter(std.err), progressbar.OptionSetDescription("replay"),
				progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
		}
	}
	run.Passed = func(next uint64) {
		p.Next = next
		_ = bar.Add(1)
		if time.Since(saved) > time.Second {
			save()
		}
	}
	res, err := run.Run(ctx)
	_ = bar.Finish()
	save()
	if err = errors.Join(err, saveErr); err != nil {
		return err
	}
	return c.done(std, p, res)
}

// done prints what came of it, and removes the file of --resume if there is
// nothing to go on with.
func (c eventsReplayCmd) done(std streams, p progress, res replay.Result) error {
	if c.JSON {
		if err := json.NewEncoder(std.out).Encode(res); err != nil {
			return err
		}
	} else {
		c.report(std.out, p, res)
	}
	if c.FromSeq > res.Until {
		fmt.Fprintf(std.err, "The stream ends at %d, before --from-seq %d.\n", res.Until, c.FromSeq)
	}
	if !res.Ended {
		fmt.Fprintln(std.err, c.goOn(p, res))
		return errPartly
	}
	if c.Resume != "" && !c.DryRun {
		if err := os.Remove(c.Resume); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("replay: remove the file of --resume: %w", err)
		}
	}
	return nil
}

func (c eventsReplayCmd) report(out io.Writer, p progress, res replay.Result) {
	switch {
	case c.DryRun:
		fmt.Fprintf(out, "%d events would be copied, %d others not.\n", res.Copied, res.Other)
	case res.Copied == 0 && res.Other == 0 && res.Next > res.Until:
		fmt.Fprintln(out, "Nothing was left to copy.")
	case res.Keeping == "":
		fmt.Fprintf(out, "%d events copied below %s as %s. No stream keeps them: who listened has heard them.\n", res.Copied, p.To, p.Name)
	default:
		fmt.Fprintf(out, "%d events copied below %s as %s, kept by %s; %d of them were there already.\n", res.Copied, p.To, p.Name, res.Keeping, res.Again)
	}
}

// goOn says how to go on after an interrupt.
func (c eventsReplayCmd) goOn(p progress, res replay.Result) string {
	if c.Resume != "" {
		return "Interrupted. The same command goes on from there."
	}
	return fmt.Sprintf("Interrupted. To go on: --from-seq %d --until-seq %d --name %s, the rest as before.", res.Next, res.Until, p.Name)
}

// perSecond reads "500/s".
func perSecond(s string) (rate.Limit, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseFloat(strings.TrimSuffix(s, "/s"), 64)
	if err != nil || math.IsNaN(n) || n <= 0 || n > 1e9 {
		return 0, errors.New("--rate is copies per second, as 500/s")
	}
	return rate.Limit(n), nil
}

func readProgress(name string) (*progress, error) {
	if name == "" {
		return nil, nil
	}
	body, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("replay: read the file of --resume: %w", err)
	}
	p := new(progress)
	if err := json.Unmarshal(body, p); err != nil {
		return nil, errors.New("replay: the file of --resume is none that a replay wrote")
	}
	return p, nil
}

// writeProgress replaces the file whole: a kill in between leaves the old one.
func writeProgress(name string, p progress) error {
	body, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if err := os.WriteFile(name+".new", body, 0o600); err != nil {
		return fmt.Errorf("replay: write the file of --resume: %w", err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		return fmt.Errorf("replay: write the file of --resume: %w", err)
	}
	return nil
}

// watched reports whether people look at w.
func watched(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
