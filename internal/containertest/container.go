// Package containertest runs the parts of the connector in containers for a
// test: a NATS server, three of them as a cluster, the connector itself. Every
// image is FROM scratch around binaries built here, so nothing is pulled and no
// registry is needed. Read container.go first, then cluster.go.
package containertest

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/log"
	tcnetwork "github.com/testcontainers/testcontainers-go/network"
	"github.com/testcontainers/testcontainers-go/wait"
)

// user is who runs inside the images of deploy/.
const user = 65532

// patience is for anything that an engine does short of building an image.
const patience = 2 * time.Minute

// Engine skips t loudly where no Docker engine answers. Where CI=true it fails
// t instead: there the container tests are wanted.
func Engine(t testing.TB) {
	t.Helper()
	err := engineAnswers()
	switch {
	case err == nil:
	case os.Getenv("CI") == "true":
		t.Fatalf("no Docker engine, and CI=true wants the container tests: %v", err)
	default:
		t.Skipf("LOUD SKIP: no Docker engine, so this container test did not run: %v", err)
	}
}

var engineAnswers = sync.OnceValue(func() (err error) { //nolint:gochecknoglobals // asked once per process
	log.SetDefault(log.NewNoopLogger()) // it tells of every step; failures come with the container's own words
	// Testcontainers' reaper is an image to be pulled; each test cleans up by
	// itself, and what a killed test leaves behind carries a label.
	if _, ok := os.LookupEnv("TESTCONTAINERS_RYUK_DISABLED"); !ok {
		if err := os.Setenv("TESTCONTAINERS_RYUK_DISABLED", "true"); err != nil {
			return err
		}
	}
	defer func() {
		if r := recover(); r != nil { // testcontainers panics where it finds no socket
			err = fmt.Errorf("look for a Docker engine: %v", r)
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	engine, err := testcontainers.NewDockerProvider()
	if err != nil {
		return err
	}
	defer engine.Close()
	return engine.Health(ctx)
})

// A Spec says what to run. Whatever it says, the container runs as in
// deploy/compose.yaml: no capability, nothing gained by exec, root read-only.
type Spec struct {
	Image string
	Args  []string
	Env   map[string]string

	// Network is one of Network's; Name is how others reach the container there.
	Network, Name string

	// Share, if set, is the container whose network this one lives in: they
	// reach each other on 127.0.0.1. Ports are then published by that one.
	Share *Container

	// Ports are TCP ports inside, each published on a port of 127.0.0.1 that
	// stays the same when the container is started again.
	Ports []int

	// Files are made readable for the container's user at these paths.
	Files map[string][]byte

	// Ready is a URL path that answers 200 on the first of Ports when the
	// container is ready; without it, ready means started.
	Ready string
}

// A Container lives as long as the test that started it.
type Container struct {
	id    *testcontainers.DockerContainer
	addrs map[int]string
	ready string // URL, may be empty
}

// Network makes a network for containers that are to reach each other.
func Network(t testing.TB) string {
	t.Helper()
	Engine(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	n, err := tcnetwork.New(ctx)
	testcontainers.CleanupNetwork(t, n)
	if err != nil {
		t.Fatalf("make a network: %v", err)
	}
	return n.Name
}

// Run starts a container and waits until it is ready. If the test fails, the
// end of what the container printed is in the test's log.
func Run(t testing.TB, s Spec) *Container {
	t.Helper()
	c := create(t, s, nil)
	c.awaitReady(t)
	return c
}

// RunOnce runs a container to its end and returns what it printed on both
// streams, and its exit code.
func RunOnce(t testing.TB, s Spec) (said string, code int) {
	t.Helper()
	c := create(t, s, wait.ForExit().WithExitTimeout(patience))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	state, err := c.id.State(ctx)
	if err != nil {
		t.Fatalf("read the state of %s: %v", s.Image, err)
	}
	return c.Logs(t), state.ExitCode
}

func create(t testing.TB, s Spec, until wait.Strategy) *Container {
	t.Helper()
	Engine(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	binds := s.binds(t)
	options := []testcontainers.ContainerCustomizer{
		testcontainers.WithEnv(s.Env),
		testcontainers.WithLabels(map[string]string{Label: "container"}),
		testcontainers.WithCmd(s.Args...),
	}
	if s.Network != "" && s.Share == nil {
		options = append(options, tcnetwork.WithNetworkName([]string{s.Name}, s.Network))
	}
	if until != nil {
		options = append(options, testcontainers.WithWaitStrategyAndDeadline(patience, until))
	}
	c := &Container{addrs: map[int]string{}}
	published := network.PortMap{}
	for _, inside := range s.Ports {
		outside := freePort(t)
		port := fmt.Sprintf("%d/tcp", inside)
		options = append(options, testcontainers.WithExposedPorts(port))
		published[network.MustParsePort(port)] = []network.PortBinding{{HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: strconv.Itoa(outside)}}
		c.addrs[inside] = net.JoinHostPort("127.0.0.1", strconv.Itoa(outside))
	}
	if s.Ready != "" {
		c.ready = "http://" + c.Addr(s.Ports[0]) + s.Ready
	}
	options = append(options, testcontainers.WithHostConfigModifier(func(h *container.HostConfig) {
		h.Binds = binds
		h.PortBindings = published
		h.ReadonlyRootfs = true
		h.CapDrop = []string{"ALL"}
		h.SecurityOpt = []string{"no-new-privileges:true"}
		if s.Share != nil {
			h.NetworkMode = container.NetworkMode("container:" + s.Share.id.GetContainerID())
		}
	}))
	var err error
	c.id, err = testcontainers.Run(ctx, s.Image, options...)
	testcontainers.CleanupContainer(t, c.id, testcontainers.StopTimeout(0))
	t.Cleanup(func() { // runs before the container goes
		if t.Failed() && c.id != nil {
			t.Logf("%s %s printed:\n%s", s.Image, s.Name, tail(c.Logs(t)))
		}
	})
	if err != nil {
		t.Fatalf("run %s: %v", s.Image, err)
	}
	return c
}

// binds writes the files for the container's user to read, and returns how
// they are mounted. Copying into a container does not work with a read-only
// root.
func (s Spec) binds(t testing.TB) []string {
	t.Helper()
	dir := t.TempDir()
	var binds []string
	for i, path := range slices.Sorted(maps.Keys(s.Files)) {
		from := filepath.Join(dir, strconv.Itoa(i))
		if err := os.WriteFile(from, s.Files[path], 0o600); err != nil {
			t.Fatal(err)
		}
		// As root we give the file away; otherwise everybody may read it, which
		// is well enough for a secret of one test.
		if os.Chown(from, user, user) != nil {
			if err := os.Chmod(from, 0o644); err != nil { //nolint:gosec // see above
				t.Fatal(err)
			}
		}
		binds = append(binds, from+":"+path+":ro")
	}
	return binds
}

// Addr returns the address on this machine of a port inside.
func (c *Container) Addr(port int) string { return c.addrs[port] }

// Start starts the container again after Stop or Kill and waits until it is
// ready.
func (c *Container) Start(t testing.TB) {
	t.Helper()
	c.do(t, "start", func(ctx context.Context, api *testcontainers.DockerClient, id string) error {
		_, err := api.ContainerStart(ctx, id, client.ContainerStartOptions{})
		return err
	})
	c.awaitReady(t)
}

// Stop asks the container to end, and after ten seconds makes it.
func (c *Container) Stop(t testing.TB) {
	t.Helper()
	c.do(t, "stop", func(ctx context.Context, api *testcontainers.DockerClient, id string) error {
		_, err := api.ContainerStop(ctx, id, client.ContainerStopOptions{Timeout: new(10)})
		return err
	})
}

// Kill ends the container at once, as kill -9 does.
func (c *Container) Kill(t testing.TB) {
	t.Helper()
	c.do(t, "kill", func(ctx context.Context, api *testcontainers.DockerClient, id string) error {
		_, err := api.ContainerKill(ctx, id, client.ContainerKillOptions{Signal: "KILL"})
		return err
	})
}

// Pause freezes the container until Continue.
func (c *Container) Pause(t testing.TB) {
	t.Helper()
	c.do(t, "pause", func(ctx context.Context, api *testcontainers.DockerClient, id string) error {
		_, err := api.ContainerPause(ctx, id, client.ContainerPauseOptions{})
		return err
	})
}

// Continue ends a Pause.
func (c *Container) Continue(t testing.TB) {
	t.Helper()
	c.do(t, "continue", func(ctx context.Context, api *testcontainers.DockerClient, id string) error {
		_, err := api.ContainerUnpause(ctx, id, client.ContainerUnpauseOptions{})
		return err
	})
}

// Logs returns what the container has printed so far, on both streams.
func (c *Container) Logs(t testing.TB) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := c.id.Logs(ctx)
	if err != nil {
		return fmt.Sprintf("(read logs: %v)", err)
	}
	defer r.Close()
	said, err := io.ReadAll(r)
	if err != nil {
		return fmt.Sprintf("%s(read logs: %v)", said, err)
	}
	return string(said)
}

// do speaks to the engine itself: testcontainers would also wait anew for
// conditions that a test may just be breaking.
func (c *Container) do(t testing.TB, what string, f func(context.Context, *testcontainers.DockerClient, string) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience) // cleanups call this too
	defer cancel()
	api, err := testcontainers.NewDockerClientWithOpts(ctx)
	if err != nil {
		t.Fatalf("%s a container: %v", what, err)
	}
	defer api.Close()
	if err := f(ctx, api, c.id.GetContainerID()); err != nil {
		t.Fatalf("%s a container: %v", what, err)
	}
}

func (c *Container) awaitReady(t testing.TB) {
	t.Helper()
	if c.ready == "" {
		return
	}
	await(t, c.ready, func() error { return get(t, c.ready, func(io.Reader) error { return nil }) })
}

// await tries until what is asked is there.
func await(t testing.TB, what string, try func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = try(); err == nil {
			return
		}
	}
	t.Fatalf("waited %v for %s: %v", patience, what, err)
}

// get fetches url and gives its body to read if the answer is 200.
func get(t testing.TB, url string, read func(io.Reader) error) error {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, res.Status)
	}
	return read(res.Body)
}

// freePort finds a port that nobody listens on, below those that the kernel
// gives out by itself, so that few others look there.
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

func tail(s string) string { return s[max(0, len(s)-8<<10):] }
