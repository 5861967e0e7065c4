package simulator

import (
	"context"
	"math/rand/v2"
	"slices"
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

// step lets one thing happen: the more is amiss, the more likely it is that
// something of it comes right, so that most works however long it goes on.
func (st Story) step(rng *rand.Rand) {
	all := st.Simulator.Members()
	if len(all) == 0 {
		return
	}
	if repairs := st.repairs(rng, all); rng.IntN(8) < len(repairs) {
		repairs[rng.IntN(len(repairs))]()
		return
	}
	st.trouble(rng, all[rng.IntN(len(all))])
}

// repairs returns what can be put right, and how. Of what members disconnected
// not all is looked at: some of it stays.
func (st Story) repairs(rng *rand.Rand, all []MemberView) []func() {
	s := st.Simulator
	var repairs []func()
	for _, m := range all {
		if m.Consent == "deny" {
			repairs = append(repairs, func() { _ = s.SetConsent(m.ID, "permit") })
		}
		if n := len(m.Tasks); n > 0 && m.Tasks[n-1]["status"] == "in-progress" {
			repairs = append(repairs, func() { _ = s.SetTask(m.ID, "completed") })
		}
		for _, c := range m.Connections {
			if c.ias() && m.Consent != "permit" {
				continue
			}
			switch c.text("status") {
			case "EXPIRED", "ERROR":
			case "DISCONNECTED", "DELETED":
				if rng.IntN(3) != 0 {
					continue
				}
			default:
				continue
			}
			repairs = append(repairs, func() { st.set(m, c, "CONNECTED") })
		}
	}
	return repairs
}

// trouble breaks something of a member's that works, or begins something.
func (st Story) trouble(rng *rand.Rand, m MemberView) {
	s := st.Simulator
	working := slices.DeleteFunc(m.Connections, func(c Row) bool { return c.text("status") != "CONNECTED" })
	n := rng.IntN(20)
	switch {
	case m.Consent != "permit" || len(working) == 0:
	case n < 2:
		_ = s.SetConsent(m.ID, "deny")
	case n < 4:
		_ = s.SetTask(m.ID, "in-progress")
	case n < 6 && len(m.Recommendations) > 0:
		_ = s.Login(m.ID, m.Recommendations[0])
	default:
		status := "EXPIRED"
		switch {
		case n >= 17:
			status = "DISCONNECTED"
		case n >= 15:
			status = "ERROR"
		}
		st.set(m, working[rng.IntN(len(working))], status)
	}
}

// set sets the status of one row. A member may be gone by now; then nothing
// happens.
func (st Story) set(m MemberView, c Row, status string) {
	_ = st.Simulator.SetConnection(m.ID, c.text("id"), Row{"integrationType": c["integrationType"], "status": status})
}
