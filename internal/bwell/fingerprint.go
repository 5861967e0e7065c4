package bwell

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
)

// Fingerprint hashes what the observation means: two with the same one call for
// the same actions. It depends neither on the order of rows nor on LastSynced,
// which moves all the time, nor on Date and the counters, nor on why a list is
// not whole; it is the same in every process. It allocates once, whatever the
// number of rows.
func (o Observation) Fingerprint() [16]byte {
	var whole hash
	for i, is := range [...]bool{o.Connections.Whole, o.Tasks.Whole, o.Consents.Whole} {
		if is {
			whole.buffer = append(whole.array[:0], "whole"...)
			whole.buffer = append(whole.buffer, byte(i))
			whole.add()
		}
	}
	for i := range o.Connections.Items {
		c := &o.Connections.Items[i]
		whole.row("connection", c.ID, c.Name)
		whole.words(c.Status, c.IntegrationType, c.Category, c.Type, c.SyncStatus)
		for _, code := range c.SyncErrors {
			whole.text(code)
		}
		whole.times(&c.StatusUpdated, &c.Created)
		whole.add()
	}
	for i := range o.Tasks.Items {
		t := &o.Tasks.Items[i]
		whole.row("task", t.ID, t.Reason)
		whole.words(t.Status)
		whole.times(&t.LastModified, &t.Updated, &t.AuthoredOn)
		whole.add()
	}
	for i := range o.Consents.Items {
		c := &o.Consents.Items[i]
		whole.row("consent", c.ID, c.Category)
		whole.words(c.Status, c.Provision)
		whole.times(&c.DateTime, &c.Updated)
		whole.add()
	}
	var sum [16]byte
	binary.BigEndian.PutUint64(sum[:8], whole.high)
	binary.BigEndian.PutUint64(sum[8:], whole.low)
	return sum
}

// A hash is the sum of the hashes of rows: the same in any order, and, other
// than an exclusive or, not blind to a row that stands twice.
type hash struct {
	high, low uint64
	buffer    []byte
	array     [512]byte
}

func (h *hash) row(kind string, texts ...string) {
	h.buffer = h.array[:0]
	h.text(kind)
	for _, t := range texts {
		h.text(t)
	}
}

func (h *hash) text(s string) {
	h.buffer = binary.AppendUvarint(h.buffer, uint64(len(s)))
	h.buffer = append(h.buffer, s...)
}

func (h *hash) words(words ...Word) {
	for _, w := range words {
		h.text(w.Value)
		h.text(w.Raw)
	}
}

// times hashes instants, so that two spellings of one are the same.
func (h *hash) times(times ...*Time) {
	for _, t := range times {
		if t.IsZero() {
			h.text(t.Raw)
			continue
		}
		h.buffer = append(h.buffer, 0xff)
		h.buffer = binary.BigEndian.AppendUint64(h.buffer, uint64(t.Unix()))
		h.buffer = binary.BigEndian.AppendUint32(h.buffer, uint32(t.Nanosecond()))
	}
}

func (h *hash) add() {
	sum := sha256.Sum256(h.buffer)
	var carry uint64
	h.low, carry = bits.Add64(h.low, binary.BigEndian.Uint64(sum[8:16]), 0)
	h.high, _ = bits.Add64(h.high, binary.BigEndian.Uint64(sum[:8]), carry)
}
