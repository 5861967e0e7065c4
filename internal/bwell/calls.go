package bwell

import (
	"context"
	"net/url"
	"slices"

	"github.com/smartconnect/connector/internal/secret"
)

// DeletedConnections asks for the connections whose data is deleted, which other
// lists may leave out (b.well's pages disagree). The error is that of the list.
func (c *Client) DeletedConnections(ctx context.Context, access secret.Value) (List[Connection], error) {
	f := feed[Connection]{
		op: "deleted connections", document: docConnections, root: rootConnections, row: connection,
		variables: variables{Sync: []string{"DATA_DELETED"}},
	}
	l, err := readAll(ctx, c, access, f)
	// A filter that is not heeded must not make a live connection a deleted one.
	l.Items = slices.DeleteFunc(l.Items, func(c Connection) bool { return c.SyncStatus.Value != "DATA_DELETED" })
	return l, err
}

// Recommendations asks for the sources that b.well recommends the member to
// connect, each once. They are read at another time than the connections: one
// may be connected already. The error is that of the list.
func (c *Client) Recommendations(ctx context.Context, access secret.Value) (List[Recommendation], error) {
	teams, err := readAll(ctx, c, access, feed[team]{
		op: "recommendations", document: docRecommendations, root: rootCareTeams, row: careTeam,
		variables: variables{Cat: byCode(codeRecommended)}, id: func(t team) string { return t.id },
	})
	l := List[Recommendation]{Whole: teams.Whole, Err: teams.Err, Skipped: teams.Skipped, Unknown: teams.Unknown}
	seen := make(map[string]bool)
	for _, t := range teams.Items {
		for _, r := range t.sources {
			if !seen[r.Alias] {
				seen[r.Alias] = true
				l.Items = append(l.Items, r)
			}
		}
	}
	return l, err
}

func readAll[T any](ctx context.Context, c *Client, access secret.Value, f feed[T]) (List[T], error) {
	if err := presentable(f.op, access); err != nil {
		return List[T]{Err: err}, err
	}
	l := f.read(ctx, c, access, c.config.Tries, 0, List[T]{})
	return l, l.Err
}

// OAuthURL mints the address at which the member, and nobody else, connects the
// source: a connection id or a recommendation's alias, of type PROA or
// INDIRECT_IAS. It may carry tokens and is good for an unknown time: mint it when
// it is needed, and keep it nowhere (b.well docs, oauth-connection-flow).
func (c *Client) OAuthURL(ctx context.Context, access secret.Value, connectionID string) (secret.Value, error) {
	const op, root = "oauth url", "getOauthUrl"
	if err := presentable(op, access); err != nil {
		return secret.Value{}, err
	}
	r := c.request(op, docOAuthURL, access, variables{ID: connectionID})
	text, a, err := ask(ctx, c, r, c.config.Tries, func(d *decoder, name []byte, into *string) {
		if string(name) != root {
			return
		}
		for name := range d.fields() {
			if string(name) == "redirectUrl" {
				*into = d.label("")
			}
		}
	})
	if err != nil {
		return secret.Value{}, err
	}
	if err := a.all(r); err != nil {
		return secret.Value{}, err
	}
	// The member's browser goes there: no other scheme, and nothing in the clear.
	if u, err := url.Parse(text); err != nil || u.Host == "" || !travelsSafely(u) {
		return secret.Value{}, a.incomplete(r, root, "no_url")
	}
	return secret.New(text), nil
}

// ActivateDirect gives b.well access again to a DIRECT_IAS connection that was
// disconnected. b.well's pages disagree whether it may be EXPIRED, and refuse a
// deleted one and a member without consent; how they refuse is written nowhere:
// expect class [Invalid] or [Transient] and look at the connection.
//
// It is the one mutation of this package and is sent once. After an error that
// is not of class [Auth], [Forbidden] or [Invalid] it may have happened.
func (c *Client) ActivateDirect(ctx context.Context, access secret.Value, connectionID string) (Activation, error) {
	const op, root = "activate", "activateDirectConnection"
	if err := presentable(op, access); err != nil {
		return Activation{}, err
	}
	r := c.request(op, docActivate, access, variables{ID: connectionID})
	r.once = true
	type result struct {
		Activation

		there bool
	}
	got, a, err := ask(ctx, c, r, 1, func(d *decoder, name []byte, into *result) {
		if string(name) != root {
			return
		}
		into.there = d.kind() == '{'
		for name := range d.fields() {
			switch string(name) {
			case "status":
				into.Status = d.word(statuses, "")
			case "statusUpdated":
				into.StatusUpdated = d.time("")
			}
		}
	})
	if err != nil {
		return Activation{}, err
	}
	if err := a.all(r); err != nil {
		return Activation{}, err
	}
	if !got.there {
		return Activation{}, a.incomplete(r, root, "missing")
	}
	return got.Activation, nil
}

// Verification asks how far the member's identity is proven.
func (c *Client) Verification(ctx context.Context, access secret.Value) (Verification, error) {
	const op, root = "verification", "verificationStatus"
	if err := presentable(op, access); err != nil {
		return Verification{}, err
	}
	r := c.request(op, docVerification, access, variables{})
	got, a, err := ask(ctx, c, r, c.config.Tries, func(d *decoder, name []byte, into *Verification) {
		if string(name) != root {
			return
		}
		for name := range d.fields() {
			switch string(name) {
			case "status":
				into.Status = d.word(verifications, "")
			case "errorCode":
				into.ErrorCode, _ = d.codeWord()
			}
		}
	})
	if err != nil {
		return Verification{}, err
	}
	if err := a.all(r); err != nil {
		return Verification{}, err
	}
	return got, nil
}
