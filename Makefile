# Two commands for a newcomer: `make run` and `make test`. Both set up what is missing first.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
PY := $(VENV)/bin/python
JOBS ?= $(shell nproc)
# The editable install maps each module by name, so a module that comes or goes needs it anew.
MODULES := $(shell find python -name '*.py' -not -path '*/v1/*' | sort | sha256sum | cut -c 1-16)
CORE_SOURCES := $(shell find cpp proto -type f 2>/dev/null) CMakeLists.txt

.PHONY: help
help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

# ---------------------------------------------------------------- set-up: each step leaves a stamp

$(VENV)/.system: scripts/system_packages.txt scripts/install_system_packages
	@scripts/install_system_packages || { echo "make: installing system packages failed" >&2; exit 1; }
	@mkdir -p $(VENV) && touch $@

$(VENV)/.python: pyproject.toml $(VENV)/.system
	@echo "==> Python environment in $(VENV)"
	@[ -x $(PY) ] || "$$(scripts/find_python)" -m venv $(VENV)
	@$(PY) scripts/install_requirements.py || { echo "make: installing Python packages failed" >&2; exit 1; }
	@touch $@

$(VENV)/.modules-$(MODULES): $(VENV)/.python
	@rm -f $(VENV)/.modules-* && touch $@

$(VENV)/.core: $(CORE_SOURCES) $(VENV)/.python $(VENV)/.modules-$(MODULES)
	@echo "==> compiling the core"
	@$(PY) -m pip install -q --disable-pip-version-check --no-build-isolation --no-deps -e . \
	  || { echo "make: compiling the core failed" >&2; exit 1; }
	@touch $@

$(VENV)/.triton: $(VENV)/.core python/floodgate/triton/install.py
	@$(VENV)/bin/floodgate triton install || { echo "make: installing Triton failed" >&2; exit 1; }
	@touch $@

$(VENV)/.models: $(VENV)/.core model_repository/models.lock $(wildcard python/floodgate/models/*.py python/floodgate/models/edits/*.py)
	@$(VENV)/bin/floodgate models pull || { echo "make: pulling the models failed" >&2; exit 1; }
	@touch $@

$(VENV)/.prometheus: scripts/unpack_prometheus $(VENV)/.system
	@scripts/unpack_prometheus || { echo "make: unpacking Prometheus failed" >&2; exit 1; }
	@touch $@

.PHONY: setup
setup: $(VENV)/.core $(VENV)/.triton $(VENV)/.models ## everything the server and the tests need

# ---------------------------------------------------------------- the two commands

.PHONY: run
run: setup ## serve, moderate the examples, keep serving (ONCE=1: exit after the examples)
	@$(VENV)/bin/floodgate serve --examples examples $(if $(ONCE),--once)

.PHONY: test
test: setup test-cpp test-python ## every test

.PHONY: test-cpp
test-cpp: test-asan test-tsan ## C++ tests under ASan+UBSan and TSan

.PHONY: test-asan test-tsan
test-asan test-tsan: test-%: $(VENV)/.core
	@echo "==> C++ tests under $* ($$(date +%T))"
	@decoder="$$($(PY) -c 'from floodgate.media import DECODER_PROGRAM; print(DECODER_PROGRAM)')"; \
	  cmake --preset $* -DFLOODGATE_DECODER="$$decoder" >build-$*.log 2>&1 || { cat build-$*.log; exit 1; }
	@cmake --build --preset $* -j $(JOBS) >build-$*.log 2>&1 || { cat build-$*.log; exit 1; }
	@rm -f build-$*.log
	@scripts/run_cpp_tests build/$*/floodgate_tests $(GTEST_ARGS)

# Many tests wait for a server of their own; a file's tests stay together, since they share what they start.
PYTEST_JOBS ?= 2

.PHONY: test-python
test-python: setup $(VENV)/.prometheus ## Python tests, the real Triton included (PYTEST_JOBS, PYTEST_ARGS)
	@echo "==> Python tests ($$(date +%T))"
	@$(PY) -m pytest -n $(PYTEST_JOBS) --dist loadfile $(PYTEST_ARGS)

# ---------------------------------------------------------------- for developers

.PHONY: lint
lint: $(VENV)/.core ## formatting, lint, types, layers, proto
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" scripts/lint

.PHONY: fmt
fmt: $(VENV)/.python ## format everything
	@$(VENV)/bin/ruff format -q . && $(VENV)/bin/ruff check -q --fix . || true
	@clang-format -i $$(git ls-files 'cpp/*.cc' 'cpp/*.h' 'cpp/*.cu' 'cpp/*.cuh' 'tests/cpp/*.cc' 'tests/cpp/*.h' 'bench/simulator/*.cc' 'bench/simulator/*.h')

.PHONY: fuzz
fuzz: $(VENV)/.core ## fuzz every target for MINUTES (default 1) each
	@scripts/fuzz $$(( $${MINUTES:-1} * 60 ))

# The gate runs a share of it with the other C++ tests.
STEPS ?= 1000000
SEED ?= 1

.PHONY: fuzz-scheduler
fuzz-scheduler: ## random lives of the scheduler under both sanitizers (STEPS=1000000, SEED=1)
	@FLOODGATE_FUZZ_STEPS=$(STEPS) FLOODGATE_FUZZ_SEED=$(SEED) $(MAKE) test-cpp GTEST_ARGS=--gtest_filter='SchedulerRandom.*'

.PHONY: bench
bench: setup ## list the benchmarks; NAME=frontend runs one and writes bench/out/frontend.json
	@$(PY) -m bench $(NAME)

# A closed loop of users; `.venv/bin/python -m bench.load` is the open-loop generator.
TARGET ?= 127.0.0.1:50051
SCENARIO ?= steady
LOAD_S ?= 60
PEAK_USERS ?= 16

.PHONY: load
load: $(VENV)/.core ## load a running server (TARGET, SCENARIO=steady|spike|soak|mixed, LOAD_S, PEAK_USERS)
	@$(VENV)/bin/locust -f bench/locustfile.py --headless --only-summary --host $(TARGET) \
	  --scenario $(SCENARIO) --load-s $(LOAD_S) --peak-users $(PEAK_USERS)

.PHONY: clean
clean: ## remove what was built and installed here
	rm -rf $(VENV) build var bench/out node_modules
