package bwell

import (
	"context"
	"errors"

	"github.com/smartconnect/connector/internal/secret"
)

var errSoon = errors.New("bwell: not yet written")

func (c *Client) prepare() {}

func (c *Client) Observe(ctx context.Context, access secret.Value, want Want) (Observation, error) {
	return Observation{}, errSoon
}
func (c *Client) DeletedConnections(ctx context.Context, access secret.Value) (List[Connection], error) {
	return List[Connection]{}, errSoon
}
func (c *Client) Recommendations(ctx context.Context, access secret.Value) (List[Recommendation], error) {
	return List[Recommendation]{}, errSoon
}
func (c *Client) OAuthURL(ctx context.Context, access secret.Value, connectionID string) (secret.Value, error) {
	return secret.Value{}, errSoon
}
func (c *Client) ActivateDirect(ctx context.Context, access secret.Value, connectionID string) (Activation, error) {
	return Activation{}, errSoon
}
func (c *Client) Verification(ctx context.Context, access secret.Value) (Verification, error) {
	return Verification{}, errSoon
}
func (c *Client) Refresh(ctx context.Context, refresh secret.Value) (Grant, error) {
	return Grant{}, errSoon
}
func (c *Client) Exchange(ctx context.Context, idToken secret.Value) (Grant, error) {
	return Grant{}, errSoon
}

// Fingerprint hashes the meaning of the answer.
func (o Observation) Fingerprint() [16]byte { return [16]byte{} }
