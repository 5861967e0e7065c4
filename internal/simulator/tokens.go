package simulator

import (
	"crypto/rand"
	"errors"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// A grant is a refresh token. A refresh rotates it; the previous one stays valid
// until the new one is first used, so that a lost answer costs nobody a login.
type grant struct {
	member   string
	previous string // ended by the first use of this one
	next     string // what a refresh gave
}

// grant makes a refresh token for a member. The caller holds the lock.
func (s *Simulator) grant(memberID string) string {
	text := "rt-" + rand.Text()
	s.grants[text] = &grant{member: memberID}
	return text
}

// jwt signs a token with the claims that b.well's have. generation is ours: a
// member's tokens of an earlier one are over, whatever their exp says.
func (s *Simulator) jwt(m *member, life time.Duration, use string) string {
	now := s.now()
	all := jwt.MapClaims{
		"exp": now.Add(life).Unix(), "iat": now.Unix(), "jti": rand.Text(), "use": use, "generation": m.generation, "scope": "patient/*.read",
	}
	if use != guest {
		all["clientFhirPersonId"], all["bwellFhirPersonId"] = m.id, "bwell-"+m.id
		all["custom:clientFhirPersonId"], all["custom:bwellFhirPatientId"] = m.id, "patient-"+m.id // where id tokens have them
	}
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, all).SignedString(s.secret)
	if err != nil {
		panic("simulator: sign a token: " + err.Error()) // the key is a constant of the right kind
	}
	return text
}

// A tokenFault is why a token is refused, in the words of b.well's FHIR server.
type tokenFault string

// Error implements error.
func (f tokenFault) Error() string { return string(f) }

const (
	errExpired   tokenFault = "Token Expired"
	errMalformed tokenFault = "Malformed Token"
	errToken     tokenFault = "Invalid signature"
	errNone      tokenFault = "No token available"
	errGuest     tokenFault = "Forbidden" // a good token of somebody who has no records
)

// guest is the use of a token that says nobody's name.
const guest = "guest"

// whose returns the member a token was issued to. The caller holds the lock.
func (s *Simulator) whose(text, use string) (*member, error) {
	if text == "" {
		return nil, errNone
	}
	claims := jwt.MapClaims{}
	_, err := jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithTimeFunc(s.now)).
		ParseWithClaims(text, claims, func(*jwt.Token) (any, error) { return s.secret, nil })
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return nil, errExpired
	case errors.Is(err, jwt.ErrTokenMalformed):
		return nil, errMalformed
	case err == nil && claims["use"] == guest:
		return nil, errGuest
	case err != nil || claims["use"] != use:
		return nil, errToken
	}
	id, _ := claims["clientFhirPersonId"].(string)
	m := s.members[id]
	generation, _ := claims["generation"].(float64)
	switch {
	case m == nil:
		return nil, errToken
	case use == "access" && int(generation) != m.generation:
		return nil, errExpired
	}
	return m, nil
}

// named returns the member that one of our tokens names, good or not, else
// nothing.
func (s *Simulator) named(text string) string {
	claims := jwt.MapClaims{}
	_, err := jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithoutClaimsValidation()).
		ParseWithClaims(text, claims, func(*jwt.Token) (any, error) { return s.secret, nil })
	if id, _ := claims["clientFhirPersonId"].(string); err == nil && s.members[id] != nil {
		return id
	}
	return ""
}

type tokens struct{ access, id, refresh string }

func (s *Simulator) issue(m *member, refresh string) tokens {
	return tokens{s.jwt(m, s.life, "access"), s.jwt(m, s.life, "id"), refresh}
}

// rotate redeems a refresh token. The caller holds the lock.
func (s *Simulator) rotate(text string) (tokens, bool) {
	g := s.grants[text]
	if g == nil || s.members[g.member] == nil {
		return tokens{}, false
	}
	if g.previous != "" {
		delete(s.grants, g.previous)
		g.previous = ""
	}
	if g.next == "" || s.grants[g.next] == nil {
		g.next = s.grant(g.member)
		s.grants[g.next].previous = text
	}
	m := s.members[g.member]
	if m.refresh == text {
		m.refresh = g.next
	}
	return s.issue(m, g.next), true
}
