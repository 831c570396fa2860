# `make demo` shows blockflow at work, `make test` runs everything that must hold. Both set up what they need.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
BENCH := .venv-bench
DEMO := demo

.PHONY: demo test bench clean

$(INSTALLED): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is needed: apt-get install python3.11 python3.11-venv"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  echo "installing python3-venv ..."; \
	  apt-get -qq update && apt-get -qq install -y python3-venv >/dev/null; }
	@echo "making the environment in $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]' 2>$(VENV)/pip.log || { cat $(VENV)/pip.log; exit 1; }
	@touch $@

demo: $(INSTALLED)
	@mkdir -p $(DEMO)
	@cp configs/*.yaml configs/*.py $(DEMO)/
	@echo "1. a sample volume (like electron microscopy: cells with dark membranes)"
	@$(BIN)/blockflow sample $(DEMO)/sample
	@echo "2. blockflow run $(DEMO)/threshold.yaml"
	@$(BIN)/blockflow run $(DEMO)/threshold.yaml
	@echo "3. the same again: every block is done already"
	@$(BIN)/blockflow run $(DEMO)/threshold.yaml
	@$(BIN)/blockflow array show $(DEMO)/sample/raw --output $(DEMO)/input.png
	@$(BIN)/blockflow array show $(DEMO)/results/mask.zarr --output $(DEMO)/output.png
	@echo "the result is $(DEMO)/results/mask.zarr; a slice of the input is $(DEMO)/input.png, of the output $(DEMO)/output.png"

test: $(INSTALLED)
	@echo "ruff"; $(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet . || { echo "not formatted: run $(BIN)/ruff format"; exit 1; }
	@echo "mypy --strict blockflow"; $(BIN)/mypy --no-error-summary
	@echo "pytest"; $(BIN)/python -m pytest --quiet -n 3 --dist loadfile --no-loadscope-reorder

# what blockflow is compared with stays out of the environment of the tests
$(BENCH)/installed: $(INSTALLED) pyproject.toml
	@echo "making the environment in $(BENCH) ..."
	@$(PYTHON) -m venv $(BENCH)
	@$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[test,bench]' 2>$(BENCH)/pip.log || { cat $(BENCH)/pip.log; exit 1; }
	@touch $@

bench: $(BENCH)/installed
	@for script in benchmarks/bench_*.py; do echo "$$script"; $(BENCH)/bin/python $$script || exit 1; done

clean:
	rm -rf $(VENV) $(BENCH) $(DEMO) build dist .mypy_cache .ruff_cache .pytest_cache
