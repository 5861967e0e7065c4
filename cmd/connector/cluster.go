package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/topology"
)

// A cluster is what can be learned of NATS servers without their system
// account: the version of each that takes a connection of ours, and the names
// of those that keep the stream.
type cluster struct {
	versions map[string]string // by server name
	unseen   []string          // servers that keep the stream and told no version
	silent   int               // known addresses at which nobody answered
}

// lookAtCluster asks every server we know an address of. A server is known by
// the addresses we were given, and by those that servers advertise.
func lookAtCluster(ctx context.Context, nc *nats.Conn, js jetstream.JetStream) (cluster, error) {
	c := cluster{versions: map[string]string{}}
	if name := nc.ConnectedServerName(); name != "" {
		c.versions[name] = nc.ConnectedServerVersion()
	}
	var (
		mu sync.Mutex
		wg sync.WaitGroup
	)
	for _, address := range nc.Servers() {
		wg.Go(func() {
			name, version, err := greet(nc.Opts, address)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				c.silent++
				return
			}
			c.versions[name] = version
		})
	}
	wg.Wait()
	s, err := js.Stream(ctx, topology.Events)
	if err != nil {
		return c, fmt.Errorf("look at stream %s: %w", topology.Events, err)
	}
	info := s.CachedInfo()
	if info.Cluster == nil || info.Cluster.Name == "" {
		return c, nil
	}
	// The leader wrote its version into the answer.
	if leader := info.Cluster.Leader; leader != "" && c.versions[leader] == "" {
		if version := info.Config.Metadata["_nats.ver"]; version != "" {
			c.versions[leader] = version
		}
	}
	names := []string{info.Cluster.Leader}
	for _, peer := range info.Cluster.Replicas {
		names = append(names, peer.Name)
	}
	for _, name := range names {
		if name != "" && c.versions[name] == "" {
			c.unseen = append(c.unseen, name)
		}
	}
	slices.Sort(c.unseen)
	return c, nil
}

// greet connects to one server and leaves again.
func greet(o nats.Options, address string) (name, version string, err error) {
	// Addresses that servers advertise name no user.
	if user := userOf(o); user != nil && o.User == "" && o.Token == "" {
		if password, ok := user.Password(); ok {
			o.User, o.Password = user.Username(), password
		} else {
			o.Token = user.Username()
		}
	}
	o.Url, o.Servers = "", []string{address}
	o.AllowReconnect, o.RetryOnFailedConnect, o.IgnoreDiscoveredServers = false, false, true
	o.Timeout = 2 * time.Second
	o.AsyncErrorCB, o.DisconnectedErrCB, o.ReconnectedCB, o.ClosedCB = func(*nats.Conn, *nats.Subscription, error) {}, nil, nil, nil
	nc, err := o.Connect()
	if err != nil {
		return "", "", err
	}
	defer nc.Close()
	return cmp.Or(nc.ConnectedServerName(), nc.ConnectedServerId()), nc.ConnectedServerVersion(), nil
}

func userOf(o nats.Options) *url.Userinfo {
	for _, address := range append([]string{o.Url}, o.Servers...) {
		if u, err := url.Parse(strings.TrimSpace(address)); err == nil && u.User != nil {
			return u.User
		}
	}
	return nil
}

// old says which servers are too old, nil if none is.
func (c cluster) old() error {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(c.versions)) {
		if !atLeast(c.versions[name], topology.MinServer) {
			names = append(names, name+" is "+c.versions[name])
		}
	}
	if len(names) == 0 {
		return nil
	}
	return errors.New("NATS servers are too old: " + strings.Join(names, ", ") + "; the connector needs " + topology.MinServer +
		" or newer on every server of the cluster: older ones take the stream and then refuse its transactions")
}

// checkVersion refuses the server that nc is connected to, if it is too old. What
// such a server lacks looks like streams that differ, and no apply mends it.
func checkVersion(nc *nats.Conn) error {
	name := cmp.Or(nc.ConnectedServerName(), nc.ConnectedServerId())
	return cluster{versions: map[string]string{name: nc.ConnectedServerVersion()}}.old()
}

// checkBroker refuses a broker that cannot keep our promises, and proves with a
// probe that this one can.
func checkBroker(ctx context.Context, nc *nats.Conn, js jetstream.JetStream, log *events.Log) error {
	c, err := lookAtCluster(ctx, nc, js)
	if err != nil {
		return err
	}
	if err := c.old(); err != nil {
		return err
	}
	if len(c.unseen) > 0 || c.silent > 0 {
		zerolog.Ctx(ctx).Warn().Strs("servers", c.unseen).Int("silent", c.silent).
			Msg("the version of some NATS servers is not known: make sure that it is " + topology.MinServer + " or newer")
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return log.Probe(ctx)
}

// atLeast compares versions of three numbers. A version that is not three
// numbers is not at least anything; what follows the numbers does not count.
func atLeast(have, want string) bool {
	h, ok := numbers(have)
	w, _ := numbers(want)
	return ok && slices.Compare(h[:], w[:]) >= 0
}

func numbers(version string) (n [3]int, ok bool) {
	version, _, _ = strings.Cut(strings.TrimPrefix(version, "v"), "-")
	version, _, _ = strings.Cut(version, "+")
	got, err := fmt.Sscanf(version, "%d.%d.%d", &n[0], &n[1], &n[2])
	return n, err == nil && got == 3
}
