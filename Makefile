# Labelmill's verbs. `make help` lists them.
PYTHON ?= python3
# Where setup installs; .ci/run has a second one.
VENV := .venv
BIN := $(VENV)/bin
# Where test-model installs the server with a language model. Its part that looks at pictures, a quarter of the build, is left out.
MODEL_VENV := .venv-model
# Where the servers of objects are installed that the tests run against; those that are npm's only where there is npm.
STORES_VENV := .venv-stores
STORES_NPM := tests/servers/npm/package.json tests/servers/npm/package-lock.json
# The Python that has curator, for `make bench`; its figures are left out where there is none.
CURATOR ?= $(wildcard .venv-curator/bin/python)
SHELL := /bin/bash
.DEFAULT_GOAL := help
export PIP_DISABLE_PIP_VERSION_CHECK = 1
# Compiled files are kept whatever the shell says: the tests start hundreds of processes, and each would compile all of it anew.
export PYTHONDONTWRITEBYTECODE =
# More processes than cores: a third of a test's time is spent waiting for a server or for the disk.
TEST := $(BIN)/python -m pytest --numprocesses 4 --dist worksteal

# pip says nothing for a minute and more: every few seconds somebody else says that it goes on, for as long as make waits for it.
EVERY := 5
INSTALL = ( while sleep $(EVERY) > /dev/null 2>&1 && kill -0 $$$$ 2> /dev/null; do \
	found=($(VENV)/lib/python*/site-packages/*.dist-info); installed=$${\#found[@]}; \
	[ $$installed -gt 5 ] && said="$$installed packages are installed" || said=downloading; \
	echo "  $$SECONDS s: $$said"; done ) & \
	trap "kill $$!" EXIT; $(BIN)/python -m pip install --quiet

.PHONY: help setup demo up down test test-core test-fast test-system test-model coverage screenshots check format docs bench lock clean

help: ## list the verbs
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

setup: $(VENV)/installed ## make .venv with everything locked, and .venv/bin/labelmill

$(VENV)/dependencies: requirements-dev.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v >= (3, 11) else "Labelmill needs Python 3.11 or newer; %s is %d.%d. Name another with: make setup PYTHON=python3.12" % (sys.executable, *v))'
	@echo "Setting up $(VENV) (a minute or two, the first time only) ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(INSTALL) --require-hashes --no-deps --requirement requirements-dev.lock
	@touch $@

$(VENV)/installed: $(VENV)/dependencies pyproject.toml
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup ## label the sample in data/ with the practice provider: no key, no cost
	@$(BIN)/labelmill demo

up: setup ## start all that a daily job needs on this machine: server, UI, worker, deployments
	@$(BIN)/labelmill up

down: setup ## stop what make up started
	@$(BIN)/labelmill down

test: setup $(STORES_VENV)/installed ## run every test but the system's and the model's; nothing can spend money or leave this machine
	@$(TEST) -m "not system and not model"

test-core: setup $(STORES_VENV)/installed ## run all tests of the core and of the practice provider, which know nothing of Prefect
	@$(TEST) -m "not system" tests/labelmill tests/practice

test-fast: setup ## run the core's tests without whole runs and what else takes seconds: a minute
	@$(TEST) -m "not system and not slow" --ignore tests/labelmill/pipeline tests/labelmill tests/practice

test-system: setup $(STORES_VENV)/installed ## run the tests that start servers on this machine as a person would
	@$(BIN)/python -m pytest -m system

$(STORES_VENV)/installed: requirements-stores.lock $(STORES_NPM) | $(VENV)/installed
	@echo "Installing servers of objects for the tests in $(STORES_VENV) (half a minute, the first time only) ..."
	@$(PYTHON) -m venv --clear --without-pip $(STORES_VENV)
	@$(BIN)/uv pip install --quiet --python $(STORES_VENV)/bin/python --require-hashes --no-deps --requirement requirements-stores.lock
	@if command -v npm > /dev/null; then cp $(STORES_NPM) $(STORES_VENV)/ && \
		npm ci --prefix $(STORES_VENV) --ignore-scripts --no-audit --no-fund --loglevel=error; \
	else echo "There is no npm on this machine: the tests of Azure and of a store without conditions are skipped."; fi
	@touch $@

$(MODEL_VENV)/installed: requirements-model.lock | $(VENV)/installed
	@echo "Building a server with a language model in $(MODEL_VENV) (about 8 minutes on two cores, the first time only) ..."
	@$(PYTHON) -m venv --clear --without-pip $(MODEL_VENV)
	@CMAKE_ARGS=-DLLAVA_BUILD=OFF $(BIN)/uv pip install --quiet --python $(MODEL_VENV)/bin/python --require-hashes --no-deps \
		--build-constraints requirements-model.lock --requirement requirements-model.lock
	@touch $@

test-model: setup $(MODEL_VENV)/installed ## run the tests that label with a real language model; builds its server first
	@LABELMILL_REQUIRE_MODEL=1 $(BIN)/python -m pytest -m model

coverage: setup $(STORES_VENV)/installed ## run make test's tests and print the share of lines and branches that they reach
	@$(TEST) -m "not system and not model" --cov --cov-report=term

screenshots: setup ## take the pictures of the README anew, with Chromium; the paths they show are below /srv
	@rm -rf /srv/labelmill-demo
	@LABELMILL_REQUIRE_SYSTEM=1 LABELMILL_SCREENSHOTS=docs LABELMILL_SCREENSHOTS_JOB=/srv/labelmill-demo \
		$(BIN)/python -m pytest -m system tests/system/test_browser.py

check: setup ## lint, formatting, strict types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: setup ## apply the formatter and the safe fixes
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: setup ## write docs/job.md anew from the job's model
	@$(BIN)/python -m labelmill.check.reference > docs/job.md.new && mv docs/job.md.new docs/job.md

bench: setup ## measure Labelmill beside what people would write themselves, and write docs/benchmarks.md; FULL=1 takes two hours
	@LABELMILL_BENCH_CURATOR=$(CURATOR) $(BIN)/python benchmarks/table.py $(if $(FULL),--full) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(ONLY),--only $(ONLY))

lock: setup ## add new dependencies to the lock files; UPGRADE=1 resolves all of them anew
	@$(BIN)/uv pip compile --quiet $(if $(UPGRADE),--upgrade) --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-strip-extras \
		--custom-compile-command 'make lock' pyproject.toml --output-file requirements.lock
	@$(BIN)/uv pip compile --quiet $(if $(UPGRADE),--upgrade) --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-strip-extras \
		--custom-compile-command 'make lock' --group dev --extra langasync --extra anthropic --extra google --extra stores --extra dask pyproject.toml --constraint requirements.lock \
		--output-file requirements-dev.lock
	@$(BIN)/uv pip compile --quiet $(if $(UPGRADE),--upgrade) --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-strip-extras \
		--custom-compile-command 'make lock' --group model --output-file requirements-model.lock
	@$(BIN)/uv pip compile --quiet $(if $(UPGRADE),--upgrade) --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-strip-extras \
		--custom-compile-command 'make lock' --group stores-servers --output-file requirements-stores.lock
	@npm install --prefix tests/servers/npm --package-lock-only --omit-lockfile-registry-resolved --ignore-scripts --no-audit --no-fund --loglevel=error

clean: ## remove what the demo and the tests leave
	@rm -rf out .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.*
