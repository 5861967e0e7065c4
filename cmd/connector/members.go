package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/members"
	"github.com/smartconnect/connector/internal/reconnect"
	"github.com/smartconnect/connector/internal/topology"
)

type membersCmd struct {
	Enrol membersEnrolCmd `cmd:"" help:"Enrol members from JSON lines: {id, idToken?, refreshToken?}."`
	List  membersListCmd  `cmd:"" help:"List enrolled members."`
	Show  membersShowCmd  `cmd:"" help:"Show what is known of one member."`
}

// keyed is what commands need that turn ids into tokens.
type keyed struct {
	broker  `embed:""`
	KeyFile string `help:"Key file of the deployment." required:"" type:"existingfile" placeholder:"FILE"`
	JSON    bool   `name:"json" help:"Print JSON."`
}

// maybeKeyed is for commands that need no keys, and take a key file all the same:
// one set of flags fits all. One of another deployment is refused.
type maybeKeyed struct {
	broker  `embed:""`
	KeyFile string `help:"Key file of the deployment; not needed, but another deployment's is refused." type:"existingfile" placeholder:"FILE"`
}

func (k maybeKeyed) connect(ctx context.Context) (*nats.Conn, *events.Log, error) {
	nc, js, log, err := k.broker.connect(ctx)
	if err != nil || k.KeyFile == "" {
		return nc, log, err
	}
	keys, err := members.LoadKeys(k.KeyFile)
	if err == nil {
		err = checkKeys(ctx, js, keys)
	}
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	return nc, log, nil
}

// opened is what keyed opens.
type opened struct {
	js    jetstream.JetStream
	log   *events.Log
	keys  members.Keys
	close func()
}

func (k keyed) open(ctx context.Context) (opened, error) {
	keys, err := members.LoadKeys(k.KeyFile)
	if err != nil {
		return opened{}, err
	}
	nc, js, log, err := k.connect(ctx)
	if err != nil {
		return opened{}, err
	}
	if err := checkKeys(ctx, js, keys); err != nil {
		nc.Close()
		return opened{}, err
	}
	return opened{js, log, keys, nc.Close}, nil
}

// checkKeys refuses keys under which nobody here is known.
func checkKeys(ctx context.Context, js jetstream.JetStream, keys members.Keys) error {
	store, _, _, err := openMembers(ctx, js, keys, nil)
	if err != nil {
		return err
	}
	return store.Check(ctx)
}

// memberOf returns the token of a member by id, under the keys in a file.
func memberOf(ctx context.Context, js jetstream.JetStream, keyFile, memberID string) (events.MemberToken, error) {
	keys, err := members.LoadKeys(keyFile)
	if err != nil {
		return "", err
	}
	return keys.Tokenizer().Member(memberID), checkKeys(ctx, js, keys)
}

// openMembers returns the store of members, their tokens, and the bucket of
// leases. upstream may be nil where nobody needs tokens.
func openMembers(ctx context.Context, js jetstream.JetStream, keys members.Keys, upstream members.Upstream) (*members.Store, *members.Grants, jetstream.KeyValue, error) {
	const mend = "create it with: connector topology apply"
	bucket, err := js.KeyValue(ctx, topology.Members)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("open bucket %s: %w; %s", topology.Members, err, mend)
	}
	leases, err := js.KeyValue(ctx, topology.Leases)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("open bucket %s: %w; %s", topology.Leases, err, mend)
	}
	store := members.NewStore(bucket, keys)
	return store, members.NewGrants(store, leases, upstream), leases, nil
}

// standing is all that is known and asked of a member at one time, which is the
// broker's. Nothing may be asked yet.
type standing struct {
	member events.MemberToken
	known  *events.Member
	asked  *events.Agenda
	held   reconnect.Held
	now    time.Time

	silences map[events.ConnectionToken]map[string]time.Time // that are part of held
}

func (k keyed) standing(ctx context.Context, memberID string) (standing, error) {
	o, err := k.open(ctx)
	if err != nil {
		return standing{}, err
	}
	defer o.close()
	m := o.keys.Tokenizer().Member(memberID)
	known, err := o.log.Member(ctx, m)
	if err != nil {
		return standing{}, err
	}
	if known.Snapshot == nil {
		return standing{}, fmt.Errorf("nothing is known of %s; is the id right, is the member enrolled, has it been polled?", m)
	}
	asked, err := o.log.Agenda(ctx, m)
	if err != nil {
		return standing{}, err
	}
	clock := events.NewClock(o.log, nil)
	if err := clock.Measure(ctx); err != nil {
		return standing{}, err
	}
	view, stop, err := o.judgements(ctx)
	if err != nil {
		return standing{}, err
	}
	defer stop()
	now := clock.Now()
	holds := view.Of(known.Snapshot, now)
	return standing{m, known.Snapshot, asked.Snapshot, held(holds), now, holds.Silences}, nil
}

type membersEnrolCmd struct {
	keyed `embed:""`
	File  string `name:"file" short:"f" help:"File of JSON lines; - is standard input." default:"-"`
}

// Run enrols every line; a bad line is said and the others go on.
func (c membersEnrolCmd) Run(ctx context.Context, std streams) error {
	in := std.in
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return fmt.Errorf("enrol: %w", err)
		}
		defer f.Close()
		in = f
	}
	o, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer o.close()
	store, _, _, err := openMembers(ctx, o.js, o.keys, nil)
	if err != nil {
		return err
	}
	if err := store.Bind(ctx); err != nil {
		return err
	}
	enrolled, refused, err := enrolLines(ctx, in, store, std.err)
	if err != nil {
		return err
	}
	if c.JSON {
		err = json.NewEncoder(std.out).Encode(map[string]int{"enrolled": enrolled, "refused": refused})
	} else {
		_, err = fmt.Fprintf(std.out, "Enrolled %d, refused %d.\n", enrolled, refused)
	}
	if err != nil {
		return err
	}
	switch {
	case refused > 0 && enrolled > 0:
		return errPartly
	case refused > 0:
		return fmt.Errorf("enrol: none of %d lines could be enrolled", refused)
	default:
		return nil
	}
}

func enrolLines(ctx context.Context, in io.Reader, store *members.Store, complain io.Writer) (enrolled, refused int, err error) {
	lines := bufio.NewReader(in)
	for n := 1; ; n++ {
		line, err := readLine(lines)
		if errors.Is(err, io.EOF) {
			return enrolled, refused, nil
		}
		if err != nil {
			return enrolled, refused, fmt.Errorf("enrol: read line %d: %w", n, err)
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		e, err := readEnrolment(line)
		var record members.Record
		if err == nil {
			record, _, err = store.Enrol(ctx, e.given())
		}
		if err != nil {
			fmt.Fprintf(complain, "line %d: %s\n", n, err)
			refused++
			continue
		}
		if !record.HasCredentials() {
			fmt.Fprintf(complain, "line %d: enrolled, but without credentials: b.well cannot be asked until some come\n", n)
		}
		enrolled++
	}
}

// readEnrolment reads a line or a request. A field of another name is refused: misspelt, it
// would leave the member without credentials.
func readEnrolment(line []byte) (enrolment, error) {
	var e enrolment
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	err := d.Decode(&e)
	const form = "no JSON object of the form {id, idToken?, refreshToken?}"
	if err == nil {
		if _, more := d.Token(); errors.Is(more, io.EOF) {
			return e, nil
		}
		return e, errors.New(form) // more than one
	}
	// The decoder's own words may quote a token.
	if m := unknownField.FindStringSubmatch(err.Error()); m != nil {
		return e, fmt.Errorf("%s: it has a field %q", form, m[1])
	}
	return e, errors.New(form)
}

// unknownField matches what the decoder says of a field that looks like one.
var unknownField = regexp.MustCompile(`^json: unknown field "([A-Za-z][A-Za-z0-9_-]{0,31})"$`)

// longestLine is more than any member takes.
const longestLine = 1 << 20

// readLine reads a line of any length. Of one that is too long only the
// beginning is kept, which is then no JSON.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, more, err := r.ReadLine()
		if errors.Is(err, io.EOF) && len(line) > 0 {
			return line, nil
		}
		if err != nil {
			return nil, err
		}
		if len(line) < longestLine {
			line = append(line, part...)
		}
		if !more {
			return line, nil
		}
	}
}

type membersListCmd struct {
	keyed `embed:""`
}

// Run lists the members. Their ids are identity: they go to the terminal of
// whoever has the key file and nowhere else.
func (c membersListCmd) Run(ctx context.Context, std streams) error {
	o, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer o.close()
	store, _, _, err := openMembers(ctx, o.js, o.keys, nil)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(std.out, 0, 8, 2, ' ', 0)
	if !c.JSON {
		fmt.Fprintln(table, "MEMBER\tID\tENROLLED")
	}
	for record, err := range store.List(ctx) {
		if err != nil {
			return err
		}
		if c.JSON {
			line := map[string]any{"member": record.Token, "memberId": record.MemberID, "enrolledAt": record.EnrolledAt}
			if err := json.NewEncoder(std.out).Encode(line); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", record.Token, printable(record.MemberID), record.EnrolledAt.Format("2006-01-02 15:04:05"))
	}
	return table.Flush()
}

// printable is an id as a terminal may have it: older versions enrolled any.
func printable(id string) string {
	if strings.ContainsFunc(id, func(r rune) bool { return !strconv.IsGraphic(r) }) {
		return strconv.QuoteToGraphic(id)
	}
	return id
}

type membersShowCmd struct {
	keyed  `embed:""`
	Member string `arg:"" help:"Member id."`
}

// Run prints the two heads of a member.
func (c membersShowCmd) Run(ctx context.Context, std streams) error {
	at, err := c.standing(ctx, c.Member)
	if err != nil {
		return err
	}
	known, asked := at.known, at.asked
	if c.JSON {
		return json.NewEncoder(std.out).Encode(map[string]any{"member": known, "agenda": asked})
	}
	fmt.Fprintf(std.out, "Member %s\nConsent %s\n", at.member, orDash(string(known.Effective())))
	if o := known.Observation; o.Blind() {
		fmt.Fprintf(std.out, "Not seen since %s: %s\n", o.LostSince.Format("2006-01-02 15:04:05"), o.Reason)
	}
	table := tabwriter.NewWriter(std.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "CONNECTION\tTYPE\tSTATUS\tSYNC\tPROMPT")
	for _, k := range known.Connections {
		status := orDash(string(k.State.Status))
		if k.Removed() {
			status = "removed"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", k.ConnectionID, orDash(string(k.State.IntegrationType)), status,
			orDash(k.State.SyncStatus), openPrompt(asked, k.Token))
	}
	return table.Flush()
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
