package consumer

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Outcome names what became of one delivery.
type Outcome string

// The outcomes.
const (
	Handled   Outcome = "handled"    // its handler returned nil
	NotWanted Outcome = "not_wanted" // no handler is set for its type
	Late      Outcome = "late"       // a request to the member that is no news; told to Replayed
	Replayed  Outcome = "replayed"   // read again: a copy, or by a durable that was set back
	Gone      Outcome = "forgotten"  // the member was forgotten
	Double    Outcome = "double"     // done before
	Waiting   Outcome = "waiting"    // an earlier event of its subject has to be done first
	Failed    Outcome = "failed"     // comes again
	NotKnown  Outcome = "unknown"    // told to Unknown
	Poisoned  Outcome = "poisoned"   // told to Poison, and terminated
)

// A verdict is what the broker is to hear about a delivery.
type verdict struct {
	outcome Outcome
	delay   time.Duration // Waiting and Failed: until the next delivery
	err     error         // why it failed or is poison
}

// later reports whether the message must come again.
func (v verdict) later() bool { return v.outcome == Waiting || v.outcome == Failed }

// A runner settles deliveries of one subscription.
type runner struct {
	Subscription
	broker broker
	envelope
	now   func() time.Time
	table map[Type]entry

	filters []string // the subjects that are read, sorted

	// ordered: messages come once and in order, and there is nobody to tell.
	ordered bool
}

// A trial is an event that has to be tried again. Later events of its subject
// wait for it.
type trial struct {
	seq   uint64 // in the stream
	tries int
	at    time.Time // of the next try
}

// trial returns that of m.
func (l *lane) trial(m message) *trial {
	t := l.trying[m.subject]
	if t == nil || t.seq != m.seq {
		t = &trial{seq: m.seq}
		if l.trying == nil {
			l.trying = map[string]*trial{}
		}
		l.trying[m.subject] = t
	}
	return t
}

// settle does what is to be done about one delivery. It is the only place that
// decides so.
func (r *runner) settle(ctx context.Context, l *lane, m message) verdict {
	if m.replay() != "" {
		if v, waits := r.waits(l, m, Mark{}); waits {
			return v
		}
		v, _ := r.attempt(ctx, l, m, Mark{})
		return v
	}
	mark, err := r.mark(ctx, m.subject)
	if err != nil {
		return r.again(m, Failed, r.Delay(1), err)
	}
	if m.seq <= mark.Stream {
		same, err := r.sameStream(ctx, m, mark)
		if err != nil {
			return r.again(m, Waiting, r.Delay(1), err)
		}
		if same {
			r.observe(glance(m), m, Double, nil)
			return verdict{outcome: Double}
		}
		if e := glance(m); e.ID != "" && e.ID == mark.ID {
			v, _ := r.done(ctx, l, m, Double, e, e.Mark())
			return v
		}
		v, reset := r.restored(ctx, l, m, mark)
		if v.later() || v.outcome == Poisoned {
			return v
		}
		mark = reset
	}
	if v, waits := r.waits(l, m, mark); waits {
		return v
	}
	mark, err = r.catchUp(ctx, l, m, mark)
	if err != nil {
		return r.again(m, Waiting, r.Delay(1), err)
	}
	v, _ := r.attempt(ctx, l, m, mark)
	return v
}

// waits reports whether an earlier event of m's subject has to be tried again
// first. If that does not come back in time, somebody else has it or it was
// deleted: then the stream knows.
func (r *runner) waits(l *lane, m message, mark Mark) (verdict, bool) {
	t := l.trying[m.subject]
	if t != nil && t.seq <= mark.Stream {
		delete(l.trying, m.subject) // somebody else has done it
		t = nil
	}
	now := r.now()
	if t == nil || t.seq >= m.seq || !now.Before(t.at.Add(r.AckWait)) {
		return verdict{}, false
	}
	return r.again(m, Waiting, max(t.at.Sub(now), 0)+20*time.Millisecond, nil), true
}

// again has m come again without anything being done about it.
func (r *runner) again(m message, o Outcome, delay time.Duration, err error) verdict {
	r.observe(glance(m), m, o, err)
	return verdict{o, delay, err}
}

// mark asks the ledger how far a subject is done. Nobody who is asked may hold
// up a worker for ever: not the ledger, nor the broker, who does not answer whom
// it grants nothing.
func (r *runner) mark(ctx context.Context, subject string) (Mark, error) {
	if l, ok := r.Ledger.(*MemoryLedger); ok {
		return l.Last(ctx, subject) // waits for nobody, and a limit costs more than the answer
	}
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	return r.Ledger.Last(ctx, subject)
}

// enter has the ledger remember how far a subject is done.
func (r *runner) enter(ctx context.Context, subject string, mark Mark) error {
	if l, ok := r.Ledger.(*MemoryLedger); ok {
		return l.Done(ctx, subject, mark)
	}
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	return r.Ledger.Done(ctx, subject, mark)
}

// find returns the first message of a subject from a stream sequence on, nil if
// there is none.
func (r *runner) find(ctx context.Context, subject string, from uint64) (*message, error) {
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	return r.broker.next(ctx, subject, from)
}

// sameStream reports whether m, whose place is not after the mark's, stands in
// the stream that the mark was made in. Then it is a double. A restored stream
// gives the places of what was lost to other messages, which it stores later.
func (r *runner) sameStream(ctx context.Context, m message, mark Mark) (bool, error) {
	if !m.stored.After(mark.Stored) {
		return true, nil
	}
	// The clocks of servers that led the stream in turn may differ, and a ledger
	// may not have kept the time. The message of the mark itself knows.
	at, err := r.find(ctx, m.subject, mark.Stream)
	switch {
	case err != nil:
		return false, err
	case at == nil || at.seq != mark.Stream:
		return false, nil
	case mark.Stored.IsZero():
		return mark.ID == "" || attribute(at.header, "ce-id") == mark.ID, nil
	default:
		return at.stored.Equal(mark.Stored), nil
	}
}

// restored tells that m is of another stream than the mark, and returns the
// mark to go on from: what of m's subject was stored by then is done.
func (r *runner) restored(ctx context.Context, l *lane, m message, mark Mark) (verdict, Mark) {
	kind, member := r.about(m.subject)
	if r.Handlers.Gap != nil && mark.Sequence > 0 && kind != "member" && kind != "agenda" {
		e := glance(m)
		g := GapError{Subject: m.subject, Member: member, From: mark.Sequence, To: mark.Sequence, Restored: true}
		if n := e.Sequence; n > 0 {
			g.From, g.To = min(n, g.From), max(n-1, g.To)
		}
		if err := r.call(ctx, func(ctx context.Context) error { return r.Handlers.Gap(ctx, g) }); err != nil {
			return r.failed(ctx, l, m, e, mark, err)
		}
	}
	reset := Mark{Stored: mark.Stored}
	if err := r.enter(ctx, m.subject, reset); err != nil {
		return r.again(m, Failed, r.Delay(1), err), mark
	}
	return verdict{}, reset
}

// glance returns the event that a message claims to be, for where nobody acts
// on it.
func glance(m message) Event {
	e := Event{ID: attribute(m.header, "ce-id"), Type: Type(attribute(m.header, "ce-type")), Subject: m.subject, StreamSequence: m.seq, Stored: m.stored}
	if n, err := strconv.ParseUint(attribute(m.header, "ce-sequence"), 10, 64); err == nil {
		e.Sequence = n
	}
	return e
}

// catchUp handles what stands in the stream between the mark and m. There is
// something if an earlier process took messages and died with them: the broker
// delivers them again only after a time, and newer ones before them.
func (r *runner) catchUp(ctx context.Context, l *lane, m message, mark Mark) (Mark, error) {
	sequence, err := strconv.ParseUint(attribute(m.header, "ce-sequence"), 10, 64)
	if r.ordered || err == nil && sequence == mark.Sequence+1 {
		return mark, nil
	}
	from := mark.Stream
	if mark == (Mark{}) {
		if m.standing == nil || m.standing.floor == nil {
			return mark, nil
		}
		from = *m.standing.floor
	}
	for {
		next, err := r.find(ctx, m.subject, from+1)
		if err != nil {
			return mark, err
		}
		if next == nil || next.seq >= m.seq {
			return mark, nil
		}
		next.standing = m.standing
		if next.replay() != "" || mark.Stream == 0 && !next.stored.After(mark.Stored) {
			from = next.seq // comes by itself, or was done before the stream was restored
			continue
		}
		v, done := r.attempt(ctx, l, *next, mark)
		if v.later() {
			return mark, errors.New("consumer: an earlier event has to be tried again")
		}
		from, mark = next.seq, done
	}
}

// attempt handles a message that comes right after mark, and returns the mark
// that follows.
func (r *runner) attempt(ctx context.Context, l *lane, m message, mark Mark) (verdict, Mark) {
	kind, member := r.about(m.subject)
	if (kind == "member" || kind == "agenda") && m.tombstone() {
		if m.replay() != "" && !r.Projection {
			return r.done(ctx, l, m, Replayed, Event{}, mark) // the member may have been enrolled again since
		}
		err := r.call(ctx, func(ctx context.Context) error {
			if r.Handlers.Forgotten == nil {
				return nil
			}
			return r.Handlers.Forgotten(ctx, member)
		})
		if err != nil {
			return r.failed(ctx, l, m, Event{}, mark, err)
		}
		return r.done(ctx, l, m, Gone, Event{}, r.after(m, Event{}, mark))
	}
	e, err := r.decode(m)
	if err != nil {
		return r.poison(ctx, l, m, e, r.past(m, mark), err)
	}
	if e.Replay == "" {
		if e.Sequence == mark.Sequence && e.ID == mark.ID {
			return r.done(ctx, l, m, Double, e, e.Mark())
		}
		if lost, ok := r.gap(e, mark); ok && kind != "member" && kind != "agenda" {
			lost.Member = member
			if r.Handlers.Gap != nil {
				if err := r.call(ctx, func(ctx context.Context) error { return r.Handlers.Gap(ctx, lost) }); err != nil {
					return r.failed(ctx, l, m, e, mark, err)
				}
			}
			// What follows may fail: the gap was told all the same.
			mark = Mark{Stream: mark.Stream, Sequence: e.Sequence - 1, Stored: mark.Stored}
			if err := r.enter(ctx, m.subject, mark); err != nil {
				return r.again(m, Failed, r.Delay(1), err), mark
			}
		}
	}
	handle, outcome := r.handler(e)
	if handle == nil {
		return r.poison(ctx, l, m, e, r.after(m, e, mark), fmt.Errorf("%w %.80q", ErrUnknownType, e.Type))
	}
	if err := r.call(ctx, func(ctx context.Context) error { return handle(ctx, e) }); err != nil {
		return r.failed(ctx, l, m, e, mark, err)
	}
	return r.done(ctx, l, m, outcome, e, r.after(m, e, mark))
}

// after returns the mark after e; a tombstone is no event and ends the count.
func (r *runner) after(m message, e Event, mark Mark) Mark {
	switch {
	case m.replay() != "":
		return mark
	case e.ID == "":
		return Mark{Stream: m.seq, Stored: m.stored}
	default:
		return e.Mark()
	}
}

// past returns the mark after a message that is no event. Its sequence counts
// if it is the one that was expected.
func (r *runner) past(m message, mark Mark) Mark {
	if m.replay() != "" {
		return mark
	}
	if n, err := strconv.ParseUint(attribute(m.header, "ce-sequence"), 10, 64); err == nil && n == mark.Sequence+1 {
		return Mark{Stream: m.seq, Sequence: n, Stored: m.stored}
	}
	return Mark{Stream: m.seq, Sequence: mark.Sequence, ID: mark.ID, Stored: m.stored}
}

// gap returns the events that are missing between mark and e. The first event
// that is ever seen of a subject sets the count. One that counts backwards is
// of a new incarnation of the member, whose count begins at 1.
func (r *runner) gap(e Event, mark Mark) (GapError, bool) {
	g := GapError{Subject: e.Subject, From: mark.Sequence + 1, To: e.Sequence - 1}
	if mark.Sequence == 0 {
		return g, false
	}
	if e.Sequence <= mark.Sequence {
		g.From = 1
	}
	return g, g.From <= g.To
}

// handler returns what is to be called about e, and how that is named; nil if
// e can only be put aside. The body is looked at even if nobody wants it.
func (r *runner) handler(e Event) (func(context.Context, Event) error, Outcome) {
	known, ok := r.table[e.Type]
	replayed := func(ctx context.Context, e Event) error {
		if err := known.check(e); err != nil {
			return err
		}
		if r.Handlers.Replayed == nil {
			return nil
		}
		return r.Handlers.Replayed(ctx, e)
	}
	switch {
	case !ok && r.Handlers.Unknown != nil:
		return r.Handlers.Unknown, NotKnown
	case !ok:
		return nil, Poisoned
	case e.Replay != "" && !r.Projection:
		return replayed, Replayed
	case !known.set:
		return func(_ context.Context, e Event) error { return known.check(e) }, NotWanted
	case !r.Projection && r.late(e):
		return replayed, Late
	default:
		return known.handle, Handled
	}
}

// late reports a request to the member that is too old to be made unasked.
func (r *runner) late(e Event) bool {
	switch e.Type {
	case PromptOpened, PromptReminded, AccessEnded, ObservationLost:
		now := r.now()
		return r.MaxAge > 0 && now.Sub(e.Recorded) > r.MaxAge || !e.Expires.IsZero() && now.After(e.Expires)
	default:
		return false
	}
}

// done enters the mark.
func (r *runner) done(ctx context.Context, l *lane, m message, o Outcome, e Event, mark Mark) (verdict, Mark) {
	if m.replay() == "" {
		if err := r.enter(ctx, m.subject, mark); err != nil {
			return r.again(m, Failed, r.Delay(1), err), mark
		}
	}
	delete(l.trying, m.subject)
	r.observe(e, m, o, nil)
	return verdict{outcome: o}, mark
}

// failed has m come again, unless it can never be handled or was tried often
// enough.
func (r *runner) failed(ctx context.Context, l *lane, m message, e Event, mark Mark, err error) (verdict, Mark) {
	t := l.trial(m)
	t.tries++
	if errors.Is(err, ErrMalformed) || t.tries >= r.Tries {
		return r.poison(ctx, l, m, e, r.after(m, e, mark), err)
	}
	delay := r.Delay(t.tries)
	t.at = r.now().Add(delay)
	r.observe(e, m, Failed, err)
	return verdict{Failed, delay, err}, mark
}

// poison tells that m cannot be handled, and goes past it.
func (r *runner) poison(ctx context.Context, l *lane, m message, e Event, mark Mark, why error) (verdict, Mark) {
	p := Poison{Subject: m.subject, StreamSequence: m.seq, Header: m.header, Data: m.data, Tries: 0, Err: why}
	if t := l.trying[m.subject]; t != nil && t.seq == m.seq {
		p.Tries = t.tries
	}
	if err := r.call(ctx, func(ctx context.Context) error { return r.Handlers.Poison(ctx, p) }); err != nil {
		t := l.trial(m)
		delay := r.Delay(max(1, t.tries))
		t.at = r.now().Add(delay)
		err = errors.Join(why, err)
		r.observe(e, m, Failed, err)
		return verdict{Failed, delay, err}, mark
	}
	v, mark := r.done(ctx, l, m, Poisoned, e, mark)
	v.err = why
	return v, mark
}

// call calls a handler with its time limit.
func (r *runner) call(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	return sane(func() error { return f(ctx) })
}

func (r *runner) observe(e Event, m message, o Outcome, err error) {
	if r.Settled == nil {
		return
	}
	e.Subject, e.StreamSequence = m.subject, m.seq
	r.Settled(e, o, err)
}

// about returns the kind of a subject and the token of its member.
func (r *runner) about(subject string) (kind, member string) {
	words := strings.Split(strings.TrimPrefix(subject, r.prefix+"."), ".")
	switch words[0] {
	case "source", "silence", "observer", "storm":
		return words[0], ""
	}
	if len(words) > 1 {
		member = words[1]
	}
	return words[0], member
}
