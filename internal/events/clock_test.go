package events_test

import (
	"testing"
	"time"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/natstest"
)

func TestClock(t *testing.T) {
	ctx := deadline(t, 20*time.Second)
	l, _ := natstest.Log(t)
	for _, wrong := range []time.Duration{0, time.Hour, -time.Hour, 40 * 24 * time.Hour} {
		c := events.NewClock(l, func() time.Time { return time.Now().Add(wrong) })
		if c.Offset() != 0 {
			t.Errorf("%s: an offset that nobody measured", wrong)
		}
		if err := c.Measure(ctx); err != nil {
			t.Fatal(err)
		}
		// The broker is in this process: its clock is the true one.
		if off := c.Offset() + wrong; off.Abs() > 10*time.Second {
			t.Errorf("a clock that is %s off is found to be %s off", wrong, -c.Offset())
		}
		if off := time.Until(c.Now()); off.Abs() > 10*time.Second {
			t.Errorf("a clock that is %s off is %s off when corrected", wrong, off)
		}
	}
}

func TestClockKeepsWhatItMeasured(t *testing.T) {
	ctx := deadline(t, 20*time.Second)
	l, js := natstest.Log(t)
	c := events.NewClock(l, func() time.Time { return time.Now().Add(time.Hour) })
	if err := c.Measure(ctx); err != nil {
		t.Fatal(err)
	}
	before := c.Offset()
	js.Conn().Close()
	if err := c.Measure(ctx); err == nil {
		t.Error("a broker that is gone told its time")
	}
	if c.Offset() != before {
		t.Error("what was measured is lost")
	}
}

func TestClockWithoutStream(t *testing.T) {
	ctx := deadline(t, 20*time.Second)
	subjects, err := events.NewSubjects("")
	if err != nil {
		t.Fatal(err)
	}
	c := events.NewClock(events.NewLog(natstest.JetStream(t), subjects, ""), nil)
	if err := c.Measure(ctx); err == nil || c.Offset() != 0 {
		t.Errorf("offset %s, %v; want an error", c.Offset(), err)
	}
}
