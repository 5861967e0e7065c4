package topology_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/smartconnect/connector/internal/natstest"
	"github.com/smartconnect/connector/internal/topology"
)

var config = topology.Config{Prefix: "sc.v1"}

func server(t *testing.T) (context.Context, jetstream.JetStream) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx, natstest.JetStream(t)
}

func plan(ctx context.Context, t *testing.T, js jetstream.JetStream) []topology.Change {
	t.Helper()
	changes, err := topology.Plan(ctx, js, config)
	if err != nil {
		t.Fatal(err)
	}
	return changes
}

func apply(ctx context.Context, t *testing.T, js jetstream.JetStream, mend bool) {
	t.Helper()
	if err := topology.Apply(ctx, js, config, mend); err != nil {
		t.Fatal(err)
	}
}

// Everything is missing, then nothing is; and whatever is missing stops the
// connector.
func TestApplyMakesWhatPlanMisses(t *testing.T) {
	ctx, js := server(t)
	missing := plan(ctx, t, js)
	var want []string
	for _, s := range topology.Desired(config) {
		want = append(want, s.Config.Name+": missing")
		for _, c := range s.Consumers {
			want = append(want, s.Config.Name+"/"+c.Durable+": missing")
		}
	}
	var got []string
	for _, c := range missing {
		got = append(got, c.String())
		if !c.Fatal {
			t.Errorf("%s: run would start", c)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("missing\n%q\nwant\n%q", got, want)
	}
	apply(ctx, t, js, false)
	apply(ctx, t, js, false) // once more is harmless
	apply(ctx, t, js, true)
	for _, c := range plan(ctx, t, js) {
		t.Errorf("after applying: %s", c)
	}
	// What is missing alone is made alone.
	s, err := js.Stream(ctx, topology.Events)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteConsumer(ctx, topology.Auditor); err != nil {
		t.Fatal(err)
	}
	if got := plan(ctx, t, js); len(got) != 1 || got[0].Name != topology.Events+"/"+topology.Auditor || !got[0].Fatal {
		t.Errorf("%v", got)
	}
	apply(ctx, t, js, false)
	if got := plan(ctx, t, js); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

// What an operator changed is seen, left alone, and changed back on demand. It
// stops the connector only if a promise of ours hangs on it.
func TestDrift(t *testing.T) {
	stream := func(name string, change func(*jetstream.StreamConfig)) func(context.Context, jetstream.JetStream) error {
		return func(ctx context.Context, js jetstream.JetStream) error {
			s, err := js.Stream(ctx, name)
			if err != nil {
				return err
			}
			c := s.CachedInfo().Config
			change(&c)
			_, err = js.UpdateStream(ctx, c)
			return err
		}
	}
	consumer := func(name string, change func(*jetstream.ConsumerConfig)) func(context.Context, jetstream.JetStream) error {
		return func(ctx context.Context, js jetstream.JetStream) error {
			have, err := js.Consumer(ctx, topology.Events, name)
			if err != nil {
				return err
			}
			c := have.CachedInfo().Config
			change(&c)
			_, err = js.UpdateConsumer(ctx, topology.Events, c)
			return err
		}
	}
	const kv = "KV_" + topology.Members
	for name, tt := range map[string]struct {
		drift func(context.Context, jetstream.JetStream) error
		want  string // the change, in words
		fatal bool
	}{
		"less history": {
			stream(topology.Events, func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 7 }), "SC_EVENTS: max_msgs_per_subject is 7, want 64", false,
		},
		"no compression": {
			stream(topology.Events, func(c *jetstream.StreamConfig) { c.Compression = jetstream.NoCompression }), `SC_EVENTS: compression is "none", want "s2"`, false,
		},
		"an age that deletes heads": {
			stream(topology.Events, func(c *jetstream.StreamConfig) { c.MaxAge = 24 * time.Hour }), "SC_EVENTS: max_age is 24h0m0s, want not set", true,
		},
		"a size that deletes heads": {
			stream(topology.Events, func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 30 }), "SC_EVENTS: max_bytes is 1073741824, want -1", true,
		},
		"a number that deletes heads": {
			stream(topology.Events, func(c *jetstream.StreamConfig) { c.MaxMsgs = 1 << 20 }), "SC_EVENTS: max_msgs is 1048576, want -1", true,
		},
		"no transactions": {
			stream(topology.Events, func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false }), "SC_EVENTS: allow_atomic is not set, want true", true,
		},
		"other subjects": {
			stream(topology.Events, func(c *jetstream.StreamConfig) { c.Subjects = append(c.Subjects, "more.>") }),
			`SC_EVENTS: subjects is ["sc.v1.>","more.>"], want ["sc.v1.>"]`, true,
		},
		"a record that is kept for longer": {
			stream(topology.Audit, func(c *jetstream.StreamConfig) { c.MaxAge = 10 * 365 * 24 * time.Hour }), "SC_AUDIT: max_age is 87600h0m0s, want 9600h0m0s", false,
		},
		"dead letters of a certain size": {
			stream(topology.DLQ, func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 30 }), "SC_DLQ: max_bytes is 1073741824, want -1", false,
		},
		"transactions where nobody needs them": {
			stream(topology.DLQ, func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = true }), "", false,
		},
		"members that are forgotten": {
			stream(kv, func(c *jetstream.StreamConfig) { c.MaxAge = 24 * time.Hour }), kv + ": max_age is 24h0m0s, want not set", true,
		},
		"links that work again": {
			stream("KV_"+topology.Links, func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }), "KV_SC_LINKS: max_age is 1h0m0s, want 192h0m0s", true,
		},
		"reads of replicas that lag": {
			stream(kv, func(c *jetstream.StreamConfig) { c.AllowDirect = true }), kv + ": allow_direct is true, want not set", true,
		},
		"a decider that hears less": {
			consumer(topology.Decider, func(c *jetstream.ConsumerConfig) { c.FilterSubjects = []string{"sc.v1.member.*", "sc.v1.due.*"} }),
			`SC_EVENTS/decider: filter_subjects is ["sc.v1.member.*","sc.v1.due.*"], want `, true,
		},
		"less patience": {
			consumer(topology.Auditor, func(c *jetstream.ConsumerConfig) { c.AckWait = 10 * time.Second }), "SC_EVENTS/auditor: ack_wait is 10s, want 30s", false,
		},
		"a note of the operator's": {
			stream(topology.Events, func(c *jetstream.StreamConfig) { c.Metadata = map[string]string{"owner": "team a"} }), "", false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, js := server(t)
			apply(ctx, t, js, false)
			if err := tt.drift(ctx, js); err != nil {
				t.Fatal(err)
			}
			seen := func(when string) {
				t.Helper()
				got := plan(ctx, t, js)
				if tt.want == "" && len(got) == 0 {
					return
				}
				if len(got) != 1 || !strings.HasPrefix(got[0].String(), tt.want) || tt.want == "" || got[0].Fatal != tt.fatal {
					t.Errorf("%s: %+v, want %q, fatal %v", when, got, tt.want, tt.fatal)
				}
			}
			seen("changed")
			apply(ctx, t, js, false)
			seen("applied")
			apply(ctx, t, js, true)
			if got := plan(ctx, t, js); len(got) != 0 {
				t.Errorf("mended: %v", got)
			}
		})
	}
}

// What a server does not let anybody change is not silently left: the operator
// has to delete it, and hears which it is.
func TestWhatCannotBeChanged(t *testing.T) {
	ctx, js := server(t)
	apply(ctx, t, js, false)
	desired := topology.Desired(config)[0]
	if err := js.DeleteConsumer(ctx, topology.Events, topology.Decider); err != nil {
		t.Fatal(err)
	}
	other := desired.Consumers[0]
	other.DeliverPolicy = jetstream.DeliverAllPolicy
	if _, err := js.CreateConsumer(ctx, topology.Events, other); err != nil {
		t.Fatal(err)
	}
	got := plan(ctx, t, js)
	if len(got) != 1 || got[0].Field != "deliver_policy" || !got[0].Fatal {
		t.Fatalf("%v", got)
	}
	err := topology.Apply(ctx, js, config, true)
	if err == nil || !strings.Contains(err.Error(), "consumer SC_EVENTS/decider") {
		t.Errorf("%v", err)
	}
	if err := js.DeleteConsumer(ctx, topology.Events, topology.Decider); err != nil {
		t.Fatal(err)
	}
	apply(ctx, t, js, false)
	if got := plan(ctx, t, js); len(got) != 0 {
		t.Errorf("%v", got)
	}
}
