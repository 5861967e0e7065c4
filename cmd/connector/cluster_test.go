package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/smartconnect/connector/internal/embednats"
	"github.com/smartconnect/connector/internal/events"
	"github.com/smartconnect/connector/internal/members"
	"github.com/smartconnect/connector/internal/topology"
)

func TestAtLeast(t *testing.T) {
	for _, tt := range []struct {
		have, want string
		ok         bool
	}{
		{"2.12.1", "2.12.1", true},
		{"2.12.2", "2.12.1", true},
		{"2.13.0", "2.12.1", true},
		{"3.0.0", "2.12.1", true},
		{"2.100.0", "2.12.1", true},
		{"v2.12.1", "2.12.1", true},
		{"2.12.1-RC.3", "2.12.1", true},
		{"2.12.3+build.7", "2.12.1", true},
		{"2.12.0", "2.12.1", false},
		{"2.11.99", "2.12.1", false},
		{"1.99.99", "2.12.1", false},
		{"2.12", "2.12.1", false},
		{"", "2.12.1", false},
		{"nightly", "2.12.1", false},
	} {
		if got := atLeast(tt.have, tt.want); got != tt.ok {
			t.Errorf("%q at least %q: %v", tt.have, tt.want, got)
		}
	}
}

// threeServers starts a cluster in this process. Its servers tell clients of
// each other if they advertise.
func threeServers(t *testing.T, advertise bool) []*server.Server {
	t.Helper()
	var routes []*url.URL
	var listeners []net.Listener
	for range 3 { // reserve ports, so that each can name the others
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, l)
		routes = append(routes, &url.URL{Scheme: "nats", Host: l.Addr().String()})
	}
	var all []*server.Server
	for i, l := range listeners {
		port := l.Addr().(*net.TCPAddr).Port
		_ = l.Close()
		s, err := server.NewServer(&server.Options{
			ServerName: fmt.Sprintf("n%d", i+1), Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(),
			NoSigs: true, NoLog: true, Routes: routes,
			Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: port, NoAdvertise: !advertise},
		})
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		all = append(all, s)
	}
	deadline := time.Now().Add(30 * time.Second)
	ready := func() bool {
		leader := slices.IndexFunc(all, (*server.Server).JetStreamIsLeader)
		return leader >= 0 && len(all[leader].JetStreamClusterPeers()) == 3 &&
			!slices.ContainsFunc(all, func(s *server.Server) bool { return !s.JetStreamIsCurrent() })
	}
	for !ready() {
		if time.Now().After(deadline) {
			t.Fatal("the cluster never came together")
		}
		time.Sleep(20 * time.Millisecond)
	}
	return all
}

func connect(t *testing.T, addresses string, opts ...nats.Option) (*nats.Conn, jetstream.JetStream, *events.Log) {
	t.Helper()
	nc, err := nats.Connect(addresses, append([]nats.Option{nats.DontRandomize()}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, log, err := broker{Prefix: events.DefaultPrefix}.open(nc)
	if err != nil {
		t.Fatal(err)
	}
	return nc, js, log
}

// logged returns a context whose log is kept.
func logged(t *testing.T) (context.Context, *bytes.Buffer) {
	t.Helper()
	var text bytes.Buffer
	ctx, cancel := context.WithTimeout(zerolog.New(zerolog.SyncWriter(&text)).WithContext(t.Context()), time.Minute)
	t.Cleanup(cancel)
	return ctx, &text
}

func TestEveryServerIsAsked(t *testing.T) {
	t.Parallel()
	for _, advertise := range []bool{true, false} {
		t.Run(fmt.Sprintf("advertise=%v", advertise), func(t *testing.T) {
			ctx, text := logged(t)
			servers := threeServers(t, advertise)
			nc, js, log := connect(t, servers[0].ClientURL())
			if err := topology.Apply(ctx, js, topology.Config{Prefix: events.DefaultPrefix, Replicas: 3}, false); err != nil {
				t.Fatal(err)
			}
			if err := checkBroker(ctx, nc, js, log); err != nil {
				t.Fatal(err)
			}
			c, err := lookAtCluster(ctx, nc, js)
			if err != nil {
				t.Fatal(err)
			}
			seen := slices.Sorted(maps.Keys(c.versions))
			if advertise && (!slices.Equal(seen, []string{"n1", "n2", "n3"}) || len(c.unseen) > 0 || c.silent > 0) {
				t.Errorf("saw %v, not %v, %d silent", seen, c.unseen, c.silent)
			}
			if !advertise && (len(seen)+len(c.unseen) != 3 || len(c.unseen) == 0) {
				t.Errorf("saw %v, not %v; want the ones that cannot be seen to be named", seen, c.unseen)
			}
			if warned := strings.Contains(text.String(), "is not known"); warned == advertise {
				t.Errorf("warned: %v, though servers advertise: %v\n%s", warned, advertise, text)
			}
		})
	}
}

// oldServer is a NATS server as far as a client sees one that just connects.
func oldServer(t *testing.T, version string) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				fmt.Fprintf(c, "INFO {\"server_id\":\"OLD\",\"server_name\":\"old\",\"version\":%q,\"headers\":true,\"max_payload\":1048576}\r\n", version)
				for lines := bufio.NewScanner(c); lines.Scan(); {
					if strings.HasPrefix(lines.Text(), "PING") {
						fmt.Fprint(c, "PONG\r\n")
					}
				}
			}()
		}
	}()
	return "nats://" + l.Addr().String()
}

func TestOldServerAmongNewOnes(t *testing.T) {
	s, err := embednats.Start(embednats.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	for version, ok := range map[string]bool{"2.12.0": false, "2.10.22": false, "2.14.0": true} {
		t.Run(version, func(t *testing.T) {
			ctx, _ := logged(t)
			nc, js, log := connect(t, s.URL()+","+oldServer(t, version))
			if err := topology.Apply(ctx, js, topology.Config{Prefix: events.DefaultPrefix}, false); err != nil {
				t.Fatal(err)
			}
			err := checkBroker(ctx, nc, js, log)
			if ok && err != nil || !ok && (err == nil || !strings.Contains(err.Error(), "old is "+version) || !strings.Contains(err.Error(), topology.MinServer)) {
				t.Errorf("%v", err)
			}
		})
	}
}

// A server that is down is no reason not to start: that is what there are three
// for.
func TestServerThatIsDown(t *testing.T) {
	ctx, text := logged(t)
	s, err := embednats.Start(embednats.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	nc, js, log := connect(t, s.URL()+",nats://127.0.0.1:1")
	if err := topology.Apply(ctx, js, topology.Config{Prefix: events.DefaultPrefix}, false); err != nil {
		t.Fatal(err)
	}
	if err := checkBroker(ctx, nc, js, log); err != nil {
		t.Error(err)
	}
	if !strings.Contains(text.String(), `"silent":1`) {
		t.Errorf("it is not said that a server is silent: %s", text)
	}
}

// Servers want a password; the addresses they advertise name no user.
func TestPasswordsReachEveryServer(t *testing.T) {
	s, err := server.NewServer(&server.Options{
		ServerName: "locked", Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, Username: "u", Password: "p",
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	bare := s.ClientURL()
	with := strings.Replace(bare, "nats://", "nats://u:p@", 1)
	nc, err := nats.Connect(with)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	name, version, err := greet(nc.Opts, bare)
	if err != nil || name != "locked" || !atLeast(version, topology.MinServer) {
		t.Errorf("%q %q, %v", name, version, err)
	}
}

// On a server that is too old, what it lacks looks like drift. It is called by
// its name, since no apply mends it.
func TestOldServerIsNoDrift(t *testing.T) {
	key := file(t, "key", "{}")
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	if err := members.GenerateKeys(key); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"topology", "plan"},
		{"topology", "apply"},
		{"topology", "apply", "--mend"},
		{"run", "--client-key", "a2V5", "--bwell", "http://127.0.0.1:1", "--http-listen", "", "--key-file", key},
	} {
		code, out, complaints := terminal(t, append(args, "--nats", oldServer(t, "2.11.10"))...)
		if code != exitFailed || out != "" || !strings.Contains(complaints, "old is 2.11.10") || !strings.Contains(complaints, topology.MinServer) || strings.Contains(complaints, "apply") {
			t.Errorf("%v: code %d\nout: %s\nerr: %s", args, code, out, complaints)
		}
	}
}
