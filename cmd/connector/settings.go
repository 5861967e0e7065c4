package main

import (
	"time"

	"github.com/smartconnect/connector/internal/judge"
	"github.com/smartconnect/connector/internal/poller"
	"github.com/smartconnect/connector/internal/reconnect"
)

// settings are the numbers the service lives by.
type settings struct {
	rules  poller.Rules
	pace   poller.Pace
	policy reconnect.Policy
	judge  judge.Rules
}

func defaultSettings() settings {
	return settings{poller.DefaultRules(), poller.DefaultPace(), reconnect.DefaultPolicy(), judge.DefaultRules()}
}

// fast shortens what one waits for when trying things out. Reminders and expiry
// stay long.
func (s settings) fast() settings {
	s.rules, s.pace = poller.FastRules(), poller.FastPace()
	s.policy.Grace, s.policy.Group = 5*time.Second, 300*time.Millisecond
	s.judge.StormWindow = s.rules.Confirm / 2
	return s
}

func (s settings) validate() error {
	return s.judge.Validate(min(s.rules.Confirm, s.rules.ConfirmError))
}
