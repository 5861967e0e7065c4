package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"github.com/rs/zerolog"

	"github.com/smartconnect/connector/internal/acting"
	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/members"
	"github.com/smartconnect/connector/internal/reconnect"
	"github.com/smartconnect/connector/internal/secret"
)

// servicePrefix begins the subjects of the micro service. It lies outside the
// stream: requests may carry credentials and are never stored.
const servicePrefix = "sc.svc.v1"

// serveMicro answers the micro service's requests until stop is called, which
// returns when those in hand are answered.
func serveMicro(ctx context.Context, nc *nats.Conn, acts *reconnect.Actions, links *acting.Links, grants *members.Grants, ask polls) (stop func(), err error) {
	s, err := micro.AddService(nc, micro.Config{
		Name: "smartconnect-connector", Version: "1.0.0",
		Description: "start prompts, make links to them, enrol members, poll a member now",
	})
	if err != nil {
		return nil, fmt.Errorf("micro service: %w", err)
	}
	work := context.WithoutCancel(ctx) // a stop must not abort what a member has tapped
	inHand := newRequests(256)
	for name, handle := range map[string]func(context.Context, micro.Request){
		"prompt.start":   acts.Handle,
		"prompt.ack":     acts.HandleAck,
		"prompt.release": acts.HandleRelease,
		"prompt.link": func(ctx context.Context, r micro.Request) {
			if links == nil {
				reconnect.Answer(ctx, r, nil, reconnect.NotSupported)
				return
			}
			links.Handle(ctx, r)
		},
		"member.enrol": func(ctx context.Context, r micro.Request) { enrolRequest(ctx, r, grants) },
		"member.poll":  func(ctx context.Context, r micro.Request) { pollRequest(ctx, r, ask) },
	} {
		// Handlers of a subscription run one after the other; a slow b.well must
		// not hold the next member up.
		h := micro.HandlerFunc(func(r micro.Request) {
			inHand.do(func() {
				ctx, cancel := context.WithTimeout(work, time.Minute)
				defer cancel()
				handle(ctx, request{r, nc})
			})
		})
		if err := s.AddEndpoint(endpointName(name), h, micro.WithEndpointSubject(servicePrefix+"."+name)); err != nil {
			return nil, errors.Join(fmt.Errorf("micro service: %s: %w", name, err), s.Stop())
		}
	}
	return func() {
		if err := s.Stop(); err != nil {
			zerolog.Ctx(ctx).Warn().Err(err).Msg("micro service not stopped in order")
		}
		inHand.finish()
	}, nil
}

// A request is answered after its handler has returned. The micro package looks
// into its own requests then, without a lock, for what came of the answer: so
// the answer does not go through it.
type request struct {
	micro.Request
	nc *nats.Conn
}

// Respond implements micro.Request.
func (r request) Respond(body []byte, options ...micro.RespondOpt) error {
	m := &nats.Msg{Subject: r.Reply(), Data: body}
	for _, o := range options {
		o(m)
	}
	return r.nc.PublishMsg(m)
}

// RespondJSON implements micro.Request.
func (r request) RespondJSON(body any, options ...micro.RespondOpt) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return r.Respond(text, options...)
}

// Error implements micro.Request.
func (r request) Error(code, description string, body []byte, options ...micro.RespondOpt) error {
	refusal := micro.WithHeaders(micro.Headers{micro.ErrorCodeHeader: {code}, micro.ErrorHeader: {description}})
	return r.Respond(body, append([]micro.RespondOpt{refusal}, options...)...)
}

// requests are what is in hand, up to a limit.
type requests struct {
	slots    chan struct{}
	finished chan struct{}
}

func newRequests(most int) requests {
	return requests{make(chan struct{}, most), make(chan struct{})}
}

// do runs f by itself, as soon as there is room. What comes after finish is not
// done.
func (r requests) do(f func()) {
	select {
	case r.slots <- struct{}{}:
	case <-r.finished:
		return
	}
	go func() {
		defer func() { <-r.slots }()
		f()
	}()
}

// finish returns when nothing is in hand and nothing more will be.
func (r requests) finish() {
	for range cap(r.slots) {
		r.slots <- struct{}{}
	}
	close(r.finished)
}

func endpointName(name string) string {
	body := []byte(name)
	for i, c := range body {
		if c == '.' {
			body[i] = '-'
		}
	}
	return string(body)
}

// enrolment is a member as commands and requests give one.
type enrolment struct {
	ID           string `json:"id"`
	IDToken      string `json:"idToken,omitempty"`
	RefreshToken string `json:"refreshToken,omitempty"`
}

func (e enrolment) given() members.Enrolment {
	return members.Enrolment{ID: e.ID, IDToken: secret.New(e.IDToken), RefreshToken: secret.New(e.RefreshToken)}
}

// enrolled is the answer to an enrolment.
type enrolled struct {
	Member      events.MemberToken `json:"member"`
	Created     bool               `json:"created"`
	Credentials bool               `json:"credentials"`
}

func enrolRequest(ctx context.Context, r micro.Request, grants *members.Grants) {
	e, err := readEnrolment(r.Data())
	if err != nil {
		reconnect.Answer(ctx, r, nil, reconnect.BadRequest)
		return
	}
	record, created, err := grants.Enrol(ctx, e.given())
	switch {
	case errors.Is(err, members.ErrIdentityMismatch):
		err = fmt.Errorf("%w: %w", reconnect.IdentityMismatch, err)
	case errors.Is(err, members.ErrID), errors.Is(err, members.ErrReauthenticate):
		err = fmt.Errorf("%w: %w", reconnect.BadRequest, err)
	}
	reconnect.Answer(ctx, r, enrolled{record.Token, created, record.HasCredentials()}, err)
}

func pollRequest(ctx context.Context, r micro.Request, ask polls) {
	var q struct {
		MemberID string `json:"memberId"`
	}
	if err := json.Unmarshal(r.Data(), &q); err != nil || q.MemberID == "" {
		reconnect.Answer(ctx, r, nil, reconnect.BadRequest)
		return
	}
	reconnect.Answer(ctx, r, map[string]bool{"asked": true}, ask.now(ctx, q.MemberID))
}

// polls asks for looks at members by their ids.
type polls struct {
	store  *members.Store
	tokens events.Tokenizer
	looks  looks
}

// now has a member polled at once.
func (p polls) now(ctx context.Context, memberID string) error {
	m := p.tokens.Member(memberID)
	if _, err := p.store.Get(ctx, m); errors.Is(err, members.ErrNotEnrolled) {
		return fmt.Errorf("%w: %w", reconnect.NotFound, err)
	} else if err != nil {
		return err
	}
	return p.looks.ask(ctx, lookRequest{Member: m})
}
