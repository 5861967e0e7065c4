// Package archtest holds the rules no compiler checks: who may import whom,
// which files may not look at the world, who writes the broker's headers.
package archtest

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	root   = "../.."
	module = "github.com/smartconnect/connector"
)

// may lists, for each package, what it may import beyond the standard library:
// packages of ours by their folder, others by the short name in library. A
// package that is not here fails the test, so that a new room is a decision. A
// name that ends in /... stands for all packages below it.
var may = map[string][]string{
	"cmd/connector": {"*"},

	"consumer":           {"schemas", "nats.go"}, // public: it stands on the contract alone
	"examples/notify-go": {"consumer", "nats.go"},

	"internal/secret":        {},
	"internal/conflict":      {"nats.go"},
	"internal/events":        {"internal/secret", "nats.go", "backoff", "x/sync"},
	"internal/bwell":         {"internal/secret", "backoff"},
	"internal/members":       {"internal/bwell", "internal/conflict", "internal/events", "internal/secret", "nats.go", "zerolog", "x/sync"},
	"internal/poller":        {"internal/bwell", "internal/events", "internal/lease", "internal/members", "internal/secret", "backoff", "nats.go", "zerolog", "x/time"},
	"internal/audit":         {"internal/events", "nats.go", "zerolog"},
	"internal/reconnect":     {"internal/audit", "internal/events", "internal/secret", "nats.go", "zerolog", "x/sync", "x/time"},
	"internal/lease":         {"internal/conflict", "nats.go"},
	"internal/judge":         {"internal/events", "nats.go", "zerolog"},
	"internal/acting":        {"internal/audit", "internal/conflict", "internal/events", "internal/reconnect", "nats.go", "x/text", "zerolog"},
	"internal/simulator":     {"gqlparser", "golang-jwt"},
	"internal/bridge":        {"internal/conflict", "internal/events", "internal/replay", "internal/strictyaml", "schemas", "backoff", "nats.go", "standard-webhooks", "yaml", "zerolog"},
	"internal/replay":        {"internal/events", "internal/topology", "nats.go", "x/time"},
	"internal/topology":      {"nats.go"},
	"internal/strictyaml":    {"yaml"},
	"internal/policy":        {"internal/events", "internal/judge", "internal/poller", "internal/reconnect", "internal/strictyaml", "yaml"},
	"internal/console":       {"internal/events", "prometheus", "zerolog"},
	"internal/embednats":     {"nats.go", "nats-server"},
	"internal/natstest":      {"internal/embednats", "internal/events", "internal/topology", "nats.go", "nats-server"},
	"internal/containertest": {"nats.go", "testcontainers", "moby"},
	"internal/archtest":      {},
	"internal/week":          {},
	"internal/month":         {},
	"deploy":                 {},
	"deploy/probe":           {},
	"schemas":                {},
	"test/...":               {"*"},
}

var library = map[string]string{
	"backoff":           "github.com/cenkalti/backoff/v4",
	"golang-jwt":        "github.com/golang-jwt/jwt/v5",
	"gqlparser":         "github.com/vektah/gqlparser/v2",
	"moby":              "github.com/moby/moby",
	"nats-server":       "github.com/nats-io/nats-server/v2",
	"nats.go":           "github.com/nats-io/nats.go",
	"prometheus":        "github.com/prometheus/client_golang",
	"standard-webhooks": "github.com/standard-webhooks/standard-webhooks/libraries",
	"testcontainers":    "github.com/testcontainers/testcontainers-go",
	"x/sync":            "golang.org/x/sync",
	"x/text":            "golang.org/x/text",
	"x/time":            "golang.org/x/time",
	"yaml":              "go.yaml.in/yaml/v3",
	"zerolog":           "github.com/rs/zerolog",
}

// apart lists pairs that may not import each other even in tests.
var apart = [][2]string{
	{"internal/poller", "internal/reconnect"}, // the stream is how they talk
}

// pure lists the files that decide. They take the time as an argument.
var pure = []string{
	"internal/acting/token.go",
	"internal/audit/entry.go",
	"internal/events/data.go",
	"internal/events/event.go",
	"internal/events/head.go",
	"internal/events/subject.go",
	"internal/events/token.go",
	"internal/judge/tally.go",
	"internal/replay/fold.go",
	"internal/replay/plan.go",
	"internal/poller/diff.go",
	"internal/poller/schedule.go",
	"internal/reconnect/decide.go",
	"internal/reconnect/access.go",
	"internal/reconnect/explain.go",
	"internal/reconnect/trail.go",
	"internal/reconnect/whatif.go",
	"internal/reconnect/notes.go",
}

// pureMay lists the standard library that a pure file may use: nothing that
// reads a clock, rolls dice, waits or reaches out of the process.
var pureMay = []string{
	"bytes", "cmp", "crypto/hmac", "crypto/sha256", "encoding", "encoding/base32", "encoding/base64",
	"encoding/binary", "encoding/hex", "encoding/json", "errors", "fmt", "hash", "hash/fnv", "iter", "maps",
	"math", "math/bits", "reflect", "regexp", "slices", "sort", "strconv", "strings", "time", "unicode", "unicode/utf8",
}

var clock = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"}

// empty lists names that say nothing about what a package is for.
var empty = []string{"base", "common", "core", "helper", "helpers", "misc", "models", "shared", "types", "util", "utils"}

type pkg struct {
	ImportPath, Name string
	Imports          []string
	TestImports      []string
	XTestImports     []string
}

// packages lists the packages of this module.
func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Name,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("list packages: %v", err)
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("list packages: %v", err)
		}
		all = append(all, p)
	}
}

func folder(importPath string) string {
	return strings.TrimPrefix(strings.TrimPrefix(importPath, module), "/")
}

func TestImports(t *testing.T) {
	all := packages(t)
	if len(all) == 0 {
		t.Fatal("saw no packages")
	}
	for _, p := range all {
		from := folder(p.ImportPath)
		rule, ok := ruleOf(from)
		if !ok {
			t.Errorf("%s has no rule here", from)
			continue
		}
		for _, to := range p.Imports {
			if !allowed(rule, to) {
				t.Errorf("%s imports %s", from, to)
			}
		}
		inTests := slices.Concat(p.Imports, p.TestImports, p.XTestImports)
		for _, pair := range apart {
			for i, one := range pair {
				if from == one && slices.Contains(inTests, module+"/"+pair[1-i]) {
					t.Errorf("%s imports %s", from, pair[1-i])
				}
			}
		}
	}
}

func ruleOf(from string) ([]string, bool) {
	if rule, ok := may[from]; ok {
		return rule, true
	}
	for dir := from; dir != "."; dir = path.Dir(dir) {
		if rule, ok := may[dir+"/..."]; ok {
			return rule, true
		}
	}
	return nil, false
}

func allowed(rule []string, to string) bool {
	if first, _, _ := strings.Cut(to, "/"); !strings.Contains(first, ".") {
		return true // standard library
	}
	return slices.ContainsFunc(rule, func(name string) bool {
		if name == "*" || to == module+"/"+name {
			return true
		}
		lib, ok := library[name]
		return ok && (to == lib || strings.HasPrefix(to, lib+"/"))
	})
}

func TestRulesNameRealThings(t *testing.T) {
	for from, rule := range may {
		for _, name := range rule {
			if _, ours := may[name]; name != "*" && !ours && library[name] == "" {
				t.Errorf("%s may import %s, which is neither a package nor a library known here", from, name)
			}
		}
	}
}

func TestPackagesSayWhatTheyAreFor(t *testing.T) {
	for _, p := range packages(t) {
		if slices.Contains(empty, p.Name) || slices.Contains(empty, path.Base(p.ImportPath)) {
			t.Errorf("%s: a package named %s could hold anything", folder(p.ImportPath), p.Name)
		}
	}
}

func TestPureFilesTouchNothing(t *testing.T) {
	for _, name := range pure {
		t.Run(name, func(t *testing.T) {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, name), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, imp := range f.Imports {
				to, _ := strconv.Unquote(imp.Path.Value)
				if !strings.HasPrefix(to, module+"/") && !slices.Contains(pureMay, to) {
					t.Errorf("imports %s", to)
				}
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if sel, ok := n.(*ast.SelectorExpr); ok {
					if x, ok := sel.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(clock, sel.Sel.Name) {
						t.Errorf("uses time.%s", sel.Sel.Name)
					}
				}
				return true
			})
		})
	}
}

// brokerHeader matches, in any case, the start of the headers by which a
// publisher instructs the broker. In a wrong case such a header is no guard at
// all, so they are written in one place, where tests commit with stale guards.
var brokerHeader = regexp.MustCompile(`(?i)^nats-(batch|expected|incr|marker|msg|rollup|schedule|ttl)`)

func TestOneWriterOfBrokerHeaders(t *testing.T) {
	writers := []string{"internal/events/", "internal/topology/"}
	for _, name := range goFiles(t) {
		if strings.HasSuffix(name, "_test.go") || slices.ContainsFunc(writers, func(w string) bool { return strings.HasPrefix(name, w) }) {
			continue
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, filepath.Join(root, name), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if text, err := strconv.Unquote(lit.Value); err == nil && brokerHeader.MatchString(text) {
					t.Errorf("%s:%d: %s: only internal/events writes these headers", name, set.Position(lit.Pos()).Line, lit.Value)
				}
			}
			return true
		})
	}
}

// goFiles lists the Go sources of this module, by their path from its root.
func goFiles(t *testing.T) []string {
	t.Helper()
	var names []string
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (name != "." && strings.HasPrefix(d.Name(), ".") || slices.Contains([]string{"node_modules", "testdata", "dist"}, d.Name())):
			return fs.SkipDir
		case strings.HasSuffix(name, ".go"):
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("list sources: %v", err)
	}
	if len(names) == 0 {
		t.Fatal("saw no sources")
	}
	return names
}
