# What a newcomer would type. Needs Python 3.11 or newer and make, nothing else.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: help venv demo test lint bench ui clean

help: ## show this help
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## /  make \1\t/' | expand -t 16

venv: $(READY) ## make .venv with the project and its test tools (quick when it is there)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch setuptools wheel
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-build-isolation --editable '.[test]'
	touch $(READY)

demo: venv ## serve the example website, crawl it, and run the whole graph on the example data
	$(BIN)/python -m examples.serve --port 8808 --while $(BIN)/curation run --profile profiles/demo.yaml

test: venv lint ## lint, types, import rules and all tests
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

lint: venv ## style, types and the rules between the rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

bench: venv ## the benchmarks, each beside its peer
	$(BIN)/python -m bench

ui: venv ## the Dagster UI on the demo's lake
	$(BIN)/curation ui --profile profiles/demo.yaml

clean: ## remove the environment and the lakes
	rm -rf .venv lake .pytest_cache .ruff_cache .mypy_cache .hypothesis
