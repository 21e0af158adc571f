# Every target but help and clean makes .venv first; .ci/install.py ends at once when it is up to date.
# PYTHON names the Python that .venv is made with; TORCH_INDEX the address of an index of CPU builds of torch.

PYTHON ?= python3
BIN := .venv/bin

# After the install nothing is fetched: models are bundled or on disk.
demo serve test stress bench: export HF_HUB_OFFLINE := 1

.DEFAULT_GOAL := help
.PHONY: help install demo serve test stress bench lint format lock-check clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' Makefile

install: ## make .venv with the project and its tools
	@"$(PYTHON)" .ci/install.py

demo: install ## index the bundled pictures and search them
	@$(BIN)/sightline demo

serve: install ## start the service on this machine
	@$(BIN)/sightline serve

test: lint ## lint, types, import rules, then the tests without stress and gpu
	@echo "== pytest"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not stress and not gpu and not weights"

stress: install ## kill loops and load
	@echo "== pytest, stress"
	@$(BIN)/python -m pytest -m stress

bench: install ## run every script in benchmarks/
	@for script in benchmarks/[a-z]*.py; do \
		[ -e "$$script" ] || continue; \
		echo "== $$script"; \
		$(BIN)/python "$$script" || exit 1; \
	done

lint: install ## ruff, mypy and lint-imports
	@echo "== ruff check"
	@$(BIN)/ruff check .
	@echo "== ruff format"
	@$(BIN)/ruff format --check .
	@echo "== mypy"
	@$(BIN)/mypy
	@echo "== lint-imports"
	@$(BIN)/lint-imports

format: install ## let ruff sort the imports and format the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lock-check: install ## resolve constraints.txt against the plain registry; needs the network
	@$(BIN)/python .ci/lock_check.py

clean: ## remove caches and build output; .venv and data stay
	@rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	@find . -name .venv -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +
