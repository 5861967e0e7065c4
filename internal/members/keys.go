// Package members keeps who is enrolled and the grants by which we may ask
// b.well about them, sealed. Read store.go, then grants.go.
package members

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/secret"
)

// ErrSealed reports a box that does not open: it was sealed under another key,
// for another member, or was changed. b.well refused nothing, so nobody is to be
// told to sign in: put the key back, or have the member enrolled again.
var ErrSealed = errors.New("members: the credentials do not open under this key file; put the sealing key back into it, or enrol the member again")

// Keys are the secrets of a deployment: the one tokens are made under, and
// those that seal credentials and, by a key derived from each, sign links. The
// first seals and signs; all of them open and verify, so that a key can be
// rotated. Keys print as nothing.
type Keys struct {
	tokens events.Tokenizer
	seals  []seal
}

type seal struct {
	id   string
	aead cipher.AEAD
	link []byte // signs links, and nothing else
}

// Format implements fmt.Formatter: keys are never printed.
func (Keys) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[keys]")) }

type keyFile struct {
	Version     int       `json:"version"`
	TokenSecret []byte    `json:"tokenSecret"` // 32 bytes
	Seal        []sealKey `json:"seal"`
}

type sealKey struct {
	ID  string `json:"id"`
	Key []byte `json:"key"` // 32 bytes, AES-256
}

func newKeyFile() keyFile {
	f := keyFile{Version: 1, TokenSecret: make([]byte, 32), Seal: []sealKey{{ID: "k1", Key: make([]byte, 32)}}}
	_, _ = rand.Read(f.TokenSecret) // never fails
	_, _ = rand.Read(f.Seal[0].Key)
	return f
}

// NewKeys returns keys that live as long as the process.
func NewKeys() (Keys, error) { return newKeyFile().keys() }

// GenerateKeys makes a key file that only its owner may read. It never
// overwrites one: with a lost key file all members must sign in again.
func GenerateKeys(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return errors.New("make key file: it exists, and is not overwritten; name another or move it away")
	}
	if err != nil {
		return fmt.Errorf("make key file: %w", err)
	}
	body, err := json.MarshalIndent(newKeyFile(), "", "  ")
	if err == nil {
		_, err = f.Write(append(body, '\n'))
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("make key file: %w", err)
	}
	return nil
}

// LoadKeys reads a key file. It refuses one that others may read.
func LoadKeys(path string) (Keys, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Keys{}, fmt.Errorf("read key file: %w; make one with: connector keygen", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return Keys{}, fmt.Errorf("read key file: others may read it (mode %04o); mend it with: chmod 600", info.Mode().Perm())
	}
	body, err := os.ReadFile(path)
	if err != nil {
		return Keys{}, fmt.Errorf("read key file: %w", err)
	}
	var f keyFile
	if json.Unmarshal(body, &f) != nil {
		return Keys{}, errors.New("read key file: it is no key file; make one with: connector keygen") // the cause may quote a key
	}
	return f.keys()
}

func (f keyFile) keys() (Keys, error) {
	if f.Version != 1 || len(f.Seal) == 0 {
		return Keys{}, errors.New("read key file: want version 1 and at least one sealing key")
	}
	tokens, err := events.NewTokenizer(f.TokenSecret)
	if err != nil {
		return Keys{}, fmt.Errorf("read key file: %w", err)
	}
	k := Keys{tokens: tokens}
	for i, s := range f.Seal {
		if slices.ContainsFunc(f.Seal[:i], func(other sealKey) bool { return other.ID == s.ID }) {
			return Keys{}, fmt.Errorf("read key file: sealing key %d: another has the same id; give it one of its own", i+1)
		}
		if len(s.Key) != 32 || s.ID == "" || len(s.ID) > maxKeyID {
			return Keys{}, fmt.Errorf("read key file: sealing key %d: want an id of at most %d characters and 32 bytes", i+1, maxKeyID)
		}
		block, err := aes.NewCipher(s.Key)
		if err != nil {
			return Keys{}, fmt.Errorf("read key file: sealing key %d: %w", i+1, err)
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return Keys{}, fmt.Errorf("read key file: sealing key %d: %w", i+1, err)
		}
		link, err := hkdf.Key(sha256.New, s.Key, nil, "smartconnect connector: links, version 1", sha256.Size)
		if err != nil {
			return Keys{}, fmt.Errorf("read key file: sealing key %d: %w", i+1, err)
		}
		k.seals = append(k.seals, seal{s.ID, aead, link})
	}
	return k, nil
}

// maxKeyID keeps links short: each names the key it was signed under.
const maxKeyID = 64

// SignLink signs what a link says. It returns the id of the key, which must
// travel with the link, and 128 bits that nobody without the key can make.
func (k Keys) SignLink(message []byte) (keyID string, mac []byte) {
	return k.seals[0].id, k.seals[0].sign(message)
}

// VerifyLink reports whether SignLink, under these keys, made mac of message.
func (k Keys) VerifyLink(keyID string, message, mac []byte) bool {
	for _, s := range k.seals {
		if s.id == keyID {
			return hmac.Equal(mac, s.sign(message))
		}
	}
	return false
}

func (s seal) sign(message []byte) []byte {
	m := hmac.New(sha256.New, s.link)
	_, _ = m.Write(message)
	return m.Sum(nil)[:16]
}

// Tokenizer returns what makes tokens under these keys.
func (k Keys) Tokenizer() events.Tokenizer { return k.tokens }

// A box is sealed credentials. The member's token is what they are sealed for:
// a box moved to another member does not open.
type box struct {
	KeyID  string `json:"keyId"`
	Sealed []byte `json:"sealed"`
}

func (b box) empty() bool { return len(b.Sealed) == 0 }

// credentials are what a member's record holds sealed: a refresh token, or an
// id token that waits to be exchanged. given is the digest of the refresh token
// that an enrolment brought and this one came of.
type credentials struct {
	refresh, id secret.Value
	given       string
}

type plainCredentials struct {
	Refresh string `json:"refresh,omitempty"`
	ID      string `json:"id,omitempty"`
	Given   string `json:"given,omitempty"`
}

func digest(v secret.Value) string {
	if v.IsZero() {
		return ""
	}
	sum := sha256.Sum256([]byte(v.Reveal()))
	return hex.EncodeToString(sum[:])
}

func (k Keys) seal(m events.MemberToken, c credentials) (box, error) {
	body, err := json.Marshal(plainCredentials{c.refresh.Reveal(), c.id.Reveal(), c.given})
	if err != nil {
		return box{}, errors.New("seal credentials")
	}
	s := k.seals[0]
	return box{s.id, s.aead.Seal(nil, nil, body, []byte(m))}, nil
}

func (k Keys) open(m events.MemberToken, b box) (credentials, error) {
	for _, s := range k.seals {
		if s.id != b.KeyID {
			continue
		}
		body, err := s.aead.Open(nil, nil, b.Sealed, []byte(m))
		var p plainCredentials
		if err != nil || json.Unmarshal(body, &p) != nil {
			return credentials{}, ErrSealed
		}
		return credentials{secret.New(p.Refresh), secret.New(p.ID), p.Given}, nil
	}
	return credentials{}, ErrSealed
}
