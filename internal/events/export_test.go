package events

import "time"

// SetPatience makes the log wait only so long for the outcome of a batch.
func (l *Log) SetPatience(d time.Duration) { l.patience = d }
