# Needs python3 >= 3.11 and Linux. What else is missing is installed when root on a Debian, else named.
PYTHON ?= python3
ARGS ?=
ENGINES ?=
SECONDS ?= 600
SEED ?=
# Side by side, each lane with an engine of its own; with an engine that was there already, one after the other.
LANES ?= -n auto --dist loadfile

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.complete
# The engine in reach, else a private one; its address goes to what follows.
ENGINE = host=$$($(PY) -m tests.host.engine up) && if [ -n "$$host" ]; then export DOCKER_HOST="$$host"; fi

.PHONY: help venv engine engine-down toolbox targets lint vet test test-slow test-engines trials test-kubernetes test-host test-host-full demo bench clean
.DEFAULT_GOAL := help

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name text; do \
		printf '  make %-14s %s\n' "$$name" "$$text"; done

venv: $(STAMP) ## Virtual environment with debugrun and what its tests need

$(STAMP): pyproject.toml tests/host/venv
	@tests/host/venv "$(PYTHON)" $(VENV)
	@touch $@

engine: venv ## Have a container engine: the one in reach, else a private one; print its address
	@$(ENGINE) && echo "DOCKER_HOST=$${DOCKER_HOST-}"

engine-down: venv ## End the private engine with everything in it; images stay
	@$(PY) -m tests.host.engines down
	@$(PY) -m tests.host.engine down

toolbox: venv ## Build the toolbox image where it is missing
	@$(ENGINE) && $(VENV)/bin/debugrun toolbox build

targets: venv ## Build the images of the test targets where they are out of date
	@$(ENGINE) && $(PY) -m tests.host.images

lint: venv ## Lint, format, types, and the walls between the rooms
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports --no-logo

vet: venv ## Check the tool data files
	@$(PY) -m debugrun tools --vet

test: lint vet toolbox targets ## Everything but what is slow: lint, types, data, tests on real containers (ARGS for pytest)
	@$(ENGINE) && $(PY) -m pytest $(LANES) -m "not slow and not kubernetes" --durations=10 $(ARGS)

test-slow: toolbox targets ## The tests that `make test` leaves out: minutes, not seconds
	@$(ENGINE) && $(PY) -m pytest $(LANES) -m "slow and not kubernetes" --durations=10 $(ARGS)

test-engines: toolbox targets ## The live tests on other engines, one after the other (ENGINES="docker-26.1 ..."; without: all ten)
	@$(ENGINE) && $(PY) -m tests.host.matrix $(ENGINES) $(if $(ARGS),-- $(ARGS))

trials: toolbox targets ## End tools at random moments, and count the harm (SECONDS=600 SEED=N; ARGS="--direct" for more of them)
	@$(ENGINE) && $(PY) -m tests.live.harm --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) $(ARGS)

test-kubernetes: toolbox targets ## Pods of a real kubelet and API server, built from Go modules once (seven minutes)
	@$(ENGINE) && $(PY) -m pytest -m kubernetes $(ARGS)

test-host: toolbox targets ## The verdicts that matter most on a stock Debian kernel (Yama, AppArmor), in a virtual machine
	@$(ENGINE) && $(PY) -m tests.host.vm $(ARGS)

test-host-full: toolbox targets ## There every tool, target, grant and setting: hours
	@$(ENGINE) && $(PY) -m tests.host.vm --everything $(ARGS)

demo: toolbox targets ## The main job, on a container without shell or debugger
	@$(ENGINE) && $(PY) -m tests.host.demo

bench: venv targets ## A finished backtrace against what an expert types: ratios of paired runs (RUNS=15)
	@$(PY) -m compileall -q debugrun # as pip does with what it installs
	@$(ENGINE) && $(VENV)/bin/debugrun toolbox build >/dev/null && $(PY) -m tests.bench

clean: ## Remove the virtual environment, caches, and the private engine with its images
	@if [ -x $(PY) ]; then $(PY) -m tests.host.engine forget; $(PY) -m tests.host.vm --forget; fi
	rm -rf $(VENV) dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
