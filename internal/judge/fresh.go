package judge

import (
	"context"
	"fmt"
)

// CatchUp returns when the view has all that was judged before it was called,
// of the kinds by which it holds something back. A view is read from a replica
// and may lag; one that holds nothing back may go on lagging, since a hold that
// begins a moment late does little harm. One that holds what was let go would do
// so for as long as nothing else happens to the member.
func (v *View) CatchUp(ctx context.Context) error {
	var seq uint64
	for _, filter := range v.holding() {
		last, err := v.log.LastJudged(ctx, filter)
		if err != nil {
			return fmt.Errorf("catch up with what is judged: %w", err)
		}
		seq = max(seq, last)
	}
	return v.Wait(ctx, seq)
}

// holding returns the subjects of what is held at present.
func (v *View) holding() (filters []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	prefix := v.log.Subjects().Prefix()
	for filter, holds := range map[string]bool{
		".source.*": len(v.now.degraded) > 0, ".storm": v.now.storm, ".observer": v.now.lost, ".silence.*": len(v.now.silences) > 0,
	} {
		if holds {
			filters = append(filters, prefix+filter)
		}
	}
	return filters
}
