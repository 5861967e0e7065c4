package reconnect

import "sync/atomic"

// Outcomes lists what a decision comes to that is stored, in the words of
// [Verdict].
func Outcomes() []string {
	return []string{Opened, Reminded, Resolved, Withdrawn, Superseded, Expired, Ended, Restored, Overdue, Noted, Activating}
}

// Holds lists the reasons for which a connection that is broken is not asked
// about for now, in the words of [Verdict].
func Holds() []string {
	return []string{
		reasonAwaiting, reasonOverdue, reasonBlind, reasonDegraded, reasonStorm, reasonSilenced, reasonDeleting, reasonUnconfirmed,
		reasonFirstSight, reasonUnknownType, reasonUnknownStatus, reasonGrouping, reasonActivating,
	}
}

// counts tells how often which word was said, since the start.
type counts map[string]*atomic.Int64

func newCounts(words []string) counts {
	c := counts{}
	for _, w := range words {
		c[w] = new(atomic.Int64)
	}
	return c
}

func (c counts) add(word string) {
	if n := c[word]; n != nil {
		n.Add(1)
	}
}

// Decided returns how often an outcome was stored, since the start.
func (c *Consumer) Decided(outcome string) int64 { return c.decided[outcome].Load() }

// HeldFor returns how many looks left a broken connection alone for a reason,
// since the start. Who waits is looked at more than once.
func (c *Consumer) HeldFor(reason string) int64 { return c.holds[reason].Load() }
