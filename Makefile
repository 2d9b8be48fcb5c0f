# drivebay: `make serve` and `make test` set up whatever they need.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
TIME ?= 600
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup serve test check format crash property bench bench-quick lock clean

help:  ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.run  ## prepare .venv with the service and the command line

serve: $(VENV)/.run  ## run the service; ARGS="--http 0.0.0.0:8080" reaches it
	@exec $(BIN)/drivebay serve $(ARGS)

test: $(VENV)/.test  ## run every test; ARGS="-k name" chooses
	$(BIN)/pytest $(ARGS)

check: $(VENV)/.test  ## format, lint, types, imports and the fast tests: under a minute
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy --no-error-summary
	$(BIN)/lint-imports --no-logo --show-timings > $(VENV)/imports.log || { cat $(VENV)/imports.log; exit 1; }
	$(BIN)/pytest --quiet tests/unit tests/docs -m "not live"

format: $(VENV)/.test  ## format the code and mend what the linter can
	$(BIN)/ruff check --quiet --fix .
	$(BIN)/ruff format --quiet .

crash: $(VENV)/.test  ## kill the service under load for TIME seconds
	DRIVEBAY_CRASH_SECONDS=$(TIME) $(BIN)/pytest tests/faults/test_kill.py

property: $(VENV)/.test  ## compare the API with its model over ten times as many histories
	DRIVEBAY_PROPERTY_EXAMPLES=1000 $(BIN)/pytest tests/property

bench: $(VENV)/.bench  ## measure every row against the neighbours; ARGS="--only ROW" chooses
	$(BIN)/python -m bench $(ARGS)

bench-quick: $(VENV)/.bench  ## the main ratios, in under two minutes
	$(BIN)/python -m bench --quick $(ARGS)

lock: $(VENV)/.test  ## pin the newest versions that pyproject.toml allows, with hashes
	requirements/lock $(BIN)/python

clean:  ## remove all that was made here; data folders stay
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -rf src/*.egg-info src/drivebay/storage/_xts*.so
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "drivebay needs Python 3.11 or newer; name one with make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The editable install builds the C extension where there is a compiler, and goes on where not.
$(VENV)/.run: requirements/build.txt requirements/run.txt pyproject.toml setup.py $(wildcard src/drivebay/storage/*.[ch]) | $(BIN)/python
	$(PIP) install --require-hashes -r requirements/build.txt -r requirements/run.txt
	$(PIP) install --no-deps --no-build-isolation --editable .
	@$(BIN)/python -c 'from drivebay.storage.crypt import is_native; print("encryption: native loop" if \
	  is_native() else "encryption: portable (slower; with a C compiler, run make clean setup)")'
	@touch $@

$(VENV)/.test: $(VENV)/.run requirements/test.txt
	$(PIP) install --require-hashes -r requirements/test.txt
	@touch $@

# What cannot be built here is a peer or a plot that will be missing, and named.
$(VENV)/.bench: $(VENV)/.run requirements/bench.txt
	$(PIP) install --no-build-isolation --require-hashes -r requirements/bench.txt || \
	  echo "bench: not everything in requirements/bench.txt could be installed"
	@touch $@
