# Short names for the steps of .ci/run, which CI runs as a whole.
.PHONY: build test race lint fuzz ci

build: ## compile and vet
	.ci/run build

test: ## the tests
	.ci/run tests

race: ## the tests with the race detector
	.ci/run race

lint: ## gofmt, vet and golangci-lint, in pinned versions
	.ci/run build lint

fuzz: ## five seconds of every fuzz target; FUZZTIME=1m for more
	.ci/run fuzz

ci: ## everything that has to pass
	.ci/run
