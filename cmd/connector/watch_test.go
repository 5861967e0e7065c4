package main

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/topology"
)

// A machine whose clock is an hour off: everything happens when it should, and
// is dated right.
func TestClockAnHourOff(t *testing.T) {
	for _, wrong := range []time.Duration{time.Hour, -time.Hour} {
		t.Run(wrong.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1)
			w.enrol()
			before := time.Now()
			address, _ := w.serve(func(s *service) { s.now = func() time.Time { return time.Now().Add(wrong) } })
			m := w.sim.Members()[0]
			w.until("known", func() bool { return w.known(m.ID).MemberID != "" })

			// A break is confirmed and the member asked.
			w.set(m, "PROA", "EXPIRED")
			w.until("asked", func() bool { return len(w.agenda(m.ID).Prompts) == 1 })
			// The reminder stands in the broker's calendar, a day from now.
			agenda := w.agenda(m.ID)
			if in := time.Until(agenda.NextLook); in < 23*time.Hour+30*time.Minute || in > 24*time.Hour+30*time.Minute {
				t.Errorf("the next look is in %s, want a day", in)
			}
			w.set(m, "PROA", "CONNECTED")
			w.until("resolved", func() bool { return len(w.agenda(m.ID).Prompts) == 0 })

			// Consent is taken and given, and one connection stays without access:
			// a timer of five seconds tells when grace is over. An hour's error
			// would keep it waiting for an hour.
			w.must(w.sim.SetConsent(m.ID, "deny"))
			w.until("access ended", func() bool { return w.agenda(m.ID).Access != nil })
			w.must(w.sim.SetConsent(m.ID, "permit"))
			w.set(m, "DIRECT_IAS", "ACCESS_ENDED")
			w.until("overdue", func() bool { return w.count(events.AccessRestoreOverdue) > 0 })

			// Nobody's dates are off: not in events, not in heads.
			s, err := w.js.Stream(t.Context(), topology.Events)
			w.must(err)
			read := 0
			w.each(func(e events.Event, msg jetstream.Msg) {
				read++
				md, err := msg.Metadata()
				w.must(err)
				if off := md.Timestamp.Sub(e.Recorded); off.Abs() > 10*time.Minute {
					t.Errorf("%s is recorded %s before it was stored", e.Type, off)
				}
				if d, ok := e.Data.(*events.Prompt); ok && d.OpenedAt.Before(before.Add(-10*time.Minute)) {
					t.Errorf("%s says it was opened %s before it all began", e.Type, before.Sub(d.OpenedAt))
				}
			})
			if info := s.CachedInfo(); read == 0 {
				t.Errorf("read nothing of %d messages", info.State.Msgs)
			}
			for _, c := range w.known(m.ID).Connections {
				if c.FirstSeen.Before(before.Add(-10*time.Minute)) || c.FirstSeen.After(time.Now().Add(10*time.Minute)) {
					t.Errorf("first seen at %s", c.FirstSeen)
				}
			}

			if n := strings.Count(w.journal.String(), "clock differs from the broker's"); n != 1 {
				t.Errorf("warned %d times, want once", n)
			}
			_, metrics := w.get(address + "/metrics")
			if off := metric(t, metrics, "connector_clock_offset_seconds") + wrong.Seconds(); off < -600 || off > 600 {
				t.Errorf("the metric is %f s off", off)
			}
		})
	}
}

// metric returns the value of a metric without labels.
func metric(t *testing.T, text, name string) float64 {
	t.Helper()
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			f, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
	}
	t.Fatalf("no metric %s in:\n%s", name, text)
	return 0
}

// count returns how many events of a type are in the stream.
func (w *world) count(want events.Type) int {
	w.Helper()
	n := 0
	w.each(func(e events.Event, _ jetstream.Msg) {
		if e.Type == want {
			n++
		}
	})
	return n
}

// each calls f for every event in the stream.
func (w *world) each(f func(events.Event, jetstream.Msg)) {
	w.Helper()
	consumer, err := w.js.OrderedConsumer(w.Context(), events.Stream, jetstream.OrderedConsumerConfig{})
	w.must(err)
	for left := consumer.CachedInfo().NumPending; left > 0; left-- {
		msg, err := consumer.Next(jetstream.FetchMaxWait(5 * time.Second))
		w.must(err)
		if kind, _, ok := w.log.Subjects().Parse(msg.Subject()); !ok || kind == "timer" || kind == "due" {
			continue
		}
		e, err := events.Decode(msg.Headers(), msg.Data())
		w.must(err)
		f(e, msg)
	}
}

func TestClockWarnsOnceAndSaysWhenItIsWellAgain(t *testing.T) {
	w := newWorld(t, 0)
	ctx, text := logged(t)
	wrong := time.Hour
	v := watch{clock: events.NewClock(w.log, func() time.Time { return time.Now().Add(wrong) })}
	for range 3 {
		w.must(v.measure(ctx))
	}
	wrong = 0
	for range 3 {
		w.must(v.measure(ctx))
	}
	warned, well := strings.Count(text.String(), "clock differs"), strings.Count(text.String(), "clock agrees")
	if warned != 1 || well != 1 {
		t.Errorf("warned %d times, well again %d times:\n%s", warned, well, text)
	}
}
