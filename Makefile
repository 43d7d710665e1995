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
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

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
test-asan test-tsan: test-%: $(VENV)/.system
	@echo "==> C++ tests under $*"
	@cmake --preset $* >build-$*.log 2>&1 || { cat build-$*.log; exit 1; }
	@cmake --build --preset $* -j $(JOBS) >build-$*.log 2>&1 || { cat build-$*.log; exit 1; }
	@rm -f build-$*.log
	@build/$*/floodgate_tests --gtest_brief=1

.PHONY: test-python
test-python: setup ## Python tests, the real Triton included
	@echo "==> Python tests"
	@$(PY) -m pytest $(PYTEST_ARGS)

# ---------------------------------------------------------------- for developers

.PHONY: lint
lint: $(VENV)/.core ## formatting, lint, types, layers, proto
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" scripts/lint

.PHONY: fmt
fmt: $(VENV)/.python ## format everything
	@$(VENV)/bin/ruff format -q . && $(VENV)/bin/ruff check -q --fix . || true
	@clang-format -i $$(git ls-files 'cpp/*.cc' 'cpp/*.h' 'cpp/*.cu' 'cpp/*.cuh' 'tests/cpp/*.cc' 'tests/cpp/*.h')

.PHONY: bench
bench: setup ## list the benchmarks; NAME=frontend runs one and writes bench/out/frontend.json
	@$(PY) -m bench $(NAME)

.PHONY: clean
clean: ## remove what was built and installed here
	rm -rf $(VENV) build var bench/out node_modules
