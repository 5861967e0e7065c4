package simulator

import (
	"context"
	"math/rand/v2"
	"time"
)

// A Story breaks and heals connections by itself, so that there is always
// something to see. Equal seeds make equal choices.
type Story struct {
	Simulator *Simulator
	Seed      uint64
	Every     time.Duration // between two happenings; default 3 s
}

// Run plays until ctx ends, then returns nil.
func (st Story) Run(ctx context.Context) error {
	if st.Every == 0 {
		st.Every = 3 * time.Second
	}
	rng := rand.New(rand.NewPCG(st.Seed, 0x57041)) //nolint:gosec // it makes up a story
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(st.Every):
			st.step(rng)
		}
	}
}

// step lets one thing happen to one member.
func (st Story) step(rng *rand.Rand) {
	s := st.Simulator
	all := s.Members()
	if len(all) == 0 {
		return
	}
	m := all[rng.IntN(len(all))]
	if len(m.Connections) == 0 {
		return
	}
	c := m.Connections[rng.IntN(len(m.Connections))]
	id := c.text("id")
	only := Row{"integrationType": c["integrationType"]}
	status := func(to string) { only["status"] = to; _ = s.SetConnection(m.ID, id, only) }
	// A member may be gone by now; then nothing happens.
	switch {
	case m.Consent == "deny":
		_ = s.SetConsent(m.ID, "permit")
	case c.text("status") == "DISCONNECTED" || c.text("status") == "DELETED":
		if rng.IntN(3) == 0 {
			status("CONNECTED")
		}
	case c.text("status") != "CONNECTED":
		status("CONNECTED")
	default:
		switch n := rng.IntN(10); {
		case n < 5:
			status("EXPIRED")
		case n < 6:
			status("ERROR")
		case n < 8:
			status("DISCONNECTED")
		case n < 9:
			_ = s.SetTask(m.ID, "in-progress")
		default:
			_ = s.SetConsent(m.ID, "deny")
		}
	}
}
