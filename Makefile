# Everything that the README names. `make` alone prints what there is.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
CARGO := cargo
RELEASE := --release --locked
# Always the same selection: another one would give dependencies other features, and compile wasmtime again.
PROGRAMS := $(RELEASE) --workspace --bins --examples
TASKS := basics images text data compute
WASM := tasks/target/wasm32-wasip2/release
export CELERIAC_TASKS := $(CURDIR)/$(WASM)
export CELERIAC_BIN := $(CURDIR)/target/release/celeriac

.PHONY: help
help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: need-rust tasks ## the host, the client and the sample tasks
	$(CARGO) build $(PROGRAMS)

.PHONY: tasks
tasks: need-rust
	cd tasks && $(CARGO) build $(RELEASE) --target wasm32-wasip2

.PHONY: demo
demo: need-rust tasks ## upload sample tasks and run a thousand invocations on the embedded engine
	$(CARGO) build $(PROGRAMS)
	target/release/examples/demo

.PHONY: test
test: need-rust need-redis lint tasks ## every check: lints, unit tests, tests against real processes
	$(CARGO) build $(PROGRAMS)
	cd tasks && $(CARGO) test $(RELEASE) --workspace
	target/release/bench --quick engine await cold growth cancel schedule
	$(CARGO) test $(RELEASE) --workspace

.PHONY: lint
lint: need-rust ## formatting, clippy and documentation, warnings as errors
	$(CARGO) fmt --all --check
	cd tasks && $(CARGO) fmt --all --check
	$(CARGO) clippy $(RELEASE) --workspace --all-targets -- -D warnings
	cd tasks && $(CARGO) clippy $(RELEASE) --workspace --target wasm32-wasip2 -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(RELEASE) --workspace --no-deps --lib

.PHONY: bench
bench: need-rust need-redis need-peers tasks ## benchmarks, one JSON line each; NAME=… picks some
	$(CARGO) build $(PROGRAMS)
	target/release/bench $(NAME)

.PHONY: clean
clean: ## what was built
	$(CARGO) clean
	cd tasks && $(CARGO) clean

# ---- what must be on the machine; each says what it installs --------------------------------------

.PHONY: need-rust
need-rust:
	@command -v $(CARGO) >/dev/null || { echo "cargo is missing: install Rust 1.95 or later with rustup" >&2; exit 1; }
	@command -v cc >/dev/null || { echo "installing a C compiler (Debian: gcc libc6-dev)"; $(call apt,gcc libc6-dev); }
	@rustup target list --installed | grep -qx wasm32-wasip2 || { echo "installing the Rust target wasm32-wasip2"; rustup target add wasm32-wasip2; }

.PHONY: need-redis
need-redis:
	@command -v redis-server >/dev/null || { echo "installing Redis (Debian: redis-server)"; $(call apt,redis-server); }

.PHONY: need-peers
need-peers:
	@command -v node >/dev/null && command -v npm >/dev/null || { echo "node and npm are missing: the benchmarks run BullMQ with them" >&2; exit 1; }
	@python3 -c 'import venv, ensurepip' 2>/dev/null || { echo "installing Python's venv (Debian: python3-venv)"; $(call apt,python3-venv); }

# The service that Debian's package starts is not used: tests start servers of their own.
define apt
	sudo=$$([ $$(id -u) = 0 ] || echo sudo); \
	$$sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq --no-install-recommends $(1)
endef
