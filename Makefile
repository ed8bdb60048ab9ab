# Needs nothing but make and a Python from 3.11 on with its venv module; see `make help`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Passed on by the targets that say so: make demo ARGS='--rows 5000 --once'
ARGS ?=
# Many tests wait for each other's processes, so there may be more of them than cores.
JOBS ?= 5
PARALLEL = --numprocesses=$(JOBS) --dist=loadgroup

PYTHON_VERSION := $(shell $(PYTHON) -c 'import platform, sys; \
	print(platform.python_version() if sys.version_info >= (3, 11) else "old")')
# Stamps: an environment is made again when the Python is another one, and filled again when
# pyproject.toml has changed.
MADE := $(VENV)/.python-$(PYTHON_VERSION)
FOR_DEMO := $(VENV)/.installed-demo
FOR_DEVELOPMENT := $(VENV)/.installed-dev
FOR_PEERS := $(VENV)/.installed-peers

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
export PIP_NO_INPUT := 1
# Whatever the caller's shell is set up for, this environment stands alone.
unexport PYTHONHOME PYTHONPATH PIP_USER PIP_TARGET VIRTUAL_ENV
# Hundreds of processes are started by the tests, and each would compile all modules for itself.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

.PHONY: demo
demo: $(FOR_DEMO) ## process a warehouse of a million products, live (ARGS: its options)
	@$(BIN)/breakbulk demo $(ARGS)

.PHONY: test
test: $(FOR_DEVELOPMENT) ## run the tests, but for thorough, soak and outside (JOBS at a time, ARGS: pytest's options)
	@$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

.PHONY: check
check: lint types architecture unit ## run what is quick: lint, types, architecture, unit tests; the others: make test

.PHONY: lint
lint: $(FOR_DEVELOPMENT) ## check format and style
	@$(BIN)/ruff format --check --quiet || { echo "Not formatted; run: make format"; exit 1; }
	@$(BIN)/ruff check

.PHONY: format
format: $(FOR_DEVELOPMENT) ## format all files
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix --exit-zero --quiet

.PHONY: types
types: $(FOR_DEVELOPMENT) ## check types
	@$(BIN)/mypy

.PHONY: architecture
architecture: $(FOR_DEVELOPMENT) ## check who may import whom
	@$(BIN)/lint-imports

.PHONY: unit
unit: $(FOR_DEVELOPMENT) ## run the tests that need no server (JOBS and ARGS as above)
	@$(BIN)/python -m pytest $(PARALLEL) tests/unit $(ARGS)

.PHONY: thorough
thorough: $(FOR_DEVELOPMENT) ## run the tests that CI runs besides: every combination (JOBS and ARGS as above)
	@$(BIN)/python -m pytest $(PARALLEL) -m thorough $(ARGS)

.PHONY: soak
soak: $(FOR_DEVELOPMENT) ## run the tests that take long (ARGS: pytest's options)
	@$(BIN)/python -m pytest -m soak $(ARGS)

.PHONY: mutants
mutants: $(FOR_DEVELOPMENT) ## take away one guard at a time; each must turn a test red (ARGS: its options)
	@$(BIN)/python -m tests.mutants $(ARGS)

.PHONY: outside
outside: $(FOR_DEVELOPMENT) ## run the scenarios of Celery's chord against it and ours (ARGS)
	@BREAKBULK_OUTSIDE=bench/results/outside.json \
		$(BIN)/python -m pytest tests/outside -m 'outside or not outside' $(ARGS)

.PHONY: bench
bench: $(FOR_DEVELOPMENT) ## measure against the limits; 20 minutes (ARGS: its options)
	@$(BIN)/python -m bench $(or $(ARGS),--json bench/results/bench.json)

.PHONY: bench-long
bench-long: $(FOR_DEVELOPMENT) ## measure what takes its time: chords, a p99, a drift; half an hour (ARGS)
	@$(BIN)/python -m bench canvas gentle auto $(or $(ARGS),--json bench/results/long.json)

.PHONY: bench-latency
bench-latency: $(FOR_DEVELOPMENT) ## measure latency over 100,000,000 rows, 7 GB of disk; 15 minutes (ARGS)
	@$(BIN)/python -m bench latency --rows 100000000 $(or $(ARGS),--json bench/results/latency.json)

.PHONY: bench-peers
bench-peers: $(FOR_PEERS) ## give nine others the same work; an hour (ARGS)
	@$(BIN)/python -m bench peers $(or $(ARGS),--json bench/results/peers.json)

.PHONY: bench-faults
bench-faults: $(FOR_PEERS) ## strike Breakbulk and its peers with the same faults; an hour (ARGS)
	@$(BIN)/python -m bench faults $(or $(ARGS),--json bench/results/faults.json)

.PHONY: clean
clean: ## remove the environment and everything generated
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache \
		.hypothesis
	rm -rf examples/*/*.egg-info examples/*/*.sqlite*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.python-:
	@echo "There is no $(PYTHON); name another one: make PYTHON=python3.12 ..." >&2; exit 1

$(VENV)/.python-old:
	@echo "Breakbulk needs Python 3.11 or newer; name one: make PYTHON=python3.12 ..." >&2; exit 1

$(VENV)/.python-%:
	@echo "Making the environment $(VENV) with Python $* ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(FOR_DEMO): pyproject.toml $(MADE)
	@echo "Installing what the demo needs ..."
	@$(BIN)/python -m pip install --quiet --editable '.[demo]'
	@touch $@

$(FOR_DEVELOPMENT): pyproject.toml examples/pyramid_shop/pyproject.toml $(MADE)
	@echo "Installing what the tests need ..."
	@$(BIN)/python -m pip install --quiet --editable '.[dev]' --editable examples/pyramid_shop
	@touch $@

$(FOR_PEERS): $(FOR_DEVELOPMENT)
	@echo "Installing what Breakbulk is compared with ..."
	@$(BIN)/python -m pip install --quiet --editable '.[dev,peers]'
	@touch $@
