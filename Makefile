# The two commands of the README (`make demo`, `make test`) and what CI runs beside them. Each makes .venv if it is
# missing or older than pyproject.toml. On the command line: PYTHON=python3.13 (which Python makes .venv),
# PIP_ARGS="..." (for pip install), PYTEST_ARGS="-k beam".

PYTHON ?= python3
PIP_ARGS ?=
PYTEST_ARGS ?=

BIN := .venv/bin
INSTALLED := .venv/.installed
# A worker computes on one thread; files stay whole, because tests in a file may share what took long to make.
PYTEST := $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile

.PHONY: help install demo test test-slow check format clean

help:
	@echo "make demo       train on the bundled dates, translate unseen ones, show what the model attends to"
	@echo "make test       the tests"
	@echo "make test-slow  the tests that take longer"
	@echo "make check      format, lint, types, floors, spelling"
	@echo "make format     put the format right"
	@echo "make clean      remove .venv and caches (never runs/)"

install: $(INSTALLED)

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "heedful needs Python 3.11 or newer, and '$(PYTHON)' is $$($(PYTHON) --version 2>/dev/null || echo missing)." >&2; \
	  echo "Name another one: make $(or $(MAKECMDGOALS),install) PYTHON=python3.13" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PYTHON)' cannot make virtual environments. On Debian and Ubuntu: sudo apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	@echo "Installing heedful, PyTorch and the tools into .venv: some minutes, the first time."
	$(BIN)/python -m pip install --disable-pip-version-check $(PIP_ARGS) -e '.[dev]'
	@touch $@

demo: $(INSTALLED)
	@$(BIN)/heedful demo

test: $(INSTALLED)
	$(PYTEST) $(PYTEST_ARGS)

test-slow: $(INSTALLED)
	$(PYTEST) -m slow $(PYTEST_ARGS)

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/codespell .

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv build dist .hypothesis .import_linter_cache .pytest_cache .ruff_cache
