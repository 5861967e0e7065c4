package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/topology"
)

// broker says how to reach NATS. Its flags are the same in every command.
type broker struct {
	NATS    string `name:"nats" help:"NATS servers, joined by commas." default:"nats://127.0.0.1:4222"`
	Creds   string `help:"NATS credentials file." type:"existingfile" placeholder:"FILE"`
	Context string `help:"Context of the nats CLI to take servers and credentials from." placeholder:"NAME"`
	Prefix  string `help:"What all subjects begin with." default:"sc.v1"`
}

// Validate is called before the command runs.
func (b broker) Validate() error {
	if _, err := events.NewSubjects(b.Prefix); err != nil {
		return fmt.Errorf("--prefix: %w", err)
	}
	return nil
}

// connect returns a connection with JetStream, and the log on it.
func (b broker) connect(ctx context.Context) (*nats.Conn, jetstream.JetStream, *events.Log, error) {
	addresses, options, err := b.options(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	nc, err := nats.Connect(addresses, options...)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("connect to NATS: %w; is a server there? (connector dev runs one)", err)
	}
	js, log, err := b.open(nc)
	if err != nil {
		nc.Close()
		return nil, nil, nil, err
	}
	return nc, js, log, nil
}

// open returns JetStream and the log on a connection.
func (b broker) open(nc *nats.Conn) (jetstream.JetStream, *events.Log, error) {
	subjects, err := events.NewSubjects(b.Prefix)
	if err != nil {
		return nil, nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, nil, fmt.Errorf("JetStream: %w", err)
	}
	return js, events.NewLog(js, subjects, ""), nil
}

func (b broker) topology(replicas int) topology.Config {
	return topology.Config{Prefix: b.Prefix, Replicas: replicas}
}

func (b broker) options(ctx context.Context) (string, []nats.Option, error) {
	log := zerolog.Ctx(ctx)
	options := []nats.Option{
		nats.Name("connector"),
		nats.MaxReconnects(-1),
		// A permission that is missing reaches us here and nowhere else: the
		// request itself only times out.
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			log.Error().Err(err).Msg("NATS reports an error")
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn().Err(err).Msg("NATS connection lost, reconnecting")
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { log.Info().Msg("NATS connection is back") }),
	}
	addresses, from := b.NATS, "--nats"
	if b.Context != "" {
		saved, err := readContext(b.Context)
		if err != nil {
			return "", nil, err
		}
		if saved.URL != "" {
			addresses, from = saved.URL, "NATS context "+b.Context
		}
		if b.Creds != "" {
			saved = saved.anonymous()
		}
		more, err := saved.options()
		if err != nil {
			return "", nil, fmt.Errorf("NATS context %s: %w", b.Context, err)
		}
		options = append(options, more...)
	}
	if b.Creds != "" {
		options = append(options, nats.UserCredentials(b.Creds))
	}
	if err := checkAddresses(addresses); err != nil {
		return "", nil, fmt.Errorf("%s: %w", from, err)
	}
	return addresses, options, nil
}

// checkAddresses refuses what nats.go would, and what is half a password. Its
// errors never repeat an address: it may hold a password.
func checkAddresses(text string) error {
	for i, address := range strings.Split(text, ",") {
		address = strings.TrimSpace(address)
		if address == "" {
			continue
		}
		if !strings.Contains(address, "://") {
			address = "nats://" + address
		}
		u, err := url.Parse(address)
		if err != nil || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" || !strings.HasPrefix(u.Scheme, "ws") && strings.Trim(u.Path, "/") != "" {
			return fmt.Errorf("address %d is not of the form nats://host:port; in a user or password, write what is no letter or digit as %%XX", i+1)
		}
	}
	return nil
}

// natsContext is what a context of the nats CLI holds, as far as we use it. The
// JetStream keys are not among it: the connector's subjects and permissions are
// those of one account and its own API.
type natsContext struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	ColorScheme string `json:"color_scheme"`

	URL         string `json:"url"`
	User        string `json:"user"`
	Password    string `json:"password"`
	Creds       string `json:"creds"` // file
	NKey        string `json:"nkey"`  // file of a seed
	UserJWT     string `json:"user_jwt"`
	UserSeed    string `json:"user_seed"`
	Token       string `json:"token"`
	Cert        string `json:"cert"` // file, as the next two
	Key         string `json:"key"`
	CA          string `json:"ca"`
	TLSFirst    bool   `json:"tls_first"`
	InboxPrefix string `json:"inbox_prefix"`
}

// anonymous returns c without who it is.
func (c natsContext) anonymous() natsContext {
	c.User, c.Password, c.Creds, c.NKey, c.UserJWT, c.UserSeed, c.Token = "", "", "", "", "", "", ""
	return c
}

// options returns what c says of a connection, beyond its addresses. Of several
// users the first counts that counts for the nats CLI.
func (c natsContext) options() ([]nats.Option, error) {
	var options []nats.Option
	switch {
	case c.User != "":
		options = append(options, nats.UserInfo(c.User, c.Password))
	case c.Creds != "":
		options = append(options, nats.UserCredentials(homed(c.Creds)))
	case c.NKey != "":
		option, err := nats.NkeyOptionFromSeed(homed(c.NKey))
		if err != nil {
			return nil, errors.New("its nkey is no file of a user's seed") // the cause may quote the file
		}
		options = append(options, option)
	case c.UserJWT != "" && c.UserSeed != "":
		options = append(options, nats.UserJWTAndSeed(c.UserJWT, c.UserSeed))
	case c.UserJWT != "": // whoever bears it may connect
		options = append(options, nats.UserJWT(func() (string, error) { return c.UserJWT, nil }, func([]byte) ([]byte, error) { return nil, nil }))
	}
	if c.Token != "" {
		options = append(options, nats.Token(c.Token))
	}
	if (c.Cert == "") != (c.Key == "") {
		return nil, errors.New("it has only one of cert and key")
	}
	if c.Cert != "" {
		options = append(options, nats.ClientCert(homed(c.Cert), homed(c.Key)))
	}
	if c.CA != "" {
		options = append(options, nats.RootCAs(homed(c.CA)))
	}
	if c.TLSFirst {
		options = append(options, nats.TLSHandshakeFirst())
	}
	if c.InboxPrefix != "" {
		options = append(options, nats.CustomInboxPrefix(c.InboxPrefix))
	}
	return options, nil
}

// homed is a path of a context as the nats CLI reads it.
func homed(path string) string {
	path = os.ExpandEnv(path)
	home, err := os.UserHomeDir()
	if rest, ok := strings.CutPrefix(path, "~"); ok && err == nil {
		return home + rest
	}
	return path
}

func readContext(name string) (natsContext, error) {
	if name != filepath.Base(name) || strings.HasPrefix(name, ".") {
		return natsContext{}, errors.New("read NATS context: the name is no file name")
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return natsContext{}, fmt.Errorf("read NATS context: %w", err)
	}
	body, err := os.ReadFile(filepath.Join(dir, "nats", "context", name+".json"))
	if err != nil {
		return natsContext{}, fmt.Errorf("read NATS context %s: none of that name; see: nats context ls", name)
	}
	var all map[string]any
	if json.Unmarshal(body, &all) != nil {
		return natsContext{}, fmt.Errorf("read NATS context %s: it is no JSON object", name)
	}
	// What is set and not honoured may be what keeps others out. What is empty is
	// what the nats CLI writes of all it knows.
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil || v == "" || v == false || fmt.Sprint(v) == "[]" })
	body, err = json.Marshal(all)
	if err != nil {
		return natsContext{}, fmt.Errorf("read NATS context %s: %w", name, err)
	}
	var c natsContext
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	switch err := d.Decode(&c); {
	case err == nil:
		return c, nil
	case unknownField.MatchString(err.Error()):
		return natsContext{}, fmt.Errorf("read NATS context %s: the connector does not support its %s", name, unknownField.FindStringSubmatch(err.Error())[1])
	default:
		return natsContext{}, fmt.Errorf("read NATS context %s: it is no context of the nats CLI", name) // the cause may quote a password
	}
}
