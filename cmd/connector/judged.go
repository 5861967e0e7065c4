package main

import (
	"time"

	"github.com/smartconnect/connector/internal/console"
	"github.com/smartconnect/connector/internal/judge"
)

// judgedReadings are what holds for all members, in numbers. Every replica sees
// the same.
func judgedReadings(v *judge.View, now func() time.Time) []console.Reading {
	gauge := func(name, help string, read func(judge.Count) int) console.Reading {
		return console.Reading{Name: name, Help: help, Read: func() float64 { return float64(read(v.Count(now()))) }}
	}
	return []console.Reading{
		gauge("connector_storm_held", "1 while prompts are held because too much changed at once.", func(c judge.Count) int { return c.Storms }),
		gauge("connector_sources_degraded", "Sources that fail for so many that prompts for them wait.", func(c judge.Count) int { return c.Degraded }),
		gauge("connector_observer_lost", "1 while b.well cannot be seen at all.", func(c judge.Count) int { return c.Lost }),
		gauge("connector_silences", "Silences in force.", func(c judge.Count) int { return c.Silences }),
	}
}
