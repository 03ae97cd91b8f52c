# Everything here works in a fresh clone: the virtual environment is built when it is missing or older
# than pyproject.toml.

BIN := .venv/bin
JOBS ?= $(shell nproc)

.PHONY: help venv demo test lint bench bench-full soak locale clean

help:
	@echo "make demo    three sites, a disaster and the desk, on this machine (about a minute)"
	@echo "make test    everything that must hold (lint, types, floors, tests)"
	@echo "make lint    ruff, mypy, import-linter"
	@echo "make bench   measure against restic, borg, rsync and lower bounds (minutes); bench-full: at full size (an hour)"
	@echo "make soak    the tests that take minutes to hours"
	@echo "make venv    only build .venv"
	@echo "make locale  merge and compile the Japanese translation"
	@echo "make clean   remove what can be built again"

# Two stamps: whoever only wants the demo need not fetch the tools of development.
.venv/stamp-run: pyproject.toml .ci/venv
	.ci/venv .
	@touch $@

.venv/stamp-dev: .venv/stamp-run
	.ci/venv '.[dev]'
	@touch $@

venv: .venv/stamp-dev

demo: .venv/stamp-run
	$(BIN)/jbackupd demo

lint: .venv/stamp-dev
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/python jbackupd/locale/build.py --check
	$(BIN)/python -m pytest -n $(JOBS) -p tests.plugins.no_skips

soak: .venv/stamp-dev
	$(BIN)/python -m pytest -m soak --timeout 0 -p tests.plugins.no_skips

bench: .venv/stamp-dev
	$(BIN)/python -m benchmarks --quick --write

bench-full: .venv/stamp-dev
	benchmarks/fetch-tools
	$(BIN)/python -m benchmarks --full --write

locale: .venv/stamp-dev
	$(BIN)/python jbackupd/locale/build.py

clean:
	rm -rf .venv build dist jbackupd.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find jbackupd tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
