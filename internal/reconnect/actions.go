package reconnect

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/micro"
	"github.com/rs/zerolog"
	"golang.org/x/time/rate"

	"github.com/smartconnect/connector/internal/audit"
	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/secret"
)

// A Refusal is a word that says why an action was not performed. It travels as
// the error code of the micro service and is part of the contract.
type Refusal string

// The refusals.
const (
	BadRequest       Refusal = "bad_request"
	NotFound         Refusal = "not_found"
	StalePrompt      Refusal = "stale_prompt"
	ConsentEnded     Refusal = "consent_ended"
	NotSupported     Refusal = "not_supported"
	ReconnectInApp   Refusal = "reconnect_in_app"
	IdentityRequired Refusal = "identity_required"
	IdentityMismatch Refusal = "identity_mismatch"
	TooMany          Refusal = "rate_limited"
	Upstream         Refusal = "upstream"
)

// Error implements error.
func (r Refusal) Error() string {
	switch r {
	case BadRequest:
		return "the request is not understood; mend it before trying again"
	case NotFound:
		return "there is no such prompt, offer or member"
	case StalePrompt:
		return "the prompt is closed, or the connection is no longer broken"
	case ConsentEnded:
		return "the member's consent to IAS has ended"
	case NotSupported:
		return "this action is not performed by the connector"
	case ReconnectInApp:
		return "b.well refuses to activate the connection; the member reconnects in the app"
	case IdentityRequired:
		return "the member must verify their identity first"
	case IdentityMismatch:
		return "what was given is another person's; the member signs in again"
	case TooMany:
		return "this prompt was started too often; wait a few seconds"
	default:
		return "b.well could not be asked; try again"
	}
}

// ErrRefused is what an Actor returns when b.well understood the request and
// refuses it. Do not try again.
var ErrRefused = errors.New("reconnect: b.well refuses")

// An Actor does at b.well what a member asked for by tapping a prompt.
type Actor interface {
	// Connection reads the connection and the member's consent as b.well has them
	// now.
	Connection(ctx context.Context, m events.MemberToken, connectionID string, t events.IntegrationType) (Reading, error)
	// OAuthURL mints a URL. Each call mints afresh.
	OAuthURL(ctx context.Context, m events.MemberToken, connectionID string) (secret.Value, error)
	// ActivateDirect activates once; an error that wraps ErrRefused is b.well's no.
	ActivateDirect(ctx context.Context, m events.MemberToken, connectionID string) (events.Status, error)
	// Verified reports whether the member's identity is proven (IAL2).
	Verified(ctx context.Context, m events.MemberToken) (bool, error)
	// Look has the member polled at once. acted is what b.well answered, empty
	// if nothing was changed.
	Look(ctx context.Context, m events.MemberToken, c events.ConnectionToken, acted events.Status) error
}

// A Reading is what b.well says right now.
type Reading struct {
	Found   bool // the connection is listed
	State   events.ConnectionState
	Consent events.MemberConsent // to IAS; not Read if only the connection came
}

// denies reports whether the member's consent forbids to act: as the decision
// table's row 3 has it, by what was read now, or by what is known where that is
// newer, since reads lag.
func (r Reading) denies(known *events.Member) bool {
	consent := known.Effective()
	if r.Consent.Read && !r.Consent.DateTime.Before(known.Consent.DateTime) {
		consent = r.Consent.Provision
	}
	over := r.State.Status == events.AccessIsOver
	return r.State.IntegrationType.IAS() && consent == events.Deny || over && (consent == events.Deny || consent == events.None)
}

// Started is the answer to a started prompt.
type Started struct {
	Method      string `json:"method"` // oauth or activate_direct
	RedirectURL string `json:"redirectUrl,omitempty"`
	Status      string `json:"status,omitempty"`
}

// A StartRequest asks to act on a prompt or on an offer; one of the two ids is
// required.
type StartRequest struct {
	PromptID string `json:"promptId,omitempty"`
	OfferID  string `json:"offerId,omitempty"`
	MemberID string `json:"memberId,omitempty"` // checked if given
}

// ActionsConfig is what Actions need. All fields are required unless noted.
type ActionsConfig struct {
	Log    *events.Log
	Tokens events.Tokenizer
	Actor  Actor
	Notes  Notary
	Ledger Ledger
	Now    func() time.Time // default time.Now
}

// Actions acts on prompts. It is safe for concurrent use.
type Actions struct {
	ActionsConfig

	mu     sync.Mutex
	limits map[string]*rate.Limiter
}

// A Notary takes notes about a member's prompts: a [Consumer].
type Notary interface {
	Note(ctx context.Context, m events.MemberToken, notes ...Note) error
}

// NewActions returns Actions on the prompts of c.Log.
func NewActions(c ActionsConfig) *Actions {
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Actions{ActionsConfig: c, limits: map[string]*rate.Limiter{}}
}

// Start acts on an open prompt: it reads the connection again, refuses a stale
// prompt, and then mints an OAuth URL or activates. Nothing is cached and the
// URL is kept nowhere. An error is a [Refusal], or wraps one.
func (a *Actions) Start(ctx context.Context, r StartRequest) (Started, error) {
	if !wellFormed(r.PromptID + r.OfferID) {
		return Started{}, NotFound
	}
	if !a.allowed(r.PromptID + r.OfferID) {
		return Started{}, TooMany
	}
	m, err := a.owner(ctx, r)
	if err != nil {
		return Started{}, err
	}
	head, err := a.Log.Member(ctx, m)
	if err != nil {
		return Started{}, fmt.Errorf("%w: %w", Upstream, err)
	}
	if head.Snapshot == nil {
		return Started{}, NotFound
	}
	if r.PromptID == "" {
		return a.startOffer(ctx, m, head.Snapshot, r.OfferID)
	}
	return a.startPrompt(ctx, m, head.Snapshot, r.PromptID)
}

// Prompt returns the open prompt that r names and whose it is, without asking
// b.well anything. An error is a [Refusal], or wraps one.
func (a *Actions) Prompt(ctx context.Context, r StartRequest) (events.MemberToken, events.Prompt, error) {
	if r.PromptID == "" || !wellFormed(r.PromptID) {
		return "", events.Prompt{}, NotFound
	}
	m, err := a.owner(ctx, r)
	if err != nil {
		return "", events.Prompt{}, err
	}
	p, err := a.open(ctx, m, r.PromptID)
	return m, p, err
}

// wellFormed reports whether id could be a prompt's or an offer's. What could
// not is not asked for: it may be as long as a request, and hold anything.
func wellFormed(id string) bool {
	return len(id) <= 64 && strings.Trim(id, "abcdefghijklmnopqrstuvwxyz0123456789.") == ""
}

// owner returns whose prompt or offer r names.
func (a *Actions) owner(ctx context.Context, r StartRequest) (events.MemberToken, error) {
	kind, part := "prompt", r.PromptID
	if r.PromptID == "" {
		kind, part = "recommendation", r.OfferID
	} else if i := strings.LastIndexByte(part, '.'); i >= 0 {
		part = part[:i]
	}
	m, err := a.Log.Owner(ctx, kind, part)
	if err != nil {
		return "", fmt.Errorf("%w: %w", Upstream, err)
	}
	if m == "" || r.MemberID != "" && a.Tokens.Member(r.MemberID) != m {
		return "", NotFound
	}
	return m, nil
}

// open returns the open prompt of m with an id.
func (a *Actions) open(ctx context.Context, m events.MemberToken, promptID string) (events.Prompt, error) {
	agenda, err := a.Log.Agenda(ctx, m)
	if err != nil {
		return events.Prompt{}, fmt.Errorf("%w: %w", Upstream, err)
	}
	if agenda.Snapshot == nil {
		return events.Prompt{}, NotFound
	}
	prompt, ok := agenda.Snapshot.Open(promptID)
	if !ok {
		return events.Prompt{}, StalePrompt
	}
	// From then on it is inert, whenever the decider comes to close it.
	token := events.ConnectionToken(promptID[:strings.LastIndexByte(promptID, '.')])
	for _, asked := range agenda.Snapshot.Asked {
		if asked.Connection == token && !asked.ExpiresAt.IsZero() && !a.Now().Before(asked.ExpiresAt) {
			return events.Prompt{}, StalePrompt
		}
	}
	return prompt, nil
}

func (a *Actions) startOffer(ctx context.Context, m events.MemberToken, known *events.Member, offerID string) (Started, error) {
	i := slices.IndexFunc(known.Recommendations, func(o events.Recommendation) bool { return o.OfferID == offerID })
	if i < 0 {
		return Started{}, StalePrompt
	}
	alias := known.Recommendations[i].Alias
	now, err := a.Actor.Connection(ctx, m, alias, "")
	if err != nil {
		return Started{}, fmt.Errorf("%w: %w", Upstream, err)
	}
	// What the search offers, the consent to it covers: after it ended nothing of
	// it is asked of b.well.
	now.State.IntegrationType = cmp.Or(now.State.IntegrationType, events.IndirectIAS)
	switch {
	case now.denies(known):
		lookAt(ctx, a.Actor, m, "", "")
		return Started{}, ConsentEnded
	case now.Found && now.State.Status == events.Connected:
		lookAt(ctx, a.Actor, m, "", "")
		return Started{}, StalePrompt
	}
	return a.oauth(ctx, audit.Entry{Member: m, Part: offerID, Action: events.ActOAuth}, "", alias)
}

func (a *Actions) startPrompt(ctx context.Context, m events.MemberToken, known *events.Member, promptID string) (Started, error) {
	prompt, err := a.open(ctx, m, promptID)
	if err != nil {
		return Started{}, err
	}
	now, err := a.Actor.Connection(ctx, m, prompt.ConnectionID, prompt.IntegrationType)
	switch {
	case err != nil:
		return Started{}, fmt.Errorf("%w: %w", Upstream, err)
	case !now.Found || now.State.Status == events.Connected:
		// A status that says nothing keeps the prompt open: whoever is asked may act.
		lookAt(ctx, a.Actor, m, "", "")
		return Started{}, StalePrompt
	case now.denies(known):
		lookAt(ctx, a.Actor, m, "", "")
		return Started{}, ConsentEnded
	}
	token := events.ConnectionToken(promptID[:strings.LastIndexByte(promptID, '.')])
	e := audit.Entry{Member: m, Part: string(token), PromptID: promptID, Action: prompt.Action}
	switch prompt.Action {
	case events.ActOAuth:
		return a.oauth(ctx, e, token, prompt.ConnectionID)
	case events.ActDirect:
		return a.activate(ctx, e, prompt)
	case events.ActVerifyIdentity:
		verified, err := a.Actor.Verified(ctx, m)
		if err != nil {
			return Started{}, fmt.Errorf("%w: %w", Upstream, err)
		}
		if !verified {
			return Started{}, IdentityRequired
		}
		return a.activate(ctx, e, prompt)
	case events.ActReconnectInApp:
		return Started{}, ReconnectInApp
	default:
		return Started{}, NotSupported
	}
}

func (a *Actions) oauth(ctx context.Context, e audit.Entry, c events.ConnectionToken, connectionID string) (Started, error) {
	var url secret.Value
	err := onRecord(ctx, a.Ledger, a.Now, e, func() (what audit.What, err error) {
		url, err = a.Actor.OAuthURL(ctx, e.Member, connectionID)
		switch {
		case errors.Is(err, ErrRefused):
			return "", ReconnectInApp
		case err != nil:
			return "", fmt.Errorf("%w: %w", Upstream, err)
		}
		return audit.Minted, nil
	})
	if err != nil {
		return Started{}, err
	}
	lookAt(ctx, a.Actor, e.Member, c, "")
	return Started{Method: string(events.ActOAuth), RedirectURL: url.Reveal()}, nil
}

func (a *Actions) activate(ctx context.Context, e audit.Entry, prompt events.Prompt) (Started, error) {
	c := events.ConnectionToken(e.Part)
	var status events.Status
	err := onRecord(ctx, a.Ledger, a.Now, e, func() (what audit.What, err error) {
		status, err = a.Actor.ActivateDirect(ctx, e.Member, prompt.ConnectionID)
		switch {
		case errors.Is(err, ErrRefused):
			return "", a.anotherWay(ctx, e.Member, c, prompt)
		case err != nil:
			lookAt(ctx, a.Actor, e.Member, c, "") // it may have been activated
			return "", fmt.Errorf("%w: %w", Upstream, err)
		}
		return audit.Activated, nil
	})
	if err != nil {
		return Started{}, err
	}
	lookAt(ctx, a.Actor, e.Member, c, status)
	return Started{Method: string(events.ActDirect), Status: string(status)}, nil
}

// anotherWay finds out why b.well refused an activation. From now on the prompt
// asks for what is needed; if that cannot be found out or noted, the next tap
// tries again.
func (a *Actions) anotherWay(ctx context.Context, m events.MemberToken, c events.ConnectionToken, prompt events.Prompt) Refusal {
	refusal, instead := ReconnectInApp, events.ActReconnectInApp
	switch verified, err := a.Actor.Verified(ctx, m); {
	case err != nil:
		zerolog.Ctx(ctx).Warn().Err(err).Str("member", string(m)).Msg("why b.well refuses is not known")
		return refusal
	case !verified:
		refusal, instead = IdentityRequired, events.ActVerifyIdentity
	}
	note := Note{Kind: Instead, Connection: c, PromptID: prompt.PromptID, Action: instead}
	if err := a.Notes.Note(ctx, m, note); err != nil && !errors.Is(err, StalePrompt) {
		zerolog.Ctx(ctx).Warn().Err(err).Str("member", string(m)).Msg("another way not noted")
	}
	return refusal
}

// An AckRequest says that a member knows of a prompt.
type AckRequest struct {
	PromptID string `json:"promptId"`
	MemberID string `json:"memberId,omitempty"` // checked if given
	Seconds  int64  `json:"snoozeSeconds,omitempty"`
}

// acknowledged is the answer to an AckRequest.
type acknowledged struct {
	Acknowledged bool      `json:"acknowledged"`
	SnoozedUntil time.Time `json:"snoozedUntil,omitzero"`
}

// Acknowledge ends reminding of an open prompt for the episode, or puts the
// next reminder off by the given seconds, as far as the policy lets it, and
// returns until when. Doing it twice is the same as once. An error is a
// [Refusal], or wraps one.
func (a *Actions) Acknowledge(ctx context.Context, r AckRequest) (snoozed time.Time, err error) {
	if !wellFormed(r.PromptID) || r.Seconds < 0 {
		return time.Time{}, NotFound
	}
	m, err := a.owner(ctx, StartRequest{PromptID: r.PromptID, MemberID: r.MemberID})
	if err != nil {
		return time.Time{}, err
	}
	c, _, _ := strings.Cut(r.PromptID, ".")
	note := Note{Kind: Acknowledge, Connection: events.ConnectionToken(c), PromptID: r.PromptID}
	if r.Seconds > 0 {
		note.Kind, note.For = Snooze, time.Duration(min(r.Seconds, maxSnooze))*time.Second
	}
	if err := a.Notes.Note(ctx, m, note); err != nil || r.Seconds == 0 {
		return time.Time{}, err
	}
	prompt, err := a.open(ctx, m, r.PromptID)
	return prompt.SnoozedUntil, err
}

// maxSnooze keeps arithmetic with durations sound; the policy allows far less.
const maxSnooze = int64(10 * 365 * 24 * time.Hour / time.Second)

// lookAt is a courtesy: without it the change is found by the next poll.
func lookAt(ctx context.Context, a Actor, m events.MemberToken, c events.ConnectionToken, acted events.Status) {
	if err := a.Look(ctx, m, c, acted); err != nil {
		zerolog.Ctx(ctx).Info().Err(err).Str("member", string(m)).Msg("not polled at once")
	}
}

// allowed limits how often one prompt is started: a burst of five, then one in
// two seconds.
func (a *Actions) allowed(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.limits) > 10_000 {
		clear(a.limits) // forgetting only allows a burst again
	}
	l, ok := a.limits[id]
	if !ok {
		l = rate.NewLimiter(rate.Every(2*time.Second), 5)
		a.limits[id] = l
	}
	return l.Allow()
}

// HandleAck answers a prompt.ack request of the micro service.
func (a *Actions) HandleAck(ctx context.Context, req micro.Request) {
	var r AckRequest
	if err := json.Unmarshal(req.Data(), &r); err != nil || r.PromptID == "" || r.Seconds < 0 {
		Answer(ctx, req, nil, fmt.Errorf("%w: want JSON with promptId, and snoozeSeconds that are not negative", Refusal("bad_request")))
		return
	}
	until, err := a.Acknowledge(ctx, r)
	Answer(ctx, req, acknowledged{true, until}, err)
}

// A ReleaseRequest asks to have a member asked about a connection that broke
// before we first looked.
type ReleaseRequest struct {
	Member     events.MemberToken     `json:"member"`
	Connection events.ConnectionToken `json:"connection"`
	By         string                 `json:"by,omitempty"` // who wants it, for the record
}

// HandleRelease answers a prompt.release request of the micro service.
func (a *Actions) HandleRelease(ctx context.Context, req micro.Request) {
	var r ReleaseRequest
	if err := json.Unmarshal(req.Data(), &r); err != nil || !wellFormed(string(r.Member)) || r.Member == "" || r.Connection == "" {
		Answer(ctx, req, nil, fmt.Errorf("%w: want JSON with the tokens of member and connection", Refusal("bad_request")))
		return
	}
	e := audit.Entry{ID: strings.ToLower(rand.Text()), At: a.Now().UTC(), What: audit.Release, Member: r.Member, Part: string(r.Connection), By: r.By}
	if err := a.Ledger.Record(ctx, e); err != nil {
		Answer(ctx, req, nil, fmt.Errorf("%w: %w", Upstream, err))
		return
	}
	Answer(ctx, req, map[string]bool{"released": true}, a.Notes.Note(ctx, r.Member, Note{Kind: Release, Connection: r.Connection}))
}

// Handle answers a prompt.start request of the micro service.
func (a *Actions) Handle(ctx context.Context, req micro.Request) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var r StartRequest
	if err := json.Unmarshal(req.Data(), &r); err != nil || (r.PromptID == "") == (r.OfferID == "") {
		Answer(ctx, req, nil, fmt.Errorf("%w: want JSON with promptId or offerId", BadRequest))
		return
	}
	started, err := a.Start(ctx, r)
	Answer(ctx, req, started, err)
}

// Answer responds to a request of the micro service: with body as JSON, or with
// the word of the refusal in err.
func Answer(ctx context.Context, req micro.Request, body any, err error) {
	log := zerolog.Ctx(ctx)
	if err == nil {
		if err = req.RespondJSON(body); err != nil {
			log.Warn().Err(err).Msg("request not answered")
		}
		return
	}
	word := wordOf(err)
	log.Info().Err(err).Str("why", string(word)).Msg("request refused")
	if err := req.Error(string(word), word.Error(), nil); err != nil {
		log.Warn().Err(err).Msg("request not answered")
	}
}
