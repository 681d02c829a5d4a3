# The targets a person calls; CI calls the same ones.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
RUN_STAMP := .venv/installed-run
DEV_STAMP := .venv/installed-dev
SECRET := var/secret_key
# Not in the lock: its own dependencies do not belong to the project.
AUDIT := .venv/audit
PIP_AUDIT := pip-audit==2.10.1
# Installs what the tests need in a third of pip's time; where it finds no index, pip does it. Without configuration:
# the constraints in pyproject.toml are for the lock.
UV := requirements/uv.txt
SIZES ?=
BENCH ?=
PYTEST ?=
# The tests run in parts, side by side, and some tests of a part as well: most of them wait for processes.
# What stays together is in tests/conftest.py. With PYTEST="-k name" a part may have none.
# Without make's own flags: a test's `make up` would keep its output to itself until its end. And whatever the shell
# says, compiled modules are kept: the tests start hundreds of processes.
pytest = env -u PYTHONDONTWRITEBYTECODE -u MAKEFLAGS -u MFLAGS -u MAKELEVEL $(BIN)/python -m pytest
tests_in = $(pytest) -n $(1) --dist loadfile $(2) $(PYTEST) $(if $(PYTEST),|| [ $$? -eq 5 ])
# Every process that runs tests would import the plugins of those in a browser or in containers.
NO_BROWSER := -p no:playwright
NO_CONTAINERS := -p no:celery -p no:docker_tools
beside_each_other = $(MAKE) --no-print-directory --keep-going --jobs
side_by_side = $(beside_each_other) --output-sync=target
# A container that comes or goes changes the machine's network, upon which Chromium gives up what it is loading:
# those with containers come after those in a browser. Integration tests take as long as both.
PARTS := test-integration test-browser
PARTS_AFTER_BROWSER := test-quick test-postgres test-containers

.PHONY: help up setup venv dev collect demo-data test $(PARTS) $(PARTS_AFTER_BROWSER) first-lane second-lane bench lint format lock audit clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: venv  ## Set up and run the service: web, worker, beat and an embedded Redis (PORT=8000)
	@exec $(BIN)/python -m proj.up

setup: venv
	@$(BIN)/python manage.py jobledger setup --admin --admin-password-file var/admin_password

venv: $(RUN_STAMP) $(SECRET)  ## Set up .venv, and the secret key in var/

dev: $(DEV_STAMP) $(SECRET)  ## Set up .venv with what tests and lint need

# Compiles what otherwise each of the processes that run tests would compile. What it cannot import, they report.
collect: dev
	@$(pytest) --collect-only --quiet $(NO_BROWSER) $(NO_CONTAINERS) tests/unit tests/integration >/dev/null || true

demo-data: setup  ## Fill in realistic rows for the sample jobs (SIZES="--users 2000 --tokens 5000 --orders 20000")
	@$(BIN)/python manage.py demo_data $(SIZES)

test: dev  ## Run every test that can run on this machine (PYTEST="-k name")
	@echo "Running $(PARTS), and after the latter $(PARTS_AFTER_BROWSER); each is shown when it is over"
	@$(beside_each_other) first-lane second-lane

first-lane:
	@$(side_by_side) test-integration

second-lane:
	@status=0; for parts in test-browser "$(PARTS_AFTER_BROWSER)"; do $(side_by_side) $$parts || status=$$?; done; exit $$status

test-quick: dev  ## Run the unit tests only
	@$(call tests_in,2,$(NO_BROWSER) $(NO_CONTAINERS) tests/unit)

test-integration: dev
	@$(call tests_in,4,$(NO_BROWSER) $(NO_CONTAINERS) tests/integration)

test-browser: dev
	@$(call tests_in,2,$(NO_CONTAINERS) tests/e2e/browser)

test-containers: dev
	@$(call tests_in,2,$(NO_BROWSER) tests/e2e/containers)

# What a database can change (tests/databases.py); all the rest once, on SQLite.
test-postgres: dev
	@$(BIN)/python -m tests.with_postgres $(call tests_in,2,$(NO_BROWSER) $(NO_CONTAINERS) -m "(django_db and not one_database) or every_database" tests/unit tests/integration)

bench: venv  ## Measure the service beside what it replaces (BENCH="pages --json")
	@$(BIN)/python -m benchmarks $(BENCH)

lint: dev  ## Check style, types, migrations and the project itself
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python manage.py makemigrations --check --dry-run
	@$(BIN)/python manage.py check --fail-level WARNING

format: dev  ## Format the code
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

lock: .venv/bin/python  ## Renew the hash-locked requirements from pyproject.toml
	@$(BIN)/pip install --quiet --require-hashes --requirement $(UV)
	@$(BIN)/uv pip compile pyproject.toml --extra alerts --extra api --extra holidays --extra ical --extra sentry --extra logs --extra server --extra solar --extra tasks --extra tracing --extra yaml --group project --universal --python-version 3.11 \
		--generate-hashes --upgrade \
		--quiet --custom-compile-command "make lock" --output-file requirements/run.txt
	@$(BIN)/uv pip compile pyproject.toml --extra alerts --extra api --extra holidays --extra ical --extra sentry --extra logs --extra server --extra solar --extra tasks --extra tracing --extra yaml --group dev --constraint requirements/run.txt --universal \
		--python-version 3.11 --generate-hashes --upgrade \
		--quiet --custom-compile-command "make lock" --output-file requirements/dev.txt
	@echo uv | $(BIN)/uv pip compile - --no-config --universal --python-version 3.11 --generate-hashes --upgrade --no-annotate \
		--quiet --custom-compile-command "make lock" --output-file $(UV)

# Strict, since pip-audit otherwise succeeds without a package's data. Not part of `make test`: its result can change
# without a change here.
audit: $(AUDIT)/bin/pip-audit  ## Look up known vulnerabilities of the locked packages
	@$< --strict --disable-pip --require-hashes --progress-spinner off \
		--requirement requirements/run.txt --requirement requirements/dev.txt --requirement $(UV) \
		|| { echo "The audit failed: packages listed above are vulnerable; if none are, the vulnerability data of the public package index could not be had." >&2; exit 1; }

clean:  ## Remove .venv and caches (var/, with the database, stays)
	@rm -rf .venv staticfiles .mypy_cache .pytest_cache .ruff_cache .hypothesis

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed, this is " + sys.version.split()[0] + ": call make with PYTHON=python3.13, for example.")'
	@$(PYTHON) -m venv .venv || { rm -rf .venv; echo "A virtual environment cannot be made: on Debian, apt install python3-venv" >&2; exit 1; }

$(RUN_STAMP): requirements/run.txt | .venv/bin/python
	@echo "Installing what the service needs into .venv"
	@$(BIN)/pip install -qq --disable-pip-version-check --require-hashes --requirement $<
	@touch $@

$(DEV_STAMP): requirements/dev.txt $(UV) | .venv/bin/python
	@echo "Installing what the service and its tests need into .venv"
	@{ $(BIN)/pip install -qq --disable-pip-version-check --require-hashes --requirement $(UV) && \
		$(BIN)/uv pip install --no-config --quiet --python $(BIN)/python --compile-bytecode --require-hashes --requirement requirements/dev.txt; } || \
		$(BIN)/pip install -qq --disable-pip-version-check --require-hashes --requirement requirements/dev.txt
	@touch $@ $(RUN_STAMP)

$(AUDIT)/bin/pip-audit: Makefile | .venv/bin/python
	@echo "Installing $(PIP_AUDIT) into $(AUDIT)"
	@$(BIN)/python -m venv $(AUDIT)
	@$(AUDIT)/bin/pip install -qq --disable-pip-version-check $(PIP_AUDIT)
	@touch $@

$(SECRET): | $(RUN_STAMP)
	@$(BIN)/python -m proj.generate_secrets var secret_key
