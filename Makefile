PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8000
WEB ?= 1
SERVER ?= daphne

.DEFAULT_GOAL := help
.PHONY: help run test lint types audit load bench wheel soak cluster clean

help: ## show this
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

run: $(VENV)/installed ## start the services and the chat; Ctrl-C ends all
	@$(BIN)/python manage.py run --port $(PORT) --web $(WEB) --server $(SERVER)

test: $(VENV)/installed ## the whole suite
	@$(BIN)/python -m tests

lint: $(VENV)/installed ## style
	@$(BIN)/ruff format --check . && $(BIN)/ruff check .

types: $(VENV)/installed ## types
	@SECRET_KEY=- DATABASE_URL=postgresql://- REDIS_URL=- KAFKA_BOOTSTRAP_SERVERS=- $(BIN)/mypy

audit: $(VENV)/installed ## known vulnerabilities of what is installed
	@$(BIN)/python .ci/audit.py $(BIN)/pip-audit

load: $(VENV)/installed ## 100 users in one room of a chat that runs (make run), with every receipt checked
	@$(BIN)/python manage.py loadtest --profile seed

bench: $(VENV)/installed ## what each hot path costs, the layer also in its README (the whole chat under load: see docs/load.md)
	@$(BIN)/python -m benchmarks.storing
	@$(BIN)/python -m benchmarks.history
	@$(BIN)/python -m benchmarks.rooms
	@$(BIN)/python -m benchmarks.outbox
	@$(BIN)/python -m benchmarks.presence
	@$(BIN)/python -m benchmarks.layer
	@$(BIN)/python -m benchmarks.layer_costs
	@$(BIN)/python -m benchmarks.receipts
	@$(BIN)/python -m benchmarks.frames

wheel: $(VENV)/installed ## the channel layer as a package of its own, in dist/
	@$(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist ./kafka_layer && ls dist/*.whl

soak: $(VENV)/installed ## the long runs (ROUNDS, SCENARIOS); the figures go into docs/soak.md
	@$(BIN)/python -m tests.soak $(if $(ROUNDS),--rounds $(ROUNDS)) $(SCENARIOS)

cluster: $(VENV)/installed ## three Kafka brokers to try faults on; Ctrl-C ends them
	@$(BIN)/python -m devstack.cluster .data/cluster

clean: ## delete the virtual environment, caches and all data of the embedded services
	@find .data -name guardian.lock 2>/dev/null | while read -r lock; do flock -n "$$lock" true || \
		{ echo "The services of $$(dirname "$$lock") are running. End what uses them (make run, tests) first."; exit 1; }; done
	@rm -rf $(VENV) .data dist .mypy_cache .pytest_cache .ruff_cache staticfiles test-results

$(VENV)/installed: requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, and $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "Python's venv module is missing. On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@echo "Installing into $(VENV) …"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@
