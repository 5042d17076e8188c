# `make demo` runs the main job, `make test` all checks; both set up what they need, from python3 alone, as `make setup`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export ML_ASSETS_HOME ?= $(CURDIR)/.ml_assets
export ML_ASSETS_DATA ?= data
ARGS ?=

.PHONY: setup demo up test lint check check-yaml format bench reference lock clean

setup: $(READY)

demo: $(READY)
	$(BIN)/ml-assets demo

up: $(READY)
	@# 130 is Ctrl-C, the usual way to end it.
	$(BIN)/ml-assets up $(ARGS) || test $$? -eq 130

$(READY): requirements.txt setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ml-assets needs Python 3.11 or newer: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

test: lint check
	PYTHONHASHSEED=0 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations 5

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# One by one: given several projects, it validates only the last (dagster-dg-core 1.13.27, check.py).
check-yaml: $(READY)
	for file in ml_assets/defs/*/defs.yaml; do $(BIN)/dg check yaml "$${file%/*}" || exit; done

check: check-yaml
	$(BIN)/ml-assets check
	$(BIN)/dg check defs
	$(BIN)/dg list defs > /dev/null
	$(BIN)/dagster definitions validate -w workspace.yaml

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)
	$(BIN)/python -m benchmarks.run $(if $(ONLY),--only $(ONLY))

reference: $(READY)
	$(BIN)/python -m ml_assets.reference

lock: $(READY)
	$(BIN)/uv pip compile --universal --no-strip-extras --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-emit-find-links --custom-compile-command "make lock" --extra dev setup.cfg -o requirements.txt

clean:
	rm -rf .ml_assets build dist *.egg-info
