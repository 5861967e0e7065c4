package members

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/smartconnect/connector/internal/bwell"
	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/natstest"
	"github.com/smartconnect/connector/internal/secret"
	"github.com/smartconnect/connector/internal/topology"
)

// fakeBwell takes a refresh token once and gives the next.
type fakeBwell struct {
	mu      sync.Mutex
	valid   string
	n       int
	person  string
	fail    error
	redeems int
}

func (f *fakeBwell) Refresh(_ context.Context, refresh secret.Value) (bwell.Grant, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.redeems++
	if f.fail != nil {
		return bwell.Grant{}, f.fail
	}
	if refresh.Reveal() != f.valid {
		return bwell.Grant{}, &bwell.Error{Class: bwell.Auth}
	}
	f.n++
	f.valid = fmt.Sprintf("refresh-%d", f.n)
	return bwell.Grant{
		Access: secret.New(fmt.Sprintf("access-%d", f.n)), Refresh: secret.New(f.valid), Expires: time.Now().Add(time.Hour), PersonID: f.person,
	}, nil
}

func (f *fakeBwell) Exchange(ctx context.Context, id secret.Value) (bwell.Grant, error) {
	if id.Reveal() == "anothers" {
		return bwell.Grant{Access: secret.New("a"), Refresh: secret.New("anothers"), Expires: time.Now().Add(time.Hour), PersonID: "q"}, nil
	}
	if id.Reveal() != "id-token" {
		return bwell.Grant{}, &bwell.Error{Class: bwell.Auth}
	}
	return f.Refresh(ctx, secret.New(f.valid))
}

func open(t *testing.T, up Upstream) (*Store, func() *Grants) {
	t.Helper()
	_, js := natstest.Log(t)
	return openOn(t, js, up)
}

func openOn(t *testing.T, js jetstream.JetStream, up Upstream) (*Store, func() *Grants) {
	t.Helper()
	kv, err := js.KeyValue(t.Context(), topology.Members)
	if err != nil {
		t.Fatal(err)
	}
	leases, err := js.KeyValue(t.Context(), topology.Leases)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := NewKeys()
	if err != nil {
		t.Fatal(err)
	}
	s := NewStore(kv, keys)
	return s, func() *Grants { return NewGrants(s, leases, up) }
}

func TestEnrolIsAnUpsert(t *testing.T) {
	s, _ := open(t, nil)
	ctx := t.Context()
	first, created, err := s.Enrol(ctx, Enrolment{ID: "m-1", RefreshToken: secret.New("r")})
	if err != nil || !created {
		t.Fatal(created, err)
	}
	again, created, err := s.Enrol(ctx, Enrolment{ID: "m-1"})
	if err != nil || created || again.Incarnation != first.Incarnation || string(again.Box.Sealed) != string(first.Box.Sealed) {
		t.Errorf("without credentials nothing changes: %v, %v", created, err)
	}
	renewed, _, err := s.Enrol(ctx, Enrolment{ID: "m-1", RefreshToken: secret.New("other")})
	if err != nil || renewed.Incarnation != first.Incarnation || string(renewed.Box.Sealed) == string(first.Box.Sealed) {
		t.Errorf("new credentials replace the old: %v", err)
	}
	if _, _, err := s.Enrol(ctx, Enrolment{}); err == nil {
		t.Error("a member without an id was enrolled")
	}
	n := 0
	for r, err := range s.List(ctx) {
		n++
		if err != nil || r.MemberID != "m-1" {
			t.Error(r, err)
		}
	}
	if n != 1 {
		t.Errorf("%d members, want 1", n)
	}
}

func TestNothingSecretIsPrintedOrStored(t *testing.T) {
	s, _ := open(t, nil)
	r, _, err := s.Enrol(t.Context(), Enrolment{ID: "jane-doe", RefreshToken: secret.New("hunter2")})
	if err != nil {
		t.Fatal(err)
	}
	e, err := s.kv.Get(t.Context(), string(r.Token))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(e.Value()), "hunter2") {
		t.Error("the credential is stored in the clear")
	}
	if out := fmt.Sprintf("%v %+v %#v %s", r, r, r, s.keys); strings.Contains(out, "hunter2") || strings.Contains(out, "jane") {
		t.Errorf("printed: %s", out)
	}
}

func TestBoxOpensOnlyForItsMember(t *testing.T) {
	keys, err := NewKeys()
	if err != nil {
		t.Fatal(err)
	}
	b, err := keys.seal("m", credentials{refresh: secret.New("r")})
	if err != nil {
		t.Fatal(err)
	}
	if c, err := keys.open("m", b); err != nil || c.refresh.Reveal() != "r" {
		t.Fatal(err)
	}
	changed := box{b.KeyID, append([]byte(nil), b.Sealed...)}
	changed.Sealed[len(changed.Sealed)-1] ^= 1
	other, _ := NewKeys()
	for name, open := range map[string]func() (credentials, error){
		"another member":   func() (credentials, error) { return keys.open("n", b) },
		"a changed byte":   func() (credentials, error) { return keys.open("m", changed) },
		"an unknown key":   func() (credentials, error) { return keys.open("m", box{"k9", b.Sealed}) },
		"another key file": func() (credentials, error) { return other.open("m", b) },
	} {
		if _, err := open(); !errors.Is(err, ErrSealed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if err := GenerateKeys(path); err != nil {
		t.Fatal(err)
	}
	a, err := LoadKeys(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := LoadKeys(path)
	if err != nil || a.Tokenizer().Member("x") != b.Tokenizer().Member("x") {
		t.Error("one file, two worlds", err)
	}
	if err := GenerateKeys(path); err == nil {
		t.Error("the key file was overwritten")
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKeys(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a readable key file: %v", err)
	}
	if err := os.WriteFile(path, []byte(`{"version":1,"seal":[{"key":"sekrit"`), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = os.Chmod(path, 0o600)
	if _, err := LoadKeys(path); err == nil || strings.Contains(err.Error(), "sekrit") {
		t.Errorf("a broken key file: %v", err)
	}
}

// A key is rotated: the new one opens everywhere before it seals anywhere.
func TestSealingKeyIsRotated(t *testing.T) {
	load := func(f keyFile) Keys {
		t.Helper()
		keys, err := f.keys()
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
	first, second := newKeyFile(), newKeyFile()
	second.Seal[0].ID = "k2"
	file := func(seal ...sealKey) keyFile { return keyFile{Version: 1, TokenSecret: first.TokenSecret, Seal: seal} }
	before, both := load(file(first.Seal[0])), load(file(first.Seal[0], second.Seal[0]))
	turned, after := load(file(second.Seal[0], first.Seal[0])), load(file(second.Seal[0]))
	for name, tt := range map[string]struct {
		seals, opens Keys
		want         error
	}{
		"step 1, from a replica that is behind": {before, both, nil},
		"step 1, to a replica that is behind":   {both, before, nil},
		"step 2, from a replica that is behind": {both, turned, nil},
		"step 2, to a replica that is behind":   {turned, both, nil},
		"step 3, what was sealed anew":          {turned, after, nil},
		"step 3, what was not":                  {both, after, ErrSealed},
		"without step 1":                        {turned, before, ErrSealed},
	} {
		sealed, err := tt.seals.seal("m", credentials{refresh: secret.New("r")})
		if err != nil {
			t.Fatal(err)
		}
		if c, err := tt.opens.open("m", sealed); !errors.Is(err, tt.want) || err == nil && c.refresh.Reveal() != "r" {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	second.Seal[0].ID = first.Seal[0].ID
	if _, err := file(first.Seal[0], second.Seal[0]).keys(); err == nil || !strings.Contains(err.Error(), "same id") {
		t.Errorf("two keys of one id: %v", err)
	}
}

// Two replicas want the grant at once, again and again; after each round the
// stored token is the one b.well takes.
func TestReplicasRedeemOneAfterTheOther(t *testing.T) {
	up := &fakeBwell{valid: "refresh-0", person: "p"}
	s, grants := open(t, up)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r, _, err := s.Enrol(ctx, Enrolment{ID: "m-1", RefreshToken: secret.New("refresh-0")})
	if err != nil {
		t.Fatal(err)
	}
	a, b := grants().For(r.Token), grants().For(r.Token)
	var wg sync.WaitGroup
	for _, tokens := range []bwell.Tokens{a, b, a, b} {
		wg.Go(func() {
			access, err := tokens.Access(ctx)
			if err == nil {
				_, err = tokens.Renew(ctx, access)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got, err := s.Get(ctx, r.Token); err != nil || got.PersonID != "p" {
		t.Errorf("person %q is not pinned: %v", got.PersonID, err)
	}
	if _, err := grants().For(r.Token).Access(ctx); err != nil {
		t.Errorf("a third replica after them: %v", err)
	}
}

func TestRefusalAndTrouble(t *testing.T) {
	up := &fakeBwell{valid: "refresh-0", person: "p"}
	s, grants := open(t, up)
	ctx := t.Context()
	r, _, err := s.Enrol(ctx, Enrolment{ID: "m-1", IDToken: secret.New("id-token")})
	if err != nil {
		t.Fatal(err)
	}
	trouble := &bwell.Error{Class: bwell.Transient}
	up.fail = trouble
	if _, err := grants().For(r.Token).Access(ctx); bwell.ClassOf(err) != bwell.Transient || errors.Is(err, ErrReauthenticate) {
		t.Errorf("trouble at b.well: %v", err)
	}
	up.fail = nil
	if _, err := grants().For(r.Token).Access(ctx); err != nil {
		t.Fatalf("the grant was dropped: %v", err)
	}
	up.person = "somebody else"
	if _, err := grants().For(r.Token).Access(ctx); !errors.Is(err, ErrIdentityMismatch) {
		t.Errorf("another person: %v", err)
	}
	up.valid = "revoked"
	if _, err := grants().For(r.Token).Access(ctx); !errors.Is(err, ErrReauthenticate) {
		t.Errorf("revoked: %v", err)
	}
	if _, err := grants().For(events.MemberToken("nobody")).Access(ctx); !errors.Is(err, ErrNotEnrolled) {
		t.Errorf("nobody: %v", err)
	}
}

func TestWatch(t *testing.T) {
	s, _ := open(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, _, err := s.Enrol(ctx, Enrolment{ID: "m-1"})
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan bool, 8)
	ended := make(chan error, 1)
	go func() { ended <- s.Watch(ctx, func(_ events.MemberToken, gone bool) { seen <- gone }) }()
	if <-seen {
		t.Error("gone?")
	}
	<-seen // all there were have come
	if _, _, err := s.Enrol(ctx, Enrolment{ID: "m-1", RefreshToken: secret.New("r")}); err != nil {
		t.Fatal(err)
	}
	<-seen
	if err := s.kv.Delete(ctx, string(r.Token)); err != nil {
		t.Fatal(err)
	}
	if !<-seen {
		t.Error("not gone?")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Credentials that do not open are the operator's to mend: b.well has refused
// nothing, and nobody is to be told to sign in.
func TestCredentialsUnderAMissingKey(t *testing.T) {
	up := &fakeBwell{valid: "refresh-0", person: "p"}
	s, _ := open(t, up)
	var log bytes.Buffer
	ctx := zerolog.New(&log).WithContext(t.Context())
	var tokens []events.MemberToken
	for _, id := range []string{"m-1", "m-2"} {
		r, _, err := s.Enrol(ctx, Enrolment{ID: id, RefreshToken: secret.New("refresh-0")})
		if err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, r.Token)
	}
	other := newKeyFile()
	other.Seal[0].ID = "k2"
	elsewhere, err := other.keys()
	if err != nil {
		t.Fatal(err)
	}
	lost := NewStore(s.kv, Keys{tokens: s.keys.tokens, seals: elsewhere.seals})
	grants := NewGrants(lost, s.kv, up)
	for range 2 {
		for _, m := range tokens {
			if _, err := grants.For(m).Access(ctx); !errors.Is(err, ErrSealed) || errors.Is(err, ErrReauthenticate) || bwell.ClassOf(err) != bwell.NoClass {
				t.Errorf("%v", err)
			}
		}
	}
	if n := strings.Count(log.String(), `"level":"error"`); n != 1 || !strings.Contains(log.String(), `"sealedUnder":"k1"`) {
		t.Errorf("said %d times, want once, with the key's id: %s", n, log.String())
	}
	if up.redeems != 0 {
		t.Errorf("b.well was asked %d times", up.redeems)
	}
	lost.keys.seals = append(lost.keys.seals, s.keys.seals...) // the key is put back
	if _, err := grants.For(tokens[0]).Access(ctx); err != nil {
		t.Error(err)
	}
}

// A key file of another deployment is known as such, from the first enrolment on
// and, where an older version enrolled, by whoever is enrolled.
func TestKeysOfAnotherDeployment(t *testing.T) {
	s, _ := open(t, nil)
	ctx := t.Context()
	foreignKeys, err := NewKeys()
	if err != nil {
		t.Fatal(err)
	}
	foreign := NewStore(s.kv, foreignKeys)
	rotated := NewStore(s.kv, Keys{tokens: s.keys.tokens, seals: foreignKeys.seals})
	both := func(when string, want, wantOwn error) {
		t.Helper()
		if err := foreign.Check(ctx); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", when, err, want)
		}
		for name, own := range map[string]*Store{"own": s, "other sealing keys": rotated} {
			if err := own.Check(ctx); !errors.Is(err, wantOwn) {
				t.Errorf("%s, %s: %v, want %v", when, name, err, wantOwn)
			}
		}
	}
	both("nobody is enrolled", nil, nil)
	if _, _, err := s.Enrol(ctx, Enrolment{ID: "m-1"}); err != nil {
		t.Fatal(err)
	}
	both("by who is enrolled", ErrForeignKeys, nil)
	if err := foreign.Bind(ctx); !errors.Is(err, ErrForeignKeys) {
		t.Errorf("bound: %v", err)
	}
	both("after a try to bind", ErrForeignKeys, nil)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := s.Bind(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	both("bound", ErrForeignKeys, nil)
	if err := s.kv.Delete(ctx, string(s.keys.Tokenizer().Member("m-1"))); err != nil {
		t.Fatal(err)
	}
	both("bound, and nobody is left", ErrForeignKeys, nil)

	// It is nobody's record.
	for r, err := range s.List(ctx) {
		t.Errorf("listed: %v, %v", r, err)
	}
	watching, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	err = s.Watch(watching, func(m events.MemberToken, gone bool) {
		if m == "" {
			cancel() // all there were have come
		} else if !gone {
			t.Errorf("watched: %s", m)
		}
	})
	if err != nil {
		t.Error(err)
	}
	e, err := s.kv.Get(ctx, keysKey)
	if err != nil || strings.Contains(string(e.Value()), fmt.Sprintf("%x", s.keys.tokens)) {
		t.Errorf("%s, %v", e.Value(), err)
	}
	if err := s.kv.Delete(ctx, keysKey); err != nil {
		t.Fatal(err)
	}
	if err := foreign.Bind(ctx); err != nil {
		t.Errorf("a bucket that is nobody's: %v", err)
	}
	both("given to another", nil, ErrForeignKeys)
}

// full makes the bucket of members take no more bytes than it has, and returns
// what undoes it.
func full(t *testing.T, js jetstream.JetStream) (mend func()) {
	t.Helper()
	stream, err := js.Stream(t.Context(), "KV_"+topology.Members)
	if err != nil {
		t.Fatal(err)
	}
	limit := func(most int64) {
		t.Helper()
		c := stream.CachedInfo().Config
		c.MaxBytes = most
		if _, err := js.UpdateStream(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	limit(int64(stream.CachedInfo().State.Bytes))
	return func() { t.Helper(); limit(-1) }
}

// A broker without storage refuses every write: that is told, and nothing is
// tried again as if another had been first.
func TestBrokerWithoutStorage(t *testing.T) {
	_, js := natstest.Log(t)
	s, _ := openOn(t, js, nil)
	ctx := t.Context()
	if _, _, err := s.Enrol(ctx, Enrolment{ID: "m-1"}); err != nil {
		t.Fatal(err)
	}
	mend := full(t, js)
	write := func(id string) error {
		_, _, err := s.Enrol(ctx, Enrolment{ID: id, RefreshToken: secret.New("r")})
		return err
	}
	for what, err := range map[string]error{
		"one who is enrolled": write("m-1"), "one who is not": write("m-2"), "whose keys these are": s.Bind(ctx),
	} {
		if api, ok := errors.AsType[*jetstream.APIError](err); !ok || api.ErrorCode != 10077 {
			t.Errorf("%s: %v", what, err)
		}
	}
	mend()
	if err := errors.Join(write("m-1"), write("m-2"), s.Bind(ctx)); err != nil {
		t.Errorf("when there is room: %v", err)
	}
}

// A rotated token that cannot be stored is not used, and neither is what came
// with it. It is stored as soon as it can be: b.well takes no other any more.
func TestRotatedTokenThatCannotBeStored(t *testing.T) {
	up := &fakeBwell{valid: "refresh-0", person: "p"}
	_, js := natstest.Log(t)
	s, grants := openOn(t, js, up)
	ctx := t.Context()
	r, _, err := s.Enrol(ctx, Enrolment{ID: "m-1", RefreshToken: secret.New("refresh-0")})
	if err != nil {
		t.Fatal(err)
	}
	tokens := grants().For(r.Token)
	mend := full(t, js)
	for range 3 {
		access, err := tokens.Access(ctx)
		if api, ok := errors.AsType[*jetstream.APIError](err); !ok || api.ErrorCode != 10077 || !access.IsZero() {
			t.Errorf("%v, and access: %t", err, !access.IsZero())
		}
	}
	if up.redeems != 1 {
		t.Errorf("b.well was asked %d times, want once: what it said is not stored", up.redeems)
	}
	mend()
	if _, err := tokens.Access(ctx); err != nil {
		t.Errorf("when there is room: %v", err)
	}
	if _, err := grants().For(r.Token).Access(ctx); err != nil {
		t.Errorf("another replica, with what is stored: %v", err)
	}
}

// What an enrolment brings may be garbage, spent, or another person's. The grant
// there was is kept until b.well has taken the new one; who asks b.well at once
// says so.
func TestGrantIsGivenUpForNoWorseOne(t *testing.T) {
	type by struct {
		name  string
		enrol func(context.Context, *Store, *Grants, Enrolment) error
	}
	sealed := by{"sealed until the first poll", func(ctx context.Context, s *Store, _ *Grants, e Enrolment) error {
		_, _, err := s.Enrol(ctx, e)
		return err
	}}
	asked := by{"asked at once", func(ctx context.Context, _ *Store, g *Grants, e Enrolment) error {
		_, _, err := g.Enrol(ctx, e)
		return err
	}}
	for _, tt := range []struct {
		name  string
		by    by
		given Enrolment
		want  error
		said  int
	}{
		{"garbage", sealed, Enrolment{IDToken: secret.New("garbage")}, nil, 1},
		{"garbage", asked, Enrolment{IDToken: secret.New("garbage")}, ErrReauthenticate, 0},
		{"another's", sealed, Enrolment{IDToken: secret.New("anothers")}, nil, 1},
		{"another's", asked, Enrolment{IDToken: secret.New("anothers")}, ErrIdentityMismatch, 0},
		{"a spent one", sealed, Enrolment{RefreshToken: secret.New("spent")}, nil, 1},
		{"a spent one", asked, Enrolment{RefreshToken: secret.New("spent")}, ErrReauthenticate, 0},
		{"the first once more", sealed, Enrolment{RefreshToken: secret.New("refresh-0")}, nil, 0},
		{"the first once more", asked, Enrolment{RefreshToken: secret.New("refresh-0")}, nil, 0},
		{"a good one", sealed, Enrolment{IDToken: secret.New("id-token")}, nil, 0},
		{"a good one", asked, Enrolment{IDToken: secret.New("id-token")}, nil, 0},
	} {
		t.Run(tt.name+", "+tt.by.name, func(t *testing.T) {
			up := &fakeBwell{valid: "refresh-0", person: "p"}
			s, grants := open(t, up)
			var log bytes.Buffer
			ctx := zerolog.New(&log).WithContext(t.Context())
			r, _, err := s.Enrol(ctx, Enrolment{ID: "m-1", RefreshToken: secret.New("refresh-0")})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := grants().For(r.Token).Access(ctx); err != nil {
				t.Fatal(err)
			}
			tt.given.ID = "m-1"
			if err := tt.by.enrol(ctx, s, grants(), tt.given); !errors.Is(err, tt.want) {
				t.Errorf("enrolled: %v, want %v", err, tt.want)
			}
			for range 2 {
				if _, err := grants().For(r.Token).Access(ctx); err != nil {
					t.Errorf("the grant there was: %v", err)
				}
			}
			if n := strings.Count(log.String(), "what the last enrolment brought is refused"); n != tt.said {
				t.Errorf("said %d times, want %d: %s", n, tt.said, &log)
			}
			if got, err := s.Get(ctx, r.Token); err != nil || got.PersonID != "p" || !got.Before.empty() {
				t.Errorf("in the end: person %q, %v, another grant is kept: %t", got.PersonID, err, !got.Before.empty())
			}
		})
	}
}

// Nobody is enrolled with what b.well refuses; if it cannot be asked, what was
// given waits.
func TestEnrolledAtOnce(t *testing.T) {
	up := &fakeBwell{valid: "refresh-0", person: "p"}
	s, grants := open(t, up)
	ctx := t.Context()
	if _, _, err := grants().Enrol(ctx, Enrolment{ID: "m-1", IDToken: secret.New("garbage")}); !errors.Is(err, ErrReauthenticate) {
		t.Errorf("garbage: %v", err)
	}
	if _, err := s.Get(ctx, s.keys.Tokenizer().Member("m-1")); !errors.Is(err, ErrNotEnrolled) {
		t.Errorf("enrolled with garbage: %v", err)
	}
	up.fail = &bwell.Error{Class: bwell.Transient}
	waits, created, err := grants().Enrol(ctx, Enrolment{ID: "m-1", IDToken: secret.New("id-token")})
	if err != nil || !created || !waits.HasCredentials() || waits.PersonID != "" {
		t.Errorf("while b.well is away: %t, %v", created, err)
	}
	up.fail = nil
	if _, err := grants().For(waits.Token).Access(ctx); err != nil {
		t.Errorf("when it is back: %v", err)
	}
	if r, created, err := grants().Enrol(ctx, Enrolment{ID: "m-2", IDToken: secret.New("id-token")}); err != nil || !created || r.PersonID != "p" {
		t.Errorf("at once: %t, %v", created, err)
	}
	given := secret.New(up.valid)
	var wg sync.WaitGroup
	for range 4 { // a request, and those who did not wait for its answer
		wg.Go(func() {
			if _, _, err := grants().Enrol(ctx, Enrolment{ID: "m-3", RefreshToken: given}); err != nil {
				t.Errorf("one of many: %v", err)
			}
		})
	}
	wg.Wait()
	if _, err := grants().For(s.keys.Tokenizer().Member("m-3")).Access(ctx); err != nil {
		t.Errorf("after many: %v", err)
	}
	if _, _, err := grants().Enrol(ctx, Enrolment{ID: "m\n"}); !errors.Is(err, ErrID) {
		t.Errorf("an id of no member: %v", err)
	}
}
