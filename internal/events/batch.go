package events

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// The headers of JetStream's transactions. Their case matters: in another case
// they are silently no guard. Nothing outside this package writes them.
const (
	hdrExpect        = "Nats-Expected-Last-Subject-Sequence"
	hdrExpectSubject = "Nats-Expected-Last-Subject-Sequence-Subject"
	hdrBatchID       = "Nats-Batch-Id"
	hdrBatchSequence = "Nats-Batch-Sequence"
	hdrBatchCommit   = "Nats-Batch-Commit"
	hdrSchedule      = "Nats-Schedule"
	hdrTarget        = "Nats-Schedule-Target"
)

// Limits of the server: a batch holds at most 1,000 messages.
const maxBatch = 1000

// Error codes of the server that mean something to us.
const (
	codeWrongSequence      = 10071 // a guard or an assertion missed
	codeWrongSequenceConst = 10164 // the same, as replicated streams say it
	codeIncomplete         = 10176 // not stored, no miss: too many open batches, or the leader changed in mid-batch
	codeTooManyInFlight    = 10210 // not stored, no miss: too many open batches
)

// A batchError is the server's refusal of a batch: nothing of it is stored.
type batchError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *batchError) Error() string {
	return fmt.Sprintf("JetStream refuses the batch: %s (%d)", e.Description, e.ErrCode)
}

func (e *batchError) missed() bool {
	return e.ErrCode == codeWrongSequence || e.ErrCode == codeWrongSequenceConst
}

func (e *batchError) passing() bool {
	return e.ErrCode == codeIncomplete || e.ErrCode == codeTooManyInFlight
}

// messages returns the messages of t: its events, the timer, and last the head
// with its guard. The assertion about the member head travels on the first.
func (l *Log) messages(t Transaction) ([]*nats.Msg, error) {
	msgs := make([]*nats.Msg, 0, len(t.events)+2)
	for _, e := range t.events {
		h, body, err := encode(e, l.source)
		if err != nil {
			return nil, err
		}
		msgs = append(msgs, &nats.Msg{Subject: l.subjects.Of(e), Header: h, Data: body})
	}
	if !t.due.IsZero() {
		// The jetstream package's own option truncates to whole seconds and so
		// fires up to a second early.
		msgs = append(msgs, &nats.Msg{
			Subject: l.subjects.Timer(t.member, t.head.Sequence),
			Header: nats.Header{
				hdrSchedule: {"@at " + t.due.UTC().Format(time.RFC3339Nano)},
				hdrTarget:   {l.subjects.Due(t.member)},
			},
		})
	}
	if t.assert != 0 {
		msgs[0].Header[hdrExpect] = []string{strconv.FormatUint(t.assert, 10)}
		msgs[0].Header[hdrExpectSubject] = []string{l.subjects.Member(t.member)}
	}
	h, body, err := encode(t.head, l.source)
	if err != nil {
		return nil, err
	}
	h[hdrExpect] = []string{strconv.FormatUint(t.guard, 10)}
	return append(msgs, &nats.Msg{Subject: l.subjects.Of(t.head), Header: h, Data: body}), nil
}

// send stores msgs as one atomic batch and returns the stream sequence of the
// last. A *batchError means that nothing is stored; any other error that
// nobody knows.
func (l *Log) send(ctx context.Context, msgs []*nats.Msg) (uint64, error) {
	id := rand.Text()
	for i, m := range msgs {
		m.Header[hdrBatchID] = []string{id}
		m.Header[hdrBatchSequence] = []string{strconv.Itoa(i + 1)}
		delete(m.Header, hdrBatchCommit)
		if i < len(msgs)-1 {
			if err := l.nc.PublishMsg(m); err != nil {
				return 0, fmt.Errorf("send batch: %w", err)
			}
			continue
		}
		m.Header[hdrBatchCommit] = []string{"1"}
		reply, err := l.nc.RequestMsgWithContext(ctx, m)
		if err != nil {
			return 0, fmt.Errorf("commit batch: %w", err)
		}
		var ack struct {
			Stream string      `json:"stream"`
			Seq    uint64      `json:"seq"`
			Count  int         `json:"count"`
			Error  *batchError `json:"error"`
		}
		switch err := json.Unmarshal(reply.Data, &ack); {
		case err != nil:
			return 0, errors.New("commit batch: the answer is no acknowledgement of JetStream")
		case ack.Error != nil:
			return 0, ack.Error
		case ack.Stream != l.stream || ack.Count != len(msgs):
			return 0, fmt.Errorf("commit batch: stream %q acknowledged %d of %d messages", ack.Stream, ack.Count, len(msgs))
		}
		return ack.Seq, nil
	}
	return 0, errors.New("send batch: it is empty")
}
