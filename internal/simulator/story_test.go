package simulator

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// told plays so many happenings and returns what changed, line by line, and how
// much was amiss after each.
func told(t *testing.T, seed uint64, happenings int) (lines []string, amiss []int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{Seed: seed, Members: 25})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- Story{Simulator: s, Seed: seed}.Run(ctx) }()
		was := map[string]string{}
		note := func(key, now string) {
			if before, known := was[key]; known && before != now || !known && len(lines) > 0 {
				lines = append(lines, fmt.Sprintf("%s %s -> %s", key, before, now))
			}
			was[key] = now
		}
		for n := range happenings + 1 {
			count := 0
			for _, m := range s.Members() {
				note(m.ID+" consent", m.Consent)
				note(m.ID+" task", fmt.Sprint(m.Tasks[0]["status"]))
				if m.Consent == "deny" || m.Tasks[0]["status"] == "in-progress" {
					count++
				}
				for i, r := range m.Connections {
					note(fmt.Sprintf("%s %d", m.ID, i), r.text("status"))
					if status := r.text("status"); status != "CONNECTED" && status != "ACCESS_ENDED" {
						count++
					}
				}
			}
			amiss = append(amiss, count)
			if n < happenings {
				time.Sleep(3 * time.Second)
				synctest.Wait()
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return lines, amiss
}

// Something always happens, of every kind, and what breaks is repaired: most
// works at any time, however long it goes on.
func TestStory(t *testing.T) {
	for _, seed := range []uint64{1, 2} {
		lines, amiss := told(t, seed, 400)
		for _, kind := range []string{
			"CONNECTED -> EXPIRED", "CONNECTED -> ERROR", "CONNECTED -> DISCONNECTED", "CONNECTED -> ACCESS_ENDED", "permit -> deny", "deny -> permit",
			"EXPIRED -> CONNECTED", "ERROR -> CONNECTED", "DISCONNECTED -> CONNECTED", "ACCESS_ENDED -> CONNECTED",
			"completed -> in-progress", "in-progress -> completed", "  -> CONNECTED", // one that there was not before
		} {
			if n := count(lines, kind); n < 3 {
				t.Errorf("seed %d: %s happened %d times", seed, kind, n)
			}
		}
		if most := slices.Max(amiss); most > 16 {
			t.Errorf("seed %d: %d things were amiss at once", seed, most)
		}
		for i := 20; i < len(amiss); i++ { // a minute without anything amiss is dull
			if slices.Max(amiss[i-20:i]) == 0 {
				t.Errorf("seed %d: nothing is amiss after %d happenings", seed, i)
				break
			}
		}
		if again, _ := told(t, seed, 400); !slices.Equal(lines, again) {
			t.Errorf("seed %d: told another story the second time", seed)
		}
	}
}

func count(lines []string, kind string) int {
	n := 0
	for _, l := range lines {
		if len(l) >= len(kind) && l[len(l)-len(kind):] == kind {
			n++
		}
	}
	return n
}
