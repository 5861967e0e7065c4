// Package embednats runs a NATS server with JetStream inside this process, for
// local runs and tests.
package embednats

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Config says how the server runs. The zero value but for Dir is useful.
type Config struct {
	Dir    string // where JetStream keeps its files
	Listen string // host:port for other clients; empty for no port at all
}

// A Server is a running server.
type Server struct{ ns *server.Server }

// Start runs a server and returns when it takes connections.
func Start(c Config) (*Server, error) {
	// The server would only write to its log that it cannot store, and never be
	// ready.
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("embedded NATS: %w", err)
	}
	o := &server.Options{JetStream: true, StoreDir: c.Dir, NoSigs: true, NoLog: true, DontListen: c.Listen == ""}
	if c.Listen != "" {
		host, port, err := net.SplitHostPort(c.Listen)
		if err != nil {
			return nil, fmt.Errorf("embedded NATS: listen address: want host:port: %w", err)
		}
		if o.Port, err = strconv.Atoi(port); err != nil {
			return nil, fmt.Errorf("embedded NATS: listen address: the port is no number: %w", err)
		}
		// The server would only write to its log that it cannot listen, and try on.
		l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", c.Listen)
		if err != nil {
			return nil, fmt.Errorf("embedded NATS: %w", err)
		}
		if err := l.Close(); err != nil {
			return nil, fmt.Errorf("embedded NATS: %w", err)
		}
		if o.Port == 0 {
			o.Port = server.RANDOM_PORT
		}
		o.Host = host
	}
	ns, err := server.NewServer(o)
	if err != nil {
		return nil, fmt.Errorf("embedded NATS: %w", err)
	}
	ns.Start()
	if !ns.ReadyForConnections(10 * time.Second) {
		ns.Shutdown()
		ns.WaitForShutdown()
		return nil, errors.New("embedded NATS: not ready after 10 s")
	}
	return &Server{ns}, nil
}

// URL returns where other clients connect, empty without a port.
func (s *Server) URL() string {
	if s.ns.Addr() == nil {
		return ""
	}
	return s.ns.ClientURL()
}

// Connect returns a connection that never touches the network.
func (s *Server) Connect(opts ...nats.Option) (*nats.Conn, error) {
	return nats.Connect("", append(opts, nats.InProcessServer(s.ns))...)
}

// Stop shuts the server down and waits for it.
func (s *Server) Stop() {
	s.ns.Shutdown()
	s.ns.WaitForShutdown()
}
