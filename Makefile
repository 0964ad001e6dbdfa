# Hongyan's tasks. `make` alone lists them; whatever is built along the way goes to .build.

SHELL        := /bin/bash
.SHELLFLAGS  := -euo pipefail -c
BUILD        := $(CURDIR)/.build
# How long a whole test run, or one fuzz target, may take.
TESTTIME     ?= 14m
FUZZTIME     ?= 20s
# Packages that start many real processes and run one after the other: side by side they would take each other's processor, and
# then test the machine.
ALONE        := /internal/(chaos|e2e)$$
# How many seeds `make sim` runs, and from which on.
SEEDS        ?= 5000
FIRST        ?= 0
# `make chaos`: injections of each fault at least, messages a second, only faults whose name contains FAULTS, FRESH=1 to begin
# anew after an interruption; and how often the kill test of a single node kills each engine.
INJECTIONS   ?= 6
RATE         ?= 110
FAULTS       ?=
FRESH        ?=
KILLS        ?= 20
# Linters are pinned, so that a new release does not break an old commit.
GOLANGCI     := github.com/golangci/golangci-lint/v2/cmd/golangci-lint
GOLANGCI_VER := v2.15.0

.DEFAULT_GOAL := help
.PHONY: help build dev bench test test-short chaos delivery compose sim mutants fuzz lint verify generate tools clean

##@ Use

build: ## build the one binary, ./hongyan
	go build -trimpath -o hongyan ./cmd/hongyan

dev: ## start everything in one process, with a simulated WeChat and a phone in the browser
	go run ./cmd/hongyan dev

bench: ## the whole path beside a bare handler, closed loop (a few minutes)
	go run ./cmd/hongyan bench

##@ Check

test: ## all tests with the race detector; installs what they need where it can
	.ci/need go cc chromium cjk-fonts redis-server node npm python3
	go vet ./...
	CGO_ENABLED=1 go test -race -timeout $(TESTTIME) $$(go list ./... | grep -vE '$(ALONE)')
	CGO_ENABLED=1 go test -race -p 1 -timeout $(TESTTIME) $$(go list ./... | grep -E '$(ALONE)')

test-short: ## the quick tests, without the race detector, real processes and the browser
	go test -short -timeout 3m ./...

chaos: ## many nodes under every fault, INJECTIONS (6) times each, resumable, with a table (25 minutes); a single node killed KILLS (20) times; delivery
	.ci/need go redis-server
	@mkdir -p $(BUILD)/chaos
	go test -c -o $(BUILD)/chaos/chaos.test ./internal/chaos
	cd internal/chaos && $(BUILD)/chaos/chaos.test -test.run '^TestLong$$' -test.timeout 3h \
	  -long -injections $(INJECTIONS) -rate $(RATE) -faults '$(FAULTS)' $(if $(FRESH),-fresh)
	$(if $(FAULTS),,go test -count=1 -timeout 40m ./internal/e2e -run '^TestKill$$' -v -args -kills $(KILLS))
	$(if $(FAULTS),,$(MAKE) --no-print-directory delivery)
	@echo "the table is in $(BUILD)/chaos/table.md"

delivery: ## the last part of chaos: answers through WeChat's API, with slow bots, kills, 40001 storms, outages, refusals, a burst (25 minutes)
	.ci/need go redis-server
	go test -count=1 -timeout 60m ./internal/chaos -run '^(TestTokenStorm|TestSlowBotKills)$$' -v -args -long
	go test -count=1 -timeout 60m ./internal/e2e -run '^(TestSlowBot|TestNineAnswers|TestUnreachableAPI|TestDeadRedrive|TestErrorCodes|TestAPIOutage)$$' -v -args -long
	go test -count=1 -timeout 30m ./internal/e2e -run '^TestBurst$$' -v -args -long

sim: ## many nodes, users and faults in virtual time: SEEDS (5000) runs from FIRST (0) on; a seed that fails names the command that repeats it
	cd actors && go test -count=1 -timeout 240m -run '^TestSimulation$$' -args -seeds $(SEEDS) -first $(FIRST)

compose: ## docker-compose.yml on a Docker engine of its own: up, traffic, kills, scaling; needs root on Debian
	deploy/check/run.sh

fuzz: ## each fuzz target for FUZZTIME (20s)
	@go list -f '{{.Dir}}' ./... | while read -r dir; do \
	  { grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$$dir"/*_test.go 2>/dev/null || true; } | sed 's/^func //' | sort | while read -r target; do \
	    echo "$$target in $${dir#$(CURDIR)/}"; \
	    go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$dir" </dev/null; \
	  done; \
	done

lint: $(BUILD)/golangci-lint-$(GOLANGCI_VER) ## golangci-lint with .golangci.yaml
	$< run ./...

verify: generate ## what a commit must keep: generated code, format, vet, go.mod, the tree's own laws
	@git diff --exit-code --stat -- '*.pb.go' || { echo "generated code is not committed: make generate" >&2; exit 1; }
	@unformatted=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go' | grep -v /testdata/)); \
	  if [ -n "$$unformatted" ]; then echo "not formatted (gofmt -w): $$unformatted" >&2; exit 1; fi
	go vet ./...
	go mod tidy -diff
	go test -count=1 ./internal/lawtest

##@ Work

generate: $(BUILD)/protoc-gen-go ## write the generated code anew
	.ci/need protoc
	go generate ./...

tools: $(BUILD)/protoc-gen-go $(BUILD)/golangci-lint-$(GOLANGCI_VER) ## build the tools of generate and lint

clean: ## remove what was built; data stays
	rm -rf $(BUILD) hongyan
	go clean -testcache

help: ## this list
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The version is that of go.mod, so go.mod is what it is built from.
$(BUILD)/protoc-gen-go: go.mod
	@mkdir -p $(@D)
	go build -o $@ google.golang.org/protobuf/cmd/protoc-gen-go

$(BUILD)/golangci-lint-$(GOLANGCI_VER):
	@mkdir -p $(@D)
	GOBIN=$(@D) go install $(GOLANGCI)@$(GOLANGCI_VER)
	mv $(@D)/golangci-lint $@
