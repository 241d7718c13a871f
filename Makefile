PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# half of the time of the tests
STAGES := tests/pipeline

.PHONY: help install demo test test-stages test-rest test-all check fix bench serve wheel
.DEFAULT_GOAL := help

help:  ## list the commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | column -t -s '|'

$(BIN)/nlift: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV) && $(BIN)/pip install -q -c constraints.txt -e '.[cpu,dev]' && touch $(BIN)/nlift

install: $(BIN)/nlift  ## create .venv with the pinned set, editable, with dev extras

demo: install  ## the whole pipeline on the embedded models and data
	$(BIN)/nlift run jobs/experiments/demo.yaml

test: install  ## the tests, in two halves side by side
	@$(MAKE) --no-print-directory -j 2 test-stages test-rest

test-stages: install
	$(BIN)/python -m pytest -m 'not slow' --timeout 600 --maxfail 8 $(STAGES)

test-rest: install
	$(BIN)/python -m pytest -m 'not slow' --timeout 600 --maxfail 8 tests $(STAGES:%=--ignore %)

test-all: install  ## the tests, slow ones too
	$(BIN)/python -m pytest --timeout 1800

check: install  ## ruff and mypy
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

fix: install  ## let ruff mend what it can
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

bench: install  ## each stage beside a named peer
	for name in encode score search serve train translate; do $(BIN)/python benchmarks/$$name.py || exit 1; done

serve: install  ## serve the demo's bundle on http://127.0.0.1:8000
	$(BIN)/nlift serve runs/demo/index

wheel: install  ## build dist/*.whl
	$(BIN)/python -m build --wheel --no-isolation
