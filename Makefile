# SealMQ. `make demo` shows the main job, `make test` proves it.
GO ?= go
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
# What is built for other systems is thrown away: a third less time without optimizing and debug information.
QUICK = -gcflags='all=-N -l -dwarf=false' -ldflags='-s -w'
# Packages whose tests take -long.
SOAK = $(shell grep -rl --include=*_test.go testkit.Long . | xargs -n1 dirname | sort -u)

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build the static binary into bin/
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=true -o bin/sealmq ./cmd/sealmq

demo: build ## three nodes, two services, every file sealed, sent, received and verified
	bin/sealmq demo .

test: ## every test, with the race detector
	$(GO) test -race ./...

check: ## formatting, vet, staticcheck, borders, FIPS mode, other systems
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo "gofmt would change the files above"; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(GO) test -count=1 -run 'TestImport|TestLight' ./internal/testkit
	GODEBUG=fips140=only $(GO) test ./envelope ./internal/atrest
	@for os in darwin windows; do for arch in amd64 arm64; do \
	  echo "build for $$os/$$arch"; GOOS=$$os GOARCH=$$arch CGO_ENABLED=0 $(GO) build $(QUICK) -o /dev/null ./cmd/sealmq || exit 1; \
	done; done

bench: build ## sends through a real three-node cluster, then prints the figures
	bin/sealmq bench send

soak: ## the tests that take minutes or hours, at their full size
	$(GO) test -timeout 0 $(SOAK) -long

fuzz: ## every fuzz target for ten seconds
	@grep -rho --include=*_test.go '^func Fuzz[A-Za-z0-9_]*' . | sort -u >/dev/null; \
	for f in $$(grep -rl --include=*_test.go '^func Fuzz' .); do \
	  for t in $$(grep -o '^func Fuzz[A-Za-z0-9_]*' $$f | cut -c6-); do \
	    $(GO) test -run '^$$' -fuzz "^$$t\$$" -fuzztime 10s $$(dirname $$f) || exit 1; \
	  done; done

.PHONY: help build demo test check bench soak fuzz
.DEFAULT_GOAL := help
