package events

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"strconv"
)

// Tokens stand for identities wherever identity may not go: subjects, headers,
// logs, traces. Each is the first 128 bits of an HMAC-SHA256 under the
// deployment's secret, in lower-case base32 (26 characters): safe in a NATS
// subject, stable, and meaningless without the secret.
type (
	// MemberToken stands for a member.
	MemberToken string
	// ConnectionToken stands for one member's one connection.
	ConnectionToken string
	// SourceToken stands for a data source, the same for all members.
	SourceToken string
	// RecommendationToken stands for one source recommended to one member.
	RecommendationToken string
)

// MinTokenSecret is the least number of bytes of a token secret.
const MinTokenSecret = 32

// A Tokenizer makes tokens. It is safe for concurrent use.
type Tokenizer struct{ secret []byte }

// NewTokenizer returns a Tokenizer under a secret of at least MinTokenSecret
// bytes. All processes of a deployment must share it: another secret is
// another world.
func NewTokenizer(secret []byte) (Tokenizer, error) {
	if len(secret) < MinTokenSecret {
		return Tokenizer{}, errors.New("events: the token secret is shorter than 32 bytes; make one with: connector keygen")
	}
	return Tokenizer{secret}, nil
}

// Member returns the token of a member.
func (t Tokenizer) Member(memberID string) MemberToken {
	return MemberToken(t.token("member", memberID))
}

// Connection returns the token of the n-th connection of a member to a source.
// b.well's connection id names the source and may stand twice in one answer,
// hence n: the lowest number the member's head does not use for that id yet.
func (t Tokenizer) Connection(memberID, connectionID string, n int) ConnectionToken {
	return ConnectionToken(t.token("connection", memberID, connectionID, string(binary.AppendUvarint(nil, uint64(n)))))
}

// Source returns the token of the source that a connection id names.
func (t Tokenizer) Source(connectionID string) SourceToken {
	return SourceToken(t.token("source", connectionID))
}

// Recommendation returns the token of a source recommended to a member.
func (t Tokenizer) Recommendation(memberID, alias string) RecommendationToken {
	return RecommendationToken(t.token("recommendation", memberID, alias))
}

// Deployment returns what names the secret and does not tell it: two processes
// of one deployment have the same.
func (t Tokenizer) Deployment() string { return t.token("deployment") }

// token hashes parts with their lengths, so that no two lists of parts give
// the same input.
func (t Tokenizer) token(parts ...string) string {
	mac := hmac.New(sha256.New, t.secret)
	for _, p := range parts {
		_, _ = mac.Write(binary.AppendUvarint(nil, uint64(len(p))))
		_, _ = mac.Write([]byte(p))
	}
	return base32lower(mac.Sum(nil)[:16])
}

// EpisodeID names one break of a connection: what events that belong to it have
// in common.
func EpisodeID(c ConnectionToken, episode int) string {
	return string(c) + "." + strconv.Itoa(episode)
}
