# make demo: from a fresh clone to bills and outages.  make test: lint, types, import contracts, every test.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: setup demo test lint types imports unit crash-matrix soak services services-down bench lock clean

setup: $(STAMP)

$(STAMP): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 ..."; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

demo: setup
	$(BIN)/ami demo --out demo-out

test: setup lint types imports unit

lint: setup
	$(BIN)/ruff check .

types: setup
	$(BIN)/mypy

imports: setup
	$(BIN)/lint-imports

unit: setup
	$(BIN)/pytest

# Kafka and ClickHouse on 127.0.0.1 without containers; the tests start and stop their own.
services: setup
	$(BIN)/python deploy/local/services.py up --folder .services

services-down:
	$(BIN)/python deploy/local/services.py down --folder .services

# Every worker killed at every step, broker and server too, on 50,000 frames: the matrix is printed as a table.
crash-matrix: setup
	AMI_FULL=1 $(BIN)/pytest tests/integration/crash tests/integration/test_outage_stream.py tests/integration/test_oms_worker.py

# Ten minutes at a steady rate; fails where lag or memory grows or a frame is not stored exactly once.
soak: setup
	$(BIN)/python benchmarks/soak.py

bench: setup
	@for bench in $(filter-out benchmarks/soak.py,$(wildcard benchmarks/*.py)); do echo "== $$bench"; $(BIN)/python $$bench || exit 1; done

# Pins are renewed with: uv pip compile (any resolver that writes hashes); no index address is written.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	  --extra embedded --extra sftp pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	  --extra embedded --extra sftp --group dev -c requirements.lock pyproject.toml -o requirements-dev.lock

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache demo-out
