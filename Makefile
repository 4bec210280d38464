# Two commands matter: `make run` and `make test`. The rest serves development.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.ready
# Tests mostly wait for brokers and processes; more workers than this make those late.
WORKERS ?= 3

.DEFAULT_GOAL := help
.PHONY: help setup run demo test test-long check format docs bench clean lock

help: ## what there is to make
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(STAMP) ## the virtual environment, from the lock file

# A set-up that was interrupted leaves no stamp and is done again from the start.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "$(PYTHON) is older than 3.11: try make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

run: setup ## tail this host's logs into the embedded broker and show what arrives; Ctrl-C drains
	$(BIN)/singer run -c etc/singer.yaml

demo: setup ## three zones, rotation, a SIGKILL half way, and the count at the end
	$(BIN)/singer demo

test: setup ## all tests in their short form
	$(BIN)/python -m pytest -n $(WORKERS)

test-long: setup ## the long forms as well
	$(BIN)/python -m pytest -n $(WORKERS) --long

check: setup ## lint, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## rewrite the layout of the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: setup ## docs/configuration.md from the model, errors in docs/operations.md from their table
	$(BIN)/python -m singer.config.reference > docs/configuration.md
	$(BIN)/python -m singer.kafka.error_reference docs/operations.md

bench: setup ## the figures of docs/benchmarks.md; needs kcat
	$(BIN)/python -m bench

lock: setup ## resolve the dependencies anew
	$(BIN)/python -m pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --extra dev --allow-unsafe --generate-hashes --strip-extras \
	    --no-emit-index-url --no-emit-find-links --no-header --output-file requirements.lock pyproject.toml

clean: ## remove what was made
	rm -rf $(VENV) .cache .run build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
