// Package topology says as data which streams, consumers and buckets the
// connector needs, compares that with what a server has, and applies it.
//
// Drift is reported, never silently mended: an operator may have had a reason.
package topology

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Names of what the connector keeps on the broker.
const (
	Events  = "SC_EVENTS"  // all events, heads and timers
	DLQ     = "SC_DLQ"     // messages that no reader could use
	Audit   = "SC_AUDIT"   // the record of what was asked and what was not
	Members = "SC_MEMBERS" // bucket: enrolment and sealed credentials
	Leases  = "SC_LEASES"  // bucket: who polls which shard
	Links   = "SC_LINKS"   // bucket: which links were used

	// Decider is the durable consumer of heads and due looks.
	Decider = "decider"
	// Auditor is the durable consumer of what is recorded.
	Auditor = "auditor"
)

// AuditMemory is how long the record is kept: a year's questions, asked late.
const AuditMemory = 400 * 24 * time.Hour

// LinksMemory is how long it is known that a link was used. No link lives as
// long, or it could be used again.
const LinksMemory = 8 * 24 * time.Hour

// MinServer is the first server version whose atomic batches work with all the
// options the stream has: 2.12.0 takes the configuration and then refuses such
// batches for ever.
const MinServer = "2.12.1"

// Config says how large and how safe the streams are.
type Config struct {
	Prefix         string // of all subjects, as "sc.v1"
	Replicas       int    // of every stream; 3 in production, on separate machines
	MsgsPerSubject int64  // history kept per subject; default 64
}

// A Stream is one stream with the consumers on it.
type Stream struct {
	Config    jetstream.StreamConfig
	Consumers []jetstream.ConsumerConfig
}

// Desired returns everything the connector needs. A bucket is a stream too;
// it is defined as one, without direct reads, so that a read of a lease or of
// a credential is always answered by the leader.
func Desired(c Config) []Stream {
	if c.Replicas == 0 {
		c.Replicas = 1
	}
	if c.MsgsPerSubject == 0 {
		c.MsgsPerSubject = 64
	}
	bucket := func(name, what string) jetstream.StreamConfig {
		return jetstream.StreamConfig{
			Name: "KV_" + name, Description: what, Subjects: []string{"$KV." + name + ".>"},
			Storage: jetstream.FileStorage, Replicas: c.Replicas, Discard: jetstream.DiscardNew,
			MaxMsgsPerSubject: 1, MaxMsgSize: -1, MaxBytes: -1, MaxMsgs: -1, MaxConsumers: -1,
			AllowRollup: true, DenyDelete: true, AllowMsgTTL: true, SubjectDeleteMarkerTTL: time.Minute,
			Duplicates: 2 * time.Minute,
		}
	}
	links := bucket(Links, "connector: which links were used")
	links.MaxAge = LinksMemory
	return []Stream{
		{
			Config: jetstream.StreamConfig{
				Name:        Events,
				Description: "connector: facts, prompts, the two heads of each member, and timers",
				Subjects:    []string{c.Prefix + ".>"},
				Storage:     jetstream.FileStorage, Replicas: c.Replicas, Discard: jetstream.DiscardOld,
				Compression:       jetstream.S2Compression,
				MaxMsgsPerSubject: c.MsgsPerSubject, MaxMsgSize: -1, MaxBytes: -1, MaxMsgs: -1, MaxConsumers: -1,
				AllowDirect: true, AllowAtomicPublish: true, AllowMsgSchedules: true, AllowMsgTTL: true, AllowRollup: true,
				Duplicates: 2 * time.Minute,
			},
			Consumers: []jetstream.ConsumerConfig{{
				Durable: Decider, Description: "connector: decides what to ask of members",
				FilterSubjects: []string{
					c.Prefix + ".member.*", c.Prefix + ".due.*",
					c.Prefix + ".source.*", c.Prefix + ".storm", c.Prefix + ".observer", c.Prefix + ".silence.*",
				},
				DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy,
				AckPolicy:     jetstream.AckExplicitPolicy,
				AckWait:       30 * time.Second, MaxAckPending: 1024, MaxDeliver: -1, MaxWaiting: 512,
				ReplayPolicy: jetstream.ReplayInstantPolicy,
			}, {
				Durable: Auditor, Description: "connector: keeps the record of what was asked",
				FilterSubjects: []string{
					c.Prefix + ".prompt.>", c.Prefix + ".access.*",
					c.Prefix + ".source.*", c.Prefix + ".storm", c.Prefix + ".observer", c.Prefix + ".silence.*",
				},
				DeliverPolicy: jetstream.DeliverAllPolicy,
				AckPolicy:     jetstream.AckExplicitPolicy,
				AckWait:       30 * time.Second, MaxAckPending: 1024, MaxDeliver: -1, MaxWaiting: 512,
				ReplayPolicy: jetstream.ReplayInstantPolicy,
			}},
		},
		{Config: jetstream.StreamConfig{
			Name: Audit, Description: "connector: the record of what was asked of members and what was not, without identity",
			Subjects: []string{"sc.audit.>"}, Storage: jetstream.FileStorage, Replicas: c.Replicas,
			Compression: jetstream.S2Compression, DenyDelete: true, DenyPurge: true,
			MaxAge: AuditMemory, MaxMsgSize: -1, MaxBytes: -1, MaxMsgs: -1, MaxConsumers: -1, MaxMsgsPerSubject: -1,
			Duplicates: 2 * time.Minute,
		}},
		{Config: jetstream.StreamConfig{
			Name: DLQ, Description: "connector: messages nobody could use, whole, with the reason",
			Subjects: []string{"sc.dlq.>"}, Storage: jetstream.FileStorage, Replicas: c.Replicas,
			MaxAge: 30 * 24 * time.Hour, MaxMsgSize: -1, MaxBytes: -1, MaxMsgs: -1, MaxConsumers: -1, MaxMsgsPerSubject: -1,
			Duplicates: 2 * time.Minute,
		}},
		{Config: bucket(Members, "connector: enrolled members and their sealed credentials")},
		{Config: bucket(Leases, "connector: which replica polls which shard")},
		{Config: links},
	}
}

// A Change is one difference between what is wanted and what the server has.
type Change struct {
	Name  string // stream, or stream/consumer
	Field string // empty: the whole thing is missing
	Want  string
	Have  string

	// Fatal: a guarantee hangs on it, the connector does not start.
	Fatal bool
}

// String returns the change as a line for people.
func (c Change) String() string {
	if c.Field == "" {
		return c.Name + ": missing"
	}
	return fmt.Sprintf("%s: %s is %s, want %s", c.Name, c.Field, c.Have, c.Want)
}

// Plan compares the server with what c wants. It changes nothing.
func Plan(ctx context.Context, js jetstream.JetStream, c Config) ([]Change, error) {
	var changes []Change
	for _, want := range Desired(c) {
		s, err := js.Stream(ctx, want.Config.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			changes = append(changes, Change{Name: want.Config.Name, Fatal: true})
			for _, consumer := range want.Consumers {
				changes = append(changes, Change{Name: want.Config.Name + "/" + consumer.Durable, Fatal: true})
			}
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look at stream %s: %w", want.Config.Name, err)
		}
		changes = append(changes, compare(want.Config.Name, want.Config, s.CachedInfo().Config)...)
		for _, consumer := range want.Consumers {
			name := want.Config.Name + "/" + consumer.Durable
			have, err := s.Consumer(ctx, consumer.Durable)
			if errors.Is(err, jetstream.ErrConsumerNotFound) {
				changes = append(changes, Change{Name: name, Fatal: true})
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("look at consumer %s: %w", name, err)
			}
			changes = append(changes, compare(name, consumer, have.CachedInfo().Config)...)
		}
	}
	return changes, nil
}

// Apply creates what is missing. It changes nothing that exists, unless mend
// says that the operator wants the differences gone.
func Apply(ctx context.Context, js jetstream.JetStream, c Config, mend bool) error {
	for _, want := range Desired(c) {
		s, err := js.Stream(ctx, want.Config.Name)
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
			s, err = js.CreateStream(ctx, want.Config)
		case err == nil && mend:
			s, err = js.UpdateStream(ctx, want.Config)
		}
		if err != nil {
			return fmt.Errorf("stream %s: %w", want.Config.Name, err)
		}
		for _, consumer := range want.Consumers {
			_, err := s.Consumer(ctx, consumer.Durable)
			switch {
			case errors.Is(err, jetstream.ErrConsumerNotFound):
				_, err = s.CreateConsumer(ctx, consumer)
			case err == nil && mend:
				_, err = s.UpdateConsumer(ctx, consumer)
			}
			if err != nil {
				return fmt.Errorf("consumer %s/%s: %w", want.Config.Name, consumer.Durable, err)
			}
		}
	}
	return nil
}

// guaranteed reports whether a promise of ours hangs on a field of a stream or a
// consumer. want is nil where we leave it at its zero value.
func guaranteed(name, field string, want any) bool {
	switch field {
	case "max_age":
		// How long the record and the dead letters are kept is for operators to
		// say. Of all else the oldest may be the last word: a head, a member, a link
		// that was used.
		return name != Audit && name != DLQ
	case "max_msgs", "max_bytes":
		return name == Events // the buckets refuse what is too much, and delete nothing
	case "allow_direct":
		return strings.HasPrefix(name, "KV_")
	case "subjects", "retention", "allow_atomic", "allow_msg_schedules", "allow_msg_ttl", "allow_rollup_hdrs",
		"filter_subjects", "ack_policy", "deliver_policy":
		return want != nil
	default:
		return false
	}
}

// compare lists the fields of want that have differs in. Fields that want
// leaves at their zero value count only where correctness hangs on them: the
// server fills in its own defaults.
func compare(name string, want, have any) []Change {
	w, h := fields(want), fields(have)
	var changes []Change
	for _, field := range slices.Sorted(keys(w, h)) {
		fatal := guaranteed(name, field, w[field])
		if w[field] == nil && !fatal || reflect.DeepEqual(w[field], h[field]) {
			continue
		}
		changes = append(changes, Change{Name: name, Field: field, Want: text(field, w[field]), Have: text(field, h[field]), Fatal: fatal})
	}
	return changes
}

func keys(both ...map[string]any) func(func(string) bool) {
	return func(yield func(string) bool) {
		seen := map[string]bool{}
		for _, m := range both {
			for k := range m {
				if !seen[k] {
					seen[k] = true
					if !yield(k) {
						return
					}
				}
			}
		}
	}
}

// fields returns a configuration as the server's JSON has it, without what is
// at its zero value.
func fields(config any) map[string]any {
	body, err := json.Marshal(config)
	if err != nil {
		return nil
	}
	var m map[string]any
	if err := json.Unmarshal(body, &m); err != nil {
		return nil
	}
	delete(m, "metadata")
	maps.DeleteFunc(m, func(_ string, v any) bool { return v == nil || v == false || v == 0.0 || v == "" })
	return m
}

func text(field string, v any) string {
	if v == nil {
		return "not set"
	}
	if n, ok := v.(float64); ok && slices.Contains([]string{"max_age", "duplicate_window", "subject_delete_marker_ttl", "ack_wait"}, field) {
		return time.Duration(n).String()
	}
	var out strings.Builder
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false) // subjects have > in them
	if e.Encode(v) != nil {
		return fmt.Sprint(v)
	}
	return strings.TrimSpace(out.String())
}
