# Verbs only: what each does is in scripts/ and in the `haas` command.
.DEFAULT_GOAL := help
.PHONY: help setup demo test chaos down up bench bench-up bench-demo bench-idle bench-api bench-append bench-memory bench-planner gen check lint fmt
MAKEFLAGS += --no-print-directory

PYTHON := $(firstword $(foreach name,python3 python3.11 python3.12 python3.13 python3.14,$(shell command -v $(name) 2>/dev/null)))
RUN := .venv/bin/python
HAAS := .venv/bin/haas
JOBS ?= 2

ifeq ($(PYTHON),)
bootstrap = @echo 'set-up: Python 3.11 or newer is missing: apt-get install python3 python3-venv' >&2; exit 1;
else
bootstrap = @$(PYTHON) scripts/bootstrap.py
endif

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1|/p' Makefile | awk -F'|' '{printf "%-14s %s\n", $$1, $$2}'

setup: ## Make .venv with everything the fleet needs
	$(bootstrap) server

demo: setup ## Start the fleet and run the main job on real input
	@$(HAAS) demo

up: setup ## Start the fleet in the background
	@$(HAAS) up --detach

down: ## Stop the fleet
	@if [ -x $(HAAS) ]; then $(HAAS) down; fi

test: ## Set up and run every test
	$(bootstrap) dev
	@$(RUN) -m pytest -q -n $(JOBS) --dist loadgroup

chaos: ## Kill parts of the fleet under 100 plans of 1,000 tasks (ROUNDS, SEED)
	$(bootstrap) dev
	@HAAS_CHAOS_ROUNDS=$(or $(ROUNDS),100) HAAS_CHAOS_SEED=$(or $(SEED),1) $(RUN) -m pytest -q -n 0 tests/chaos/test_storm.py

bench: ## Measure the figures of the README
	$(bootstrap) dev
	@$(RUN) -m pip install --quiet --require-hashes --no-deps -r requirements/bench.lock
	@$(RUN) -m tests.load $(if $(WRITE),--write)

bench-up bench-demo bench-idle bench-api bench-append: # One of them alone
	$(bootstrap) dev
	@$(RUN) -m tests.load $(@:bench-%=%)

bench-memory: # The history's, beside a peer that nothing else here needs
	$(bootstrap) dev
	@$(RUN) -m pip install --quiet --require-hashes --no-deps -r requirements/bench.lock
	@$(RUN) -m tests.load memory

bench-planner: # The engine's, beside the peers that nothing else here needs
	$(bootstrap) dev
	@$(RUN) -m pip install --quiet --require-hashes --no-deps -r requirements/bench.lock
	@$(RUN) -m tests.load planner

gen: ## Generate the code that proto/ describes
	$(bootstrap) dev
	@$(RUN) scripts/generate.py
	@$(RUN) scripts/openapi.py
	@$(RUN) scripts/docs.py

lint: ## Check style
	$(bootstrap) dev
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .

check: lint ## Check style and the house's rules
	@$(RUN) -m pytest -q -n $(JOBS) tests/house

fmt: ## Put the code into the house's style
	$(bootstrap) dev
	@$(RUN) -m ruff check --fix-only --quiet .
	@$(RUN) -m ruff format --quiet .
