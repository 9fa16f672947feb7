# Everything that the README names. `make` alone prints what there is.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
CARGO := cargo
RELEASE := --release --locked
# Always the same selection: another one would give dependencies other features, and compile wasmtime again.
PROGRAMS := $(RELEASE) --workspace --bins --examples
TASKS := basics images text data compute counter files http mail netprobe
WASM := tasks/target/wasm32-wasip2/release
FUZZ := artifact boundary describe destination envelope patterns policy settings upload
VENV := target/python
TIME ?= 60
TARGET ?= $(FUZZ)
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
	cd tasks/hostile && $(CARGO) build $(RELEASE) --target wasm32-wasip2 --examples

.PHONY: demo
demo: need-rust tasks ## upload sample tasks and run a thousand invocations on the embedded engine
	$(CARGO) build $(PROGRAMS)
	target/release/examples/demo

.PHONY: test
test: need-rust need-redis need-strace need-mail need-schemathesis need-python need-browser lint tasks ## every check: lints, unit tests, tests against real processes
	$(CARGO) build $(PROGRAMS)
	cd tasks && $(CARGO) test $(RELEASE) --workspace
	target/release/bench --quick engine await cold growth cancel schedule
	$(CARGO) test $(RELEASE) --workspace
	cd clients/python && ../../$(VENV)/bin/python -m pytest -q
	$(VENV)/bin/python tests/parity/parity.py --check

.PHONY: python
python: need-rust need-redis need-python need-browser tasks ## the Python client alone: its lints, and its tests against a real Redis and real hosts
	$(CARGO) build $(PROGRAMS)
	$(python-lint)
	cd clients/python && ../../$(VENV)/bin/python -m pytest -q

.PHONY: parity
parity: need-rust need-redis need-mail need-python need-browser tasks ## docs/parity.md, and every test that it names
	$(CARGO) build $(PROGRAMS)
	$(VENV)/bin/python tests/parity/parity.py --run

.PHONY: hostile
hostile: need-rust need-redis tasks ## the attackers alone; HOSTILE=… picks some, UPDATE_DOCS=1 writes docs/hostile.md
	$(CARGO) build $(PROGRAMS)
	$(CARGO) test $(RELEASE) --workspace --test hostile -- --nocapture

.PHONY: lint
lint: need-rust need-python ## formatting, clippy and documentation, warnings as errors
	$(CARGO) fmt --all --check
	cd tasks && $(CARGO) fmt --all --check
	cd tasks/hostile && $(CARGO) fmt --all --check
	$(CARGO) clippy $(RELEASE) --workspace --all-targets -- -D warnings
	cd tasks && $(CARGO) clippy $(RELEASE) --workspace --target wasm32-wasip2 -- -D warnings
	cd tasks/hostile && $(CARGO) clippy $(RELEASE) --target wasm32-wasip2 --examples -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(RELEASE) --workspace --no-deps --lib
	$(python-lint)

define python-lint
	cd clients/python && ../../$(VENV)/bin/ruff format --check --quiet . && ../../$(VENV)/bin/ruff check --quiet . && ../../$(VENV)/bin/mypy
endef

.PHONY: bench
bench: need-rust need-redis need-peers tasks ## benchmarks, one JSON line each; NAME=… picks some
	$(CARGO) build $(PROGRAMS)
	target/release/bench $(NAME)

# TIME is 60 for fuzzing, in seconds: here it is a span, 30m unless it is said.
.PHONY: soak
soak: need-rust need-redis tasks ## hosts and Redis killed under a mixed load for TIME=30m, and every invocation accounted for; SEED=… repeats one
	$(CARGO) build $(PROGRAMS)
	target/release/soak --time $(if $(filter command line environment,$(origin TIME)),$(TIME),30m) $(if $(SEED),--seed $(SEED))

# In memory, as some targets write a file for each input. What is found goes beside the committed corpus.
.PHONY: fuzz
fuzz: need-rust need-fuzz ## fuzz every target for TIME=60 seconds each; TARGET=… picks some
	$(CARGO) build $(PROGRAMS)
	cd fuzz && for target in $(TARGET); do \
		mkdir -p target/found/$$target; \
		TMPDIR=/dev/shm RUSTC_WRAPPER=$(CURDIR)/fuzz/rustc.sh $(CARGO) fuzz run --sanitizer none $$target target/found/$$target \
			corpus/$$target -- -max_total_time=$(TIME) -max_len=4096 -timeout=10 -rss_limit_mb=4096; \
	done

.PHONY: fuzz-merge
fuzz-merge: need-rust need-fuzz ## add to the corpora what `make fuzz` found; TARGET=… picks some
	for target in $(TARGET); do fuzz/merge.sh $$target; done

.PHONY: clean
clean: ## what was built
	$(CARGO) clean
	cd tasks && $(CARGO) clean
	cd tasks/hostile && $(CARGO) clean

# ---- what must be on the machine; each says what it installs --------------------------------------

.PHONY: need-rust
need-rust:
	@command -v $(CARGO) >/dev/null || { echo "cargo is missing: install Rust 1.95 or later with rustup" >&2; exit 1; }
	@command -v cc >/dev/null || { echo "installing a C compiler (Debian: gcc libc6-dev)"; $(call apt,gcc libc6-dev); }
	@rustup target list --installed | grep -qx wasm32-wasip2 || { echo "installing the Rust target wasm32-wasip2"; rustup target add wasm32-wasip2; }

.PHONY: need-redis
need-redis:
	@command -v redis-server >/dev/null || { echo "installing Redis (Debian: redis-server)"; $(call apt,redis-server); }

.PHONY: need-strace
need-strace:
	@command -v strace >/dev/null || { echo "installing strace (Debian: strace)"; $(call apt,strace); }

# libFuzzer itself is C++.
.PHONY: need-fuzz
need-fuzz:
	@command -v c++ >/dev/null || { echo "installing a C++ compiler (Debian: g++)"; $(call apt,g++); }
	@command -v cargo-fuzz >/dev/null || { echo "installing cargo-fuzz (crate: cargo-fuzz)"; $(CARGO) install --locked --version =0.13.2 cargo-fuzz; }

.PHONY: need-peers
need-peers:
	@command -v node >/dev/null && command -v npm >/dev/null || { echo "node and npm are missing: the benchmarks run BullMQ with them" >&2; exit 1; }
	@python3 -c 'import venv, ensurepip' 2>/dev/null || { echo "installing Python's venv (Debian: python3-venv)"; $(call apt,python3-venv); }

# The scripts of the broker are copied into the package each time: an editable install does not follow them.
.PHONY: need-python
need-python:
	@python3 -c 'import venv, ensurepip' 2>/dev/null || { echo "installing Python's venv (Debian: python3-venv)"; $(call apt,python3-venv); }
	@cmp -s clients/python/requirements.txt $(VENV)/requirements.txt || { echo "installing what the Python client is tested with, into $(VENV)"; \
		python3 -m venv $(VENV) && $(VENV)/bin/pip install --quiet --disable-pip-version-check -r clients/python/requirements.txt && \
		$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable clients/python && \
		cp clients/python/requirements.txt $(VENV)/requirements.txt; }
	@cd clients/python && ../../$(VENV)/bin/python hatch_build.py

.PHONY: need-browser
need-browser:
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || { echo "installing a browser for tests (Debian: chromium chromium-driver)"; $(call apt,chromium chromium-driver fonts-dejavu-core); }

.PHONY: need-mail
need-mail:
	@python3 -c 'import venv, ensurepip' 2>/dev/null || { echo "installing Python's venv (Debian: python3-venv)"; $(call apt,python3-venv); }
	@target/mail/bin/python -c 'import aiosmtpd' 2>/dev/null || { echo "installing aiosmtpd, an SMTP server for tests, into target/mail"; \
		python3 -m venv target/mail && target/mail/bin/pip install --quiet 'aiosmtpd==1.4.6'; }

.PHONY: need-schemathesis
need-schemathesis:
	@python3 -c 'import venv, ensurepip' 2>/dev/null || { echo "installing Python's venv (Debian: python3-venv)"; $(call apt,python3-venv); }
	@target/schemathesis/bin/schemathesis --version 2>/dev/null | grep -q 4.32.5 || { echo "installing schemathesis, which tests APIs against their documents, into target/schemathesis"; \
		python3 -m venv target/schemathesis && target/schemathesis/bin/pip install --quiet 'schemathesis==4.32.5'; }

# The service that Debian's package starts is not used: tests start servers of their own.
define apt
	sudo=$$([ $$(id -u) = 0 ] || echo sudo); \
	$$sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq --no-install-recommends $(1)
endef
