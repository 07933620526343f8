# make demo and make test need only Python 3.11+, make and git; each sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TOOLS := .venv-release
SHELL := /bin/sh
# Tests mostly wait for processes and sockets, so more than one to a core; not so many that they
# starve one another.
JOBS ?= 5
TIMED_JOBS ?= 3

.PHONY: demo test test-fast check lint types layers wheel lock audit release bench clean

demo: $(VENV)/.ready
	@$(BIN)/rollout-console demo

# The unit tests that are not slow: what to run after each edit.
test-fast: $(VENV)/.ready-dev
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "unit and not slow"

# Tests that assert real time run last, a few at a time: they would measure the load of the others.
test: $(VENV)/.ready-dev
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not timed"
	$(BIN)/python -m pytest -n $(TIMED_JOBS) --dist load -m timed

check: lint types layers test wheel

lint: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.ready-dev
	$(BIN)/mypy

layers: $(VENV)/.ready-dev
	$(BIN)/lint-imports

# Build the wheel, install it in a fresh environment, and run the main job from there.
wheel: $(VENV)/.ready-dev
	sh tests/support/wheel_check.sh $(BIN)/python
	sh tests/support/gate_wheel_check.sh $(BIN)/python
	$(BIN)/python tests/support/distributions_check.py

# Renew every pinned version; LOCK= keeps those that still fit.
LOCK ?= --upgrade
COMPILE = $(TOOLS)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-annotate --no-emit-index-url --no-emit-package rollout-gate --custom-compile-command "make lock" $(LOCK)
lock: $(TOOLS)/.ready
	$(COMPILE) pyproject.toml --output-file requirements/console.txt
	$(COMPILE) --group build --output-file requirements/build.txt
	$(COMPILE) pyproject.toml --extra web --output-file requirements/web.txt
	$(COMPILE) pyproject.toml --extra web --group dev --output-file requirements/dev.txt
	$(COMPILE) --group release --output-file requirements/release.txt

# Known vulnerabilities in what is locked, where the package index answers for them.
audit: $(TOOLS)/.ready
	for file in console web build dev release; do $(TOOLS)/bin/pip-audit --strict --disable-pip --require-hashes --requirement requirements/$$file.txt || exit 1; done

# Both wheels and source archives, byte for byte the same wherever they are built, with an SBOM.
release: $(VENV)/.ready-dev $(TOOLS)/.ready
	$(BIN)/python -m tests.support.release $(TOOLS)/bin/cyclonedx-py

bench: $(VENV)/.ready-dev
	$(BIN)/python -m tests.benchmarks

clean:
	rm -rf $(VENV) $(TOOLS) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("rollout-console needs Python 3.11 or newer; set PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

# Hashes of all that is installed are in requirements/; what has none is refused.
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps
PROJECT = --no-build-isolation --editable ./gate --editable .
METADATA = pyproject.toml gate/pyproject.toml gate/rollout_gate/version.py

$(VENV)/.ready: requirements/console.txt requirements/build.txt $(METADATA) | $(VENV)/bin/python
	$(INSTALL) --require-hashes --requirement requirements/console.txt --requirement requirements/build.txt
	$(INSTALL) $(PROJECT)
	@touch $@

$(VENV)/.ready-dev: requirements/dev.txt $(METADATA) | $(VENV)/bin/python
	$(INSTALL) --require-hashes --requirement requirements/dev.txt
	$(INSTALL) $(PROJECT)
	@touch $@ $(VENV)/.ready

$(TOOLS)/.ready: requirements/release.txt | $(VENV)/bin/python
	$(BIN)/python -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement requirements/release.txt
	@touch $@
