package members

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"
	"unicode"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/smartconnect/connector/internal/bwell"
	"github.com/smartconnect/connector/internal/conflict"
	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/secret"
)

// ErrNotEnrolled reports a member that has no record. Enrol the member first.
var ErrNotEnrolled = errors.New("members: not enrolled")

// ErrID reports an id that no member can have, and that may be anything: it goes
// to terminals. Give another.
var ErrID = fmt.Errorf("members: the member id must have 1 to %d bytes, and no control characters", maxID)

// ErrForeignKeys reports a key file under which nobody here is enrolled. Every
// token made under it would be a stranger's: stop.
var ErrForeignKeys = errors.New("members: the key file is another deployment's: the members here are enrolled under other keys; give the key file they were enrolled with")

// A Record is what is kept of an enrolled member.
type Record struct {
	Token       events.MemberToken `json:"-"`
	MemberID    string             `json:"memberId"`
	Incarnation string             `json:"incarnation"` // minted at enrolment, never reused
	EnrolledAt  time.Time          `json:"enrolledAt"`
	SignedInAt  time.Time          `json:"signedInAt"`         // when credentials were last given, not when they were rotated
	PersonID    string             `json:"personId,omitempty"` // pinned at the first grant
	Box         box                `json:"box,omitzero"`
	Before      box                `json:"before,omitzero"` // the grant there was, until b.well has taken what the last enrolment brought

	revision uint64
}

// HasCredentials reports whether b.well can be asked about the member. They may
// have been refused since.
func (r Record) HasCredentials() bool { return !r.Box.empty() }

// Format implements fmt.Formatter: a record holds identity, its token does not.
func (r Record) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "member %s", string(r.Token)) }

// An Enrolment is a member to be watched, with a grant of our own: an id token
// to be exchanged, or a refresh token meant for us.
type Enrolment struct {
	ID           string
	IDToken      secret.Value
	RefreshToken secret.Value
}

// A Store is the bucket of enrolled members. It is safe for concurrent use.
type Store struct {
	kv   jetstream.KeyValue
	keys Keys
}

// NewStore returns the store in a bucket.
func NewStore(kv jetstream.KeyValue, keys Keys) *Store { return &Store{kv, keys} }

const (
	maxID    = 1024
	attempts = 8

	// keysKey is where the bucket says under which keys its members are
	// enrolled. No member's token has an underscore.
	keysKey = "_keys"
)

// keysMark is what stands there. It tells the secret to nobody.
type keysMark struct {
	Deployment string `json:"deployment"`
}

// Check returns ErrForeignKeys if the members are enrolled under other keys than
// the store's. Sealing keys do not count: they may be changed.
func (s *Store) Check(ctx context.Context) error {
	_, err := s.check(ctx)
	return err
}

// Bind is Check, and lets nobody enrol under other keys from now on.
func (s *Store) Bind(ctx context.Context) error {
	for range attempts {
		marked, err := s.check(ctx)
		if err != nil || marked {
			return err
		}
		body, err := json.Marshal(keysMark{s.keys.Tokenizer().Deployment()})
		if err != nil {
			return fmt.Errorf("note whose keys these are: %w", err)
		}
		_, err = s.kv.Create(ctx, keysKey, body)
		if err == nil {
			return nil
		}
		if !conflict.Is(err) {
			return fmt.Errorf("note whose keys these are: %w", err)
		}
	}
	return errors.New("note whose keys these are: another does all the time; try again")
}

func (s *Store) check(ctx context.Context) (marked bool, err error) {
	e, err := s.kv.Get(ctx, keysKey)
	if err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) {
		return false, fmt.Errorf("read whose keys these are: %w", err)
	}
	if err == nil {
		var mark keysMark
		if json.Unmarshal(e.Value(), &mark) != nil || mark.Deployment != s.keys.Tokenizer().Deployment() {
			return true, ErrForeignKeys
		}
		return true, nil
	}
	// Nobody has said so yet. But whoever is enrolled shows it.
	for r, err := range s.List(ctx) {
		switch {
		case err != nil && r.Token == "":
			return false, err
		case err != nil: // a damaged record shows nothing
		case s.keys.Tokenizer().Member(r.MemberID) != r.Token:
			return false, ErrForeignKeys
		default:
			return false, nil
		}
	}
	return false, nil
}

// Enrol makes or renews a member's record. It is meant to be called at each
// sign-in of the app: a member who is enrolled keeps the incarnation, and
// credentials that are given replace those there are as soon as b.well has taken
// them, at the next poll. [Grants.Enrol] asks b.well at once.
func (s *Store) Enrol(ctx context.Context, e Enrolment) (Record, bool, error) {
	return s.enrol(ctx, e, nil)
}

// enrol is Enrol. proof is the grant that b.well gave for the credentials; nil
// if it was not asked.
func (s *Store) enrol(ctx context.Context, e Enrolment, proof *bwell.Grant) (Record, bool, error) {
	if !possible(e.ID) {
		return Record{}, false, fmt.Errorf("enrol: %w", ErrID)
	}
	m := s.keys.Tokenizer().Member(e.ID)
	given := !e.IDToken.IsZero() || !e.RefreshToken.IsZero()
	for range attempts {
		r, err := s.Get(ctx, m)
		created := errors.Is(err, ErrNotEnrolled)
		if err != nil && !created {
			return Record{}, false, err
		}
		if created {
			r = Record{Token: m, MemberID: e.ID, Incarnation: rand.Text(), EnrolledAt: time.Now().UTC()}
		}
		if given {
			if err := s.take(&r, e, proof); err != nil {
				return Record{}, false, fmt.Errorf("enrol %s: %w", m, err)
			}
			r.SignedInAt = time.Now().UTC()
		}
		if !created && !given {
			return r, false, nil
		}
		err = s.put(ctx, &r)
		if errors.Is(err, errOvertaken) {
			continue
		}
		return r, created, err
	}
	return Record{}, false, fmt.Errorf("enrol %s: the record changes all the time; try again", m)
}

// take seals what an enrolment brings. A grant that works is given up only for
// one that b.well has taken.
func (s *Store) take(r *Record, e Enrolment, proof *bwell.Grant) error {
	if proof == nil && s.has(*r, e) {
		return nil
	}
	c := credentials{e.RefreshToken, e.IDToken, digest(e.RefreshToken)}
	if proof != nil {
		if err := r.pin(*proof); err != nil {
			return err
		}
		if !proof.Refresh.IsZero() {
			c.refresh, c.id = proof.Refresh, secret.Value{}
		}
	}
	sealed, err := s.keys.seal(r.Token, c)
	switch {
	case err != nil:
		return err
	case proof != nil:
		r.Before = box{}
	case r.Before.empty():
		r.Before = r.Box
	}
	r.Box = sealed
	return nil
}

// has reports whether the member's grant came of the refresh token that is
// given. b.well may have ended that one since, for the one that is stored.
func (s *Store) has(r Record, e Enrolment) bool {
	if e.RefreshToken.IsZero() || !r.HasCredentials() {
		return false
	}
	c, err := s.keys.open(r.Token, r.Box)
	return err == nil && c.given == digest(e.RefreshToken)
}

// pin notes whose grants the member's are. It returns ErrIdentityMismatch for
// one of another person.
func (r *Record) pin(g bwell.Grant) error {
	if g.PersonID != "" && r.PersonID != "" && g.PersonID != r.PersonID {
		return ErrIdentityMismatch
	}
	r.PersonID = cmp.Or(r.PersonID, g.PersonID)
	return nil
}

func possible(id string) bool {
	return id != "" && len(id) <= maxID && !strings.ContainsFunc(id, control)
}

// control reports what moves a terminal's cursor, colours or directions.
func control(r rune) bool { return unicode.In(r, unicode.C, unicode.Zl, unicode.Zp) }

// errOvertaken reports that the record has changed since it was read.
var errOvertaken = errors.New("members: the record has changed")

// put writes r over the revision it was read at.
func (s *Store) put(ctx context.Context, r *Record) error {
	body, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write %s: %w", r.Token, err)
	}
	var revision uint64
	if r.revision == 0 {
		revision, err = s.kv.Create(ctx, string(r.Token), body)
	} else {
		revision, err = s.kv.Update(ctx, string(r.Token), body, r.revision)
	}
	if conflict.Is(err) {
		return errOvertaken
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", r.Token, err)
	}
	r.revision = revision
	return nil
}

// Get returns the record of a member as the leader has it.
func (s *Store) Get(ctx context.Context, m events.MemberToken) (Record, error) {
	e, err := s.kv.Get(ctx, string(m))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return Record{}, fmt.Errorf("%s: %w", m, ErrNotEnrolled)
	}
	if err != nil {
		return Record{}, fmt.Errorf("read %s: %w", m, err)
	}
	return decode(e)
}

func decode(e jetstream.KeyValueEntry) (Record, error) {
	r := Record{Token: events.MemberToken(e.Key()), revision: e.Revision()}
	if json.Unmarshal(e.Value(), &r) != nil {
		return r, fmt.Errorf("read %s: the record is damaged; enrol the member again", r.Token)
	}
	return r, nil
}

// List yields all records.
func (s *Store) List(ctx context.Context) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		w, err := s.kv.WatchAll(ctx, jetstream.IgnoreDeletes())
		if err != nil {
			yield(Record{}, fmt.Errorf("list members: %w", err))
			return
		}
		defer func() { _ = w.Stop() }()
		for {
			select {
			case <-ctx.Done():
				yield(Record{}, fmt.Errorf("list members: %w", context.Cause(ctx)))
				return
			case e := <-w.Updates():
				if e == nil {
					return // all there were have come
				}
				if e.Key() == keysKey {
					continue
				}
				if r, err := decode(e); !yield(r, err) {
					return
				}
			}
		}
	}
}

// Watch calls changed for every member there is, then with no member, and then
// whenever one is enrolled anew with other credentials or is gone, until ctx
// ends. A token that
// was only rotated is no change.
func (s *Store) Watch(ctx context.Context, changed func(m events.MemberToken, gone bool)) error {
	w, err := s.kv.WatchAll(ctx)
	if err != nil {
		return fmt.Errorf("watch members: %w", err)
	}
	defer func() { _ = w.Stop() }()
	seen := map[string]string{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-w.Updates():
			switch {
			case !ok && ctx.Err() != nil:
				return nil // the end of ctx closes the updates too
			case !ok:
				return errors.New("watch members: the watch ended")
			case e == nil:
				changed("", false)
				continue
			case e.Key() == keysKey:
				continue
			case e.Operation() != jetstream.KeyValuePut:
				delete(seen, e.Key())
				changed(events.MemberToken(e.Key()), true)
				continue
			}
			r, err := decode(e)
			if err != nil {
				continue // List and Get say so; one damaged record must not blind us for all
			}
			if mark := r.Incarnation + " " + r.SignedInAt.String(); seen[e.Key()] != mark {
				seen[e.Key()] = mark
				changed(r.Token, false)
			}
		}
	}
}
