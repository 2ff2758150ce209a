# `make` lists what there is. Everything here also works as the plain command it runs.

SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO ?= go
PKG ?= ./...
# Options for the demo and the benchmark, as in: make demo ARGS="--listen 127.0.0.1:8088"
ARGS ?=
# What `make chaos` runs: how many seeds, buyers per second, how long each, how many at once.
SEED ?= 1
SEEDS ?= 20
RATE ?= 40
DURATION ?= 30s
PARALLEL ?= $(shell n=$$(nproc 2>/dev/null || echo 2); echo $$(( n > 2 ? n / 2 : 2 )))
# The repository may be a plain copy without its .git.
export GOFLAGS := -buildvcs=false $(GOFLAGS)

.PHONY: help
help: ## list these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## install what is missing, start everything, seed a sale, print the URLs
	@scripts/deps.sh demo
	$(GO) run ./cmd/flashsale demo $(ARGS)

.PHONY: test
test: ## vet, then all tests with the race detector on real Redis, Postgres and Kafka
	@scripts/deps.sh
	$(GO) vet ./...
	$(GO) run ./internal/devstack/cmd/devstack -- $(GO) tool gotestsum --format standard-quiet -- -race -count=1 -parallel 4 -timeout 30m $(PKG)

.PHONY: soak
soak: ## a million operations at the gate, kills of Redis among them, checked; 100,000 holds expiring: minutes
	@scripts/deps.sh
	$(GO) test -count=1 -timeout 30m -v ./reservation/history -args -operations 1000000 -holds 100000 -lateness 1s $(ARGS)

.PHONY: simulate
simulate: ## 40,000 seeded schedules of buyers, nodes, lost gates, batcher, relay and writer through their own code: minutes
	$(GO) test -count=1 -timeout 30m -v -run 'Schedule' ./engine -args -schedules 20000 $(ARGS)
	$(GO) test -count=1 -timeout 30m -v -run 'Schedule' ./reservation -args -schedules 15000 $(ARGS)
	$(GO) test -count=1 -timeout 30m -v -run 'Schedule' ./orders -args -schedules 5000 $(ARGS)

.PHONY: mutants
mutants: ## breaks gate, checkout and writer in many ways, one at a time, and demands that the checks notice: minutes
	@scripts/deps.sh
	$(GO) run ./internal/mutants $(ARGS)

.PHONY: crashpoints
crashpoints: ## kills a node 20 times at each boundary of a checkout, under load, and looks at the books: minutes
	@scripts/deps.sh
	$(GO) run ./internal/devstack/cmd/devstack -- $(GO) test -count=1 -timeout 60m -v -parallel 12 -run TestACrashAtAnyBoundary ./cmd/flashsale -args -crashes 20

.PHONY: storm
storm: ## 10,000 checkouts at a provider that declines, hangs, errs and falls silent, with the breaker and without: minutes
	@scripts/deps.sh
	$(GO) run ./internal/devstack/cmd/devstack -- $(GO) test -count=1 -timeout 20m -v -run TestAPaymentStorm ./cmd/flashsale -args -storm 10000

.PHONY: chaos
chaos: build ## random overlapping faults under load, then verify, SEEDS=20 times of DURATION=30s: minutes
	@scripts/deps.sh
	bin/flashsale chaos --seed $(SEED) --seeds $(SEEDS) --duration $(DURATION) --parallel $(PARALLEL) --rate $(RATE) --summary bin/chaos.json --keep-logs bin/chaos-logs $(ARGS)

.PHONY: crowd
crowd: build ## a million wait for 20,000 units at a real server, judged; bin/crowd.svg (ARGS="--waiters 20000 --units 400 --hurry 6"): minutes
	@scripts/deps.sh demo
	bin/flashsale loadtest crowd --picture bin/crowd.svg --summary bin/crowd.json $(ARGS)

.PHONY: blackfriday
blackfriday: build ## Black Friday, rehearsed on real parts: spike, day, retry storm, payment outage, sell-out; bin/blackfriday.html: 8 minutes
	@scripts/deps.sh
	bin/flashsale loadtest blackfriday --html bin/blackfriday.html --report bin/blackfriday.json $(ARGS)

.PHONY: failover
failover: build ## a replica that lags by 1 s takes over under 500 reservations/s, 100/s of them paying, SEEDS=20 times: minutes
	@scripts/deps.sh
	bin/flashsale chaos --alone --faults redis.failover --for 1s --rate 500 --checkouts 100 --duration 10s --seed $(SEED) --seeds $(SEEDS) --summary bin/failover.json --keep-logs bin/failover-logs $(ARGS)

.PHONY: faults
faults: build ## each fault alone: what buyers are told, how long it hurts, and verify; into docs/faults.md: minutes
	@scripts/deps.sh
	bin/flashsale chaos --alone --rate 20 --parallel $(PARALLEL) --markdown docs/faults.md --keep-logs bin/faults-logs $(ARGS)

.PHONY: gameday
gameday: ## three incidents end to end: Redis lost, provider silent, writer stopped; alerts, runbooks, four zeros: minutes
	@scripts/deps.sh
	$(GO) run ./internal/devstack/cmd/devstack -- $(GO) test -count=1 -tags gameday -timeout 20m -run TestGameDay -v ./cmd/flashsale $(ARGS)

.PHONY: test-quick
test-quick: ## tests on embedded backends, without the race detector: seconds
	$(GO) test -short -timeout 5m $(PKG)

.PHONY: cover
cover: ## all tests, with the coverage of each function in coverage.out
	@scripts/deps.sh
	$(GO) run ./internal/devstack/cmd/devstack -- $(GO) test -count=1 -timeout 30m -coverpkg=./... -coverprofile=coverage.out $(PKG)
	$(GO) tool cover -func=coverage.out | tail -1

.PHONY: lint
lint: ## golangci-lint with .golangci.yml (built once, in the cache)
	@lint=$$(scripts/tool.sh lint); "$$lint" run ./...

.PHONY: vulncheck
vulncheck: ## known vulnerabilities in what the binary reaches; needs vuln.go.dev, and says so
	scripts/vulncheck.sh

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME=10s with WORKERS=2, with executions, total time and crashers: minutes
	scripts/fuzz.sh $(ARGS)

.PHONY: schemathesis
schemathesis: build ## the OpenAPI document against a running demo (installs the pinned schemathesis once)
	@scripts/deps.sh demo
	scripts/schemathesis.sh $(ARGS)

.PHONY: fmt
fmt: ## format the code
	@lint=$$(scripts/tool.sh lint); "$$lint" fmt ./...

.PHONY: build
build: ## bin/flashsale, static
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w" -o bin/flashsale ./cmd/flashsale

.PHONY: bench
bench: build ## the hot path beside its limits and other ways, as ratios (ARGS="--quick")
	@scripts/deps.sh demo
	bin/flashsale bench $(ARGS)

.PHONY: capacity
capacity: build ## measures a ladder of loads with a real Kafka, twelve times, and fits bin/model.json, for `flashsale capacity plan --model`: 9 minutes
	@scripts/deps.sh
	bin/flashsale capacity fit --kafka --turns 12 --model bin/model.json --rungs bin/rungs.json $(ARGS)

.PHONY: k6
k6: build ## k6 scenarios against the engine on real parts, verified: ARGS=smoke, flash-sale, …, all (builds k6 once)
	@scripts/deps.sh
	scripts/k6.sh $(ARGS)

.PHONY: agreement
agreement: build ## do k6's breakpoint and loadtest find the same capacity? ROUNDS=3 of both in turns: minutes
	@scripts/deps.sh
	scripts/capacity-agreement.sh

.PHONY: stripe-mock
stripe-mock: ## our requests to Stripe against stripe-mock, which knows every parameter (builds it once)
	FLASHSALE_STRIPE_MOCK=$$(scripts/tool.sh stripe-mock) $(GO) test -count=1 -tags stripemock -run StripeMock ./payment $(ARGS)

.PHONY: compose-check
compose-check: ## check docker-compose.yml against the Compose specification, without Docker
	cd tools/composecheck && $(GO) run -mod=readonly . ../../docker-compose.yml

.PHONY: otlp-check
otlp-check: build ## our spans of a purchase, read by the OpenTelemetry Collector's own OTLP receiver (downloads its modules once)
	cd tools/otlpcheck && OTLP_ENGINE=$(CURDIR)/bin/flashsale $(GO) test -mod=readonly -count=1 -timeout 5m $(ARGS) .

.PHONY: e2e
e2e: build ## a real Chromium clicks through the demo's shop and the operators' console; pictures in bin/e2e (ARGS="-run ThreeD"): minutes
	@scripts/deps.sh e2e
	scripts/e2e.sh $(ARGS)

.PHONY: first-order
first-order: ## from git clone to a confirmed order in a browser: each step, and what it took (ARGS="-cold": nothing built before)
	@scripts/deps.sh e2e
	cd tools/e2e && $(GO) run -mod=readonly ./firstorder -repo "$(CURDIR)" $(ARGS)

.PHONY: deps
deps: ## install what is missing: Redis, Postgres, Java, Kafka's jars
	@scripts/deps.sh
