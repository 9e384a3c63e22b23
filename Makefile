# Tidemark's commands. `make dev` and `make build` need Go and make only;
# `make test` installs what foreign-client tests need (see scripts/deps).
SHELL := /bin/bash
.DELETE_ON_ERROR:

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT  := $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X tidemark/internal/cli.version=$(VERSION) -X tidemark/internal/cli.commit=$(COMMIT)
GO      ?= go
SEEDS   ?= 2000
FUZZTIME ?= 20s
COUNT   ?= 1

.PHONY: build deps dev test test-long test-race check sim faults mutants fuzz conformance bench bench-micro bench-kafka generate clean

build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/tidemark ./cmd/tidemark

dev: build
	./bin/tidemark dev $(DEV)

deps:
	@scripts/deps

# Everything, minutes per suite, under 30 minutes on 2 cores.
test: deps build
	@scripts/test

# The same and the longer forms.
test-long: deps build
	@scripts/test long

check:
	@test -z "$$(gofmt -l cmd internal test bench 2>/dev/null)" || { gofmt -l cmd internal test bench; exit 1; }
	$(GO) vet ./...
	$(GO) test ./internal/...

test-race:
	$(GO) test -race -tags invariants ./internal/...

# Schedules of the simulator: SEEDS=1000000 of them from SIM_FIRST on, or for
# SIM_DURATION=1h. An interrupt ends it with a summary.
sim:
	$(GO) test -c -o bin/sim.test ./internal/sim
	./bin/sim.test -test.run 'TestCluster$$' -test.timeout 0 -test.v -progress=10s -seeds=$(SEEDS) \
		$(if $(SIM_DURATION),-for=$(SIM_DURATION)) $(if $(SIM_FIRST),-first=$(SIM_FIRST))

# The cases of docs/ROBUSTNESS.md with real faults: make faults COUNT=5
faults: deps build
	@scripts/faults $(COUNT)

fuzz:
	@scripts/fuzz $(FUZZTIME)

conformance: deps build
	$(GO) test ./test/e2e/... ./test/mixed/... -count=1 -timeout 30m -v

bench: build
	$(GO) run ./bench/run -systems tidemark,ceiling -rounds 3 -seconds 4 -json bin/bench.json $(BENCH)

bench-micro:
	$(GO) test ./internal/... -run 'Costs|CallsPerRequest|Alloc' -bench . -benchmem

bench-kafka: build
	$(GO) run ./bench/run -systems tidemark,kafka,ceiling -rounds 3 -heat 60 -warmup 5 -seconds 8 -json bin/bench.json $(BENCH)

mutants:
	$(GO) run ./test/mutants $(MUTANTS)

generate:
	$(GO) generate ./...

clean:
	rm -rf bin .cache
