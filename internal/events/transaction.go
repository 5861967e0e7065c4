package events

import (
	"cmp"
	"fmt"
	"maps"
	"time"
)

// A Transaction is all that one look at a member changes: the events that tell
// of it, the new head, and the next look. All of it is stored or none.
//
// Transactions are made by [Subjects.Poll] and [Subjects.Decide].
type Transaction struct {
	member MemberToken
	events []Event
	head   Event

	// guard is the stream sequence of the head that is replaced, 0 if there
	// was none.
	guard uint64

	// assert is the stream sequence of the member head that an agenda was
	// decided from, 0 for none.
	assert uint64

	// due is when the broker wakes the decider, zero for never.
	due time.Time
}

// Events returns the events of the transaction without its head, numbered.
func (t Transaction) Events() []Event { return t.events }

// Head returns the head the transaction writes, as an event, and the stream
// sequence of the one it replaces, 0 if there was none.
func (t Transaction) Head() (head Event, guard uint64) { return t.head, t.guard }

// Poll makes the transaction of a poll: told and next replace the member head
// that stands at stream sequence guard (0 for none). The events and the head
// are numbered in next's book.
func (s Subjects) Poll(m MemberToken, told []Event, next *Member, guard uint64, now time.Time) (Transaction, error) {
	fill(next)
	t := Transaction{member: m, guard: guard}
	err := t.compose(s, &next.Book, told, Event{Type: MemberSnapshot, Data: next}, now)
	return t, err
}

// Decide makes the transaction of a decision: told and next replace the agenda
// that stands at guard, decided from the member head at stream sequence from.
// due is the next look, zero for none. One of told and due must be there,
// since the assertion about the member head travels on such a message.
func (s Subjects) Decide(m MemberToken, told []Event, next *Agenda, guard, from uint64, due, now time.Time) (Transaction, error) {
	if len(told) == 0 && due.IsZero() {
		return Transaction{}, fmt.Errorf("decide for %s: an agenda with neither event nor next look", m)
	}
	fill(next)
	t := Transaction{member: m, guard: guard, assert: from, due: due}
	err := t.compose(s, &next.Book, told, Event{Type: AgendaSnapshot, Data: next}, now)
	return t, err
}

func (t *Transaction) compose(s Subjects, book *Book, told []Event, head Event, now time.Time) error {
	t.events = make([]Event, len(told))
	for i, e := range told {
		e.Member, e.Recorded = t.member, now
		if e.Time.IsZero() {
			e.Time = now
		}
		fill(e.Data)
		if err := book.enter(&e, s.Of(e)); err != nil {
			return err
		}
		t.events[i] = e
	}
	head.Member, head.Time, head.Recorded = t.member, now, now
	// The head lists its own sequence, but cannot hold its own id.
	key := head.key()
	previous := book.Latest[key]
	delete(book.Latest, key)
	book.Sequences[key]++
	head.Sequence = book.Sequences[key]
	if err := head.stamp(book.Incarnation, s.Of(head)); err != nil {
		return err
	}
	head.CausationID = cmp.Or(firstCause(t.events), previous)
	t.head = head
	return nil
}

func firstCause(told []Event) string {
	if len(told) == 0 {
		return ""
	}
	return told[0].ID
}

// fill turns absent lists into empty ones: readers in other languages are
// promised arrays and objects.
func fill(d Data) {
	switch d := d.(type) {
	case *Connection:
		list(&d.Changed)
	case *Access:
		list(&d.Connections)
	case *Silence:
		if d.Scope == nil {
			d.Scope = map[string]string{}
		}
	case *Member:
		fillBook(&d.Book)
		list(&d.Connections)
		list(&d.Recommendations)
	case *Agenda:
		fillBook(&d.Book)
		list(&d.Prompts)
		list(&d.Asked)
		list(&d.Pushes)
		if d.Access != nil && d.Access.Connections == nil {
			access := *d.Access // the head it was copied from has it too
			list(&access.Connections)
			d.Access = &access
		}
	default: // has no list that is always there
	}
}

func list[T any](l *[]T) {
	if *l == nil {
		*l = []T{}
	}
}

// fillBook gives the book maps of its own: numbering must not reach back into
// the head it was copied from.
func fillBook(b *Book) {
	sequences, latest := b.Sequences, b.Latest
	b.Sequences, b.Latest = map[string]uint64{}, map[string]string{}
	maps.Copy(b.Sequences, sequences)
	maps.Copy(b.Latest, latest)
}
