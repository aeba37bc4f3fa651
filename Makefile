# Everything here is a thin name for something in scripts/; see docs/contributing.md.
PYTHON ?=
ARGS ?=
BIN := .venv/bin
RUN_PYTEST := $(BIN)/python -m pytest -ra

.DEFAULT_GOAL := help
.PHONY: help run test setup test-unit e2e page lint fmt cov dist bench bench-peers bench-audience fuzz soak clean

help:  ## show this list
	@grep -E '^[a-z0-9-]+:.*##' Makefile | sed -E 's/:[^#]*## */\t/' | expand -t 12

run:  ## install what is missing and start the bridge; ARGS="--port 9000" passes options
	@PYTHON='$(PYTHON)' scripts/setup.sh run $(value ARGS)
	@exec $(BIN)/python -I scripts/run.py $(value ARGS)

test:  ## install what the tests need, then every check and every test
	@PYTHON='$(PYTHON)' scripts/setup.sh test
	@scripts/check.sh all $(value ARGS)

setup:  ## virtual environment with the tools for development, page packages
	@PYTHON='$(PYTHON)' scripts/setup.sh dev

test-unit: setup  ## the pure parts, in a second or two
	@$(RUN_PYTEST) tests/unit ttybridge/core ttybridge/model.py $(value ARGS)

e2e: setup  ## the command as a subprocess, with real clients
	@$(RUN_PYTEST) tests/e2e $(value ARGS)

page: setup  ## the page: its own tests, then the ones in a real browser
	@scripts/check.sh page
	@$(RUN_PYTEST) tests/page $(value ARGS)

lint: setup  ## formatting, lint, types, import layers
	@scripts/check.sh lint

fmt: setup  ## reformat and mend what can be mended
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

cov: setup  ## tests with coverage, report in htmlcov/
	@$(RUN_PYTEST) --cov --cov-report=term --cov-report=html $(value ARGS)

dist: setup  ## build wheel and sdist into dist/ and look inside
	@rm -rf dist
	@$(BIN)/python -m hatchling build
	@$(RUN_PYTEST) tests/test_packaging.py

bench: setup  ## beside ttyd, terminado, wetty and others, against the goals
	@$(BIN)/python -m benchmarks $(value ARGS)

bench-peers: setup  ## get the web terminals that bench compares with
	@$(BIN)/python -m benchmarks.install

bench-audience: setup  ## many viewers, late joiners and a thin line, beside ttyd
	@$(BIN)/python -m benchmarks.audience $(value ARGS)

fuzz:  ## coverage-guided fuzzing of the parsers; ARGS="--seconds 3600 TARGET"
	@PYTHON='$(PYTHON)' scripts/setup.sh fuzz
	@$(BIN)/python -m fuzz $(value ARGS)

soak: setup  ## clients of every kind for a long time; ARGS="--minutes 60 --seed 1"
	@$(BIN)/python -m tests.soak $(value ARGS)

clean:  ## remove everything that these targets made
	@rm -rf .venv .venv-apps .venv-bench .venv-colab dist htmlcov test-results ttybridge/page static/dist \
		static/node_modules tests/node/node_modules benchmarks/node/node_modules .coverage .coverage.* .hypothesis \
		.mypy_cache .pytest_cache .ruff_cache
	@find ttybridge tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
