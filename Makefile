# `make demo` and `make test` each work alone on a fresh machine: they create .venv and install.
# .venv is made anew when PYTHON is another version than before: make test PYTHON=python3.13
PYTHON ?= python3
# Processes that run tests; 0 for none but pytest itself, as a debugger wants it.
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
# The interpreter below a virtual environment, if PYTHON is in one: perhaps the one to be replaced.
BASE := $(shell $(PYTHON) -c 'import sys; print(sys._base_executable)' 2>/dev/null)
VERSION := $(shell $(PYTHON) -c 'import sys, platform; \
	print(platform.python_version() if sys.version_info >= (3, 11) else "")' 2>/dev/null)
MADE := $(VENV)/python-$(VERSION).stamp
# What tests and pages are made with is pinned; the demo takes what a user's pip would take today.
PINNED := --constraint constraints.txt

.PHONY: demo test test-pythons test-freezing quick lint test-all test-browser mutants grid-table replay constraints docs clean

# Two processes with as many threads as cores each would wait for one another.
test quick: export OMP_NUM_THREADS ?= 1

demo: $(VENV)/demo.stamp
	$(BIN)/frostline demo demo

test: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder \
		-m "not browser and not gpu and not ray" --cov --cov-report=term --cov-fail-under=90

# The other Pythons that pyproject.toml names and this machine has, each in a .venv of its own.
OTHERS = $(shell "$(BASE)" scripts/pythons.py others 2>/dev/null)
test-pythons: $(addprefix test-python-,$(OTHERS))

test-python-%:
	@path=$$("$(BASE)" scripts/pythons.py $*) || { echo "so Python $* is not tested"; exit 0; }; \
		$(MAKE) --no-print-directory quick PYTHON="$$path" VENV=.venv-$*

# What has differed by Python: the types of packages, pickles, docstrings, the standard library.
QUICK := tests/checkpoints tests/contracts tests/difference tests/datasets/test_layouts.py \
	tests/datasets/test_hostile.py tests/test_config.py tests/test_csv_text.py \
	tests/test_errors_cli.py tests/test_records.py tests/test_schema.py
quick: $(VENV)/dev.stamp
	$(BIN)/mypy
	$(BIN)/pytest --quiet -m "not slow and not browser and not gpu and not ray" $(QUICK)

# Freeze plans of all of torchvision's networks and a spread of timm's, and more random graphs.
test-freezing: $(VENV)/dev.stamp
	FROSTLINE_FREEZING=all $(BIN)/pytest tests/test_freezing_zoo.py tests/test_freezing_graphs.py

# What the tests do not notice: 300 seeded changes of the code; some 20 minutes on one core.
mutants: $(VENV)/dev.stamp
	OMP_NUM_THREADS=1 $(BIN)/python scripts/mutants.py

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

constraints:  # constraints.txt anew: the newest versions that fit each Python named in pyproject.toml
	"$(BASE)" scripts/make_constraints.py

docs: $(VENV)/docs.stamp
	$(BIN)/python -m sphinx -W --keep-going --quiet docs docs/_build/html
	@echo docs/_build/html/index.html

$(MADE):
	@test -n "$(VERSION)" || { echo "expected Python 3.11 or newer, got PYTHON=$(PYTHON);" \
		"name another: make $(MAKECMDGOALS) PYTHON=python3.13" >&2; exit 2; }
	rm -rf $(VENV)
	"$(BASE)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	touch $@

$(VENV)/demo.stamp: $(MADE) pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/dev.stamp: $(MADE) pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --editable . --group dev $(PINNED)
	touch $@

$(VENV)/docs.stamp: $(MADE) pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --editable . --group docs $(PINNED)
	touch $@

clean:
	rm -rf $(VENV) demo build docs/_build dist .coverage .pytest_cache .mypy_cache .ruff_cache
