# What people and machines do with this repository. Go is all that is needed;
# with Docker the container tests run too, with npm that of the published SDK.
GO   ?= go
LINT := $(GO) tool -modfile=tools.mod golangci-lint

FUZZTIME ?= 30s
TAG      ?= dev
CA       ?= /etc/ssl/certs/ca-certificates.crt

.DEFAULT_GOAL := help
.PHONY: help test long lint vet fix tidy check bench fuzz image clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

test: ## all tests under the race detector; without Docker or Chromium some skip (with CI=true they fail)
	$(GO) test -race -p 4 -parallel 6 $$($(GO) list ./... | grep -v /internal/month$$) # they wait more than they work
	$(GO) test ./internal/month # its minutes under the race detector are for make long
	@docker info >/dev/null 2>&1 || echo 'NO DOCKER ENGINE: the container tests were skipped' >&2
	@[ -n "$$CHROME_BIN" ] || command -v chromium >/dev/null || command -v google-chrome >/dev/null || echo 'NO CHROMIUM: the browser test was skipped' >&2

long: ## the long forms of the kill tests, of the race on three servers, of the month and of the decider's model
	@$(GO) test -list Kill ./test/... | grep -q '^Test' || { echo 'there is no kill test in ./test' >&2; exit 1; }
	CONNECTOR_TEST=long $(GO) test -race -count=1 -timeout 25m -run 'Kill|ThreeServers' ./test/... ./internal/events
	$(GO) test -race -count=1 -timeout 25m ./internal/month
	CONNECTOR_TEST=long $(GO) test -count=1 -timeout 25m -v -run '^TestModel$$' ./internal/reconnect # no goroutines: nothing to race

lint: ## golangci-lint as .golangci.yml says
	$(LINT) run --allow-parallel-runners ./...

vet: ## go vet
	$(GO) vet ./...

fix: ## fail if go fix would change something
	@diff="$$($(GO) fix -diff ./... 2>&1)"; [ -z "$$diff" ] || { echo "$$diff"; echo 'run: go fix ./...'; exit 1; }

tidy: ## fail if go mod tidy would change something
	$(GO) mod tidy -diff

check: test lint vet fix tidy long ## everything that must pass before a change lands

bench: ## benchmarks beside their raw limits; docs/benchmarks.md
	$(GO) test -run '^$$' -bench . -benchmem ./...

fuzz: ## every fuzz test for FUZZTIME (30s)
	@grep -rnoE --include='*_test.go' --exclude-dir=node_modules '^func Fuzz[A-Za-z0-9_]+' . | \
	while IFS=: read -r file _ name; do \
		$(GO) test -run '^$$' -fuzz "^$${name#func }\$$" -fuzztime $(FUZZTIME) "$$(dirname "$$file")" || exit 1; \
	done

image: export CGO_ENABLED = 0
image: export GOOS = linux
image: ## the images smartconnect/connector and smartconnect/nats, FROM scratch, for deploy/compose.yaml
	rm -rf dist/connector dist/nats
	mkdir -p dist/connector dist/nats/data
	$(GO) build -trimpath -ldflags='-s -w' -o dist/connector/ ./cmd/connector ./deploy/probe
	$(GO) build -trimpath -ldflags='-s -w' -o dist/nats/nats-server github.com/nats-io/nats-server/v2
	cp dist/connector/probe deploy/nats/*.conf dist/nats/
	cp $(CA) dist/connector/ca-certificates.crt
	docker build -t smartconnect/connector:$(TAG) -f deploy/Dockerfile dist/connector
	docker build -t smartconnect/nats:$(TAG) -f deploy/nats/Dockerfile dist/nats

clean: ## what builds and tests leave behind, images of tests too
	rm -rf bin dist
	-docker image prune --all --force --filter label=com.smartconnect.connector.test
