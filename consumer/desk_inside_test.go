package consumer

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// on returns deliveries of the lanes that the words name, numbered by their
// place in the stream.
func on(words string) []delivery {
	var list []delivery
	for i, lane := range strings.Fields(words) {
		list = append(list, delivery{lane: lane, message: message{seq: uint64(i + 1)}})
	}
	return list
}

// What waits for its lane does not wait in anybody's way, the desk takes no more
// than it has room for, and what was not begun when it is closed is told.
func TestDesk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, gate := newDesk(5), make(chan struct{})
		var begun, answered []uint64
		for range 2 {
			go k.work(func(_ *lane, d delivery) func() {
				k.mu.Lock()
				begun = append(begun, d.seq)
				k.mu.Unlock()
				if d.lane == "a" {
					<-gate
				}
				return func() { answered = append(answered, d.seq) }
			})
		}
		var taken int
		go func() {
			for _, d := range on("a a b a b b a b") {
				if !k.put(d) {
					return
				}
				k.mu.Lock()
				taken++
				k.mu.Unlock()
			}
		}()
		synctest.Wait()
		is := func(what string, got []uint64, want ...uint64) {
			t.Helper()
			k.mu.Lock()
			defer k.mu.Unlock()
			if !slices.Equal(got, want) {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		}
		list := func() (lies []uint64) {
			k.each(func(d delivery) { lies = append(lies, d.seq) })
			slices.Sort(lies)
			return lies
		}
		is("begun", begun, 1, 3, 5, 6, 8)
		is("answered", answered, 3, 5, 6, 8)
		is("on the desk", list(), 1, 2, 4, 7)

		gate <- struct{}{}
		synctest.Wait()
		is("begun", begun, 1, 3, 5, 6, 8, 2)

		// No more than it has room for, whatever is at work.
		for range 2 {
			if !k.put(on("a")[0]) {
				t.Error("closed")
			}
		}
		full := make(chan bool)
		go func() { full <- k.put(on("c")[0]) }()
		synctest.Wait()
		var left []uint64
		k.close(func(d delivery) { left = append(left, d.seq) })
		if <-full {
			t.Error("it took more than it has room for")
		}
		is("not begun", left, 4, 7, 1, 1)
		is("on the desk", list(), 2)
		close(gate)
		synctest.Wait()
		is("answered", answered, 3, 5, 6, 8, 1, 2)
		is("on the desk", list())
	})
}
