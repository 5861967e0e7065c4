package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
		switch {
		case saved.Creds != "":
			options = append(options, nats.UserCredentials(saved.Creds))
		case saved.Token != "":
			options = append(options, nats.Token(saved.Token))
		case saved.User != "":
			options = append(options, nats.UserInfo(saved.User, saved.Password))
		}
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

// natsContext is what a context of the nats CLI holds, as far as we use it.
type natsContext struct {
	URL      string `json:"url"`
	Creds    string `json:"creds"`
	User     string `json:"user"`
	Password string `json:"password"`
	Token    string `json:"token"`
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
	var c natsContext
	if err := json.Unmarshal(body, &c); err != nil {
		return natsContext{}, fmt.Errorf("read NATS context %s: it is no JSON", name)
	}
	return c, nil
}
