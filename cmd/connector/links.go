package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/smartconnect/connector/internal/acting"
	"github.com/smartconnect/connector/internal/members"
	"github.com/smartconnect/connector/internal/reconnect"
	"github.com/smartconnect/connector/internal/topology"
)

// linkFlags say whether links are made, and how. docs/links.md says when not to.
type linkFlags struct {
	Links        bool          `name:"links" help:"Make and serve signed links that work once. Whoever holds one may act on its prompt."`
	LinksBaseURL string        `name:"links-base-url" help:"Where members reach /go/ of this connector; https." placeholder:"URL"`
	LinksMaxTTL  time.Duration `name:"links-max-ttl" help:"The longest a link may live; at most a week." default:"24h" placeholder:"DURATION"`
	LinksConfirm bool          `name:"links-confirm" help:"Ask for a tap before the redirect to a provider too, for mail that is scanned by browsers."`
}

// open returns the links, or nil if there are none.
func (f linkFlags) open(ctx context.Context, js jetstream.JetStream, keys members.Keys, prompts acting.Prompts, ledger reconnect.Ledger, now func() time.Time) (*acting.Links, error) {
	if !f.Links {
		return nil, nil //nolint:nilnil // off is no error
	}
	if f.LinksBaseURL == "" {
		return nil, errors.New("--links: say by --links-base-url where members reach it")
	}
	used, err := js.KeyValue(ctx, topology.Links)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", topology.Links, err)
	}
	return acting.NewLinks(acting.LinkConfig{
		BaseURL: f.LinksBaseURL, MaxTTL: f.LinksMaxTTL, Confirm: f.LinksConfirm, Signer: keys, Used: used, Prompts: prompts, Ledger: ledger, Now: now,
	})
}
