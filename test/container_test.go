package test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/smartconnect/connector/internal/containertest"
	"github.com/smartconnect/connector/internal/simulator"
	"github.com/smartconnect/connector/internal/topology"
)

// The image does the main job on one NATS server.
func TestContainersOnOneServer(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	w, connector := newWorldOfContainers(t, containertest.NATS(t))
	w.mainJob(ctx)
	_, _ = w.journals.Write([]byte(connector.Logs(t)))
	w.audit(ctx)
}

// The image does the main job on three NATS servers while the one that led the
// stream is gone; nothing is lost and nothing doubled.
func TestContainersOnThreeServers(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	c := containertest.ThreeNATS(t)
	w, connector := newWorldOfContainers(t, c)
	w.settle(ctx)
	s, err := w.js.Stream(ctx, topology.Events)
	if err != nil {
		t.Fatal(err)
	}
	leader := c.Nodes[s.CachedInfo().Cluster.Leader[1]-'1']
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 4))
	leader.Stop(t)
	w.mainJob(ctx)
	for range 10 {
		w.stir(rng)
	}
	leader.Start(t)
	for range 10 {
		w.stir(rng)
	}
	c.AwaitReady(t)
	w.settle(ctx)
	_, _ = w.journals.Write([]byte(connector.Logs(t)))
	w.audit(ctx)
}

// commands returns what deploy/compose.yaml has each service run. With one
// server it is the same, but for the other servers' names and the replicas.
func commands(t *testing.T, servers int) map[string][]string {
	t.Helper()
	body, err := os.ReadFile("../deploy/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var compose struct {
		Services map[string]struct{ Command []string }
	}
	if err := yaml.Unmarshal(body, &compose); err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{}
	for name, s := range compose.Services {
		all[name] = s.Command
		if servers > 1 {
			continue
		}
		for i, arg := range s.Command {
			arg = strings.ReplaceAll(arg, ",nats://n2:4222,nats://n3:4222", "")
			if i > 0 && s.Command[i-1] == "--replicas" {
				arg = "1"
			}
			all[name][i] = strings.Replace(arg, "--replicas=3", "--replicas=1", 1)
		}
	}
	return all
}

// newWorldOfContainers runs what deploy/compose.yaml runs, in its order, and
// enrols the simulator's members. It returns the connector.
func newWorldOfContainers(t *testing.T, c *containertest.Cluster) (*world, *containertest.Container) {
	t.Helper()
	image, run := containertest.ConnectorImage(t), commands(t, len(c.Nodes))
	sim := &control{t: t}
	w := openWorld(t, c.JetStream(t), sim)
	key, err := os.ReadFile(w.keyFile)
	if err != nil {
		t.Fatal(err)
	}
	const keyFile = "/run/secrets/connector.key"
	once := func(files map[string][]byte, args ...string) {
		t.Helper()
		said, code := containertest.RunOnce(t, containertest.Spec{Image: image, Args: args, Network: c.Network, Name: args[0], Files: files})
		if code != 0 {
			t.Fatalf("%v: exit code %d\n%s", args[:2], code, said)
		}
	}
	once(nil, run["topology"]...)
	connector := containertest.Run(t, containertest.Spec{
		Image: image, Args: run["connector"], Network: c.Network, Name: "connector",
		Env:   map[string]string{"CONNECTOR_FAST": "true", "CONNECTOR_CLIENT_KEY": "c2ltdWxhdGVk"}, // the same command, in a hurry
		Files: map[string][]byte{keyFile: key}, Ports: []int{8080, 8090}, Ready: "/healthz",
	})
	sim.url = "http://" + connector.Addr(8090)
	containertest.Run(t, containertest.Spec{Image: image, Args: run["simulator"], Share: connector})
	lines := sim.await(t.Context(), "/sim/members?format=enrol")
	once(map[string][]byte{keyFile: key, "/run/members.jsonl": lines},
		"members", "enrol", "--nats", c.InsideURL(), "--key-file", keyFile, "-f", "/run/members.jsonl")
	return w, connector
}

// control is a simulator's control API, as docs/simulator.md has it.
type control struct {
	t   *testing.T
	url string
}

func (c *control) await(ctx context.Context, path string) []byte {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		body, err := c.do(ctx, http.MethodGet, path, nil)
		if err == nil {
			return body
		}
		if ctx.Err() != nil {
			c.t.Fatal(err)
		}
		wait(ctx, 50*time.Millisecond)
	}
}

func (c *control) do(ctx context.Context, method, path string, in any) ([]byte, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	out, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %s", method, path, res.Status, out)
	}
	return out, err
}

func (c *control) member(method, id, path string, in any) error {
	_, err := c.do(c.t.Context(), method, "/sim/members/"+url.PathEscape(id)+path, in)
	return err
}

func (c *control) Members() []simulator.MemberView {
	c.t.Helper()
	var all []simulator.MemberView
	if err := json.Unmarshal(c.await(c.t.Context(), "/sim/members"), &all); err != nil {
		c.t.Fatal(err)
	}
	return all
}

func (c *control) SetConnection(memberID, connectionID string, fields simulator.Row) error {
	return c.member(http.MethodPut, memberID, "/connections/"+url.PathEscape(connectionID), fields)
}

func (c *control) RemoveConnection(memberID, connectionID string) error {
	return c.member(http.MethodDelete, memberID, "/connections/"+url.PathEscape(connectionID), nil)
}

func (c *control) SetConsent(memberID, provision string) error {
	return c.member(http.MethodPut, memberID, "/consent", map[string]string{"provision": provision})
}

func (c *control) SetTask(memberID, status string) error {
	return c.member(http.MethodPut, memberID, "/task", map[string]string{"status": status})
}

func (c *control) SetToken(memberID string, change simulator.TokenChange) error {
	return c.member(http.MethodPut, memberID, "/token", change)
}

func (c *control) Login(memberID, connectionID string) error {
	return c.member(http.MethodPost, memberID, "/connections/"+url.PathEscape(connectionID)+"/login", nil)
}
