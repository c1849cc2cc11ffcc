# `make run` and `make test` are complete on a fresh machine; the rest is for people who work here.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# 3.11 first: constraints.txt was made with it.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=

# `kedro mlflow ui` starts `mlflow` by its name.
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Threads that wait must not spin: beside a busy neighbour that costs a factor of eight.
export OMP_WAIT_POLICY ?= passive
# Without it DeepSpeed looks for accelerators on a machine that has none, and warns.
ifeq ($(shell command -v nvidia-smi),)
export DS_ACCELERATOR ?= cpu
endif
# Tools that would report their use: kedro-telemetry, MLflow, Hugging Face.
export DO_NOT_TRACK := true
export MLFLOW_DISABLE_TELEMETRY := true
export HF_HUB_DISABLE_TELEMETRY := 1

.PHONY: help setup run test fast check types format viz ui clean

help: ## Show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10

setup: $(STAMP) ## Make .venv and install the project

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; none was found on PATH" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

run: $(STAMP) ## Run all pipelines; ARGS="--env=test" and the like are passed on
	$(BIN)/kedro run $(ARGS)
	@$(BIN)/python -m diffucoder.report.headline

test: check $(STAMP) ## Check, then run all tests; ARGS are pytest's
	$(BIN)/python -m pytest $(ARGS)

# The mathematics, and what starts no processes: these folders take two minutes.
FAST := $(addprefix tests/,config data datasets decoding diffusion evaluation examples io model \
	report rewards rl tracking test_docs.py test_imports.py test_names.py)

fast: check ## Check, then run the tests that need no processes: two minutes
	$(BIN)/python -m pytest -m "not slow" $(FAST) $(ARGS)

check: $(STAMP) types ## Lint, formatting, types and the layers between modules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(STAMP) ## Check the types of the packages that hold the method
	$(BIN)/basedpyright --level error

format: $(STAMP) ## Format the code and mend what ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

viz: $(STAMP) ## Build the static site of the pipelines in build/
	$(BIN)/kedro viz build --include-previews

ui: $(STAMP) ## Open the runs in MLflow
	$(BIN)/kedro mlflow ui

clean: ## Remove the environment and caches; data and runs stay
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis .import_linter_cache build
