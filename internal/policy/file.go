package policy

import (
	"fmt"
	"maps"
	"reflect"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/judge"
	"github.com/smartconnect/connector/internal/poller"
	"github.com/smartconnect/connector/internal/reconnect"
)

// file is the file. Each key says why its default is what it is.
type file struct {
	Confirm      statuses[Duration] `yaml:"confirm" why:"how long a break must stand before anybody is asked: most that heal by themselves do so sooner; ERROR is mostly the source's trouble and passes"`
	Settle       Duration           `yaml:"settle" why:"b.well's reads lag behind its writes; an answer older than what we know must stand for so long"`
	FlapHoldOpen Duration           `yaml:"flapHoldOpen" why:"a connection that breaks again sooner is still in the same episode, and is pushed once"`
	VanishAfter  Whole              `yaml:"vanishAfter" why:"complete answers without a row, before b.well is asked whether it was deleted"`

	Expiring struct {
		Lead     []Duration          `yaml:"lead" why:"connection.expiring is told once for each lead: early enough to renew at leisure, late enough to be worth a tap"`
		Validity map[string]Duration `yaml:"validity" why:"how long a login to a source holds, by b.well's connection id; its API does not say, so tell what you know of the source's terms"`
	} `yaml:"expiring"`

	Grace                Duration                 `yaml:"grace" why:"b.well restores connections within hours after consent is given again; who just said yes is not asked for the same thing twice"`
	PromptRestoreOverdue bool                     `yaml:"promptRestoreOverdue" why:"what is not restored by then is b.well's doing, so operators hear of it (access.restore_overdue) and not the member"`
	Group                Duration                 `yaml:"group" why:"connections that break together are confirmed within a few polls; one push can speak of all"`
	Statuses             statuses[statusRule]     `yaml:"statuses" why:"how much a prompt matters and whether the member is pushed: what the member did is not pushed back at them"`
	Reminders            []Duration               `yaml:"reminders" why:"the waits before each reminder, which are also the cap per prompt: rarer each time, then silence"`
	MaxPushesPerWeek     Whole                    `yaml:"maxPushesPerWeek" why:"per member, over all connections, reminders too; what is over it is listed in the app and not pushed"`
	Expiry               Duration                 `yaml:"expiry" why:"who has not answered by then is answering; the next break asks again"`
	SnoozeMost           Duration                 `yaml:"snoozeMost" why:"putting a reminder off for longer is forgetting"`
	ResolveHoldOpen      Duration                 `yaml:"resolveHoldOpen" why:"how long CONNECTED must hold before a prompt is resolved: who comes back from a login sees it done at once"`
	UnknownTypes         map[string]events.Action `yaml:"unknownTypes" why:"the action by category, where b.well names no integration type we know: nobody is sent down a road we only guess at"`
	DirectAuto           []events.Status          `yaml:"directAuto" why:"the statuses in which a DIRECT_IAS connection is activated without asking: acting for a member who did not tap is a decision of the app's owner"`

	Quiet struct {
		From clock  `yaml:"from"`
		To   clock  `yaml:"to"`
		Zone string `yaml:"zone"`
	} `yaml:"quiet" why:"the hours in which a push should wait (notBefore); equal times are none: the service that pushes knows the member's own time, this is only a hint"`

	Storm struct {
		Members Whole    `yaml:"members" why:"fewer prompts too many are a nuisance, not a disaster; of fewer than about 1260 members, asked once an hour, so many are not even looked at within the window: set it to a fiftieth of a small fleet"`
		Share   float64  `yaml:"share" why:"of the members who could break, since something of theirs works and they are seen; they are asked once an hour, so this is a quarter of those looked at within the window"`
		Window  Duration `yaml:"window" why:"shorter than any confirmation: prompts are held before the first could open"`
	} `yaml:"storm"`
	Source struct {
		Members  Whole   `yaml:"members" why:"the share of a handful of members says nothing about a source; members count whose connection there is alive and who are seen, and below half of this a degraded source is let go"`
		Degraded float64 `yaml:"degraded" why:"half of a source's members at ERROR is not the members' doing; prompts wait"`
		Restored float64 `yaml:"restored" why:"well below, so that a source on the edge does not come and go"`
	} `yaml:"source"`
	Observer struct {
		Polls   Whole   `yaml:"polls" why:"fewer polls in a minute say nothing"`
		Lost    float64 `yaml:"lost" why:"when half of all polls fail it is b.well or the way there: one event instead of one per member"`
		Resumed float64 `yaml:"resumed" why:"well below, so that sight does not come and go"`
	} `yaml:"observer"`
}

type statusRule struct {
	Urgency events.Urgency `yaml:"urgency"`
	Notify  bool           `yaml:"notify"`
}

func fileOf(s Settings) file {
	var f file
	r, p, j := s.Rules, s.Policy, s.Judge
	f.Confirm = statusesOf(r.Confirm, func(d time.Duration) Duration { return Duration(d) })
	f.Settle, f.FlapHoldOpen, f.VanishAfter = Duration(r.Settle), Duration(r.HoldOpen), Whole(r.Vanish)
	f.Expiring.Lead, f.Expiring.Validity = durations(r.Lead), map[string]Duration{}
	for id, d := range r.Validity {
		f.Expiring.Validity[id] = Duration(d)
	}
	f.Grace, f.PromptRestoreOverdue, f.Group = Duration(p.Grace), p.PromptRestoreOverdue, Duration(p.Group)
	f.Statuses = statusesOf(p.Statuses, func(r reconnect.StatusRule) statusRule { return statusRule(r) })
	f.Reminders, f.MaxPushesPerWeek, f.Expiry = durations(p.Reminders), Whole(p.MaxPushesPerWeek), Duration(p.Expiry)
	f.SnoozeMost, f.ResolveHoldOpen = Duration(p.SnoozeMost), Duration(p.HoldOpen)
	f.UnknownTypes = map[string]events.Action{}
	maps.Copy(f.UnknownTypes, p.UnknownTypes)
	f.DirectAuto = append([]events.Status{}, p.DirectAuto...)
	f.Quiet.From, f.Quiet.To, f.Quiet.Zone = clockOf(p.Quiet.From), clockOf(p.Quiet.To), "UTC"
	if p.Quiet.Zone != nil {
		f.Quiet.Zone = p.Quiet.Zone.String()
	}
	f.Storm.Members, f.Storm.Share, f.Storm.Window = Whole(j.StormMembers), j.StormShare, Duration(j.StormWindow)
	f.Source.Members, f.Source.Degraded, f.Source.Restored = Whole(j.SourceMembers), j.SourceDegraded, j.SourceRestored
	f.Observer.Polls, f.Observer.Lost, f.Observer.Resumed = Whole(j.ObserverPolls), j.ObserverLost, j.ObserverResumed
	return f
}

// settings is the way back from fileOf.
func (f file) settings() (Settings, error) {
	from, err := f.Quiet.From.sinceMidnight("quiet.from")
	if err != nil {
		return Settings{}, err
	}
	to, err := f.Quiet.To.sinceMidnight("quiet.to")
	if err != nil {
		return Settings{}, err
	}
	zone, err := time.LoadLocation(f.Quiet.Zone)
	if err != nil || f.Quiet.Zone == "Local" {
		return Settings{}, fmt.Errorf("quiet.zone: %.40q, want a time zone like Europe/Berlin", f.Quiet.Zone)
	}
	s := Settings{
		Rules: poller.Rules{
			Confirm: byStatus(f.Confirm, func(d Duration) time.Duration { return time.Duration(d) }),
			Settle:  time.Duration(f.Settle), HoldOpen: time.Duration(f.FlapHoldOpen), Vanish: int(f.VanishAfter),
			Lead: times(f.Expiring.Lead),
		},
		Policy: reconnect.Policy{
			Grace: time.Duration(f.Grace), PromptRestoreOverdue: f.PromptRestoreOverdue, Group: time.Duration(f.Group),
			Statuses:  byStatus(f.Statuses, func(r statusRule) reconnect.StatusRule { return reconnect.StatusRule(r) }),
			Reminders: times(f.Reminders), MaxPushesPerWeek: int(f.MaxPushesPerWeek), Expiry: time.Duration(f.Expiry),
			SnoozeMost: time.Duration(f.SnoozeMost), HoldOpen: time.Duration(f.ResolveHoldOpen),
			Quiet: reconnect.Quiet{From: from, To: to},
		},
		Judge: judge.Rules{
			StormMembers: int(f.Storm.Members), StormShare: f.Storm.Share, StormWindow: time.Duration(f.Storm.Window),
			SourceMembers: int(f.Source.Members), SourceDegraded: f.Source.Degraded, SourceRestored: f.Source.Restored,
			ObserverPolls: int(f.Observer.Polls), ObserverLost: f.Observer.Lost, ObserverResumed: f.Observer.Resumed,
		},
	}
	if zone != time.UTC {
		s.Policy.Quiet.Zone = zone
	}
	if len(f.Expiring.Validity) > 0 {
		s.Rules.Validity = map[string]time.Duration{}
		for id, d := range f.Expiring.Validity {
			s.Rules.Validity[id] = time.Duration(d)
		}
	}
	if len(f.UnknownTypes) > 0 {
		s.Policy.UnknownTypes = f.UnknownTypes
	}
	if len(f.DirectAuto) > 0 {
		s.Policy.DirectAuto = f.DirectAuto
	}
	return s, nil
}

// keysOf lists what has a reason, and what is below where the key itself has
// none.
func keysOf(f file) []Key {
	var keys []Key
	var visit func(v reflect.Value, below string)
	visit = func(v reflect.Value, below string) {
		for i := range v.NumField() {
			t := v.Type().Field(i)
			name := below + t.Tag.Get("yaml")
			why := t.Tag.Get("why")
			if why == "" {
				visit(v.Field(i), name+".")
				continue
			}
			keys = append(keys, Key{name, inline(v.Field(i).Interface()), why})
		}
	}
	visit(reflect.ValueOf(f), "")
	return keys
}

// inline returns a value as it can be written on one line.
func inline(v any) string {
	var n yaml.Node
	if err := n.Encode(v); err != nil {
		return fmt.Sprint(v)
	}
	n.Style = yaml.FlowStyle
	body, err := yaml.Marshal(&n)
	if err != nil {
		return fmt.Sprint(v)
	}
	return strings.Join(strings.Fields(string(body)), " ")
}
