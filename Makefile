# Everything here sets itself up: Python 3.11 or newer and make are enough.
# make demo DURATION=60 VEHICLES=200 STATIONS=20 SEED=1 SPEEDUP=60 KAFKA=tansu

DURATION ?= 60
VEHICLES ?= 200
STATIONS ?= 20
SEED ?= 1
SPEEDUP ?= 60
KAFKA ?= tansu
# chaos: how many rounds, and which seed (none: another one each time; it is printed)
ROUNDS ?= 200
CHAOS_SEED ?=
KILLS ?= 200
BROKER_KILLS ?= 8
EDGE_KAFKA ?= apache
PYTEST ?=
# more options of the headline run
HEADLINE ?=
BENCH ?=
# most tests wait for servers, each process has its own
JOBS ?= 2
PARALLEL := --numprocesses $(JOBS) --dist loadfile

VENV := .venv
BIN := $(VENV)/bin
CODE := wire runtime edge cloud simulator local tests benchmarks
# the first of these that is Python 3.11 or newer
PYTHON = $(shell for python in python3.11 python3 python3.12 python3.13 python3.14; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$python; break; }; done)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo headline headline-search headline-smoke test test-kafka test-fold-chaos test-edge-chaos bench-edge bench-edge-smoke bench-fold bench-simulator bench-simulator-smoke lint format clean

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(VENV)/.dev ## the virtual environment with all that development needs

demo: $(VENV)/.local ## the whole system on this machine, with a simulated fleet, verified at the end
	@exec $(BIN)/fleetfold-local demo --duration $(DURATION) --vehicles $(VEHICLES) --stations $(STATIONS) \
		--seed $(SEED) --speedup $(SPEEDUP) --kafka $(KAFKA)

test: $(VENV)/.dev ## unit, property and integration tests, on real brokers
	$(BIN)/pytest $(PARALLEL) tests/unit tests/property tests/integration $(PYTEST)

test-kafka: $(VENV)/.dev ## the integration tests on Apache Kafka (needs java and mvn)
	FLEETFOLD_TEST_KAFKA=apache $(BIN)/pytest $(PARALLEL) tests/integration $(PYTEST)

test-fold-chaos: $(VENV)/.dev ## the twin service under kill -9 of all it stands on (ROUNDS=, CHAOS_SEED=; needs java and mvn)
	FLEETFOLD_CHAOS_ROUNDS=$(ROUNDS) FLEETFOLD_CHAOS_SEED=$(CHAOS_SEED) $(BIN)/pytest -q tests/chaos/test_cloud_fold_chaos.py $(PYTEST)

test-edge-chaos: $(VENV)/.dev ## the agent under kill -9, dead brokers, cut links, full disks (KILLS=, BROKER_KILLS=, EDGE_KAFKA=, CHAOS_SEED=)
	FLEETFOLD_EDGE_KILLS=$(KILLS) FLEETFOLD_EDGE_BROKER_KILLS=$(BROKER_KILLS) FLEETFOLD_EDGE_KAFKA=$(EDGE_KAFKA) \
		FLEETFOLD_EDGE_SEED=$(CHAOS_SEED) $(BIN)/pytest -q -s tests/chaos/test_edge_*.py $(PYTEST)

headline: $(VENV)/.dev ## 100,000 vehicles through the whole system on this machine, measured and verified
	@exec $(BIN)/python -m benchmarks.headline $(if $(filter file,$(origin VEHICLES)),,--vehicles $(VEHICLES)) \
		$(if $(filter file,$(origin DURATION)),,--duration $(DURATION)) --seed $(SEED) --kafka $(KAFKA) $(HEADLINE)

headline-search: $(VENV)/.dev ## the largest fleet that this machine sustains
	@exec $(BIN)/python -m benchmarks.headline_search --seed $(SEED) --kafka $(KAFKA) $(HEADLINE)

headline-smoke: $(VENV)/.dev ## the same with 2,000 vehicles for 20 s: nothing may be lost, doubled or wrong
	@exec $(BIN)/python -m benchmarks.headline --smoke --vehicles 2000 --duration 20 --out $(VENV)/headline.json

# mq-bridge is only compared with: nothing else needs it
bench-edge: $(VENV)/.dev ## the agent's throughput, CPU and memory beside receive-only, paho and mq-bridge (KAFKA=; needs mosquitto)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench-edge]'
	@exec $(BIN)/python -m benchmarks.edge --kafka $(KAFKA)

bench-edge-smoke: $(VENV)/.dev ## the same in seconds: it proves the bench, not the speed
	@exec $(BIN)/python -m benchmarks.edge --smoke --out $(VENV)/bench-edge.json

bench-fold: $(VENV)/.dev ## how fast twins are folded, beside the limits of the parts (needs java and mvn; 5 minutes)
	$(BIN)/python -m benchmarks.fold $(BENCH)

bench-simulator: $(VENV)/.dev ## what 100,000 simulated vehicles cost, how fast their time can run (needs mosquitto; 1 minute)
	@exec $(BIN)/python -m benchmarks.simulator

bench-simulator-smoke: $(VENV)/.dev ## the same in seconds: it proves the bench, not the speed
	@exec $(BIN)/python -m benchmarks.simulator --smoke

lint: $(VENV)/.dev ## ruff and mypy
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy

format: $(VENV)/.dev ## let ruff put the code in form
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "fleetfold needs Python 3.11 or newer: none of python3.11, python3 is" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

# A stamp stands for a finished installation, so that an interrupted one is done again.
$(VENV)/.local: pyproject.toml constraints.txt | $(VENV)/bin/python
	@test -e $(VENV)/.dev -a $(VENV)/.dev -nt pyproject.toml -a $(VENV)/.dev -nt constraints.txt || { \
		echo "installing fleetfold into $(VENV)" && $(BIN)/pip install --quiet --disable-pip-version-check \
		-c constraints.txt -e '.[local]'; }
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
