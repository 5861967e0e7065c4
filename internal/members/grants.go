package members

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/smartconnect/connector/internal/bwell"
	"github.com/smartconnect/connector/internal/conflict"
	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/secret"
)

// ErrReauthenticate reports that b.well refuses the member's grant. Stop asking
// for this member until they sign in again.
var ErrReauthenticate = errors.New("members: b.well refuses the grant; the member must sign in again")

// ErrIdentityMismatch reports a grant of another person than the one the member
// was pinned to. Stop asking for this member.
var ErrIdentityMismatch = errors.New("members: the grant is another person's")

// Upstream redeems grants at b.well. An error of class bwell.Auth is a
// refusal; after any other the grant is kept and tried again.
type Upstream interface {
	Refresh(ctx context.Context, refresh secret.Value) (bwell.Grant, error)
	Exchange(ctx context.Context, idToken secret.Value) (bwell.Grant, error)
}

// Grants gives access tokens. It keeps them in memory only, renews early, and
// stores a rotated refresh token before anybody uses what came with it. It is
// safe for concurrent use.
type Grants struct {
	store    *Store
	claims   jetstream.KeyValue
	upstream Upstream

	mu      sync.Mutex
	holders map[events.MemberToken]*holder
	sealed  map[string]bool // ids of keys that are known to be missing
}

// holder is one member's access token. Its lock is held while renewing, so that
// one process redeems a grant once.
type holder struct {
	mu      sync.Mutex
	access  secret.Value
	renew   time.Time // from then on another is fetched
	unsaved *Record   // with a rotated token that could not be stored; nil: none
}

const (
	early      = 5 * time.Minute  // before its end a token is renewed
	claimFor   = 15 * time.Second // how long one replica may take to redeem
	claimRetry = 200 * time.Millisecond
)

// NewGrants returns the grants of the members in store. claims is a bucket in
// which replicas tell each other who is redeeming.
func NewGrants(store *Store, claims jetstream.KeyValue, upstream Upstream) *Grants {
	return &Grants{store: store, claims: claims, upstream: upstream, holders: map[events.MemberToken]*holder{}, sealed: map[string]bool{}}
}

// For returns the tokens of one member.
func (g *Grants) For(m events.MemberToken) bwell.Tokens {
	g.mu.Lock()
	defer g.mu.Unlock()
	h := g.holders[m]
	if h == nil {
		h = &holder{}
		g.holders[m] = h
	}
	return memberTokens{g, m, h}
}

type memberTokens struct {
	g *Grants
	m events.MemberToken
	h *holder
}

// Access implements bwell.Tokens.
func (t memberTokens) Access(ctx context.Context) (secret.Value, error) {
	t.h.mu.Lock()
	defer t.h.mu.Unlock()
	if !t.h.access.IsZero() && time.Now().Before(t.h.renew) {
		return t.h.access, nil
	}
	return t.redeem(ctx)
}

// Renew implements bwell.Tokens.
func (t memberTokens) Renew(ctx context.Context, refused secret.Value) (secret.Value, error) {
	t.h.mu.Lock()
	defer t.h.mu.Unlock()
	if !t.h.access.IsZero() && t.h.access != refused {
		return t.h.access, nil // somebody else has renewed it meanwhile
	}
	t.h.access = secret.Value{}
	return t.redeem(ctx)
}

// redeem claims the member, since two replicas may want the grant at once, and
// redeems it. The caller holds the holder's lock.
func (t memberTokens) redeem(ctx context.Context) (secret.Value, error) {
	release, err := t.claim(ctx)
	if err != nil {
		return secret.Value{}, err
	}
	defer release()
	record, err := t.read(ctx)
	if err != nil {
		return secret.Value{}, err
	}
	for range attempts {
		next := record
		grant, err := t.ask(ctx, record)
		if err == nil {
			err = next.pin(grant)
		}
		if err == nil {
			return t.keep(ctx, record, next, grant)
		}
		if errors.Is(err, ErrSealed) {
			t.g.missing(ctx, record.Box.KeyID)
		}
		refusal := refused(err)
		if refusal == nil {
			return secret.Value{}, fmt.Errorf("grant of %s: %w", t.m, err)
		}
		// Another may have rotated it since: its record is newer then.
		again, readErr := t.g.store.Get(ctx, t.m)
		if readErr != nil {
			return secret.Value{}, readErr
		}
		if again.revision == record.revision {
			if record.Before.empty() {
				return secret.Value{}, fmt.Errorf("grant of %s: %w", t.m, refusal)
			}
			if again, err = t.fallBack(ctx, record, refusal); err != nil {
				return secret.Value{}, err
			}
		}
		record = again
	}
	return secret.Value{}, fmt.Errorf("grant of %s: %w", t.m, errOvertaken)
}

// refused returns what err says of credentials, nil if they may be good.
func refused(err error) error {
	switch {
	case errors.Is(err, ErrIdentityMismatch):
		return ErrIdentityMismatch
	case bwell.ClassOf(err) == bwell.Auth, errors.Is(err, ErrReauthenticate):
		return ErrReauthenticate
	default:
		return nil
	}
}

// fallBack gives up what the last enrolment brought for the grant there was
// before, and returns the record as it is then.
func (t memberTokens) fallBack(ctx context.Context, r Record, refusal error) (Record, error) {
	r.Box, r.Before = r.Before, box{}
	switch err := t.g.store.put(ctx, &r); {
	case err == nil:
		zerolog.Ctx(ctx).Warn().Err(refusal).Str("member", string(t.m)).Msg("what the last enrolment brought is refused, the grant from before it is used")
	case !errors.Is(err, errOvertaken): // or another was first, with more to say
		return Record{}, fmt.Errorf("grant of %s: %w", t.m, err)
	}
	return t.g.store.Get(ctx, t.m)
}

// Enrol is [Store.Enrol], and has b.well say at once whether it takes what is
// given. It returns ErrReauthenticate if not, and ErrIdentityMismatch if that is
// another person's; then nothing is changed. If b.well cannot be asked, it is
// asked at the next poll.
func (g *Grants) Enrol(ctx context.Context, e Enrolment) (Record, bool, error) {
	c := credentials{refresh: e.RefreshToken, id: e.IDToken}
	if !possible(e.ID) || c == (credentials{}) {
		return g.store.Enrol(ctx, e)
	}
	m := g.store.keys.Tokenizer().Member(e.ID)
	// Who did not wait for the answer may ask again.
	release, err := memberTokens{g: g, m: m}.claim(ctx)
	if err != nil {
		return Record{}, false, err
	}
	defer release()
	r, err := g.store.Get(ctx, m)
	if err != nil && !errors.Is(err, ErrNotEnrolled) {
		return Record{}, false, err
	}
	if g.store.has(r, e) {
		return g.store.Enrol(ctx, e)
	}
	asking, cancel := context.WithTimeout(ctx, claimFor)
	defer cancel()
	grant, err := g.redeem(asking, c)
	switch refusal := refused(err); {
	case refusal != nil:
		return Record{}, false, fmt.Errorf("enrol %s: %w", m, refusal)
	case err != nil:
		return g.store.Enrol(ctx, e)
	default:
		return g.store.enrol(ctx, e, &grant)
	}
}

// read returns the member's record. A token that could not be stored when it
// came is stored first, since b.well may have ended the one that is; whoever
// wrote meanwhile knows better.
func (t memberTokens) read(ctx context.Context) (Record, error) {
	stored, err := t.g.store.Get(ctx, t.m)
	late := t.h.unsaved
	if err != nil || late == nil {
		return stored, err
	}
	if late.revision == stored.revision {
		if err := t.store(ctx, late); err != nil {
			return Record{}, err
		}
	}
	t.h.unsaved = nil
	return t.g.store.Get(ctx, t.m)
}

// store writes a record with what a grant brought. What cannot be stored is kept
// for the next try, and nothing that came with it may be used.
func (t memberTokens) store(ctx context.Context, r *Record) error {
	err := t.g.store.put(ctx, r)
	if err == nil || errors.Is(err, errOvertaken) {
		// Overtaken: the member signed in again meanwhile. That grant is kept;
		// this access token is good all the same.
		return nil
	}
	t.h.unsaved = r
	return fmt.Errorf("grant of %s: not used, since what came with it is not stored; that is tried again: %w", t.m, err)
}

func (t memberTokens) ask(ctx context.Context, r Record) (bwell.Grant, error) {
	if !r.HasCredentials() {
		return bwell.Grant{}, ErrReauthenticate // enrolled without credentials
	}
	c, err := t.g.store.keys.open(t.m, r.Box)
	if err != nil {
		return bwell.Grant{}, err
	}
	return t.g.redeem(ctx, c)
}

func (g *Grants) redeem(ctx context.Context, c credentials) (bwell.Grant, error) {
	switch {
	case !c.refresh.IsZero():
		return g.upstream.Refresh(ctx, c.refresh)
	case !c.id.IsZero():
		return g.upstream.Exchange(ctx, c.id)
	default:
		return bwell.Grant{}, ErrReauthenticate
	}
}

// missing says, once for each key, that credentials do not open: that is for
// operators to mend, and would be said for every member.
func (g *Grants) missing(ctx context.Context, keyID string) {
	g.mu.Lock()
	said := g.sealed[keyID]
	g.sealed[keyID] = true
	g.mu.Unlock()
	if !said {
		zerolog.Ctx(ctx).Error().Str("sealedUnder", keyID).
			Msg("credentials do not open under this key file: put the sealing key back into it and restart, or have the members enrolled again; until then they are not polled, and nobody is told")
	}
}

// keep stores the person and a rotated token, and only then hands out the access
// token. b.well has taken the credentials of r, so those before are over.
func (t memberTokens) keep(ctx context.Context, r, next Record, grant bwell.Grant) (secret.Value, error) {
	next.Before = box{}
	if !grant.Refresh.IsZero() {
		was, err := t.g.store.keys.open(t.m, r.Box)
		if err == nil {
			next.Box, err = t.g.store.keys.seal(t.m, credentials{refresh: grant.Refresh, given: was.given})
		}
		if err != nil {
			return secret.Value{}, fmt.Errorf("grant of %s: %w", t.m, err)
		}
	}
	if next.PersonID != r.PersonID || !r.Before.empty() || !grant.Refresh.IsZero() {
		if err := t.store(ctx, &next); err != nil {
			return secret.Value{}, err
		}
	}
	life := time.Until(grant.Expires)
	t.h.access = grant.Access
	t.h.renew = grant.Expires.Add(-min(early+time.Duration(rand.Int64N(int64(time.Minute))), life/2))
	return grant.Access, nil
}

// claim waits until no other replica redeems this member's grant. A replica
// that died loses its claim by itself.
func (t memberTokens) claim(ctx context.Context) (release func(), err error) {
	key := "claim." + string(t.m)
	for {
		revision, err := t.g.claims.Create(ctx, key, nil, jetstream.KeyTTL(claimFor))
		if err == nil {
			return func() {
				ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
				defer cancel()
				// If this fails the claim runs out by itself.
				_ = t.g.claims.Delete(ctx, key, jetstream.LastRevision(revision))
			}, nil
		}
		if !conflict.Is(err) {
			return nil, fmt.Errorf("claim the grant of %s: %w", t.m, err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("claim the grant of %s: %w", t.m, context.Cause(ctx))
		case <-time.After(claimRetry):
		}
	}
}
