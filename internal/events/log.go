package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ErrMoved reports that a head is no longer the one the transaction was made
// from, and that nothing of the transaction is stored. Throw the work away and
// look again.
var ErrMoved = errors.New("events: the head has moved")

// Stream is the name of the one stream that holds everything.
const Stream = "SC_EVENTS"

const (
	groupLimit    = 400              // messages of one group commit
	commitTimeout = 5 * time.Second  // for one batch; the server gives up after 10 s
	passingFor    = 15 * time.Second // how long what passes is tried again
	readTimeout   = time.Second      // for one read of a head
)

// A Log is the stream as this project sees it: heads are read from it and
// transactions committed to it. It is safe for concurrent use.
type Log struct {
	nc        *nats.Conn
	js        jetstream.JetStream
	apiPrefix string
	stream    string
	source    string
	subjects  Subjects
	patience  time.Duration // for the outcome of one batch; only tests change it

	// gate holds one token: whoever has it commits the next group, his own
	// transaction and those that wait with it. So there is one batch in flight,
	// and a batch costs the same whatever its size.
	gate chan struct{}

	mu    sync.Mutex
	queue []*pending
	room  int // messages in the next group; halved by a miss, grown by success
	stats Stats
}

// Stats counts what a Log did since it was made.
type Stats struct {
	Transactions int64 // stored
	Batches      int64 // stored
	Missed       int64 // transactions refused because a head had moved
	Recognised   int64 // transactions found stored after their outcome was unknown
}

// NewLog returns the log on js's stream.
func NewLog(js jetstream.JetStream, subjects Subjects, source string) *Log {
	if source == "" {
		source = DefaultSource
	}
	prefix := strings.TrimSuffix(js.Options().APIPrefix, ".")
	if prefix == "" {
		prefix = "$JS.API"
	}
	return &Log{
		nc: js.Conn(), js: js, apiPrefix: prefix, stream: Stream, source: source, subjects: subjects, patience: commitTimeout,
		gate: make(chan struct{}, 1), room: groupLimit,
	}
}

// Subjects returns the subjects the log writes to.
func (l *Log) Subjects() Subjects { return l.subjects }

// Stats returns what the log did so far.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stats
}

// A Head is the last message of a head's subject. The zero Head means that
// there is none.
type Head[T any] struct {
	Seq      uint64 // stream sequence: the guard of whoever replaces it
	ID       string
	Recorded time.Time

	// Snapshot is nil if there is no head, or only a tombstone.
	Snapshot *T
}

// Stored is the outcome of a transaction.
type Stored struct {
	HeadSeq uint64 // stream sequence of the new head; 0 if only its id is known
}

// Member reads the head of what is known of m from the leader.
func (l *Log) Member(ctx context.Context, m MemberToken) (Head[Member], error) {
	return readHead[Member](ctx, l, l.subjects.Member(m))
}

// Agenda reads the head of what is asked of m from the leader.
func (l *Log) Agenda(ctx context.Context, m MemberToken) (Head[Agenda], error) {
	return readHead[Agenda](ctx, l, l.subjects.Agenda(m))
}

func readHead[T any](ctx context.Context, l *Log, subject string) (Head[T], error) {
	msg, err := l.last(ctx, subject)
	if err != nil || msg == nil {
		return Head[T]{}, err
	}
	return HeadOf[T](msg.Header, msg.Data, msg.Sequence)
}

// HeadOf reads a head from a message, as a trigger carries it. A tombstone has
// no snapshot but is still a guard.
func HeadOf[T any](header nats.Header, body []byte, seq uint64) (Head[T], error) {
	h := Head[T]{Seq: seq}
	if len(body) == 0 {
		return h, nil
	}
	e, err := Decode(header, body)
	if err != nil {
		return h, err
	}
	snapshot, ok := any(e.Data).(*T)
	if !ok {
		return h, fmt.Errorf("%w: %s is no such head", ErrMalformed, e.Type)
	}
	h.ID, h.Recorded, h.Snapshot = e.ID, e.Recorded, snapshot
	return h, nil
}

// last returns the last message of a subject as the leader of the stream has
// it, nil if there is none. A direct get may be answered by a replica that
// lags, and a decision on a stale head is a miss at best.
func (l *Log) last(ctx context.Context, subject string) (*jetstream.RawStreamMsg, error) {
	req, err := json.Marshal(map[string]string{"last_by_subj": subject})
	if err != nil {
		return nil, err
	}
	reply, err := l.ask(ctx, l.apiPrefix+".STREAM.MSG.GET."+l.stream, req)
	if err != nil {
		return nil, fmt.Errorf("read a head: %w", err)
	}
	var answer struct {
		Message *struct {
			Subject string    `json:"subject"`
			Seq     uint64    `json:"seq"`
			Header  []byte    `json:"hdrs"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
		Error *jetstream.APIError `json:"error"`
	}
	switch err := json.Unmarshal(reply.Data, &answer); {
	case err != nil:
		return nil, errors.New("read a head: the answer is not JetStream's")
	case answer.Error != nil && answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return nil, nil
	case answer.Error != nil:
		return nil, fmt.Errorf("read a head: %w", answer.Error)
	case answer.Message == nil:
		return nil, nil
	}
	m := answer.Message
	msg := &jetstream.RawStreamMsg{Subject: m.Subject, Sequence: m.Seq, Data: m.Data, Time: m.Time}
	if len(m.Header) > 0 {
		if msg.Header, err = nats.DecodeHeadersMsg(m.Header); err != nil {
			return nil, fmt.Errorf("read a head: %w", err)
		}
	}
	return msg, nil
}

// ask sends a request again that is not answered: while a stream has no leader,
// nobody answers.
func (l *Log) ask(ctx context.Context, subject string, req []byte) (*nats.Msg, error) {
	return backoff.RetryWithData(func() (*nats.Msg, error) {
		try, cancel := context.WithTimeout(ctx, readTimeout)
		defer cancel()
		reply, err := l.nc.RequestWithContext(try, subject, req)
		if err != nil && (ctx.Err() != nil || !unheard(err)) {
			return nil, backoff.Permanent(err)
		}
		return reply, err
	}, backoff.WithContext(passing(), ctx))
}

// unheard reports that a request met nobody, or that its answer did not come.
func unheard(err error) bool {
	return errors.Is(err, nats.ErrNoResponders) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout)
}

func passing() *backoff.ExponentialBackOff {
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(time.Duration(5+rand.IntN(20))*time.Millisecond),
		backoff.WithMaxInterval(time.Second),
		backoff.WithMaxElapsedTime(passingFor),
	)
}

// A pending transaction waits for its group.
type pending struct {
	t    Transaction
	msgs []*nats.Msg
	done chan outcome // buffered: whoever settles it never waits
}

type outcome struct {
	stored Stored
	err    error
}

// Commit stores t, alone or in a group with others that arrive meanwhile. It
// returns ErrMoved if t was made from a head that is no longer the last. Any
// other error says that the outcome is not known, or that t cannot be stored;
// then too the caller looks again, and the guard keeps that harmless.
//
// If ctx ends first, t may still be stored.
func (l *Log) Commit(ctx context.Context, t Transaction) (Stored, error) {
	msgs, err := l.messages(t)
	if err != nil {
		return Stored{}, fmt.Errorf("commit %s: %w", t.member, err)
	}
	if len(msgs) > maxBatch {
		return Stored{}, fmt.Errorf("commit %s: %d messages, a transaction holds %d", t.member, len(msgs), maxBatch)
	}
	p := &pending{t: t, msgs: msgs, done: make(chan outcome, 1)}
	l.mu.Lock()
	l.queue = append(l.queue, p)
	l.mu.Unlock()
	for {
		select {
		case o := <-p.done:
			if o.err != nil {
				return Stored{}, fmt.Errorf("commit %s: %w", t.member, o.err)
			}
			return o.stored, nil
		case l.gate <- struct{}{}:
			// The group holds the transactions of others: a stop of this caller
			// must not abort them.
			l.commitGroup(context.WithoutCancel(ctx), l.nextGroup())
			<-l.gate
		case <-ctx.Done():
			return Stored{}, fmt.Errorf("commit %s: %w", t.member, context.Cause(ctx))
		}
	}
}

// nextGroup takes the transactions of the next batch from the queue, in order
// and never two of one member.
func (l *Log) nextGroup() []*pending {
	l.mu.Lock()
	defer l.mu.Unlock()
	var group, rest []*pending
	members := map[MemberToken]bool{}
	size := 0
	for i, p := range l.queue {
		if len(group) > 0 && size+len(p.msgs) > l.room {
			rest = append(rest, l.queue[i:]...)
			break
		}
		if members[p.t.member] {
			rest = append(rest, p)
			continue
		}
		members[p.t.member] = true
		size += len(p.msgs)
		group = append(group, p)
	}
	l.queue = rest
	return group
}

// commitGroup stores the group as one batch and settles each of it. A group
// that misses is halved until the one that missed is alone.
func (l *Log) commitGroup(ctx context.Context, group []*pending) {
	if len(group) == 0 {
		return
	}
	var msgs []*nats.Msg
	for _, p := range group {
		msgs = append(msgs, p.msgs...)
	}
	last, err := l.sendPatiently(ctx, msgs)
	var refused *batchError
	switch {
	case err == nil:
		l.count(func(s *Stats) { s.Batches++; s.Transactions += int64(len(group)) })
		l.resize(min(groupLimit, l.room*2))
		seq := last - uint64(len(msgs))
		for _, p := range group {
			seq += uint64(len(p.msgs))
			p.done <- outcome{stored: Stored{HeadSeq: seq}}
		}
	case errors.As(err, &refused) && refused.missed() && len(group) > 1:
		l.resize(max(2, l.room/2))
		l.commitGroup(ctx, group[:len(group)/2])
		l.commitGroup(ctx, group[len(group)/2:])
	case errors.As(err, &refused) && !refused.missed():
		for _, p := range group {
			p.done <- outcome{err: err}
		}
	default: // a miss, or an outcome nobody knows
		// One deadline for all: those who wait must not wait for each in turn.
		ctx, cancel := context.WithTimeout(ctx, l.patience)
		defer cancel()
		for _, p := range group {
			p.done <- l.recognise(ctx, p.t, err)
		}
	}
}

// recognise finds out what became of t after err. A lost acknowledgement looks
// like a miss whose head is ours.
func (l *Log) recognise(ctx context.Context, t Transaction, err error) outcome {
	msg, readErr := l.last(ctx, l.subjects.Of(t.head))
	if readErr != nil {
		return outcome{err: errors.Join(err, readErr)}
	}
	if msg != nil && attribute(msg.Header, "ce-id") == t.head.ID {
		l.count(func(s *Stats) { s.Recognised++; s.Transactions++ })
		return outcome{stored: Stored{HeadSeq: msg.Sequence}}
	}
	if refused, ok := errors.AsType[*batchError](err); ok && refused.missed() {
		l.count(func(s *Stats) { s.Missed++ })
		return outcome{err: ErrMoved}
	}
	return outcome{err: err}
}

// sendPatiently sends a batch again for as long as it is certain that nothing
// of it is stored, and what stands in its way passes: too many open batches, a
// leader that changed in the middle, or no leader to take the commit.
func (l *Log) sendPatiently(ctx context.Context, msgs []*nats.Msg) (uint64, error) {
	return backoff.RetryWithData(func() (uint64, error) {
		ctx, cancel := context.WithTimeout(ctx, l.patience)
		defer cancel()
		seq, err := l.send(ctx, msgs)
		if err != nil && !passes(err) {
			return 0, backoff.Permanent(err)
		}
		return seq, err
	}, passing())
}

func passes(err error) bool {
	refused, ok := errors.AsType[*batchError](err)
	return ok && refused.passing() || errors.Is(err, nats.ErrNoResponders)
}

func (l *Log) resize(room int) {
	l.mu.Lock()
	l.room = room
	l.mu.Unlock()
}

func (l *Log) count(f func(*Stats)) {
	l.mu.Lock()
	f(&l.stats)
	l.mu.Unlock()
}

// Owner returns the member that an event of a kind with this token is about:
// who was prompted for a connection, who was offered a source. Empty means that
// there is none.
func (l *Log) Owner(ctx context.Context, kind, part string) (MemberToken, error) {
	if part == "" || strings.ContainsAny(part, ".*> ") {
		return "", nil
	}
	msg, err := l.last(ctx, l.subjects.prefix+"."+kind+".*."+part)
	if err != nil || msg == nil {
		return "", err
	}
	_, m, _ := l.subjects.Parse(msg.Subject)
	return m, nil
}
