// Package consumer is for services that live off the connector's events, such
// as one that pushes to members' phones. It is all they need to import.
//
//	client := consumer.New(js, consumer.Config{})
//	err := client.Run(ctx, consumer.Subscription{
//		Durable: "notify",
//		Handlers: consumer.Handlers{
//			PromptOpened: func(ctx context.Context, e consumer.Event, p consumer.Prompt) error { … },
//			Gap:          func(ctx context.Context, g consumer.GapError) error { … },
//			Poison:       func(ctx context.Context, p consumer.Poison) error { … },
//		},
//	})
//
// Run delivers at least once, in order per subject, and acknowledges only what
// is done. It tells doubles, gaps and replays apart from news, so that nobody
// is pushed twice. Read handlers.go first, then settle.go, which decides about
// each delivery; run.go, read.go and body.go are what it stands on. [NewMemory]
// is a stream for your own tests. docs/events.md tells what the events mean.
package consumer

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"
)

// ErrNothing reports that nothing is known or asked of a member: the token is
// of nobody, or of somebody who was forgotten.
var ErrNothing = errors.New("consumer: nothing is known of this member")

// Config says where the connector is. The zero value is what it does by
// default.
type Config struct {
	Prefix  string // of the subjects; default "sc.v1"
	Stream  string // default "SC_EVENTS"
	Service string // prefix of the connector's services; default "sc.svc.v1"
}

// A Client reads the connector's stream and asks it to act. It is safe for
// concurrent use.
type Client struct {
	Config
	js jetstream.JetStream // nil in tests without a server
	broker
	heads heads
}

// heads reads what the contract says of heads, each when it is needed first.
type heads struct {
	envelope func() (envelope, error)
	member   func() (body[Member], error)
	agenda   func() (body[Agenda], error)
}

// A broker is what a Client needs of one; in memory it is a fake.
type broker interface {
	// last returns the last message of a subject, as the leader has it; nil if
	// there is none.
	last(ctx context.Context, subject string) (*message, error)
	// next returns the first message of a subject from a stream sequence on;
	// nil if there is none.
	next(ctx context.Context, subject string, from uint64) (*message, error)
	// request asks a service.
	request(ctx context.Context, subject string, body []byte) (*nats.Msg, error)
}

// A message is one of the stream.
type message struct {
	subject string
	seq     uint64
	stored  time.Time // by the broker's clock, in UTC
	header  nats.Header
	data    []byte

	standing *standing // of the durable that brought it; nil if none did
}

// replay names the replay that the message comes from; empty for news.
func (m message) replay() string {
	if m.standing != nil && m.standing.moved.covers(m) {
		return m.standing.moved.name
	}
	return attribute(m.header, "ce-replay")
}

// tombstone reports whether m, on the subject of a head, says that the member
// was forgotten: it has no body and says nothing of an event. A head that lost
// its body is broken, and what the broker puts in the place of a message that it
// dropped says nothing of the member.
func (m message) tombstone() bool {
	for name := range m.header {
		if strings.HasPrefix(strings.ToLower(name), "ce-") || name == jetstream.MarkerReasonHeader {
			return false
		}
	}
	return len(m.data) == 0
}

// New returns a client. It starts nothing.
func New(js jetstream.JetStream, c Config) *Client {
	c = c.withDefaults()
	api := cmp.Or(strings.TrimSuffix(js.Options().APIPrefix, "."), "$JS.API")
	return newClient(c, js, server{js.Conn(), api + ".STREAM.MSG.GET." + c.Stream})
}

func newClient(c Config, js jetstream.JetStream, b broker) *Client {
	return &Client{c, js, b, heads{
		sync.OnceValues(func() (envelope, error) { return readEnvelope(c.Prefix) }),
		sync.OnceValues(func() (body[Member], error) { return bodyOf[Member](MemberSnapshot) }),
		sync.OnceValues(func() (body[Agenda], error) { return bodyOf[Agenda](AgendaSnapshot) }),
	}}
}

func (c Config) withDefaults() Config {
	return Config{cmp.Or(c.Prefix, "sc.v1"), cmp.Or(c.Stream, "SC_EVENTS"), cmp.Or(c.Service, "sc.svc.v1")}
}

// State returns the head of what is known of a member: the state that all
// facts add up to.
func (c *Client) State(ctx context.Context, member string) (Member, error) {
	return head(ctx, c, MemberSnapshot, member, c.heads.member)
}

// Agenda returns the head of what is asked of a member: all open prompts.
func (c *Client) Agenda(ctx context.Context, member string) (Agenda, error) {
	return head(ctx, c, AgendaSnapshot, member, c.heads.agenda)
}

func head[T any](ctx context.Context, c *Client, t Type, member string, schema func() (body[T], error)) (T, error) {
	var data T
	envelope, err := c.heads.envelope()
	if err != nil {
		return data, err
	}
	contract, err := schema()
	if err != nil {
		return data, err
	}
	kind := t.Kind()
	if member == "" || strings.ContainsAny(member, ".*> ") {
		return data, ErrNothing
	}
	m, err := c.last(ctx, c.Prefix+"."+kind+"."+member)
	if err != nil {
		return data, fmt.Errorf("consumer: read the %s of %s: %w", kind, member, err)
	}
	if m == nil || m.tombstone() {
		return data, ErrNothing
	}
	e, err := envelope.decode(*m)
	switch {
	case err != nil:
		return data, fmt.Errorf("%w (the %s of %s)", err, kind, member)
	case e.Type != t:
		return data, fmt.Errorf("%w %.80q (the %s of %s)", ErrUnknownType, e.Type, kind, member)
	}
	if data, err = contract.read(e); err != nil {
		return data, fmt.Errorf("%w (the %s of %s)", err, kind, member)
	}
	return data, nil
}

// CurrentAccess reports whether the end of access that e, an access.ended, told
// of still asks something of the member, and returns it as it is now. Ask before
// a push: consent may have been given again since.
func (c *Client) CurrentAccess(ctx context.Context, e Event) (AgendaAccess, bool, error) {
	agenda, err := c.Agenda(ctx, e.Member)
	if errors.Is(err, ErrNothing) {
		return AgendaAccess{}, false, nil
	}
	if err != nil {
		return AgendaAccess{}, false, err
	}
	access, over := agenda.Ended(e)
	return access, over, nil
}

// Current reports whether a prompt is still asked, and returns it as it is
// now. Ask before a push, above all before one that comes late.
func (c *Client) Current(ctx context.Context, promptID string) (Prompt, bool, error) {
	i := strings.LastIndexByte(promptID, '.')
	if i <= 0 || strings.ContainsAny(promptID[:i], ".*> ") {
		return Prompt{}, false, nil
	}
	// The last prompt event of the connection says whose it is.
	m, err := c.last(ctx, c.Prefix+".prompt.*."+promptID[:i])
	if err != nil {
		return Prompt{}, false, fmt.Errorf("consumer: look for prompt %s: %w", promptID, err)
	}
	if m == nil {
		return Prompt{}, false, nil
	}
	member, _, _ := strings.Cut(strings.TrimPrefix(m.subject, c.Prefix+".prompt."), ".")
	agenda, err := c.Agenda(ctx, member)
	if errors.Is(err, ErrNothing) {
		return Prompt{}, false, nil
	}
	if err != nil {
		return Prompt{}, false, err
	}
	p, open := agenda.Open(promptID)
	return p, open, nil
}

// A Refusal is a word that says why the connector does not act. Find it with
// errors.AsType[consumer.Refusal].
type Refusal string

// The refusals. There may be more.
const (
	NotFound         Refusal = "not_found"         // no such prompt, or not of this member
	StalePrompt      Refusal = "stale_prompt"      // closed, or no longer broken: show the member that all is well
	ConsentEnded     Refusal = "consent_ended"     // lead the member to their consent
	NotSupported     Refusal = "not_supported"     // this action is not performed by the connector
	ReconnectInApp   Refusal = "reconnect_in_app"  // b.well refuses: use its SDK in the app
	IdentityRequired Refusal = "identity_required" // the member must verify their identity first
	RateLimited      Refusal = "rate_limited"      // too often: wait a few seconds
	BadRequest       Refusal = "bad_request"       // an id is missing
	Upstream         Refusal = "upstream"          // b.well could not be asked: try again
)

// Error implements error.
func (r Refusal) Error() string { return "consumer: the connector refuses: " + string(r) }

// Started is the way back that the connector prepared.
type Started struct {
	Method      string `json:"method"`                // oauth or activate_direct
	RedirectURL string `json:"redirectUrl,omitempty"` // oauth: open it at once, keep it nowhere, log it never
	Status      Status `json:"status,omitempty"`      // activate_direct: what the connection is now
}

// StartPrompt does what the member's tap on a prompt asks for. Whose prompt it
// is, is not asked: use it where you know, such as for one out of an event or an
// agenda. For an id that an app sends use [Client.StartPromptFor]. An error that
// is a [Refusal] is the connector's answer.
func (c *Client) StartPrompt(ctx context.Context, promptID string) (Started, error) {
	return c.start(ctx, map[string]string{"promptId": promptID})
}

// StartPromptFor does the same for the member who is signed in: memberID is
// b.well's id of theirs, and a prompt of somebody else is [NotFound].
func (c *Client) StartPromptFor(ctx context.Context, promptID, memberID string) (Started, error) {
	return c.startFor(ctx, memberID, map[string]string{"promptId": promptID, "memberId": memberID})
}

// StartOffer does what the tap on a recommended source asks for, whosever it is.
func (c *Client) StartOffer(ctx context.Context, offerID string) (Started, error) {
	return c.start(ctx, map[string]string{"offerId": offerID})
}

// StartOfferFor does the same for the member who is signed in.
func (c *Client) StartOfferFor(ctx context.Context, offerID, memberID string) (Started, error) {
	return c.startFor(ctx, memberID, map[string]string{"offerId": offerID, "memberId": memberID})
}

// startFor refuses to ask for nobody: to the connector an empty member is none
// to check, and a session without an id would open everybody's prompts.
func (c *Client) startFor(ctx context.Context, memberID string, what map[string]string) (Started, error) {
	if memberID == "" {
		return Started{}, BadRequest
	}
	return c.start(ctx, what)
}

func (c *Client) start(ctx context.Context, what map[string]string) (Started, error) {
	body, err := json.Marshal(what)
	if err != nil {
		return Started{}, err
	}
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Minute)
		defer cancel()
	}
	reply, err := c.request(ctx, c.Service+".prompt.start", body)
	if err != nil {
		return Started{}, fmt.Errorf("consumer: start: %w", err)
	}
	if word := reply.Header.Get(micro.ErrorCodeHeader); word != "" {
		return Started{}, Refusal(word)
	}
	var s Started
	if err := json.Unmarshal(reply.Data, &s); err != nil || s.Method == "" {
		return Started{}, errors.New("consumer: start: the answer is not the connector's")
	}
	return s, nil
}

// server is a broker that is one.
type server struct {
	nc  *nats.Conn
	get string // subject of the request for one message, which the stream's leader answers
}

func (s server) last(ctx context.Context, subject string) (*message, error) {
	return s.message(ctx, map[string]any{"last_by_subj": subject})
}

func (s server) next(ctx context.Context, subject string, from uint64) (*message, error) {
	return s.message(ctx, map[string]any{"next_by_subj": subject, "seq": from})
}

func (s server) request(ctx context.Context, subject string, body []byte) (*nats.Msg, error) {
	return s.nc.RequestWithContext(ctx, subject, body)
}

// patience is how long one question to the stream may take where its asker set
// no limit: the broker does not answer whom it grants nothing.
const patience = 10 * time.Second

func (s server) message(ctx context.Context, which map[string]any) (*message, error) {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	body, err := json.Marshal(which)
	if err != nil {
		return nil, err
	}
	reply, err := s.nc.RequestWithContext(ctx, s.get, body)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Message *struct {
			Subject string    `json:"subject"`
			Seq     uint64    `json:"seq"`
			Time    time.Time `json:"time"`
			Header  []byte    `json:"hdrs"`
			Data    []byte    `json:"data"`
		} `json:"message"`
		Error *jetstream.APIError `json:"error"`
	}
	switch err := json.Unmarshal(reply.Data, &answer); {
	case err != nil:
		return nil, errors.New("the answer is not JetStream's")
	case answer.Error != nil && answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return nil, nil
	case answer.Error != nil:
		return nil, answer.Error
	case answer.Message == nil:
		return nil, nil
	}
	m := &message{subject: answer.Message.Subject, seq: answer.Message.Seq, stored: answer.Message.Time.UTC(), data: answer.Message.Data}
	if len(answer.Message.Header) > 0 {
		if m.header, err = nats.DecodeHeadersMsg(answer.Message.Header); err != nil {
			return nil, errors.New("the message's header is broken")
		}
	}
	return m, nil
}
