package containertest

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	clientPort  = 4222
	monitorPort = 8222
)

// A Cluster is one NATS server, or three that keep streams at R3.
type Cluster struct {
	// Network is where others reach the servers, at InsideURL.
	Network string
	// Nodes are the servers n1, n2, … Stop, Kill, Pause and Start them.
	Nodes []*Container
}

// NATS starts one server with JetStream.
func NATS(t testing.TB) *Cluster {
	t.Helper()
	return start(t, "single.conf", 1)
}

// ThreeNATS starts three servers that are one cluster, and waits until it can
// place streams at R3.
func ThreeNATS(t testing.TB) *Cluster {
	t.Helper()
	return start(t, "cluster.conf", 3)
}

func start(t testing.TB, conf string, n int) *Cluster {
	t.Helper()
	image := NATSImage(t)
	c := &Cluster{Network: Network(t)}
	for i := range n {
		c.Nodes = append(c.Nodes, create(t, Spec{
			Image:   image,
			Args:    []string{"--config", "/etc/nats/" + conf},
			Env:     map[string]string{"NATS_NAME": name(i)},
			Network: c.Network,
			Name:    name(i),
			Ports:   []int{clientPort, monitorPort},
		}, nil))
	}
	c.AwaitReady(t)
	return c
}

func name(node int) string { return fmt.Sprintf("n%d", node+1) }

// AwaitReady waits until all servers are up and, of three, each knows the
// leader and the others. Call it after starting a node again.
func (c *Cluster) AwaitReady(t testing.TB) {
	t.Helper()
	for i, n := range c.Nodes {
		base := "http://" + n.Addr(monitorPort)
		await(t, name(i)+" to be ready", func() error {
			if err := get(t, base+"/healthz", func(io.Reader) error { return nil }); err != nil || len(c.Nodes) == 1 {
				return err
			}
			return get(t, base+"/jsz", func(r io.Reader) error {
				var js struct {
					Meta struct {
						Leader string `json:"leader"`
						Size   int    `json:"cluster_size"`
					} `json:"meta_cluster"`
				}
				if err := json.NewDecoder(r).Decode(&js); err != nil {
					return fmt.Errorf("read %s/jsz: %w", base, err)
				}
				if js.Meta.Leader == "" || js.Meta.Size != len(c.Nodes) {
					return fmt.Errorf("leader %q, %d servers", js.Meta.Leader, js.Meta.Size)
				}
				return nil
			})
		})
	}
}

// URL returns all servers' addresses on this machine, as clients take them.
func (c *Cluster) URL() string {
	var urls []string
	for _, n := range c.Nodes {
		urls = append(urls, "nats://"+n.Addr(clientPort))
	}
	return strings.Join(urls, ",")
}

// InsideURL returns all servers' addresses for containers in c.Network.
func (c *Cluster) InsideURL() string {
	var urls []string
	for i := range c.Nodes {
		urls = append(urls, fmt.Sprintf("nats://%s:%d", name(i), clientPort))
	}
	return strings.Join(urls, ",")
}

// JetStream connects to the servers from this machine, for as long as the test.
func (c *Cluster) JetStream(t testing.TB, opts ...nats.Option) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(c.URL(), append([]nats.Option{nats.MaxReconnects(-1), nats.RetryOnFailedConnect(true)}, opts...)...)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	return js
}
