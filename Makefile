# `make demo` and `make test` each work alone on a fresh machine: they create .venv and install.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint test-all test-browser grid-table replay docs clean

demo: $(VENV)/demo.stamp
	$(BIN)/frostline demo demo

test: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -m "not browser and not gpu and not ray" --cov --cov-report=term --cov-fail-under=90

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/mypy

test-browser: $(VENV)/dev.stamp
	$(BIN)/pytest -m browser

test-all: $(VENV)/dev.stamp
	$(BIN)/pytest

grid-table: $(VENV)/dev.stamp
	$(BIN)/python benchmarks/grid_table.py
	$(BIN)/python benchmarks/grid_more_table.py

replay: $(VENV)/dev.stamp
	$(BIN)/python benchmarks/replay.py

docs: $(VENV)/docs.stamp
	$(BIN)/python -m sphinx -W --keep-going --quiet docs docs/_build/html
	@echo docs/_build/html/index.html

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"

$(VENV)/demo.stamp: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/dev.stamp: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable . --group dev
	touch $@

$(VENV)/docs.stamp: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable . --group docs
	touch $@

clean:
	rm -rf $(VENV) demo build docs/_build dist .coverage .pytest_cache .mypy_cache .ruff_cache
