package consumer

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
)

// Handlers are what a service does about events; set those you need. The
// stream is read for the kinds of the types that are set. An event of such a
// kind whose own handler is not set is acknowledged without more.
//
// A handler may be called twice for one event: act under [Event.ID], or keep
// your effects and the marks together, see [Event.Mark]. Events of one subject
// arrive one at a time and in order, also when one of them has to be tried
// again; other subjects go on meanwhile.
type Handlers struct {
	ConnectionBaseline      func(context.Context, Event, Connection) error
	ConnectionDiscovered    func(context.Context, Event, Connection) error
	ConnectionStatusChanged func(context.Context, Event, Connection) error
	ConnectionConfirmed     func(context.Context, Event, Connection) error
	ConnectionSyncChanged   func(context.Context, Event, Connection) error
	ConnectionChanged       func(context.Context, Event, Connection) error
	ConnectionReplaced      func(context.Context, Event, Connection) error
	ConnectionRemoved       func(context.Context, Event, Connection) error
	ConnectionExpiring      func(context.Context, Event, Connection) error
	TaskBaseline            func(context.Context, Event, Task) error
	TaskStatusChanged       func(context.Context, Event, Task) error
	ConsentBaseline         func(context.Context, Event, Consent) error
	ConsentGranted          func(context.Context, Event, Consent) error
	ConsentRevoked          func(context.Context, Event, Consent) error
	RecommendationFound     func(context.Context, Event, Recommendation) error
	RecommendationWithdrawn func(context.Context, Event, Recommendation) error
	ObservationStarted      func(context.Context, Event, Observation) error
	ObservationLost         func(context.Context, Event, Observation) error
	ObservationResumed      func(context.Context, Event, Observation) error
	PromptOpened            func(context.Context, Event, Prompt) error
	PromptReminded          func(context.Context, Event, Prompt) error
	PromptAcknowledged      func(context.Context, Event, Prompt) error
	PromptResolved          func(context.Context, Event, Prompt) error
	PromptWithdrawn         func(context.Context, Event, Prompt) error
	PromptExpired           func(context.Context, Event, Prompt) error
	AccessEnded             func(context.Context, Event, Access) error
	AccessRestored          func(context.Context, Event, Access) error
	AccessRestoreOverdue    func(context.Context, Event, Access) error
	SourceDegraded          func(context.Context, Event, Source) error
	SourceRestored          func(context.Context, Event, Source) error
	ObserverLost            func(context.Context, Event, Observer) error
	ObserverResumed         func(context.Context, Event, Observer) error
	StormHeld               func(context.Context, Event, Storm) error
	StormReleased           func(context.Context, Event, Storm) error
	SilenceSet              func(context.Context, Event, Silence) error
	SilenceEnded            func(context.Context, Event, Silence) error
	MemberSnapshot          func(context.Context, Event, Member) error
	AgendaSnapshot          func(context.Context, Event, Agenda) error

	// Replayed gets what is no news: copies made by a replay, what a durable that
	// was set back reads again, and requests to the member that came late (see
	// [Subscription].MaxAge). Nothing here may push without asking
	// [Client.Current] or [Client.CurrentAccess]. Not set: they are acknowledged.
	Replayed func(context.Context, Event) error

	// Forgotten says that the member of this token was forgotten: delete what
	// you keep of them. It is told on the subjects of the heads, so MemberSnapshot
	// or AgendaSnapshot must be set too, and if both are, it is told twice. The
	// stream does not say it for ever: who was away for long asks
	// [Client.State], which answers ErrNothing.
	Forgotten func(ctx context.Context, member string) error

	// Gap hears of events that were lost to this consumer: the stream keeps
	// only so many of a subject, or it was restored from a backup. The way back
	// is [Client.Agenda] or [Client.State], which are whole. Heads themselves
	// have no gaps.
	Gap func(context.Context, GapError) error

	// Unknown gets whole events of types that this package does not know, copies
	// made by a replay too. Not set: they go to Poison.
	Unknown func(context.Context, Event) error

	// Poison gets, with the reason, what no handler can use: broken messages,
	// and events whose handler failed too often. Keep them where a person
	// looks. Once it returns nil the broker is told that the message is
	// terminated; until then it is delivered again.
	Poison func(context.Context, Poison) error
}

// A Poison is a message that no handler can use.
type Poison struct {
	Subject        string
	StreamSequence uint64
	Header         map[string][]string
	Data           []byte // holds identity: keep it as safe as the stream
	Tries          int    // of its handler
	Err            error  // why; wraps ErrMalformed, ErrUnknownType or the handler's error
}

// Error says why, without anything of the body.
func (p Poison) Error() string { return p.Err.Error() }

// A GapError reports events of one subject that will never come.
type GapError struct {
	Subject  string
	Member   string // token, for Client.Agenda and Client.State
	From, To uint64 // the first and the last sequence that is missing

	// Restored: the stream is not the one that was read before. From and To are
	// sequences that were told, or would have been, and are given anew to other
	// events: what you did for them may rest on nothing.
	Restored bool
}

// Error says which events are missing.
func (g GapError) Error() string {
	if g.Restored {
		return fmt.Sprintf("consumer: %s: the stream was restored: events %d to %d are others now", g.Subject, g.From, g.To)
	}
	return fmt.Sprintf("consumer: %s: events %d to %d are lost", g.Subject, g.From, g.To)
}

// An entry is the handler of one type.
type entry struct {
	typ    Type
	set    bool
	check  func(Event) error // whether the body is what the schema says
	handle func(context.Context, Event) error
}

// table lists the handlers of all types of the contract.
func (h *Handlers) table() []entry {
	return []entry{
		entryOf(ConnectionBaseline, h.ConnectionBaseline),
		entryOf(ConnectionDiscovered, h.ConnectionDiscovered),
		entryOf(ConnectionStatusChanged, h.ConnectionStatusChanged),
		entryOf(ConnectionConfirmed, h.ConnectionConfirmed),
		entryOf(ConnectionSyncChanged, h.ConnectionSyncChanged),
		entryOf(ConnectionChanged, h.ConnectionChanged),
		entryOf(ConnectionReplaced, h.ConnectionReplaced),
		entryOf(ConnectionRemoved, h.ConnectionRemoved),
		entryOf(ConnectionExpiring, h.ConnectionExpiring),
		entryOf(TaskBaseline, h.TaskBaseline),
		entryOf(TaskStatusChanged, h.TaskStatusChanged),
		entryOf(ConsentBaseline, h.ConsentBaseline),
		entryOf(ConsentGranted, h.ConsentGranted),
		entryOf(ConsentRevoked, h.ConsentRevoked),
		entryOf(RecommendationFound, h.RecommendationFound),
		entryOf(RecommendationWithdrawn, h.RecommendationWithdrawn),
		entryOf(ObservationStarted, h.ObservationStarted),
		entryOf(ObservationLost, h.ObservationLost),
		entryOf(ObservationResumed, h.ObservationResumed),
		entryOf(PromptOpened, h.PromptOpened),
		entryOf(PromptReminded, h.PromptReminded),
		entryOf(PromptAcknowledged, h.PromptAcknowledged),
		entryOf(PromptResolved, h.PromptResolved),
		entryOf(PromptWithdrawn, h.PromptWithdrawn),
		entryOf(PromptExpired, h.PromptExpired),
		entryOf(AccessEnded, h.AccessEnded),
		entryOf(AccessRestored, h.AccessRestored),
		entryOf(AccessRestoreOverdue, h.AccessRestoreOverdue),
		entryOf(SourceDegraded, h.SourceDegraded),
		entryOf(SourceRestored, h.SourceRestored),
		entryOf(ObserverLost, h.ObserverLost),
		entryOf(ObserverResumed, h.ObserverResumed),
		entryOf(StormHeld, h.StormHeld),
		entryOf(StormReleased, h.StormReleased),
		entryOf(SilenceSet, h.SilenceSet),
		entryOf(SilenceEnded, h.SilenceEnded),
		entryOf(MemberSnapshot, h.MemberSnapshot),
		entryOf(AgendaSnapshot, h.AgendaSnapshot),
	}
}

// entryOf returns the entry of a typed handler, which may be nil. The schema is
// read when the first event of the type comes.
func entryOf[T any](t Type, f func(context.Context, Event, T) error) entry {
	schema := sync.OnceValues(func() (body[T], error) { return bodyOf[T](t) })
	read := func(e Event) (T, error) {
		b, err := schema()
		if err != nil {
			var none T
			return none, err
		}
		return b.read(e)
	}
	return entry{
		typ: t, set: f != nil,
		check: func(e Event) error { _, err := read(e); return err },
		handle: func(ctx context.Context, e Event) error {
			data, err := read(e)
			if err != nil {
				return err
			}
			return f(ctx, e, data)
		},
	}
}

// sane calls f and returns its panic as an error: one bad event must not stop
// the service.
func sane(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("consumer: the handler panics: %v\n%s", p, debug.Stack())
		}
	}()
	return f()
}
