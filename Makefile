# make run: the main job. make test: the tests. make check: what continuous integration does. make docs: the site. make links: its links.
# Each creates .venv and installs what it needs first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: run test lint check bench docs links clean

run: $(STAMP)
	$(BIN)/omrl-bench run --suite shift

test: $(STAMP)
	$(BIN)/pytest -n auto -m "not slow" --benchmark-disable

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --target build/typed .
	cd build/typed && ../../$(BIN)/python -m mypy --config-file ../../pyproject.toml -p omrl_bench

check: lint test

docs: $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	$(BIN)/sphinx-build -W --keep-going -q -b html docs build/docs
	@echo "the site: build/docs/index.html"

links: docs # of other sites: it asks them
	$(BIN)/sphinx-build -W --keep-going -q -b linkcheck docs build/linkcheck

bench: $(STAMP)
	$(BIN)/pytest tests/benchmarks --benchmark-enable --benchmark-columns=min,median,rounds --benchmark-sort=name -s

clean:
	rm -rf $(VENV) build *.egg-info

$(STAMP): pyproject.toml setup.py constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test,collect]"
	touch $@
