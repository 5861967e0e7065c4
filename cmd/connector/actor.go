package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/smartconnect/connector/internal/bwell"
	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/judge"
	"github.com/smartconnect/connector/internal/members"
	"github.com/smartconnect/connector/internal/poller"
	"github.com/smartconnect/connector/internal/reconnect"
	"github.com/smartconnect/connector/internal/secret"
)

// registry is the members store as the poller sees it.
type registry struct {
	store  *members.Store
	grants *members.Grants
}

// Watch implements poller.Registry.
func (r registry) Watch(ctx context.Context, changed func(events.MemberToken, bool)) error {
	return r.store.Watch(ctx, changed)
}

// Identity implements poller.Registry.
func (r registry) Identity(ctx context.Context, m events.MemberToken) (memberID, incarnation string, err error) {
	record, err := r.store.Get(ctx, m)
	return record.MemberID, record.Incarnation, err
}

// Tokens implements poller.Registry.
func (r registry) Tokens(m events.MemberToken) bwell.Tokens { return r.grants.For(m) }

// actor is b.well as the actions see it.
type actor struct {
	client *bwell.Client
	grants *members.Grants
	looks  looks
}

// Connection implements reconnect.Actor.
func (a actor) Connection(ctx context.Context, m events.MemberToken, connectionID string, t events.IntegrationType) (reconnect.Reading, error) {
	seen, err := bwell.Do(ctx, a.grants.For(m), func(ctx context.Context, access secret.Value) (bwell.Observation, error) {
		return a.client.Observe(ctx, access, bwell.Want{NoTasks: true})
	})
	if err != nil {
		return reconnect.Reading{}, err
	}
	if !seen.Connections.Whole {
		return reconnect.Reading{}, fmt.Errorf("read the connection again: %w", seen.Connections.Err)
	}
	var now reconnect.Reading
	now.State, now.Found = poller.Find(seen.Connections.Items, connectionID, t)
	if seen.Consents.Whole {
		now.Consent = poller.Consent(seen.Consents.Items)
	}
	return now, nil
}

// OAuthURL implements reconnect.Actor.
func (a actor) OAuthURL(ctx context.Context, m events.MemberToken, connectionID string) (secret.Value, error) {
	url, err := bwell.Do(ctx, a.grants.For(m), func(ctx context.Context, access secret.Value) (secret.Value, error) {
		return a.client.OAuthURL(ctx, access, connectionID)
	})
	return url, refused(err)
}

// ActivateDirect implements reconnect.Actor.
func (a actor) ActivateDirect(ctx context.Context, m events.MemberToken, connectionID string) (events.Status, error) {
	done, err := bwell.Do(ctx, a.grants.For(m), func(ctx context.Context, access secret.Value) (bwell.Activation, error) {
		return a.client.ActivateDirect(ctx, access, connectionID)
	})
	return events.Status(done.Status.Value), refused(err)
}

// Verified implements reconnect.Actor.
func (a actor) Verified(ctx context.Context, m events.MemberToken) (bool, error) {
	v, err := bwell.Do(ctx, a.grants.For(m), a.client.Verification)
	return v.Status.Value == "validated", err
}

// Look implements reconnect.Actor.
func (a actor) Look(ctx context.Context, m events.MemberToken, c events.ConnectionToken, acted events.Status) error {
	return a.looks.ask(ctx, lookRequest{Member: m, Connection: c, Acted: acted})
}

// heldBy says in the decider's words what is judged.
func heldBy(v *judge.View) func(*events.Member, time.Time) reconnect.Held {
	return func(m *events.Member, now time.Time) reconnect.Held { return held(v.Of(m, now)) }
}

func held(h judge.Holds) reconnect.Held {
	return reconnect.Held{Blind: h.Blind, Storm: h.Storm, Silenced: h.Silenced, Degraded: h.Degraded, Muted: h.Muted, Told: h.Told}
}

// refused marks what b.well understood and does not do. That it lets nobody in
// at present (403) says nothing about what was asked.
func refused(err error) error {
	if err == nil {
		return nil
	}
	if bwell.ClassOf(err) == bwell.Invalid {
		return errors.Join(reconnect.ErrRefused, err)
	}
	return err
}

// looks carries requests to look at a member to the replica that polls it. All
// replicas hear a request; the one that holds the member's shard answers.
type looks struct {
	nc      *nats.Conn
	subject string
}

type lookRequest struct {
	Member     events.MemberToken     `json:"member"`
	Connection events.ConnectionToken `json:"connection,omitempty"`
	Acted      events.Status          `json:"acted,omitempty"`
}

var errNobodyPolls = errors.New("no replica polls this member right now; it is polled in its turn")

func (l looks) ask(ctx context.Context, r lookRequest) error {
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if _, err := l.nc.RequestWithContext(ctx, l.subject, body); err != nil {
		return errors.Join(errNobodyPolls, err)
	}
	return nil
}

// serve passes requests to p until the subscription ends.
func (l looks) serve(ctx context.Context, p *poller.Poller) (*nats.Subscription, error) {
	log := zerolog.Ctx(ctx)
	sub, err := l.nc.Subscribe(l.subject, func(m *nats.Msg) {
		var r lookRequest
		if err := json.Unmarshal(m.Data, &r); err != nil {
			log.Warn().Msg("a request to look that is no JSON")
			return
		}
		if r.Acted != "" {
			p.Acted(r.Member, r.Connection, r.Acted)
		}
		if p.Look(r.Member) {
			if err := m.Respond([]byte("{}")); err != nil {
				log.Warn().Err(err).Msg("request to look not answered")
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("listen for requests to look: %w", err)
	}
	return sub, nil
}
