# A fresh machine needs Python 3.11 or later and make. Every target that needs packages installs them into .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A fixed version of uv, not the one on the PATH: another version may resolve, audit or describe the lock differently.
UV_VERSION := 0.13.9
UV := $(BIN)/uv
PORT ?= 3000
# Only their owner can read Dagster's history and the warehouse. With make dev UMASK=027 the group can read new files.
UMASK ?= 077
export UMASK
# An empty DAGSTER_HOME is that of the project, .dagster, whatever the shell has.
DEMO_ENV := DAGSTER_HOME= $(if $(DIALECT),SOURCES__ANALYTICS__DIALECT=$(DIALECT))

# `make demo` loads the demo API into its own file, whatever .dlt configures.
DEMO_ONLY := SOURCES__ANALYTICS__BASE_URL=demo DESTINATION_TYPE=$(or $(DESTINATION_TYPE),duckdb) \
  DESTINATION__DUCKDB__CREDENTIALS=$(or $(DESTINATION__DUCKDB__CREDENTIALS),data/demo.duckdb)

.DEFAULT_GOAL := help
.PHONY: help install demo dev test test-latest check audit sbom faults week scale tour bench clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

install: $(VENV)/.installed ## install the locked packages into .venv

$(VENV)/.installed: pyproject.toml uv.lock Makefile
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' || \
	  { echo "Python 3.11 to 3.14 is needed; name one: make PYTHON=python3.12 ..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test "$$($(UV) self version --short 2>&1)" = $(UV_VERSION) || \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@echo "Installing the locked packages into $(VENV), which takes minutes the first time ..."
	@UV_PROJECT_ENVIRONMENT=$(VENV) $(UV) sync --quiet --locked --extra dev --compile-bytecode --python $(BIN)/python --inexact
	@touch $@

demo: install ## load the built-in demo API into DuckDB through Dagster (DIALECT=ninjaone for that wire format)
	$(DEMO_ENV) $(DEMO_ONLY) $(BIN)/python -m analytics_assets sync

dev: install ## run Dagster's UI on http://localhost:3000 (PORT=3001 for another port)
	$(DEMO_ENV) $(BIN)/python -m analytics_assets dev --port $(PORT)

# Four at a time, on two cores too: many tests wait for servers and processes most of their time.
test: install ## run the whole test suite, four tests at a time
	$(BIN)/python -m pytest -n 4 --dist worksteal

check: install ## check format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# uv exits with 1 if it found a vulnerability, and with 2 if it could not ask the database.
audit: install ## ask the OSV database, over the network, for known vulnerabilities of the locked packages
	@$(UV) audit --locked --preview-features audit-command; status=$$?; test $$status -ne 2 || \
	  echo "Not audited: uv could not ask the OSV database. Its message above says why."; exit $$status

sbom: install ## list the locked packages of a deployment in dist/sbom.cdx.json (CycloneDX)
	@mkdir -p dist
	$(UV) export --quiet --locked --extra alerts --extra distributed --preview-features sbom-export --format cyclonedx1.5 -o dist/sbom.cdx.json

test-latest: install ## run the suite on the newest Dagster, with dagster-dlt instead of dagster-embedded-elt
	UV="$(CURDIR)/$(UV)" $(BIN)/python -m tools.latest

faults: install ## inject faults, count what was lost, and write docs/reliability.md
	$(BIN)/python -m tools.faults

week: install ## live through a week of hourly syncs with faults, and write it into docs/reliability.md (an hour; root on Linux)
	$(BIN)/python -m tools.week

scale: install ## backfill up to 10,000,000 rows on two hosts, and write docs/scale.md (an hour; root on Linux)
	$(BIN)/python -m tools.scale $(ARGS)

tour: install ## click through the UI in Chromium, assert what it shows, and write docs/tour.md with its pictures
	$(BIN)/python -m tools.tour

bench: install ## compare speed and memory with plain dlt and a floor, and write docs/performance.md (an hour; ARGS="--peers": other tools)
	UV_PROJECT_ENVIRONMENT=$(VENV) $(UV) sync --quiet --locked --extra dev --extra bench --compile-bytecode --python $(BIN)/python --inexact
	$(BIN)/python -m benchmarks $(ARGS)

clean: ## remove everything that make has created, all of data/ included
	rm -rf $(VENV) .dagster data dist .pytest_cache .mypy_cache .ruff_cache
