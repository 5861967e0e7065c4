// Package conflict tells a lost race for a key of a bucket from the other
// refusals of the broker.
package conflict

import (
	"errors"

	"github.com/nats-io/nats.go/jetstream"
)

// Is reports whether err means that another wrote the key first. Any other
// refusal, such as that the broker has no storage left, says nothing of others.
func Is(err error) bool {
	if errors.Is(err, jetstream.ErrKeyExists) {
		return true
	}
	api, refused := errors.AsType[*jetstream.APIError](err)
	return refused && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}
