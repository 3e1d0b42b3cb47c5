.DEFAULT_GOAL := help
.PHONY: help run test test-faults bench lint check-locks format lock schema clean

PYTHON := .venv/bin/python
COMPILE := --universal --generate-hashes --no-annotate --no-header --python-version 3.11 --quiet
COMPILE_DEV := --group dev -c requirements.lock $(COMPILE)

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

run: ## Start everything on this machine; Ctrl-C stops it
	@.ci/bootstrap run
	@exec $(PYTHON) -m service.command run

test: ## Run the tests; branch coverage below 95 % fails
	@.ci/bootstrap dev
	@$(PYTHON) -m pytest -n 3 --dist loadfile -m "not faults and not alone" --cov --cov-report=
	@$(PYTHON) -m pytest -n 0 -m "alone and not faults" --cov --cov-append --cov-report=term

test-faults: ## Run the long fault campaigns and the large model; takes many minutes
	@.ci/bootstrap dev
	@$(PYTHON) -m pytest -m faults --timeout 3600 -s

bench: ## Measure how fast it is, beside what bounds it; takes minutes
	@.ci/bootstrap dev
	@PYTHONPATH=tests $(PYTHON) tests/bench/run.py

lint: ## Check style, types, layers and locks
	@.ci/bootstrap dev
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	.venv/bin/lint-imports
	$(PYTHON) -m schema.compatibility
	@$(MAKE) --no-print-directory check-locks

check-locks: # The locks belong to pyproject.toml and name no place.
	@.ci/bootstrap dev
	@if grep -n '://' requirements.lock requirements-dev.lock; then exit 1; fi
	@mkdir -p build && cp requirements.lock requirements-dev.lock build
	@$(PYTHON) -m uv pip compile pyproject.toml $(COMPILE) -o build/requirements.lock >/dev/null
	@$(PYTHON) -m uv pip compile pyproject.toml $(COMPILE_DEV) -o build/requirements-dev.lock >/dev/null
	@for name in requirements.lock requirements-dev.lock; do \
		cmp -s "$$name" "build/$$name" || { echo "$$name is stale: run make lock."; exit 1; }; \
	done

format: ## Format the code and fix what can be fixed
	@.ci/bootstrap dev
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

lock: ## Renew both lock files after a change of pyproject.toml
	@.ci/bootstrap dev
	$(PYTHON) -m uv pip compile pyproject.toml $(COMPILE) -o requirements.lock >/dev/null
	$(PYTHON) -m uv pip compile pyproject.toml $(COMPILE_DEV) -o requirements-dev.lock >/dev/null

schema: ## Export the GraphQL schema
	@.ci/bootstrap dev
	$(PYTHON) -m schema.export

clean: ## Remove what was made here: the environment, the caches, the development data
	@if [ -x $(PYTHON) ]; then $(PYTHON) -m service.local.servers .local; fi
	rm -rf .local .venv build .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache \
		.import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
