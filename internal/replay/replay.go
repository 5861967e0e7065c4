package replay

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/time/rate"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/topology"
)

// window is how many copies may wait for their acknowledgement.
const window = 1024

// A Replay copies events of the stream below another prefix.
type Replay struct {
	JS       jetstream.JetStream
	Subjects events.Subjects
	Query    Query
	To       string     // prefix of the copies; empty: nothing is copied, only counted
	Name     string     // what the copies are marked with
	Rate     rate.Limit // copies a second; 0: as fast as it goes
	DryRun   bool       // what would be refused is, the rest is only counted

	// Begun, if set, hears how many messages are to be looked at, and the last
	// that belongs to the replay. Passed hears of each message that is done, in
	// order: whoever goes on later begins with next.
	Begun  func(total, until uint64)
	Passed func(next uint64)
}

// A Result tells what a replay did.
type Result struct {
	Copied  uint64 `json:"copied"`  // events
	Again   uint64 `json:"again"`   // of the copies: they were there already
	Other   uint64 `json:"other"`   // messages that were not asked for, or are no events
	Next    uint64 `json:"next"`    // where to go on
	Until   uint64 `json:"until"`   // the last stream sequence that belongs to it
	Ended   bool   `json:"ended"`   // there is nothing more to do
	Keeping string `json:"keeping"` // the stream that keeps the copies; empty: only who listens now hears them
}

// Live returns the patterns of all subjects that carry live messages of this
// deployment.
func Live(s events.Subjects) []string {
	live := []string{"sc.svc.>", "$JS.>", "$SYS.>", "$KV.>", "$O.>", "_INBOX.>"}
	for _, stream := range topology.Desired(topology.Config{Prefix: s.Prefix()}) {
		live = append(live, stream.Config.Subjects...)
	}
	return live
}

// Run copies what is in the stream by now and is asked for. If ctx ends first,
// the result says where to go on; the error is nil then.
func (r Replay) Run(ctx context.Context) (Result, error) {
	var res Result
	if err := r.Query.Check(); err != nil {
		return res, fmt.Errorf("replay: %w", err)
	}
	keep := false
	if r.To != "" {
		if err := Refuse(r.To, Live(r.Subjects)); err != nil {
			return res, fmt.Errorf("replay: %w", err)
		}
		var err error
		res.Keeping, err = r.JS.StreamNameBySubject(ctx, r.To+".>")
		if keep = err == nil; err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return res, fmt.Errorf("replay: look for a stream of the copies: %w", err)
		}
		if res.Keeping == events.Stream || res.Keeping == events.TestStream {
			return res, fmt.Errorf("replay: copies below %s would land in %s, which is for others", r.To, res.Keeping)
		}
	}
	if r.DryRun {
		r.To = ""
	}
	stream, err := r.JS.Stream(ctx, events.Stream)
	if err != nil {
		return res, fmt.Errorf("replay: read the stream: %w", err)
	}
	if last := stream.CachedInfo().State.LastSeq; r.Query.UntilSeq == 0 || r.Query.UntilSeq > last {
		r.Query.UntilSeq = last // what comes later is live and reaches everybody anyway
	}
	res.Until = r.Query.UntilSeq
	res.Next = max(1, r.Query.FromSeq)

	consumer, err := r.open(ctx, stream)
	if err != nil {
		return res, err
	}
	defer func() { _ = Forget(ctx, stream, consumer) }()
	total := consumer.CachedInfo().NumPending
	if total == 0 {
		res.Ended = true
		return res, nil
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(2 * window))
	if err != nil {
		return res, fmt.Errorf("replay: read the stream: %w", err)
	}
	defer messages.Stop()
	if r.Begun != nil {
		r.Begun(total, res.Until)
	}
	return r.copyAll(ctx, messages, keep, res)
}

// open makes a consumer that reads what is asked for.
func (r Replay) open(ctx context.Context, stream jetstream.Stream) (jetstream.Consumer, error) {
	config := jetstream.OrderedConsumerConfig{
		FilterSubjects: r.Query.Filters(r.Subjects), DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: r.Query.FromSeq,
	}
	if r.Query.FromSeq == 0 {
		config.DeliverPolicy, config.OptStartTime = jetstream.DeliverByStartTimePolicy, &r.Query.From
	}
	consumer, err := stream.OrderedConsumer(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("replay: read the stream: %w", err)
	}
	return consumer, nil
}

// Forget removes a consumer that was made to read once, also if ctx has ended.
// Who gets an error need not mind: it goes by itself some minutes later.
func Forget(ctx context.Context, stream jetstream.Stream, c jetstream.Consumer) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	return stream.DeleteConsumer(ctx, c.CachedInfo().Name)
}

// sent is a message that was looked at, and its copy's acknowledgement if one
// is to come.
type sent struct {
	seq uint64
	ack jetstream.PubAckFuture
}

// acknowledged reports whether the copy is stored by now, and whether it was
// there already.
func (s sent) acknowledged() (again, done bool, err error) {
	if s.ack == nil {
		return false, true, nil
	}
	select {
	case stored := <-s.ack.Ok():
		return stored.Duplicate, true, nil
	case err := <-s.ack.Err():
		return false, false, fmt.Errorf("replay: copy %d is not stored: %w", s.seq, err)
	default:
		return false, false, nil
	}
}

// await waits for the acknowledgement.
func (s sent) await() (again bool, err error) {
	select {
	case stored := <-s.ack.Ok():
		return stored.Duplicate, nil
	case err := <-s.ack.Err():
		return false, fmt.Errorf("replay: copy %d is not stored: %w", s.seq, err)
	case <-time.After(patience):
		return false, fmt.Errorf("replay: copy %d: no acknowledgement", s.seq)
	}
}

func (r Replay) copyAll(ctx context.Context, messages jetstream.MessagesContext, keep bool, res Result) (Result, error) {
	limit := rate.NewLimiter(rate.Inf, 1)
	if r.Rate > 0 {
		limit = rate.NewLimiter(r.Rate, max(1, int(r.Rate)/10))
	}
	var waiting []sent
	// settle passes the oldest copies that are acknowledged, and waits for them
	// while more than n are left.
	settle := func(n int) error {
		for len(waiting) > 0 {
			s := waiting[0]
			again, done, err := s.acknowledged()
			if err == nil && !done {
				if len(waiting) <= n {
					return nil
				}
				again, err = s.await()
			}
			if err != nil {
				return err
			}
			if again {
				res.Again++
			}
			waiting, res.Next = waiting[1:], s.seq+1
			if r.Passed != nil {
				r.Passed(res.Next)
			}
		}
		return nil
	}
	for {
		m, err := next(ctx, messages)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			return res, errors.Join(fmt.Errorf("replay: read the stream: %w", err), settle(0))
		}
		meta, err := m.Metadata()
		if err != nil {
			return res, fmt.Errorf("replay: read the stream: %w", err)
		}
		if r.Query.over(meta.Sequence.Stream, meta.Timestamp) {
			res.Ended = true
			break
		}
		ack, err := r.copyOne(ctx, m, meta.Sequence.Stream, keep, limit, &res)
		if err != nil && ctx.Err() != nil {
			break
		}
		if err != nil {
			return res, errors.Join(err, settle(0))
		}
		// Also if ctx has ended meanwhile: what is under way is waited for.
		waiting = append(waiting, sent{meta.Sequence.Stream, ack})
		if err := settle(window); err != nil {
			return res, err
		}
		if meta.NumPending == 0 || meta.Sequence.Stream == res.Until {
			res.Ended = true
			break
		}
	}
	if err := settle(0); err != nil {
		return res, err
	}
	if r.To != "" && !keep {
		if err := r.JS.Conn().Flush(); err != nil {
			return res, fmt.Errorf("replay: %w", err)
		}
	}
	return res, nil
}

// patience is how long a replay waits for a broker that says nothing.
const patience = 30 * time.Second

func next(ctx context.Context, messages jetstream.MessagesContext) (jetstream.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return messages.Next(jetstream.NextContext(ctx))
}

// copyOne publishes the copy of a message, if it is asked for.
func (r Replay) copyOne(ctx context.Context, m jetstream.Msg, seq uint64, keep bool, limit *rate.Limiter, res *Result) (jetstream.PubAckFuture, error) {
	t := m.Headers()["ce-type"]
	if len(t) == 0 || !r.Query.wants(events.Type(t[0])) {
		res.Other++
		return nil, nil
	}
	if r.To == "" {
		res.Copied++
		return nil, nil
	}
	if err := limit.Wait(ctx); err != nil {
		<-ctx.Done() // it ends before this copy's turn comes
		return nil, err
	}
	subject, header := Copy(m.Subject(), m.Headers(), r.Subjects.Prefix(), r.To, r.Name)
	c := &nats.Msg{Subject: subject, Header: header, Data: m.Data()}
	res.Copied++
	if !keep {
		return nil, r.JS.Conn().PublishMsg(c)
	}
	// The id has a stream drop what a replay that goes on copies once more.
	ack, err := r.JS.PublishMsgAsync(c, jetstream.WithMsgID(fmt.Sprintf("%s/%d", r.Name, seq)))
	if err != nil {
		return nil, fmt.Errorf("replay: copy %d: %w", seq, err)
	}
	return ack, nil
}

// What Position leaves in the metadata of a durable. What stands at or before
// until, and was stored no later than stored, is read again and no news: package
// consumer, and whoever else pushes, goes by it.
const (
	metaName   = "smartconnect.replay"
	metaUntil  = "smartconnect.replay.until"
	metaStored = "smartconnect.replay.stored"
)

// Bridge begins the names of the durables of webhook bridges. They are not moved:
// a POST cannot tell what the mark on a durable says.
const Bridge = "bridge-"

// A Target is the durable that Position makes or moves.
type Target struct {
	Name      string
	Mark      string    // name of the replay, which the durable is marked with
	Move      bool      // one that is there may be moved
	Unsettled Unsettled // what it has not settled counts as; empty: then it is not moved
	DryRun    bool      // what would be refused is, the rest is only counted
}

// Position makes a durable of the stream that reads from where q begins, and
// marks it as a replay: what stands in the stream by now is no news to it.
//
// One that is there is only moved if the target says so. It keeps its settings,
// and only what it had acknowledged is no news; while it has events in hand the
// broker does not tell what that is, and the target must. Where the broker can,
// it is set back as it is; else it is made anew, and then begins elsewhere than
// the client that made it said.
func Position(ctx context.Context, js jetstream.JetStream, s events.Subjects, q Query, t Target) (pending uint64, err error) {
	name := t.Name
	if err := q.Check(); err != nil {
		return 0, fmt.Errorf("replay: %w", err)
	}
	if q.UntilSeq != 0 || !q.Until.IsZero() {
		return 0, errors.New("replay: a durable reads on into what is live: it has no end")
	}
	if slices.ContainsFunc(topology.Desired(topology.Config{Prefix: s.Prefix()}), func(st topology.Stream) bool {
		return slices.ContainsFunc(st.Consumers, func(c jetstream.ConsumerConfig) bool { return c.Durable == name })
	}) {
		return 0, fmt.Errorf("replay: %s is the connector's own: it is never moved", name)
	}
	if strings.HasPrefix(name, Bridge) {
		return 0, fmt.Errorf("replay: %s is a bridge's: its endpoint would be posted the events again, and not be told that they are no news", name)
	}
	stream, err := js.Stream(ctx, events.Stream)
	if err != nil {
		return 0, fmt.Errorf("replay: read the stream: %w", err)
	}
	state := stream.CachedInfo().State
	have, err := stream.Consumer(ctx, name)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		config := jetstream.ConsumerConfig{
			Durable: name, AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: -1, FilterSubjects: q.Filters(s),
		}
		if t.DryRun {
			return count(ctx, stream, config, q)
		}
		noNews(&config, t.Mark, state.LastSeq, state)
		return begin(ctx, stream, config, q)
	case err != nil:
		return 0, fmt.Errorf("replay: durable %s: %w", name, err)
	case !t.Move:
		return 0, fmt.Errorf("replay: durable %s is there: to move it back is to forget what it acknowledged; say so with --move", name)
	case len(q.Types) > 0 || q.Member != "":
		return 0, fmt.Errorf("replay: durable %s is there and keeps its subjects: types and members cannot be chosen", name)
	}
	info := have.CachedInfo()
	config := info.Config
	until, err := t.Unsettled.until(max(info.AckFloor.Stream, noted(config, state)), info.Delivered.Stream, info.NumAckPending)
	if err != nil {
		return 0, fmt.Errorf("replay: durable %s: %w", name, err)
	}
	if t.DryRun {
		return count(ctx, stream, config, q)
	}
	noNews(&config, t.Mark, until, state)
	if pending, done, err := setBack(ctx, js, stream, config, q); done || err != nil {
		return pending, err
	}
	config.OptStartSeq, config.OptStartTime = 0, nil
	if err := stream.DeleteConsumer(ctx, name); err != nil {
		return 0, fmt.Errorf("replay: durable %s: %w", name, err)
	}
	return begin(ctx, stream, config, q)
}

// noted returns up to where an earlier note says that what is read is no news.
// It stays in force, unless the stream was restored since.
func noted(config jetstream.ConsumerConfig, state jetstream.StreamState) uint64 {
	until, err := strconv.ParseUint(config.Metadata[metaUntil], 10, 64)
	if err != nil || until > state.LastSeq {
		return 0
	}
	return until
}

// noNews notes in config that what was read up to a stream sequence is no news.
func noNews(config *jetstream.ConsumerConfig, mark string, until uint64, state jetstream.StreamState) {
	metadata := map[string]string{}
	maps.Copy(metadata, config.Metadata)
	metadata[metaName], metadata[metaUntil] = mark, strconv.FormatUint(until, 10)
	metadata[metaStored] = state.LastTime.UTC().Format(time.RFC3339Nano)
	config.Metadata = metadata
}

// begin makes a durable that begins where q does.
func begin(ctx context.Context, stream jetstream.Stream, config jetstream.ConsumerConfig, q Query) (pending uint64, err error) {
	q.begin(&config)
	made, err := stream.CreateConsumer(ctx, config)
	if err != nil {
		return 0, fmt.Errorf("replay: durable %s: %w", config.Durable, err)
	}
	return made.CachedInfo().NumPending, nil
}

func (q Query) begin(config *jetstream.ConsumerConfig) {
	config.DeliverPolicy, config.OptStartSeq = jetstream.DeliverByStartSequencePolicy, q.FromSeq
	if q.FromSeq == 0 {
		config.DeliverPolicy, config.OptStartTime = jetstream.DeliverByStartTimePolicy, &q.From
	}
}

// count returns how many events a durable would have to read that begins where q
// does.
func count(ctx context.Context, stream jetstream.Stream, durable jetstream.ConsumerConfig, q Query) (pending uint64, err error) {
	info, err := try(ctx, stream, q, durable.FilterSubject, durable.FilterSubjects)
	if err != nil {
		return 0, err
	}
	return info.NumPending, nil
}

// canSetBack is the first level of JetStream's API that sets a durable back.
// An older server does not even answer.
const canSetBack = 4

// setBack has a durable read from where q begins and leaves it as it is
// otherwise. It reports false where the broker cannot: it is too old, or the
// durable is one that began at the newest or at the last of each subject.
func setBack(ctx context.Context, js jetstream.JetStream, stream jetstream.Stream, config jetstream.ConsumerConfig, q Query) (pending uint64, done bool, err error) {
	if level, err := strconv.Atoi(config.Metadata["_nats.level"]); err != nil || level < canSetBack {
		return 0, false, nil
	}
	from := q.FromSeq
	if from == 0 {
		if from, err = at(ctx, stream, q.From); err != nil {
			return 0, false, err
		}
	}
	// The note comes first: a durable that was set back without it would push.
	if _, err := stream.UpdateConsumer(ctx, config); err != nil {
		return 0, false, fmt.Errorf("replay: durable %s: %w", config.Durable, err)
	}
	answer, err := js.ResetConsumerToSequence(ctx, events.Stream, config.Durable, from)
	if errors.Is(err, jetstream.ErrConsumerInvalidReset) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("replay: durable %s: %w", config.Durable, err)
	}
	return answer.NumPending, true, nil
}

// at returns the stream sequence of what was stored first since t.
func at(ctx context.Context, stream jetstream.Stream, t time.Time) (uint64, error) {
	info, err := try(ctx, stream, Query{From: t}, "", nil)
	if err != nil {
		return 0, err
	}
	return info.Delivered.Stream + 1, nil
}

// try returns what the broker tells of a consumer that begins where q does, and
// reads nothing with it.
func try(ctx context.Context, stream jetstream.Stream, q Query, filter string, filters []string) (*jetstream.ConsumerInfo, error) {
	config := jetstream.ConsumerConfig{
		AckPolicy: jetstream.AckNonePolicy, FilterSubject: filter, FilterSubjects: filters,
		MemoryStorage: true, Replicas: 1, InactiveThreshold: time.Minute,
	}
	q.begin(&config)
	probe, err := stream.CreateConsumer(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("replay: look where to begin in the stream: %w", err)
	}
	_ = Forget(ctx, stream, probe)
	return probe.CachedInfo(), nil
}
