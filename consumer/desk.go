package consumer

import "sync"

// A desk is where deliveries lie until a worker is done with them. Each worker
// takes the oldest. Those of one lane are worked off one at a time and in order:
// what takes long holds up its own lane and no other.
type desk struct {
	mu     sync.Mutex
	queue  []delivery // that nobody has taken, the oldest first
	lanes  map[string]*lane
	room   int // for so many more
	closed bool

	some, space sync.Cond // there is something in the queue, or room; or the desk is closed
}

// A lane is what workers have of one member, and what is known of their
// subjects. Everything about a subject happens in one lane.
type lane struct {
	has    []delivery // at work on the first, the others wait for it
	trying map[string]*trial
}

// newDesk returns a desk that holds so many deliveries.
func newDesk(room int) *desk {
	k := &desk{lanes: map[string]*lane{}, room: room}
	k.some.L, k.space.L = &k.mu, &k.mu
	return k
}

// put lays a delivery down, once there is room. It reports false if the desk was
// closed first.
func (k *desk) put(d delivery) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for k.room == 0 && !k.closed {
		k.space.Wait()
	}
	if k.closed {
		return false
	}
	k.room--
	k.queue = append(k.queue, d)
	k.some.Signal()
	return true
}

// work has f settle what lies here, until the desk is closed. What f returns is
// done while nobody else speaks for the delivery, see each.
func (k *desk) work(f func(*lane, delivery) (answer func())) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for {
		for len(k.queue) == 0 && !k.closed {
			k.some.Wait()
		}
		if k.closed {
			return
		}
		d := k.queue[0]
		k.queue[0] = delivery{} // or its body would be kept
		k.queue = k.queue[1:]
		l := k.lanes[d.lane]
		if l == nil {
			l = &lane{}
			k.lanes[d.lane] = l
		}
		if l.has = append(l.has, d); len(l.has) > 1 {
			continue // whoever is at work goes on with it
		}
		for len(l.has) > 0 {
			d := l.has[0]
			k.mu.Unlock()
			answer := f(l, d)
			k.mu.Lock()
			answer()
			l.has[0] = delivery{}
			l.has = l.has[1:]
			k.room++
			k.space.Signal()
		}
		if len(l.trying) == 0 {
			delete(k.lanes, d.lane)
		}
	}
}

// each calls f with all that lies here, at work or not.
func (k *desk) each(f func(delivery)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, d := range k.queue {
		f(d)
	}
	for _, l := range k.lanes {
		for _, d := range l.has {
			f(d)
		}
	}
}

// close has nothing more begun, and calls f with what was not.
func (k *desk) close(f func(delivery)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	k.some.Broadcast()
	k.space.Broadcast()
	for _, l := range k.lanes {
		begun := min(1, len(l.has))
		for _, d := range l.has[begun:] {
			f(d)
		}
		l.has = l.has[:begun]
	}
	for _, d := range k.queue {
		f(d)
	}
	k.queue = nil
}
