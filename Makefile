# Needs nothing but make, git and Python 3.11 to begin with; everything else is installed on the way.
# On Debian as root `make test` and `make demo` work on an empty machine. `make` alone lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
PY := .venv/bin/python
LOCAL := PYTHONPATH=local $(PYTHON) -m viridian_local
export PYTHONPATH := local

# Options: DATA=movielens (demo), NAME=… (bench), ARGS=… (more arguments for pytest), KEEP=1 (leave the cluster running),
# KUBECONFIG=… (a cluster of your own instead of the local one).
DATA ?= synthetic
NAME ?=
ARGS ?=
KEEP ?=
NEEDS_CLUSTER := rollback
PARALLEL := --numprocesses=auto --maxprocesses=4 --dist=worksteal
WITHOUT_NODES := tests/unit tests/chart tests/cluster/api
SESSION := $(LOCAL) session $(if $(KEEP),--keep)

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-16s%s\n", $$1, $$2}'
	@sed -n 's/^# Options: /\nOptions: /p; s/^# KUBECONFIG=/         KUBECONFIG=/p' $(MAKEFILE_LIST)

.PHONY: venv
venv: ## make .venv with every pinned dependency (done by the other targets when needed)
	@$(LOCAL) venv >/dev/null

.PHONY: cluster-up cluster-down cluster-status images
cluster-up: ## start a real Kubernetes on this machine (root, Debian)
	@$(LOCAL) up
cluster-down: ## stop it, and remove what it made
	@$(LOCAL) down
cluster-status: ## show its components, node and pods
	@$(LOCAL) status
images: ## build the images that changed and give them to the cluster
	@$(LOCAL) images

.PHONY: demo
demo: venv ## the whole loop once, for real, with users who must not notice (DATA=movielens for real data)
	@$(PY) -m viridian_demo --data $(DATA)

.PHONY: test test-unit test-thorough test-faults test-kills bench explore
test: ## all tests: pure parts, API server, chart, whole loop on a real cluster, the lean part of the faults
	@$(MAKE) --keep-going test-without-nodes test-cluster
# One part after the other, and one test of a cluster at a time: what keeps all processors busy would hold up what must
# answer in time. Pytest's 5, nothing selected by ARGS, is no failure.
.PHONY: test-without-nodes test-cluster
test-without-nodes: venv
	@$(LOCAL) test-packages
	@VIRIDIAN_BIN_DIR="$$($(LOCAL) bindir)" $(PY) -m pytest $(WITHOUT_NODES) $(PARALLEL) $(ARGS) || [ $$? = 5 ]
# In two runs, since the loop tests want the chart's operator and the fault tests none but their own.
test-cluster: venv
	@$(SESSION) -- sh -c '$(PY) -m pytest tests/cluster/loop "$$@" || [ $$? = 5 ]; loop=$$?; \
	$(PY) -m pytest tests/faults "$$@" || [ $$? = 5 ] && exit $$loop' sh $(ARGS)
test-faults: venv ## every cell of the fault matrix, a kill after every write (takes hours); measures in build/benchmarks
	@$(LOCAL) test-packages
	@$(SESSION) -- $(PY) -m pytest tests/faults -m "" --sweep=all $(ARGS)
test-kills: venv ## 300 kills of trainer, evaluation and operator over whole updates (takes hours; VIRIDIAN_CLUSTER_KILLS=…)
	@$(LOCAL) test-packages
	@$(SESSION) -- $(PY) -m pytest tests/cluster/loop/test_kills.py -m "" -s $(ARGS)
test-unit: venv ## tests that need no cluster
	@$(LOCAL) test-packages
	@$(PY) -m pytest tests/unit $(PARALLEL) $(ARGS)
test-thorough: venv ## tests without a cluster that take long: torchrun, killed ranks, a thousand damages and walks (takes hours)
	@$(LOCAL) test-packages
	@VIRIDIAN_BIN_DIR="$$($(LOCAL) bindir)" $(PY) -m pytest $(WITHOUT_NODES) -m thorough $(PARALLEL) $(ARGS)
explore: venv ## model checking of the decisions over a million states (STATES=…); result in build/explore.json
	@$(PY) -m tests.explore $(STATES)
bench: venv ## benchmarks (NAME=… for one); results in build/benchmarks
	@$(LOCAL) test-packages
	@$(if $(NAME),$(if $(filter $(NEEDS_CLUSTER),$(NAME)),$(SESSION) --),$(SESSION) --) $(PY) -m tests.benchmarks $(NAME)

.PHONY: lint format
lint: venv ## style, types and the direction of imports
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@.venv/bin/lint-imports
format: venv ## let ruff put style right
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

.PHONY: crds lock
crds: venv ## write the CRD and what is generated from it
	@VIRIDIAN_BIN_DIR="$$($(LOCAL) bindir)" $(PY) charts/generate.py
lock: ## pin every dependency again from pyproject.toml (ARGS=--upgrade for the newest versions)
	@$(LOCAL) lock $(ARGS)

.PHONY: clean
clean: ## remove what was made in this checkout, and stop the cluster
	@if [ "$$(id -u)" = 0 ]; then $(LOCAL) down; fi
	@rm -rf .venv build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "Binaries and images stay in the cache: $${VIRIDIAN_CACHE:-$${XDG_CACHE_HOME:-$$HOME/.cache}/viridian}"
