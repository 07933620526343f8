# make demo and make test need only Python 3.11+, make and git; each sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SHELL := /bin/sh
# Tests mostly wait for processes and sockets, so more than one to a core; not so many that they
# starve one another.
JOBS ?= 3

.PHONY: demo test check lint types layers wheel bench clean

demo: $(VENV)/.ready
	@$(BIN)/rollout-console demo

test: $(VENV)/.ready-dev
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

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

bench: $(VENV)/.ready-dev
	$(BIN)/python -m tests.benchmarks

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("rollout-console needs Python 3.11 or newer; set PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.ready: pyproject.toml gate/pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable ./gate --editable .
	@touch $@

$(VENV)/.ready-dev: pyproject.toml gate/pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable './gate[openfeature]' --editable '.[dev]'
	@touch $@ $(VENV)/.ready
