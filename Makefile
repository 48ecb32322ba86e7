# The commands of this project; `make` or `make help` lists them.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
GRANDMODEL := $(BIN)/grandmodel
TORCH_VERSION := $(shell sed -n 's/^torch==//p' constraints.txt)

# A configuration shipped with the project, such as sample-bars.
PRESET ?=
# A CSV or Parquet file of bars, for a preset that reads one.
DATA ?=
# Anything: resume the last run instead of starting anew.
RESUME ?=
# Processes that sample and that learn beside the driver, and GPUs of each learner.
RUNNERS ?=
LEARNERS ?=
GPUS ?=
# A benchmark's name, for `make bench`.
NAME ?= book
# A layer and how many trials, for `make sweep`; processes that share the study, and its storage.
LAYER ?= execution
TRIALS ?= 50
WORKERS ?= 1
STORAGE ?=
# Further arguments, passed on as they are.
ARGS ?=
# Where torch comes from, when not from pip's default index.
TORCH_INDEX ?=
PORT ?= 5000
OPTUNA_PORT ?= 8080

TRAIN_OPTIONS = $(foreach name,$(PRESET),--preset $(name)) \
	$(if $(DATA),--set 'env.market.reference.bars.path=$(DATA)') \
	$(if $(RUNNERS),--set mappo.runners=$(RUNNERS)) \
	$(if $(LEARNERS),--set mappo.learners=$(LEARNERS)) \
	$(if $(GPUS),--set mappo.gpus_per_learner=$(GPUS)) \
	$(if $(RESUME),--resume) $(ARGS)

.DEFAULT_GOAL := help
.PHONY: help setup test test-all check train-strategic train-tactical train-execution train-cascade sweep walk-forward decide serve market-report mlflow-ui optuna-ui bench wheel clean

help: ## List these targets
	@echo "make TARGET [VARIABLE=value ...]"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "Variables: PRESET=NAME DATA=FILE RESUME=1 RUNNERS=N LEARNERS=N GPUS=N NAME=BENCH LAYER=NAME TRIALS=N WORKERS=N STORAGE=URL ARGS='...' TORCH_INDEX=URL PORT=N OPTUNA_PORT=N"

setup: ## Create .venv, install the locked dependencies, compile the kernels
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, got $$($(PYTHON) --version 2>&1): set PYTHON=..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) --no-deps torch==$(TORCH_VERSION)
	$(BIN)/pip install -c constraints.txt -e '.[train,folds,postgresql,serve,ray-serve,dev]'
	$(GRANDMODEL) warm

# Every target below needs the environment; the message says how to get it.
$(BIN)/python:
	@echo "No environment at $(VENV): run 'make setup' first." >&2; exit 2

test: | $(BIN)/python ## Run the tests, slow ones left out (about 20 minutes)
	$(BIN)/python -m pytest -m "not slow" $(ARGS)

test-all: | $(BIN)/python ## Run all tests (about an hour)
	$(BIN)/python -m pytest $(ARGS)

check: | $(BIN)/python ## Lint, format, types and the arrows between rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

train-strategic: | $(BIN)/python ## Train the strategic layer: PRESET=sample-bars DATA=FILE RUNNERS=2 RESUME=1
	$(GRANDMODEL) train strategic $(TRAIN_OPTIONS)

train-tactical: | $(BIN)/python ## Train the tactical layer: PRESET=sample-bars DATA=FILE RUNNERS=2 RESUME=1
	$(GRANDMODEL) train tactical $(TRAIN_OPTIONS)

train-execution: | $(BIN)/python ## Train the execution layer: PRESET=sample-bars DATA=FILE RUNNERS=8 RESUME=1
	$(GRANDMODEL) train execution $(TRAIN_OPTIONS)

train-cascade: | $(BIN)/python ## Train all three, each under those before it: PRESET=sample-bars DATA=FILE RESUME=1
	$(GRANDMODEL) train cascade $(TRAIN_OPTIONS)

sweep: | $(BIN)/python ## Search a layer's settings: LAYER=execution TRIALS=50 WORKERS=2 STORAGE=URL RESUME=1
	$(GRANDMODEL) sweep $(LAYER) --trials $(TRIALS) --workers $(WORKERS) \
		$(if $(STORAGE),--storage '$(STORAGE)') $(foreach name,$(PRESET),--preset $(name)) \
		$(if $(DATA),--set 'env.market.reference.bars.path=$(DATA)') \
		$(if $(RESUME),--resume) $(ARGS)

walk-forward: | $(BIN)/python ## Retrain a layer fold by fold: LAYER=strategic PRESET=sample-bars DATA=FILE RESUME=1
	$(GRANDMODEL) walk-forward $(LAYER) $(foreach name,$(PRESET),--preset $(name)) \
		$(if $(DATA),--set 'env.market.reference.bars.path=$(DATA)') \
		$(if $(RESUME),--resume) $(ARGS)

decide: | $(BIN)/python ## Let the champion of the execution layer decide: ARGS='--book FILE'
	$(GRANDMODEL) decide --layer execution $(ARGS)

serve: | $(BIN)/python ## Serve the champions' decisions over HTTP on 127.0.0.1: PORT=8000 WORKERS=1
	$(GRANDMODEL) serve --port $(if $(filter file,$(origin PORT)),8000,$(PORT)) --workers $(WORKERS) $(ARGS)

market-report: | $(BIN)/python ## Write market-report.html: the simulated market's stylised facts
	$(GRANDMODEL) market report $(ARGS)

mlflow-ui: | $(BIN)/python ## Show the runs in a browser: PORT=5000
	$(BIN)/mlflow ui --backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}" --port $(PORT) $(ARGS)

# The latest sweep's file, where no storage is named.
optuna-ui: | $(BIN)/python ## Show a sweep's study in a browser: STORAGE=URL OPTUNA_PORT=8080
	@storage='$(STORAGE)'; \
	if [ -z "$$storage" ]; then \
		file=$$(ls -t runs/sweep-*/study.db 2>/dev/null | head -n 1); \
		[ -n "$$file" ] || { echo "No sweep under runs/: run 'make sweep' first, or name a STORAGE=URL." >&2; exit 2; }; \
		storage="sqlite:///$$file"; \
	fi; \
	$(BIN)/optuna-dashboard "$$storage" --host 127.0.0.1 --port $(OPTUNA_PORT) $(ARGS)

bench: | $(BIN)/python ## Run a benchmark: NAME=book, flow, envs, signals, mappo, cascade or serve, ARGS=--json
	$(BIN)/python -m experiments.bench $(NAME) $(ARGS)

wheel: | $(BIN)/python ## Build the wheel into dist/
	rm -rf build dist
	$(BIN)/python -m build --wheel --outdir dist

clean: ## Remove builds and caches; runs, models and the environment stay
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
