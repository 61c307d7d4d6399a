# The environment is created once and updated whenever pyproject.toml changes.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.installed
# one process more than cores, because some tests wait for processes that they start
TESTS := -n $(shell n=$$(getconf _NPROCESSORS_ONLN); echo $$((n < 3 ? n + 1 : 4))) --dist loadfile --no-loadscope-reorder
QUICK := -n $(shell n=$$(getconf _NPROCESSORS_ONLN); echo $$((n < 4 ? n : 4))) --dist loadfile --no-loadscope-reorder

# tests start many processes, each of which would compile all modules without the files that this variable forbids
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help bench test test-quick check format docs wheel
.DEFAULT_GOAL := help

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## */\t/' | expand -t 14

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("resnet-zoo needs Python 3.11 or newer: make PYTHON=python3.12 …")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

bench: $(READY)  ## measure accuracy, speed and memory of the three tasks on built-in data, offline, in minutes
	HF_HUB_OFFLINE=1 $(BIN)/zoo bench quick --fresh

test: $(READY)  ## run all tests, in up to four processes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(TESTS)

test-quick: $(READY)  ## run the tests without training, compiler, subprocess, database or browser, in a minute
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --quick -m "not slow" -q $(QUICK)

check: $(READY)  ## run everything that CI requires: format, lint, types, dependencies, documentation, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy docs/examples/*/*.py
	$(BIN)/deptry .
	$(MAKE) --no-print-directory docs
	$(MAKE) --no-print-directory test

docs: $(READY)  ## build the documentation in docs/_build/html; warnings and dead links are errors
	$(BIN)/python -m sphinx -q -W --keep-going -b html -d docs/_build/doctrees docs docs/_build/html

format: $(READY)  ## reformat the code and fix lint errors where possible
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

wheel: $(READY)  ## build the sdist and the wheel in dist/
	$(BIN)/python -m build
