// Package deploy_test holds what is in this folder to what it claims: without a
// compose program at hand, compose.yaml is read here, and its commands are run
// in containers as it says.
package deploy_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.yaml.in/yaml/v3"
)

type compose struct {
	Services map[string]service
	Volumes  map[string]any
	Secrets  map[string]struct{ File string }
}

type service struct {
	Image       string
	Command     []string
	User        string
	Environment map[string]string
	Ports       []string
	Volumes     []string
	Secrets     []string
	Network     string   `yaml:"network_mode"`
	ReadOnly    bool     `yaml:"read_only"`
	CapDrop     []string `yaml:"cap_drop"`
	Security    []string `yaml:"security_opt"`
	Pull        string   `yaml:"pull_policy"`
	Restart     string
	StopGrace   time.Duration `yaml:"stop_grace_period"`
	Healthcheck struct {
		Test              []string
		Interval, Timeout string
		Retries           int
	}
	DependsOn map[string]struct{ Condition string } `yaml:"depends_on"`
}

func readCompose(t *testing.T) compose {
	t.Helper()
	f, err := os.Open("compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var c struct {
		compose  `yaml:",inline"`
		Hardened any `yaml:"x-hardened"`
		NATS     any `yaml:"x-nats"`
	}
	d := yaml.NewDecoder(f)
	d.KnownFields(true) // a key that is misspelt is a key that does nothing
	if err := d.Decode(&c); err != nil {
		t.Fatal(err)
	}
	if len(c.Services) == 0 {
		t.Fatal("no services")
	}
	return c.compose
}

func TestComposeIsWhatItSays(t *testing.T) {
	c := readCompose(t)
	made := imagesOfMake(t)
	for name, s := range c.Services {
		if !slices.Contains(made, s.Image) {
			t.Errorf("%s: make image does not make %s", name, s.Image)
		}
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.Security, "no-new-privileges:true") || s.Pull != "never" {
			t.Errorf("%s is not hardened: %+v", name, s)
		}
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s publishes %s beyond this machine", name, p)
			}
		}
		for other, d := range s.DependsOn {
			dep, ok := c.Services[other]
			switch {
			case !ok:
				t.Errorf("%s depends on %s, which is no service", name, other)
			case d.Condition == "service_healthy" && len(dep.Healthcheck.Test) == 0:
				t.Errorf("%s waits for the health of %s, which has no check", name, other)
			}
		}
		if other, ok := strings.CutPrefix(s.Network, "service:"); ok {
			if _, ok := c.Services[other]; !ok || len(s.Ports) > 0 {
				t.Errorf("%s lives in the network of %q, which must be a service and publish the ports", name, other)
			}
		}
		if check := s.Healthcheck.Test; len(check) > 0 && (check[0] != "CMD" || check[1] != "/probe") {
			t.Errorf("%s: the images have no other program to check health with than /probe: %q", name, check)
		}
		for _, v := range s.Volumes {
			volume, _, _ := strings.Cut(v, ":")
			if _, ok := c.Volumes[volume]; !ok {
				t.Errorf("%s: no volume %s", name, volume)
			}
		}
		for _, secret := range s.Secrets {
			if _, ok := c.Secrets[secret]; !ok {
				t.Errorf("%s: no secret %s", name, secret)
			}
		}
	}
}

// The connector is given the time to stop that docs/operations.md asks for.
func TestComposeWaitsForTheConnector(t *testing.T) {
	said := regexp.MustCompile(`Give them more than (\d+) s to stop`).FindStringSubmatch(read(t, "../docs/operations.md"))
	if said == nil {
		t.Fatal("docs/operations.md does not say how long a stop may take")
	}
	least, err := time.ParseDuration(said[1] + "s")
	if got := readCompose(t).Services["connector"].StopGrace; err != nil || got <= least {
		t.Errorf("%s, want more than %s; %v", got, least, err)
	}
}

func imagesOfMake(t *testing.T) []string {
	t.Helper()
	var images []string
	for _, m := range regexp.MustCompile(`docker build -t (\S+):\$\(TAG\)`).FindAllStringSubmatch(read(t, "../Makefile"), -1) {
		images = append(images, m[1]+":dev")
	}
	return images
}

func TestImagesAreFromScratchAndNotRoot(t *testing.T) {
	for _, name := range []string{"Dockerfile", "nats/Dockerfile"} {
		from, user := 0, 0
		for line := range strings.Lines(read(t, name)) {
			word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
			switch word {
			case "FROM":
				from++
				if rest != "scratch" {
					t.Errorf("%s: FROM %s would have to be pulled", name, rest)
				}
			case "USER":
				user++
				if !regexp.MustCompile(`^[1-9]\d*:[1-9]\d*$`).MatchString(rest) {
					t.Errorf("%s: USER %s; an image without /etc/passwd needs numbers, and not root's", name, rest)
				}
			case "RUN":
				t.Errorf("%s: there is no shell to RUN %s", name, rest)
			}
		}
		if from != 1 || user != 1 {
			t.Errorf("%s: %d FROM and %d USER lines", name, from, user)
		}
	}
}

func TestNATSConfigurations(t *testing.T) {
	c := readCompose(t)
	t.Setenv("NATS_NAME", "n1")
	for name, wantRoutes := range map[string]int{"single.conf": 0, "cluster.conf": 3} {
		o, err := server.ProcessConfigFile(filepath.Join("nats", name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if o.ServerName != "n1" || !o.JetStream || o.StoreDir != "/data" || o.Port != 4222 || o.HTTPPort != 8222 || len(o.Routes) != wantRoutes {
			t.Errorf("%s: %+v", name, o)
		}
		for _, r := range o.Routes {
			if s := c.Services[r.Hostname()]; s.Environment["NATS_NAME"] != r.Hostname() {
				t.Errorf("%s: route to %s, which compose.yaml does not name so", name, r.Hostname())
			}
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	body, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
