package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/smartconnect/connector/internal/bwell"
	"github.com/smartconnect/connector/internal/simulator"
)

// What b.well says and nobody understands is counted by field, and each new word
// is logged once; what may be a name is counted and not logged.
func TestUnknownWords(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.enrol()
	all := w.sim.Members()
	first := func(m simulator.MemberView) string { return m.Connections[0]["id"].(string) }
	w.must(w.sim.SetConnection(all[0].ID, first(all[0]), simulator.Row{"status": "PAUSED_BY_SOURCE", "category": "Jane Doe, MRN 4711"}))
	w.must(w.sim.SetConnection(all[1].ID, first(all[1]), simulator.Row{"status": "PAUSED_BY_SOURCE", "syncStatus": "SLEEPING", "lastSynced": "yesterday"}))
	w.must(w.sim.SetTask(all[0].ID, "daydreaming"))
	address, _ := w.serve(nil)
	var metrics string
	w.until("counted", func() bool {
		_, metrics = w.get(address + "/metrics")
		return metric(t, metrics, `connector_unknown_words_total{field="connection.status"}`) >= 2 &&
			metric(t, metrics, `connector_unknown_words_total{field="connection.category"}`) >= 1 &&
			metric(t, metrics, `connector_unknown_words_total{field="connection.lastSynced"}`) >= 1 &&
			metric(t, metrics, `connector_unknown_words_total{field="task.status"}`) >= 1
	})
	for _, name := range []string{`connector_unknown_words_total{field="connection.integrationType"}`, `connector_skipped_rows_total{list="connections"}`} {
		if n := metric(t, metrics, name); n != 0 {
			t.Errorf("%s is %f", name, n)
		}
	}
	w.until("known", func() bool { return w.known(all[0].ID).MemberID != "" && w.known(all[1].ID).MemberID != "" })
	log := w.journal.String()
	said := regexp.MustCompile(`"field":"([a-zA-Z.]+)"(?:,"word":"(\w+)")?`).FindAllStringSubmatch(log, -1)
	got := map[string]int{}
	for _, s := range said {
		got[s[1]+" "+s[2]]++
	}
	for _, want := range []string{"connection.status PAUSED_BY_SOURCE", "connection.syncStatus SLEEPING", "task.status daydreaming", "connection.category ", "connection.lastSynced "} {
		if got[want] != 1 {
			t.Errorf("%s is said %d times, want once", want, got[want])
		}
		delete(got, want)
	}
	if len(got) > 0 || strings.Contains(log, "Jane") || strings.Contains(log, "4711") {
		t.Errorf("also said: %v\n%s", got, log)
	}
}

func TestSkippedRowsAreCounted(t *testing.T) {
	ctx, _ := logged(t)
	l := newListener(nil)
	for range 2 {
		hear(ctx, l, "tasks", bwell.List[bwell.Task]{Skipped: 3, Unknown: map[string]int{"no.such.field": 1}}, func(bwell.Task) map[string]bwell.Word { return nil })
	}
	for _, r := range l.readings() {
		want := 0.0
		if r.Labels["list"] == "tasks" {
			want = 6
		}
		if got := r.Read(); got != want {
			t.Errorf("%s%v is %f, want %f", r.Name, r.Labels, got, want)
		}
	}
}
