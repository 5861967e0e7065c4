package acting

import (
	"encoding/base64"
	"encoding/binary"
	"time"
)

// A Signer signs links and knows its own signatures again.
type Signer interface {
	SignLink(message []byte) (keyID string, mac []byte)
	VerifyLink(keyID string, message, mac []byte) bool
}

// A link is what its token says: which prompt, until when, and a number used
// once. It names nobody.
type link struct {
	prompt  string
	expires time.Time // whole seconds
	nonce   [nonceSize]byte
}

const (
	tokenVersion = 1
	nonceSize    = 12
	macSize      = 16
	maxToken     = 512 // characters; a longer one is none of ours
)

// The token is base64url of
//
//	version (1) · length of the key id (1) · key id · expiry, Unix seconds (8) · nonce (12) · prompt id · MAC of all that (16)
func (l link) token(s Signer) string {
	keyID, _ := s.SignLink(nil)
	message := []byte{tokenVersion, byte(len(keyID))}
	message = append(message, keyID...)
	message = binary.BigEndian.AppendUint64(message, uint64(l.expires.Unix()))
	message = append(message, l.nonce[:]...)
	message = append(message, l.prompt...)
	_, mac := s.SignLink(message)
	return base64.RawURLEncoding.EncodeToString(append(message, mac...))
}

// readToken returns the link that a token says. It reports false for anything
// that s did not sign, or that differs from what it signed in any character.
func readToken(s Signer, token string) (link, bool) {
	if len(token) > maxToken {
		return link{}, false
	}
	body, err := base64.RawURLEncoding.DecodeString(token)
	// The decoder skips line breaks and forgives bits that carry nothing.
	if err != nil || base64.RawURLEncoding.EncodeToString(body) != token {
		return link{}, false
	}
	if len(body) < 2+macSize || body[0] != tokenVersion {
		return link{}, false
	}
	message, mac := body[:len(body)-macSize], body[len(body)-macSize:]
	rest := message[2:]
	if idLen := int(body[1]); idLen+8+nonceSize < len(rest) && s.VerifyLink(string(rest[:idLen]), message, mac) {
		rest = rest[idLen:]
		return link{
			expires: time.Unix(int64(binary.BigEndian.Uint64(rest)), 0).UTC(), //nolint:gosec // we signed it
			nonce:   [nonceSize]byte(rest[8 : 8+nonceSize]), prompt: string(rest[8+nonceSize:]),
		}, true
	}
	return link{}, false
}
