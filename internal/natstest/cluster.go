package natstest

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/topology"
)

// patience is for anything that a cluster does by itself; an election without
// a farewell takes up to nine seconds.
const patience = time.Minute

// A Cluster is three servers in this process that keep streams at R3. Servers
// are numbered from 0, and named n1, n2, n3.
type Cluster struct {
	t       testing.TB
	options []*server.Options
	servers []*server.Server
	control *nats.Conn
}

// ThreeServers starts three servers on loopback that live as long as the test,
// and waits until they can place streams.
func ThreeServers(t testing.TB) *Cluster {
	t.Helper()
	c := &Cluster{t: t, options: make([]*server.Options, 3), servers: make([]*server.Server, 3)}
	var routes []*url.URL
	for range c.options {
		routes = append(routes, &url.URL{Scheme: "nats", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(freePort(t)))})
	}
	for i := range c.options {
		port, err := strconv.Atoi(routes[i].Port())
		if err != nil {
			t.Fatal(err)
		}
		c.options[i] = &server.Options{
			ServerName: name(i), Host: "127.0.0.1", Port: freePort(t), JetStream: true, StoreDir: t.TempDir(),
			NoSigs: true, NoLog: true, Routes: routes,
			Cluster: server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: port, NoAdvertise: true},
		}
		c.start(i)
	}
	t.Cleanup(func() {
		for _, s := range c.servers {
			s.Shutdown()
		}
		for _, s := range c.servers {
			s.WaitForShutdown()
		}
	})
	c.control = c.Connect(0)
	c.AwaitCurrent()
	return c
}

func name(node int) string { return fmt.Sprintf("n%d", node+1) }

// URL returns the addresses of all servers, as clients take them.
func (c *Cluster) URL() string { return strings.Join(c.addresses(0), ",") }

func (c *Cluster) addresses(first int) []string {
	var all []string
	for i := range c.options {
		o := c.options[(first+i)%len(c.options)]
		all = append(all, "nats://"+net.JoinHostPort(o.Host, strconv.Itoa(o.Port)))
	}
	return all
}

// Connect connects to one server, and to the next when that one goes, for as
// long as the test.
func (c *Cluster) Connect(node int, opts ...nats.Option) *nats.Conn {
	c.t.Helper()
	all := append([]nats.Option{nats.DontRandomize(), nats.MaxReconnects(-1), nats.ReconnectWait(50 * time.Millisecond)}, opts...)
	nc, err := nats.Connect(strings.Join(c.addresses(node), ","), all...)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(nc.Close)
	return nc
}

// JetStream is Connect with JetStream on it.
func (c *Cluster) JetStream(node int, opts ...nats.Option) jetstream.JetStream {
	c.t.Helper()
	js, err := jetstream.New(c.Connect(node, opts...))
	if err != nil {
		c.t.Fatal(err)
	}
	return js
}

// Log returns a log on a connection to one server. The streams must be there;
// Apply makes them.
func (c *Cluster) Log(node int, opts ...nats.Option) *events.Log {
	c.t.Helper()
	return events.NewLog(c.JetStream(node, opts...), subjects(c.t), "")
}

// Apply makes the connector's streams at R3. They keep so many messages of a
// subject; 0 is the default.
func (c *Cluster) Apply(history int64) {
	c.t.Helper()
	js := c.JetStream(0)
	config := topology.Config{Prefix: subjects(c.t).Prefix(), Replicas: 3, MsgsPerSubject: history}
	if err := topology.Apply(c.t.Context(), js, config, false); err != nil {
		c.t.Fatal(err)
	}
	c.AwaitCurrent()
}

// Stop shuts a server down in good order: it hands over what it leads.
func (c *Cluster) Stop(node int) {
	c.servers[node].Shutdown()
	c.servers[node].WaitForShutdown()
}

// Start starts a server again after Stop, with what it stored. It may take a
// while until it is current; see AwaitCurrent.
func (c *Cluster) Start(node int) {
	c.t.Helper()
	c.start(node)
}

func (c *Cluster) start(node int) {
	c.t.Helper()
	o := c.options[node].Clone() // the server fills in its own
	s, err := server.NewServer(o)
	if err != nil {
		c.t.Fatal(err)
	}
	c.servers[node] = s
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		c.t.Fatalf("%s takes no connections; is a port of it taken?", name(node))
	}
}

// Leader returns the server that leads a stream, or a consumer of it.
func (c *Cluster) Leader(stream string, consumer ...string) int {
	c.t.Helper()
	leader := -1
	c.await("a leader of "+strings.Join(append([]string{stream}, consumer...), "/"), func() error {
		leader = slices.IndexFunc(c.servers, func(s *server.Server) bool {
			if len(consumer) > 0 {
				return s.JetStreamIsConsumerLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream, consumer[0])
			}
			return s.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream)
		})
		if leader < 0 {
			return errors.New("nobody leads")
		}
		return nil
	})
	return leader
}

// StepDown makes the leader of a stream, or of a consumer of it, hand over.
func (c *Cluster) StepDown(stream string, consumer ...string) {
	c.t.Helper()
	subject := fmt.Sprintf(server.JSApiStreamLeaderStepDownT, stream)
	if len(consumer) > 0 {
		subject = fmt.Sprintf(server.JSApiConsumerLeaderStepDownT, stream, consumer[0])
	}
	c.await("a step-down", func() error {
		reply, err := c.control.Request(subject, nil, 5*time.Second)
		if err != nil {
			return err
		}
		var answer struct {
			Error *jetstream.APIError `json:"error"`
		}
		if err := json.Unmarshal(reply.Data, &answer); err != nil {
			return err
		}
		if answer.Error != nil {
			return answer.Error
		}
		return nil
	})
}

// AwaitCurrent waits until every server runs and has everything that was
// stored.
func (c *Cluster) AwaitCurrent() {
	c.t.Helper()
	c.await("three servers that are current", func() error {
		if !slices.ContainsFunc(c.servers, (*server.Server).JetStreamIsLeader) {
			return errors.New("no leader of the cluster")
		}
		for i, s := range c.servers {
			if peers := len(s.JetStreamClusterPeers()); s.JetStreamIsLeader() && peers != len(c.servers) {
				return fmt.Errorf("%s knows %d servers", name(i), peers)
			}
			if h := s.Healthz(&server.HealthzOptions{}); h.Status != "ok" {
				return fmt.Errorf("%s: %s", name(i), h.Error)
			}
		}
		return nil
	})
}

func (c *Cluster) await(what string, try func() error) {
	c.t.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if err = try(); err == nil {
			return
		}
	}
	c.t.Fatalf("waited %v for %s: %v", patience, what, err)
}

// freePort finds a port that nobody listens on, below those that the kernel
// gives out by itself, so that few others look there. A server that comes back
// needs the port it had.
func freePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		port := 12000 + rand.IntN(20000)
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("found no free port")
	return 0
}
