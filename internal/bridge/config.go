package bridge

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/replay"
	"github.com/smartconnect/connector/internal/strictyaml"
)

// Config is the file of a bridge. It names secrets and holds none.
type Config struct {
	// Stream is what is read; default SC_EVENTS.
	Stream string `yaml:"stream"`

	// MaxDelay is the longest time between two tries of one event; default 1 h.
	MaxDelay time.Duration `yaml:"maxDelay"`

	Endpoints []Endpoint `yaml:"endpoints"`

	dir string // of the file: other files are named from there
}

// An Endpoint is one receiver.
type Endpoint struct {
	// Name is the endpoint's in logs and metrics, and makes up the name of its
	// durable: under another name it begins anew.
	Name string `yaml:"name"`

	// URL is where events are posted, https. It is never logged.
	URL string `yaml:"url"`

	// Types are the event types that are sent; * stands for any letters, as in
	// smartconnect.prompt.*. Required: what leaves is chosen on purpose.
	Types []string `yaml:"types"`

	// Start is where an endpoint that is new begins: new (default), all, a time
	// (2026-11-24T10:00:00Z), or a duration ago (48h). Later it counts no more.
	Start string `yaml:"start"`

	// Secrets sign, all of them. In a rotation there are two.
	Secrets []Secret `yaml:"secrets"`

	// Timeout is of one try; default 15 s.
	Timeout time.Duration `yaml:"timeout"`

	// Concurrency is how many events are on their way at once; default 1, which
	// alone keeps the order.
	Concurrency int `yaml:"concurrency"`

	// Replays sends copies that a replay made too, marked.
	Replays bool `yaml:"replays"`

	// AllowPrivate allows loopback and private addresses.
	AllowPrivate bool `yaml:"allowPrivate"`

	// CA is a PEM file of certificates to trust instead of the system's.
	CA string `yaml:"ca"`
}

// A Secret says where a signing secret is: in a file, or in a variable.
type Secret struct{ File, Env string }

// UnmarshalYAML refuses a secret that is written into the file itself, and says
// so without quoting it.
func (s *Secret) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.MappingNode || len(n.Content) != 2 || n.Content[1].Kind != yaml.ScalarNode || n.Content[1].Value == "" {
		return fmt.Errorf("line %d: a secret is named by file: or by env:, one of them, and never written here", n.Line)
	}
	switch n.Content[0].Value {
	case "file":
		s.File = n.Content[1].Value
	case "env":
		s.Env = n.Content[1].Value
	default:
		return fmt.Errorf("line %d: a secret has file: or env:, and nothing else", n.Line)
	}
	return nil
}

// Load reads a file and checks it. It reads no secret.
func Load(name string) (Config, error) {
	f, err := os.Open(name)
	if err != nil {
		return Config{}, fmt.Errorf("bridge: %w", err)
	}
	defer f.Close()
	c, err := parse(f)
	if err != nil {
		return Config{}, fmt.Errorf("bridge: %s: %w", filepath.Base(name), err)
	}
	c.dir = filepath.Dir(name)
	return c, nil
}

func parse(r io.Reader) (Config, error) {
	var c Config
	if err := strictyaml.Decode(r, &c); err != nil {
		return c, err
	}
	c.Stream = cmp.Or(c.Stream, events.Stream)
	c.MaxDelay = cmp.Or(c.MaxDelay, time.Hour)
	if c.MaxDelay < time.Second || c.MaxDelay > 24*time.Hour {
		return c, errors.New("maxDelay: want 1s to 24h")
	}
	if c.Stream == "" || strings.ContainsAny(c.Stream, ".*> /\\\t") {
		return c, errors.New("stream: want the name of a stream")
	}
	if len(c.Endpoints) == 0 {
		return c, errors.New("endpoints: there are none")
	}
	names := map[string]bool{}
	for i := range c.Endpoints {
		e := &c.Endpoints[i]
		if err := e.check(); err != nil {
			return c, fmt.Errorf("endpoint %s: %w", cmp.Or(e.shown(), fmt.Sprintf("number %d", i+1)), err)
		}
		if names[e.Name] {
			return c, fmt.Errorf("endpoint %s: there are two of that name", e.Name)
		}
		names[e.Name] = true
	}
	return c, nil
}

// shown returns the name if it is one.
func (e *Endpoint) shown() string {
	if !isName(e.Name) {
		return ""
	}
	return e.Name
}

func isName(s string) bool { return regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`).MatchString(s) }

// check says what is wrong with e, and fills in defaults.
func (e *Endpoint) check() error {
	e.Start, e.Timeout, e.Concurrency = cmp.Or(e.Start, "new"), cmp.Or(e.Timeout, 15*time.Second), cmp.Or(e.Concurrency, 1)
	if !isName(e.Name) {
		return errors.New("name: want up to 40 letters a-z, digits and -")
	}
	if err := e.checkURL(); err != nil {
		return fmt.Errorf("url: %w", err)
	}
	switch {
	case len(e.Types) == 0:
		return errors.New("types: name what is to be sent, as smartconnect.prompt.*")
	case len(e.Secrets) == 0:
		return errors.New("secrets: at least one has to sign")
	case e.Timeout < time.Second || e.Timeout > time.Minute:
		return errors.New("timeout: want 1s to 1m")
	case e.Concurrency < 1 || e.Concurrency > 64:
		return errors.New("concurrency: want 1 to 64")
	}
	for _, pattern := range e.Types {
		if !regexp.MustCompile(`^[a-z0-9_.*]+$`).MatchString(pattern) || !slices.ContainsFunc(events.Types(), func(t events.Type) bool { return match(pattern, t) }) {
			return fmt.Errorf("types: no event type is like %.80q; see: connector schema list", pattern)
		}
	}
	if _, err := e.begins(time.Time{}); err != nil {
		return err
	}
	return nil
}

func (e *Endpoint) checkURL() error {
	u, err := url.Parse(e.URL)
	if err != nil || u.Host == "" || u.Hostname() == "" {
		return errors.New("want one as https://host/path") // the parser's words quote it
	}
	switch {
	case u.User != nil:
		return errors.New("it carries a password; the signature is what the receiver checks")
	case u.Fragment != "":
		return errors.New("it has a fragment, which is never sent")
	}
	addr, err := netip.ParseAddr(u.Hostname())
	literal := err == nil
	loopback := u.Hostname() == "localhost" || literal && addr.Unmap().IsLoopback()
	switch {
	case u.Scheme == "http" && loopback && e.AllowPrivate:
		return nil
	case u.Scheme == "http":
		return errors.New("want https; http is for loopback, with allowPrivate")
	case u.Scheme != "https":
		return errors.New("want https")
	}
	if literal {
		if err := (guard{private: e.AllowPrivate}).check(addr); err != nil {
			return fmt.Errorf("%w; allowPrivate lets loopback and private ones in", err)
		}
	}
	return nil
}

// plainHTTP reports an endpoint without TLS, which may be on loopback only.
func (e *Endpoint) plainHTTP() bool { return strings.HasPrefix(strings.ToLower(e.URL), "http:") }

// types returns the types of the contract that the endpoint wants.
func (e *Endpoint) types() []events.Type {
	return slices.DeleteFunc(events.Types(), func(t events.Type) bool { return !e.wants(t) })
}

// wants reports whether events of a type are sent. It may be one that this
// version does not know.
func (e *Endpoint) wants(t events.Type) bool {
	return slices.ContainsFunc(e.Types, func(pattern string) bool { return match(pattern, t) })
}

func match(pattern string, t events.Type) bool {
	ok, err := path.Match(pattern, string(t)) // no type has a slash, so * is any letters
	return ok && err == nil
}

// A beginning is where a new durable starts: with what comes, with everything,
// or at a time.
type beginning struct {
	all bool
	at  time.Time
}

func (e *Endpoint) begins(now time.Time) (beginning, error) {
	switch e.Start {
	case "new":
		return beginning{}, nil
	case "all":
		return beginning{all: true}, nil
	}
	if at, err := time.Parse(time.RFC3339, e.Start); err == nil {
		return beginning{at: at}, nil
	}
	if ago, err := time.ParseDuration(e.Start); err == nil && ago > 0 {
		return beginning{at: now.Add(-ago)}, nil
	}
	return beginning{}, errors.New("start: want new, all, a time as 2026-11-24T10:00:00Z, or a duration ago as 48h")
}

// Durable returns the name of the endpoint's durable consumer.
func (e *Endpoint) Durable() string { return replay.Bridge + e.Name }

// Find returns the endpoint of a name.
func (c Config) Find(name string) (Endpoint, error) {
	i := slices.IndexFunc(c.Endpoints, func(e Endpoint) bool { return e.Name == name })
	if i < 0 {
		var names []string
		for _, e := range c.Endpoints {
			names = append(names, e.Name)
		}
		return Endpoint{}, fmt.Errorf("bridge: no endpoint %.40q; there are: %s", name, strings.Join(names, ", "))
	}
	return c.Endpoints[i], nil
}

// in returns the path of a file that the config names.
func (c Config) in(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(c.dir, name)
}
