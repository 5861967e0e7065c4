// Package policy is the file in which an operator says when a break is
// believed, who is asked, how insistently, and what holds prompts back. The
// meaning and the defaults of its keys are those of the packages that use them.
package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/judge"
	"github.com/smartconnect/connector/internal/poller"
	"github.com/smartconnect/connector/internal/reconnect"
	"github.com/smartconnect/connector/internal/strictyaml"
)

// Settings are what a file sets.
type Settings struct {
	Rules  poller.Rules
	Policy reconnect.Policy
	Judge  judge.Rules
}

// Defaults returns the settings for real members.
func Defaults() Settings {
	return Settings{poller.DefaultRules(), reconnect.DefaultPolicy(), judge.DefaultRules()}
}

// Fast returns settings to try things out with: what one waits for is short,
// reminders and expiry stay long.
func Fast() Settings {
	s := Defaults()
	s.Rules = poller.FastRules()
	s.Policy.Grace, s.Policy.Group = 5*time.Second, 300*time.Millisecond
	_, window := s.shortestConfirm()
	s.Judge.StormWindow = window / 2
	return s
}

// shortestConfirm is the least time that a break must stand, and of which status.
func (s Settings) shortestConfirm() (status events.Status, window time.Duration) {
	for _, st := range slices.Sorted(maps.Keys(s.Rules.Confirm)) {
		if w := s.Rules.Confirm[st]; status == "" || w < window {
			status, window = st, w
		}
	}
	return status, window
}

// Validate says what is wrong with s, alone and together. Each error begins
// with the key it is about.
func (s Settings) Validate() error {
	if err := s.Rules.Validate(); err != nil {
		return err
	}
	if err := s.Policy.Validate(); err != nil {
		return err
	}
	if err := s.together(); err != nil {
		return err
	}
	_, window := s.shortestConfirm()
	return s.Judge.Validate(window)
}

// together finds what contradicts itself, or says something that can never
// come about.
func (s Settings) together() error {
	expiry := Duration(s.Policy.Expiry)
	var due time.Duration
	for i, wait := range s.Policy.Reminders {
		if due += wait; due >= s.Policy.Expiry {
			return fmt.Errorf("reminders[%d]: due %s after the opening, when the prompt has expired (expiry %s)", i, Duration(due), expiry)
		}
	}
	switch p := s.Policy; {
	case p.SnoozeMost > p.Expiry:
		return fmt.Errorf("snoozeMost: %s, want at most the expiry, %s: of a prompt that has expired nobody is reminded", Duration(p.SnoozeMost), expiry)
	case p.HoldOpen >= p.Expiry:
		return fmt.Errorf("resolveHoldOpen: %s, want less than the expiry, %s: a prompt would expire while it waits to be resolved", Duration(p.HoldOpen), expiry)
	}
	if i := doubled(s.Policy.DirectAuto); i >= 0 {
		return fmt.Errorf("directAuto[%d]: %s stands there twice", i, s.Policy.DirectAuto[i])
	}
	if i := doubled(s.Rules.Lead); i >= 0 {
		return fmt.Errorf("expiring.lead[%d]: %s stands there twice, and each lead is told once", i, Duration(s.Rules.Lead[i]))
	}
	for _, category := range slices.Sorted(maps.Keys(s.Policy.UnknownTypes)) {
		if !slices.Contains(categories(), category) {
			return fmt.Errorf("unknownTypes.%s: b.well has no such category; want BASIC, OAUTH, IDENTITY, UNKNOWN for one we do not know, or \"\" for none", category)
		}
	}
	return nil
}

// categories returns b.well's, and what stands for another and for none.
func categories() []string { return []string{"BASIC", "OAUTH", "IDENTITY", events.Unknown, ""} }

// doubled returns where something stands for the second time, -1 if nothing does.
func doubled[T comparable](all []T) int {
	for i, one := range all {
		if slices.Contains(all[:i], one) {
			return i
		}
	}
	return -1
}

// other returns the key that an error about a key may be about as well: the file
// may have the one and not the other.
func (s Settings) other(key string) string {
	switch key, _, _ := strings.Cut(key, "["); key {
	case "group", "reminders", "snoozeMost", "resolveHoldOpen":
		return "expiry"
	case "expiring.validity":
		return "expiring.lead"
	case "storm.window":
		status, _ := s.shortestConfirm()
		return "confirm." + string(status)
	case "source.restored":
		return "source.degraded"
	case "observer.resumed":
		return "observer.lost"
	default:
		return ""
	}
}

// Load reads a file. What it leaves out is as in base. An error says the line,
// the key and what is wanted.
func Load(name string, base Settings) (Settings, error) {
	body, err := os.ReadFile(name)
	if err != nil {
		return base, fmt.Errorf("policy: %w", err)
	}
	s, err := parse(body, base)
	if err != nil {
		return base, fmt.Errorf("policy: %s: %w", filepath.Base(name), err)
	}
	return s, nil
}

func parse(body []byte, base Settings) (Settings, error) {
	f := fileOf(base)
	if err := strictyaml.Decode(bytes.NewReader(body), &f); err != nil {
		return base, err
	}
	doc := root(body)
	if err := said(doc, ""); err != nil {
		return base, err
	}
	if quiet := child(doc, "quiet"); quiet != nil && (child(quiet, "from") == nil) != (child(quiet, "to") == nil) {
		return base, fmt.Errorf("line %d: quiet: want both from and to, or neither: the other would be midnight", quiet.Line)
	}
	s, err := f.settings()
	if err == nil {
		err = s.Validate()
	}
	if err != nil {
		return base, at(doc, err, s)
	}
	return s, nil
}

// root returns the file's table, nil if it is none.
func root(body []byte) *yaml.Node {
	var doc yaml.Node
	if yaml.Unmarshal(body, &doc) != nil || len(doc.Content) != 1 {
		return nil
	}
	return doc.Content[0]
}

// said refuses keys without a value. They would count as left out, which is
// hardly what was meant.
func said(n *yaml.Node, key string) error {
	if n == nil {
		return nil
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return fmt.Errorf("line %d: %s: it has no value; leave the key out, and it has its default", n.Line, key)
	}
	for i, inner := range n.Content {
		below := key
		switch {
		case n.Kind == yaml.MappingNode && i%2 == 0:
			continue // a key
		case n.Kind == yaml.MappingNode:
			below = strings.TrimPrefix(key+"."+n.Content[i-1].Value, ".")
		case n.Kind == yaml.SequenceNode:
			below = fmt.Sprintf("%s[%d]", key, i)
		}
		if err := said(inner, below); err != nil {
			return err
		}
	}
	return nil
}

// at says on which line the key stands that an error is about, or the key that
// it is at odds with.
func at(doc *yaml.Node, err error, s Settings) error {
	key, _, _ := strings.Cut(err.Error(), ":")
	line, whole := lineOf(doc, key)
	if !whole {
		if other, ok := lineOf(doc, s.other(key)); ok {
			line = other
		}
	}
	if line == 0 {
		return err // the file has neither
	}
	return fmt.Errorf("line %d: %w", line, err)
}

// lineOf returns where a key stands, or the last word of it that the file has,
// and whether that is the whole key.
func lineOf(n *yaml.Node, key string) (line int, whole bool) {
	for word := range strings.FieldsFuncSeq(key, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		if n = child(n, word); n == nil {
			return line, false
		}
		line = n.Line
	}
	return line, line > 0
}

// child returns what stands under a key or a number of n, nil if nothing does.
func child(n *yaml.Node, word string) *yaml.Node {
	if n == nil {
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == word {
				return n.Content[i+1]
			}
		}
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(word); err == nil && i < len(n.Content) {
			return n.Content[i]
		}
	default:
	}
	return nil
}

// Write writes s as a file, with the reason of each key.
func Write(w io.Writer, s Settings) error {
	body, err := yaml.Marshal(fileOf(s))
	if err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(body, &doc); err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	why := map[string]string{}
	for _, k := range Keys(s) {
		why[k.Name] = k.Why
	}
	comment(doc.Content[0], "", why)
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	return errors.Join(e.Encode(&doc), e.Close())
}

// comment puts the reasons above the keys.
func comment(n *yaml.Node, below string, why map[string]string) {
	if n.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		name := below + key.Value
		if reason := why[name]; reason != "" {
			key.HeadComment = reason
		}
		if value.Kind == yaml.SequenceNode || value.Kind == yaml.MappingNode && (len(value.Content) == 0 || below != "") {
			value.Style = yaml.FlowStyle
		}
		comment(value, name+".", why)
	}
}

// Values returns s as a file has it, for other formats than YAML.
func Values(s Settings) (map[string]any, error) {
	body, err := yaml.Marshal(fileOf(s))
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	values := map[string]any{}
	if err := yaml.Unmarshal(body, &values); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	return values, nil
}

// A Key is one setting as it is documented.
type Key struct{ Name, Value, Why string }

// Keys returns the keys of a file with the values of s, in the order in which
// they are written. Those of tables by status stand together.
func Keys(s Settings) []Key { return keysOf(fileOf(s)) }

// A Whole is a number that the YAML library would otherwise cut to one.
type Whole int

// UnmarshalYAML implements yaml.Unmarshaler.
func (w *Whole) UnmarshalYAML(n *yaml.Node) error {
	v, err := strconv.Atoi(n.Value)
	if err != nil {
		return fmt.Errorf("line %d: want a whole number", n.Line)
	}
	*w = Whole(v)
	return nil
}

// A Duration is written as 90s, 10m, 24h or 7d.
type Duration time.Duration

const day = 24 * time.Hour

// UnmarshalYAML implements yaml.Unmarshaler.
func (d *Duration) UnmarshalYAML(n *yaml.Node) error {
	if days, ok := strings.CutSuffix(n.Value, "d"); ok {
		if v, err := strconv.ParseUint(days, 10, 15); err == nil {
			*d = Duration(time.Duration(v) * day)
			return nil
		}
	}
	v, err := time.ParseDuration(n.Value)
	if err != nil {
		return fmt.Errorf("line %d: want a time like 90s, 10m, 24h or 7d", n.Line)
	}
	*d = Duration(v)
	return nil
}

// String returns d as it is written.
func (d Duration) String() string {
	v := time.Duration(d)
	if v > day && v%day == 0 {
		return fmt.Sprintf("%dd", v/day)
	}
	s := v.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, zero) {
			s = strings.TrimSuffix(s, zero[1:])
		}
	}
	return s
}

// MarshalYAML implements yaml.Marshaler.
func (d Duration) MarshalYAML() (any, error) { return d.String(), nil }

// A clock is a time of the day, as 22:00.
type clock string

// MarshalYAML implements yaml.Marshaler: without quotes there are readers that
// take it for a number of minutes.
func (c clock) MarshalYAML() (any, error) {
	return &yaml.Node{Kind: yaml.ScalarNode, Style: yaml.DoubleQuotedStyle, Value: string(c)}, nil
}

func (c clock) sinceMidnight(key string) (time.Duration, error) {
	at, err := time.Parse("15:04", string(c))
	if err != nil {
		return 0, fmt.Errorf("%s: %.40q, want a time of the day like 22:00", key, string(c))
	}
	return at.Sub(at.Truncate(day)), nil
}

func clockOf(d time.Duration) clock {
	return clock(time.Time{}.Add(d).Format("15:04"))
}

// statuses has a value for each status in which the member may be asked.
type statuses[T any] struct {
	Expired      T `yaml:"EXPIRED"`
	Disconnected T `yaml:"DISCONNECTED"`
	Deleted      T `yaml:"DELETED"`
	AccessEnded  T `yaml:"ACCESS_ENDED"`
	Error        T `yaml:"ERROR"`
}

func statusesOf[T, U any](m map[events.Status]U, f func(U) T) statuses[T] {
	return statuses[T]{
		f(m[events.Expired]), f(m[events.Disconnected]), f(m[events.Deleted]), f(m[events.AccessIsOver]), f(m[events.Failing]),
	}
}

func byStatus[T, U any](s statuses[T], f func(T) U) map[events.Status]U {
	return map[events.Status]U{
		events.Expired: f(s.Expired), events.Disconnected: f(s.Disconnected), events.Deleted: f(s.Deleted),
		events.AccessIsOver: f(s.AccessEnded), events.Failing: f(s.Error),
	}
}

func durations(all []time.Duration) []Duration {
	list := []Duration{}
	for _, d := range all {
		list = append(list, Duration(d))
	}
	return list
}

func times(all []Duration) []time.Duration {
	var list []time.Duration
	for _, d := range all {
		list = append(list, time.Duration(d))
	}
	return list
}
