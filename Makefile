# make catalog REGION=europe   from nothing to catalogs/eu.parquet
# make test                    from nothing to a green test run

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.installed

# what `make catalog` passes on, where it is given
OPTIONS = $(if $(REGION),--region '$(REGION)') $(if $(BUDGET),--budget '$(BUDGET)') \
          $(if $(ARCHIVE),--archive '$(ARCHIVE)') $(if $(RECIPE),--recipe '$(RECIPE)')

.DEFAULT_GOAL := help
.PHONY: help install catalog test lint test-slow test-real test-gpu docs clean

help: ## show this
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20
	@echo; echo '  REGION, BUDGET, ARCHIVE and RECIPE go to `make catalog`: make catalog REGION=DE BUDGET=250k'

install: $(READY) ## create .venv with all that both programs and the tests need

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

catalog: $(READY) ## make catalogs/<region>.parquet; REGION=europe by default
	$(BIN)/curate catalog $(OPTIONS)

lint: $(READY) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint ## lint, then the tests that run anywhere in a few minutes
	$(BIN)/pytest -n 2 -q

test-slow: $(READY) ## the tests that take longer
	$(BIN)/pytest -q -m slow --slow

test-real: $(READY) ## the tests on real scenes (CURATE_REAL_DATA)
	$(BIN)/pytest -q -m real --slow

test-gpu: $(READY) ## the tests on a CUDA device
	$(BIN)/pytest -q -m gpu --slow

docs: $(READY) ## the documentation as a site, build/site
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[docs]'
	PYTHONPATH=. $(BIN)/mkdocs build

clean: ## remove what the tools made; catalogs stay
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
