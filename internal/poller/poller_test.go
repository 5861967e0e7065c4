package poller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/smartconnect/connector/internal/bwell"
	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/secret"
)

// stream is the part of the log that a poller sees, in memory.
type stream struct {
	mu       sync.Mutex
	subjects events.Subjects
	heads    map[events.MemberToken]events.Head[events.Member]
	seq      uint64
	reads    int
	told     []string // as "10m connection.confirmed"
	born     time.Time
}

func (s *stream) Subjects() events.Subjects { return s.subjects }

func (s *stream) Member(_ context.Context, m events.MemberToken) (events.Head[events.Member], error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	return s.heads[m], nil
}

func (s *stream) Commit(_ context.Context, t events.Transaction) (events.Stored, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	head, guard := t.Head()
	if s.heads[head.Member].Seq != guard {
		return events.Stored{}, events.ErrMoved
	}
	s.seq += uint64(len(t.Events())) + 1
	s.heads[head.Member] = events.Head[events.Member]{Seq: s.seq, ID: head.ID, Snapshot: head.Data.(*events.Member)}
	for _, e := range t.Events() {
		what := strings.TrimSuffix(strings.TrimPrefix(string(e.Type), "smartconnect."), ".v1")
		s.told = append(s.told, fmt.Sprintf("%s %s", time.Since(s.born).Round(time.Minute), what))
	}
	return events.Stored{HeadSeq: s.seq}, nil
}

// rival writes a head as another poller would.
func (s *stream) rival(m events.MemberToken) {
	s.mu.Lock()
	defer s.mu.Unlock()
	head := s.heads[m]
	s.seq++
	head.Seq = s.seq
	s.heads[m] = head
}

func (s *stream) count(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, told := range s.told {
		if strings.HasSuffix(told, " "+what) {
			n++
		}
	}
	return n
}

// clinic is b.well: every member has one connection.
type clinic struct {
	mu       sync.Mutex
	status   string
	err      error
	takes    time.Duration
	polls    []time.Duration // since the start
	inFlight int
	most     int
	same     int // answers that were the ones seen
	born     time.Time

	who        []string // was polled
	partial    bool     // consents do not come
	throttled  bool     // since there are too many requests
	provision  string   // of the consent; default permit
	consented  time.Time
	search     string // the task's status; default as in answer
	offers     []string
	offersLost bool
	offersRead int
	deletedErr error
}

func (c *clinic) set(f func(*clinic)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(c)
}

func (c *clinic) Observe(_ context.Context, access secret.Value, want bwell.Want) (bwell.Observation, error) {
	c.mu.Lock()
	c.who = append(c.who, access.Reveal())
	c.polls = append(c.polls, time.Since(c.born))
	c.inFlight++
	c.most = max(c.most, c.inFlight)
	takes, status := c.takes, c.status // as of now, however long the answer takes
	c.mu.Unlock()
	time.Sleep(takes)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inFlight--
	if c.err != nil {
		return bwell.Observation{}, c.err
	}
	digest := bwell.Digest(1 + len(status) + 100*len(c.provision) + 10_000*len(c.search))
	if want.Seen == digest && !c.partial {
		c.same++
		return bwell.Observation{Same: true, Digest: digest}, nil
	}
	o := answer(conn("clinic-1", "PROA", status, func(row *bwell.Connection) { row.StatusUpdated = bwell.Time{} }))
	if status == "" {
		o.Connections.Items = nil
	}
	if want.NoTasks {
		o.Tasks = bwell.List[bwell.Task]{}
	}
	if c.search != "" && !want.NoTasks {
		o.Tasks.Items = []bwell.Task{{ID: "t", Status: bwell.Word{Value: c.search}}}
	}
	if c.provision != "" {
		o.Consents.Items[0].Provision.Value, o.Consents.Items[0].DateTime.Time = c.provision, c.consented
	}
	if c.partial {
		lost := &bwell.Error{Op: "observe", Root: "consents", Class: bwell.Transient}
		if c.throttled {
			lost.Code = "THROTTLED"
		}
		o.Consents = bwell.List[bwell.Consent]{Err: lost}
		return o, nil
	}
	o.Digest = digest
	return o, nil
}

func (c *clinic) DeletedConnections(context.Context, secret.Value) (bwell.List[bwell.Connection], error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bwell.List[bwell.Connection]{Whole: c.deletedErr == nil}, c.deletedErr
}

func (c *clinic) Recommendations(context.Context, secret.Value) (bwell.List[bwell.Recommendation], error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offersRead++
	list := bwell.List[bwell.Recommendation]{Whole: !c.offersLost}
	for _, alias := range c.offers {
		list.Items = append(list.Items, bwell.Recommendation{Alias: alias})
	}
	return list, nil
}

// enrolments is a registry whose members have a token that b.well takes.
type enrolments struct {
	members []events.MemberToken
	again   chan events.MemberToken // enrolled anew
}

func (e enrolments) Watch(ctx context.Context, changed func(events.MemberToken, bool)) error {
	for _, m := range e.members {
		changed(m, false)
	}
	changed("", false)
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-e.again:
			changed(m, false)
		}
	}
}

func (enrolments) Identity(_ context.Context, m events.MemberToken) (memberID, incarnation string, err error) {
	return "id of " + string(m), "inc", nil
}

func (enrolments) Tokens(m events.MemberToken) bwell.Tokens { return token(m) }

// token is as good as the member's name.
type token string

func (t token) Access(context.Context) (secret.Value, error) { return secret.New(string(t)), nil }

func (t token) Renew(context.Context, secret.Value) (secret.Value, error) {
	return secret.New(string(t)), nil
}

// shares holds all shards, or none.
type shares struct {
	mu     sync.Mutex
	epoch  uint64
	held   bool
	gained func()
}

func (s *shares) Holds(events.MemberToken) (epoch uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.epoch, s.held
}

func (s *shares) Notify(gained func()) { s.gained = gained }

func (s *shares) lose() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = false
}

func (s *shares) gain() {
	s.mu.Lock()
	s.held, s.epoch = true, s.epoch+1
	s.mu.Unlock()
	s.gained()
}

// days is a poller running in a bubble.
type days struct {
	*Poller
	stream *stream
	clinic *clinic
	shares *shares
	again  chan events.MemberToken
}

// inBubble runs a poller of n members, lets the test play, and stops it.
func inBubble(t *testing.T, n int, play func(t *testing.T, d *days), changes ...func(*Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		subjects, err := events.NewSubjects("")
		if err != nil {
			t.Fatal(err)
		}
		d := &days{
			stream: &stream{subjects: subjects, heads: map[events.MemberToken]events.Head[events.Member]{}, born: time.Now()},
			clinic: &clinic{status: "CONNECTED", born: time.Now()},
			shares: &shares{held: true, epoch: 1},
			again:  make(chan events.MemberToken),
		}
		registry := enrolments{again: d.again}
		for i := range n {
			registry.members = append(registry.members, events.MemberToken(fmt.Sprintf("m%d", i)))
		}
		c := Config{
			Log: d.stream, Tokenizer: tokenizer(t), Registry: registry, Upstream: d.clinic, Leases: d.shares,
			Rules: DefaultRules(), Pace: DefaultPace(),
		}
		for _, change := range changes {
			change(&c)
		}
		if d.Poller, err = New(c); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan error)
		go func() { stopped <- d.Run(ctx) }()
		play(t, d)
		cancel()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		if d.clinic.inFlight != 0 {
			t.Error("stopped with a poll in flight")
		}
	})
}

// rest lets time pass and returns how many polls there were in it.
func (d *days) rest(pass time.Duration) int {
	var before int
	d.clinic.set(func(c *clinic) { before = len(c.polls) })
	time.Sleep(pass)
	synctest.Wait()
	var after int
	d.clinic.set(func(c *clinic) { after = len(c.polls) })
	return after - before
}

func TestHealthyMembersAreAskedEachHour(t *testing.T) {
	inBubble(t, 5, func(t *testing.T, d *days) {
		d.rest(time.Hour)
		if n := d.rest(24 * time.Hour); n < 5*21 || n > 5*24 {
			t.Errorf("%d polls of five members in a day, want one an hour, at most a tenth later", n)
		}
		// The first says what is there, the second that the same again is no
		// news; from the third on neither head nor body is read, but for the
		// recommendations of each day.
		synctest.Wait()
		if d.stream.reads > 5*3 || d.clinic.same < 5*20 {
			t.Errorf("%d reads of heads, %d answers recognised by their digest", d.stream.reads, d.clinic.same)
		}
	})
}

func TestBreakIsConfirmedOnTime(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, d *days) {
		d.rest(3 * time.Hour)
		d.clinic.set(func(c *clinic) { c.status = "EXPIRED" })
		d.Look("m0")
		d.rest(9 * time.Minute)
		if d.stream.count("connection.status_changed") != 1 || d.stream.count("connection.confirmed") != 0 {
			t.Errorf("after nine minutes: %q", d.stream.told)
		}
		d.rest(2 * time.Minute)
		if d.stream.count("connection.confirmed") != 1 {
			t.Errorf("after eleven minutes: %q", d.stream.told)
		}
		if d.rest(24*time.Hour) > 90 {
			t.Error("what is dead is asked for as if it were not")
		}
	})
}

func TestOneFlightPerMember(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, d *days) {
		d.rest(time.Minute)
		d.clinic.set(func(c *clinic) { c.takes, c.most, c.polls = 20*time.Second, 0, nil })
		for range 5 {
			if !d.Look("m0") {
				t.Error("nobody polls m0")
			}
			time.Sleep(time.Second)
		}
		d.clinic.set(func(c *clinic) {
			if c.most != 1 || len(c.polls) != 1 {
				t.Errorf("%d polls, %d at once", len(c.polls), c.most)
			}
		})
		// Whoever asked meanwhile is answered by a poll that began after.
		if n := d.rest(16 * time.Second); n != 1 {
			t.Errorf("%d polls, want a second right after the first", n)
		}
		if d.Look("nobody") {
			t.Error("a stranger is polled")
		}
	})
}

func TestSlowingDownIsForAll(t *testing.T) {
	refusal := &bwell.Error{Op: "observe", Class: bwell.Transient, HTTPStatus: 429, RetryAfter: 2 * time.Minute}
	inBubble(t, 20, func(t *testing.T, d *days) {
		d.rest(time.Minute)
		d.clinic.set(func(c *clinic) { c.err = refusal })
		d.Look("m0")
		d.rest(time.Second)
		d.clinic.set(func(c *clinic) { c.err = nil })
		for i := range 20 {
			d.Look(events.MemberToken(fmt.Sprintf("m%d", i)))
		}
		if n := d.rest(time.Minute); n > 1 {
			t.Errorf("%d polls in the minute that b.well asked to be left alone", n)
		}
		if n := d.rest(2 * time.Minute); n < 20 {
			t.Errorf("%d polls after it, want all that waited", n)
		}
		if s := d.Stats(); s.Rate >= 10 {
			t.Errorf("allowed %v requests per second at once", s.Rate)
		}
	})
}

func TestRefusedGrantEndsPollingUntilSignIn(t *testing.T) {
	refusal := &bwell.Error{Op: "observe", Class: bwell.Auth, HTTPStatus: 401}
	inBubble(t, 1, func(t *testing.T, d *days) {
		d.rest(time.Minute)
		d.clinic.set(func(c *clinic) { c.err = refusal })
		d.Look("m0")
		d.rest(time.Second)
		if d.stream.count("observation.lost") != 1 {
			t.Errorf("told %q", d.stream.told)
		}
		if n := d.rest(48 * time.Hour); n != 0 {
			t.Errorf("%d polls without a grant", n)
		}
		d.clinic.set(func(c *clinic) { c.err = nil })
		d.again <- "m0"
		d.rest(time.Minute)
		if d.stream.count("observation.resumed") != 1 {
			t.Errorf("told %q", d.stream.told)
		}
	})
}

func TestUnreachableIsToldOnceAndNotWhileAllAreBlind(t *testing.T) {
	outage := &bwell.Error{Op: "observe", Class: bwell.Transient, HTTPStatus: 502}
	blind := false
	inBubble(t, 3, func(t *testing.T, d *days) {
		d.rest(2 * time.Hour)
		d.clinic.set(func(c *clinic) { c.err = outage })
		if polls, failed := d.Pulse(); failed > 0 {
			t.Errorf("%d of %d polls failed before anything did", failed, polls)
		}
		for i := range 3 {
			d.Look(events.MemberToken(fmt.Sprintf("m%d", i)))
		}
		d.rest(10 * time.Second)
		if polls, failed := d.Pulse(); failed != polls || failed < 3 {
			t.Errorf("%d of %d polls failed, want all", failed, polls)
		}
		blind = true
		d.rest(6 * time.Hour)
		if d.stream.count("observation.lost") != 0 {
			t.Errorf("told of single members while all are blind: %q", d.stream.told)
		}
		blind = false
		d.rest(24 * time.Hour)
		if d.stream.count("observation.lost") != 3 {
			t.Errorf("told %q, want each member once", d.stream.told)
		}
		d.clinic.set(func(c *clinic) { c.err = nil })
		d.rest(8 * time.Hour)
		if d.stream.count("observation.resumed") != 3 {
			t.Errorf("told %q", d.stream.told)
		}
	}, func(c *Config) { c.Blind = func() bool { return blind } })
}

func TestLeaseDecidesWhoPolls(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, d *days) {
		d.rest(2 * time.Hour)
		d.shares.lose()
		d.rest(2 * time.Hour) // whatever was waiting has left the queue
		if n := d.rest(24 * time.Hour); n != 0 || d.Look("m0") {
			t.Errorf("%d polls of members of others", n)
		}
		d.stream.mu.Lock()
		d.stream.reads = 0
		d.stream.mu.Unlock()
		d.shares.gain()
		if n := d.rest(time.Minute); n < 3 {
			t.Errorf("%d polls after gaining the shards back", n)
		}
		if d.stream.reads < 3 {
			t.Errorf("%d heads read: what was cached under another lease is void", d.stream.reads)
		}
	})
}

// Whoever polled a member meanwhile may have seen it break and be due to confirm
// that: who gains it back does not wait for the time that was right before.
func TestGainedMembersArePolledAtOnce(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, d *days) {
		d.rest(3*time.Hour + time.Minute)
		d.shares.lose()
		d.shares.gain()
		if n := d.rest(10 * time.Second); n != 3 {
			t.Errorf("%d polls of three members after losing and gaining them", n)
		}
		d.shares.gained() // another shard
		if n := d.rest(10 * time.Second); n != 0 {
			t.Errorf("%d polls of members that were ours already", n)
		}
	})
	// One that is being polled is polled again after.
	inBubble(t, 1, func(t *testing.T, d *days) {
		d.rest(3*time.Hour + time.Minute)
		d.clinic.set(func(c *clinic) { c.takes = 20 * time.Second })
		d.Look("m0")
		d.rest(10 * time.Second)
		d.shares.lose()
		d.shares.gain()
		if n := d.rest(12 * time.Second); n != 1 {
			t.Errorf("%d polls after the one in flight, want one", n)
		}
	})
	// Nor is one that must sign in.
	inBubble(t, 1, func(t *testing.T, d *days) {
		d.clinic.set(func(c *clinic) { c.err = &bwell.Error{Op: "observe", Class: bwell.Auth, HTTPStatus: 401} })
		d.rest(time.Minute)
		d.shares.gained()
		if n := d.rest(time.Minute); n != 0 {
			t.Errorf("%d polls without a grant since another shard was gained", n)
		}
	})
}

func TestOvertakenPollAsksAgain(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, d *days) {
		d.rest(2 * time.Hour)
		d.stream.rival("m0") // what we know of the head is not what the head is
		d.clinic.set(func(c *clinic) { c.status = "EXPIRED" })
		d.Look("m0")
		d.rest(time.Second)
		if d.stream.count("connection.status_changed") != 1 {
			t.Errorf("told %q", d.stream.told)
		}
	})
	// Overtaken between reading and writing, three times.
	inBubble(t, 1, func(t *testing.T, d *days) {
		d.rest(2 * time.Hour)
		d.clinic.set(func(c *clinic) { c.status = "EXPIRED" })
		d.Look("m0")
		d.rest(30 * time.Second)
		if d.Stats().Missed != 3 || d.stream.count("connection.status_changed") != 1 {
			t.Errorf("missed %d times, told %q", d.Stats().Missed, d.stream.told)
		}
	}, func(c *Config) { c.Log = &overtaken{stream: c.Log.(*stream), left: 3} })
}

// What another wrote while b.well took its time may be newer than the answer.
func TestAnswerIsComparedWithNoNewerHead(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, d *days) {
		d.rest(2 * time.Hour)
		d.clinic.set(func(c *clinic) { c.status, c.takes = "EXPIRED", 20*time.Second })
		d.Look("m0")
		d.rest(10 * time.Second)
		d.clinic.set(func(c *clinic) { c.status, c.takes = "CONNECTED", 0 })
		d.stream.rival("m0") // saw it work again
		d.rest(time.Hour)
		if told := d.stream.count("connection.status_changed"); told != 0 || d.Stats().Missed != 1 {
			t.Errorf("missed %d times, told %q", d.Stats().Missed, d.stream.told)
		}
	})
}

// What is read of recommendations is told, or they are read again soon.
func TestRecommendationsAreNotLost(t *testing.T) {
	offered := func(c *clinic) { c.offers = []string{"lake-1"} }
	found := func(t *testing.T, d *days, most int) {
		t.Helper()
		if d.stream.count("recommendation.found") != 1 || d.clinic.offersRead > most {
			t.Errorf("read %d times, told %q", d.clinic.offersRead, d.stream.told)
		}
	}
	t.Run("overtaken", func(t *testing.T) {
		inBubble(t, 1, func(t *testing.T, d *days) {
			d.rest(2 * time.Hour)
			d.clinic.set(offered)
			d.rest(26 * time.Hour)
			found(t, d, 3)
		}, func(c *Config) { c.Log = &overtaken{stream: c.Log.(*stream), left: 1} })
	})
	t.Run("the first answers are not whole", func(t *testing.T) {
		inBubble(t, 1, func(t *testing.T, d *days) {
			d.clinic.set(offered)
			d.clinic.set(func(c *clinic) { c.partial = true })
			d.rest(time.Minute)
			d.clinic.set(func(c *clinic) { c.partial = false })
			d.rest(10 * time.Minute)
			found(t, d, 1)
		})
	})
	t.Run("the answer in which the search ends is not whole", func(t *testing.T) {
		inBubble(t, 1, func(t *testing.T, d *days) {
			d.clinic.set(func(c *clinic) { c.search = "in-progress" })
			d.rest(time.Hour)
			d.clinic.set(offered)
			d.clinic.set(func(c *clinic) { c.search, c.partial = "completed", true })
			d.Look("m0")
			d.rest(time.Minute)
			d.clinic.set(func(c *clinic) { c.partial = false })
			d.rest(time.Hour)
			found(t, d, 2)
		})
	})
	t.Run("they do not come whole", func(t *testing.T) {
		inBubble(t, 1, func(t *testing.T, d *days) {
			d.clinic.set(offered)
			d.clinic.set(func(c *clinic) { c.offersLost = true })
			d.rest(time.Minute)
			d.clinic.set(func(c *clinic) { c.offersLost = false })
			d.rest(3 * time.Hour)
			found(t, d, 2)
		})
	})
}

// After consent ended nobody waits for recommendations, so an answer that came
// before is known by its bytes.
func TestDeniedMembersCostOnlyTheRequest(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, d *days) {
		d.clinic.set(func(c *clinic) { c.provision, c.consented = "deny", t0 })
		d.rest(3 * 24 * time.Hour)
		if n := len(d.clinic.polls); d.clinic.same < n-3 || d.clinic.offersRead != 1 {
			t.Errorf("of %d answers %d were known by their bytes; recommendations read %d times", n, d.clinic.same, d.clinic.offersRead)
		}
	})
}

// Whoever cannot say whether a row was deleted does not hide what else there is,
// and is not asked for ever as if it were about to.
func TestDeletedRowsThatCannotBeReadHideNothing(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, d *days) {
		d.rest(2 * time.Hour)
		d.clinic.set(func(c *clinic) {
			c.status, c.deletedErr = "", &bwell.Error{Op: "deletedConnections", Class: bwell.Invalid}
		})
		d.Look("m0")
		d.rest(20 * time.Minute)
		d.clinic.set(func(c *clinic) { c.provision, c.consented = "deny", t0 })
		d.rest(10 * time.Minute)
		if d.stream.count("consent.revoked") != 1 || d.stream.count("connection.removed") != 0 {
			t.Errorf("told %q", d.stream.told)
		}
		if n := d.rest(24 * time.Hour); n < 200 || n > 24*12 || d.stream.count("observation.lost") != 0 {
			t.Errorf("%d polls in a day, told %q; want one in five minutes", n, d.stream.told)
		}
		d.clinic.set(func(c *clinic) { c.deletedErr = nil })
		d.rest(10 * time.Minute)
		if d.stream.count("connection.removed") != 1 {
			t.Errorf("told %q", d.stream.told)
		}
	})
}

// An answer that is compared twice, since deleted rows were asked for, was still
// seen once.
func TestOneAnswerIsNoTwo(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, d *days) {
		d.rest(2 * time.Hour)
		d.clinic.set(func(c *clinic) { c.status = "" })
		d.Look("m0")
		d.rest(20 * time.Second)
		d.clinic.set(func(c *clinic) { c.provision = "deny" }) // without a date
		d.rest(15 * time.Second)
		if d.stream.count("connection.removed") != 1 || d.stream.count("consent.revoked") != 0 {
			t.Errorf("after one answer: told %q", d.stream.told)
		}
		d.rest(15 * time.Second)
		if d.stream.count("consent.revoked") != 1 {
			t.Errorf("after two: told %q", d.stream.told)
		}
	})
}

// A consent that was just given starts a search; what comes of it is looked for
// from then on, also where nothing else says that change is likely.
func TestGivenConsentIsFollowed(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, d *days) {
		d.clinic.set(func(c *clinic) { c.provision, c.consented = "deny", t0 })
		d.rest(24 * time.Hour)
		if n := d.rest(24 * time.Hour); n > 4 {
			t.Errorf("%d polls in a day without consent", n)
		}
		d.clinic.set(func(c *clinic) { c.provision, c.consented = "permit", t0.Add(time.Hour) })
		d.rest(7 * time.Hour) // until it is noticed
		if d.stream.count("consent.granted") != 1 {
			t.Errorf("told %q", d.stream.told)
		}
		if n := len(d.clinic.polls); n < 8+40 || n > 8+70 {
			t.Errorf("%d polls, want one each 15 s for a quarter of an hour after consent was given", n)
		}
	})
}

// A poll whose answer is not whole has failed, whoever asks: else an outage of
// one list would be told of member by member.
func TestWhatIsNotWholeHasFailed(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, d *days) {
		d.rest(2 * time.Hour)
		d.clinic.set(func(c *clinic) { c.partial = true })
		d.rest(70 * time.Minute)
		d.rest(time.Minute)
		for i := range 3 {
			d.Look(events.MemberToken(fmt.Sprintf("m%d", i)))
		}
		d.rest(time.Second)
		if polls, failed := d.Pulse(); polls < 3 || failed != polls {
			t.Errorf("%d of %d polls failed, want all", failed, polls)
		}
		if d.Stats().Rate != 10 {
			t.Errorf("allowed %v requests per second, and nobody asked to slow down", d.Stats().Rate)
		}
		d.clinic.set(func(c *clinic) { c.throttled = true })
		d.Look("m0")
		d.rest(time.Second)
		if d.Stats().Rate >= 10 {
			t.Errorf("allowed %v requests per second at once", d.Stats().Rate)
		}
	})
}

// Somebody waits for the poll after the one in flight, too.
func TestWhoAsksDuringAPollIsNotBehindAll(t *testing.T) {
	inBubble(t, 200, func(t *testing.T, d *days) {
		d.clinic.set(func(c *clinic) { c.takes = 20 * time.Second })
		d.rest(10 * time.Second)
		var first string
		d.clinic.set(func(c *clinic) { first = c.who[0] })
		d.Look(events.MemberToken(first))
		d.rest(20 * time.Second)
		d.clinic.set(func(c *clinic) {
			if n := len(slices.DeleteFunc(c.who, func(m string) bool { return m != first })); n != 2 {
				t.Errorf("polled %d times, want again as soon as the first has ended", n)
			}
		})
	}, func(c *Config) { c.Rate = 1 })
}

// overtaken lets a rival write first for a number of changes.
type overtaken struct {
	*stream
	left int
}

func (o *overtaken) Commit(ctx context.Context, t events.Transaction) (events.Stored, error) {
	head, guard := t.Head()
	if guard > 0 && o.left > 0 {
		o.left--
		o.rival(head.Member)
	}
	return o.stream.Commit(ctx, t)
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	for name, c := range map[string]Config{
		"nothing": {},
		"no pace": {Log: &stream{}, Registry: enrolments{}, Upstream: &clinic{}, Leases: &shares{}},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestRateGrowsByAdditionAndShrinksByDivision(t *testing.T) {
	now := time.Unix(0, 0)
	a := aimd{ceiling: 120, now: 120, at: now}
	var got []float64
	for _, step := range []struct {
		after   time.Duration
		refused bool
	}{
		{time.Second, true},            // halved
		{100 * time.Millisecond, true}, // of the same moment
		{time.Second, true},            // halved again
		{600 * time.Millisecond, false},
		{time.Second, false},
		{time.Hour, false}, // a pause is no proof
		{time.Second, true},
	} {
		now = now.Add(step.after)
		if step.refused {
			a = a.refused(now)
		} else {
			a = a.passed(now)
		}
		got = append(got, a.now)
	}
	if want := []float64{60, 60, 30, 31.2, 33.2, 35.2, 17.6}; !slices.Equal(got, want) {
		t.Errorf("rates %v, want %v", got, want)
	}
	for range 60 {
		now = now.Add(time.Second)
		a = a.passed(now)
	}
	if a.now != 120 {
		t.Errorf("after a minute of answers %v, want the ceiling", a.now)
	}
	for range 100 {
		now = now.Add(2 * time.Second)
		a = a.refused(now)
	}
	if a.now != 1.2 {
		t.Errorf("after a hundred refusals %v, want a hundredth of the ceiling", a.now)
	}
}

func TestPollSurvivesAnyError(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, d *days) {
		d.clinic.set(func(c *clinic) { c.err = errors.New("something nobody thought of") })
		if n := d.rest(24 * time.Hour); n < 5 {
			t.Errorf("%d polls in a day of errors", n)
		}
		d.clinic.set(func(c *clinic) { c.err = nil })
		d.rest(12 * time.Hour)
		if d.stream.count("observation.started") != 1 {
			t.Errorf("told %q", d.stream.told)
		}
	})
}
