package containertest

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
)

// Label marks the images made here, so that they can be found and pruned.
const Label = "com.smartconnect.connector.test"

// A built image is the same for all tests of a process, and tags name what is
// in an image, so other processes and later runs find it too.
var (
	natsImage      = sync.OnceValues(buildNATS)      //nolint:gochecknoglobals // once per process
	connectorImage = sync.OnceValues(buildConnector) //nolint:gochecknoglobals // once per process
)

// NATSImage returns an image of the nats-server of the version in go.mod, made
// from deploy/nats.
func NATSImage(t testing.TB) string {
	t.Helper()
	Engine(t)
	return must(t, natsImage)
}

// ConnectorImage returns an image of the connector as it stands in the work
// tree, made from deploy/Dockerfile.
func ConnectorImage(t testing.TB) string {
	t.Helper()
	Engine(t)
	return must(t, connectorImage)
}

func must(t testing.TB, build func() (string, error)) string {
	t.Helper()
	image, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func buildNATS() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	root, err := moduleRoot(ctx)
	if err != nil {
		return "", err
	}
	deploy := filepath.Join(root, "deploy", "nats")
	tree := buildContext{}
	for _, name := range []string{"Dockerfile", "single.conf", "cluster.conf"} {
		if err := tree.addFile(name, filepath.Join(deploy, name), 0o644); err != nil {
			return "", err
		}
	}
	tree.addFolder("data")
	version, err := output(ctx, root, "go", "list", "-m", "-f", "{{.Version}}", "github.com/nats-io/nats-server/v2")
	if err != nil {
		return "", err
	}
	probe, err := os.ReadFile(filepath.Join(root, "deploy", "probe", "main.go"))
	if err != nil {
		return "", err
	}
	// Linking takes longer than starting a cluster, so the tag is made of what
	// the binaries are made of, and not of the binaries.
	image := "smartconnect-test/nats:" + strings.TrimPrefix(version, "v") + "-" + tree.sum(probe)
	return image, build(ctx, image, func() (buildContext, error) {
		if err := tree.addBinary(ctx, root, "nats-server", "github.com/nats-io/nats-server/v2"); err != nil {
			return nil, err
		}
		return tree, tree.addBinary(ctx, root, "probe", "./deploy/probe")
	})
}

func buildConnector() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	root, err := moduleRoot(ctx)
	if err != nil {
		return "", err
	}
	tree := buildContext{}
	if err := tree.addFile("Dockerfile", filepath.Join(root, "deploy", "Dockerfile"), 0o644); err != nil {
		return "", err
	}
	tree.addAuthorities()
	if err := tree.addBinary(ctx, root, "connector", "./cmd/connector"); err != nil {
		return "", err
	}
	if err := tree.addBinary(ctx, root, "probe", "./deploy/probe"); err != nil {
		return "", err
	}
	image := "smartconnect-test/connector:" + tree.sum()
	return image, build(ctx, image, func() (buildContext, error) { return tree, nil })
}

// build makes image unless the engine has it.
func build(ctx context.Context, image string, tree func() (buildContext, error)) error {
	engine, err := testcontainers.NewDockerProvider()
	if err != nil {
		return fmt.Errorf("build %s: %w", image, err)
	}
	defer engine.Close()
	if _, err := engine.Client().ImageInspect(ctx, image); err == nil {
		return nil
	}
	files, err := tree()
	if err != nil {
		return fmt.Errorf("build %s: %w", image, err)
	}
	packed, err := files.pack()
	if err != nil {
		return fmt.Errorf("build %s: %w", image, err)
	}
	repo, tag, _ := strings.Cut(image, ":")
	var said bytes.Buffer
	_, err = engine.BuildImage(ctx, &testcontainers.ContainerRequest{FromDockerfile: testcontainers.FromDockerfile{
		ContextArchive: bytes.NewReader(packed),
		Repo:           repo,
		Tag:            tag,
		KeepImage:      true,
		BuildLogWriter: &said,
		BuildOptionsModifier: func(o *client.ImageBuildOptions) {
			o.Labels = map[string]string{Label: "image"}
		},
	}})
	if err != nil {
		return fmt.Errorf("build %s: %w\n%s", image, err, said.String())
	}
	return nil
}

// A buildContext is what the engine gets to build an image from: files by
// name, and folders, whose names end in a slash.
type buildContext map[string]contextFile

type contextFile struct {
	body []byte
	mode int64
}

func (b buildContext) addFolder(name string) { b[name+"/"] = contextFile{mode: 0o755} }

func (b buildContext) addFile(name, from string, mode int64) error {
	body, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	b[name] = contextFile{body, mode}
	return nil
}

// addBinary adds a static build of a main package of this module or of one
// that it depends on.
func (b buildContext) addBinary(ctx context.Context, root, name, pkg string) error {
	dir, err := os.MkdirTemp("", "containertest-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, name)
	if _, err := output(ctx, root, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", out, pkg); err != nil {
		return err
	}
	return b.addFile(name, out, 0o755)
}

// addAuthorities adds the certificates that this machine trusts.
func (b buildContext) addAuthorities() {
	const name = "ca-certificates.crt"
	for _, from := range []string{"/etc/ssl/certs/" + name, "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"} {
		if b.addFile(name, from, 0o644) == nil {
			return
		}
	}
	// Tests speak to nobody outside; images for use are made by `make image`.
	b[name] = contextFile{nil, 0o644}
}

func (b buildContext) names() []string {
	var names []string
	for name := range b {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// sum names the content.
func (b buildContext) sum(more ...[]byte) string {
	h := sha256.New()
	for _, name := range b.names() {
		fmt.Fprintf(h, "%s %o %d\n", name, b[name].mode, len(b[name].body))
		h.Write(b[name].body)
	}
	for _, body := range more {
		h.Write(body)
	}
	return hex.EncodeToString(h.Sum(nil))[:12]
}

func (b buildContext) pack() ([]byte, error) {
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	for _, name := range b.names() {
		head := &tar.Header{Name: name, Mode: b[name].mode, Size: int64(len(b[name].body)), Typeflag: tar.TypeReg}
		if strings.HasSuffix(name, "/") {
			head.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(head); err != nil {
			return nil, err
		}
		if _, err := w.Write(b[name].body); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return packed.Bytes(), err
}

func moduleRoot(ctx context.Context) (string, error) {
	mod, err := output(ctx, "", "go", "env", "GOMOD")
	return filepath.Dir(mod), err
}

// output runs a command in dir for a static build and returns what it prints.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOFLAGS=")
	var wrong bytes.Buffer
	cmd.Stderr = &wrong
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, wrong.String())
	}
	return strings.TrimSpace(string(out)), nil
}
