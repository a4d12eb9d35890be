# You need Python 3.11 or newer with venv, and make. The targets set up everything else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The supported versions; `make test-minors` skips those that this machine does not have.
PYTHONS ?= python3.11 python3.12 python3.13
# Most tests wait for processes, disks and clocks, so several at once use a small machine better.
TEST_WORKERS ?= 4
STAMP := $(VENV)/.installed
# The extras that the tests marked frameworks need, too.
FRAMEWORK_EXTRAS := full,browser
FRAMEWORKS := $(VENV)/.frameworks
# Only these files, because each worker collects all given files, which takes long for all tests.
FRAMEWORK_TESTS = $(shell grep -rl --include='test_*.py' 'mark\.frameworks' tests)
# All tests that have a long form. Some of them are beside the other tests of the same step.
FAULT_TESTS := tests/faults tests/integration/pipeline tests/integration/store/test_kills.py \
	tests/integration/store/test_flips.py tests/integration/verify/test_any_damage.py

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv demo test format format-check lint types tests unit test-frameworks test-minors faults bench compare system-tools browser-tools clean

help:
	@echo "make demo             train two processes that log into one run, then show the stored run"
	@echo "make test             what CI runs first: format, lint, types, tests"
	@echo "make test-frameworks  the tests that need MLflow, W&B, TensorBoard or Dash"
	@echo "make test-minors      the unit tests on every supported Python that is here, types on the oldest and newest"
	@echo "make faults           the long fault runs: kills, power loss, full disks"
	@echo "make bench            the benchmarks: machine, versions, medians and p99"
	@echo "make compare          the same work with this project and with other trackers"
	@echo "make format           format the sources and sort their imports"

venv: $(STAMP)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12 ..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (the first time takes a minute or two)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,demo]'
	@touch $@

demo: $(STAMP)
	@$(BIN)/python examples/digits/train.py

test: format-check lint types tests

format: $(STAMP)
	$(BIN)/ruff check --select I --fix .
	$(BIN)/ruff format .

format-check: $(STAMP)
	$(BIN)/ruff format --check .

lint: $(STAMP)
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy -p neural.tracking
	$(BIN)/mypy tests/typing/public_api.py

tests: $(STAMP) system-tools browser-tools
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist worksteal
	@echo "not run here: the tests marked frameworks (MLflow, W&B, TensorBoard, Dash, Chromium); make test-frameworks does"

# For `test-minors`, which passes an environment of its own.
unit: $(STAMP)
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist worksteal tests/unit

test-minors: $(STAMP)
	@VENV=$(VENV) sh .ci/minors.sh $(PYTHONS)

# tests/conftest.py lists the files that stay together. Each worker has its own ports, W&B service, Chromium.
test-frameworks: $(FRAMEWORKS) browser-tools
	$(BIN)/python -m pytest -m frameworks -n $(TEST_WORKERS) --dist loadgroup $(FRAMEWORK_TESTS)

$(FRAMEWORKS): $(STAMP)
	@echo "installing $(FRAMEWORK_EXTRAS) into $(VENV) (some minutes)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,demo,$(FRAMEWORK_EXTRAS)]'
	@touch $@

browser-tools:
	@sh tests/browser/install_chromium.sh

faults: $(STAMP) system-tools
	FAULTS=long $(BIN)/python -m pytest --timeout=3600 $(FAULT_TESTS)

bench: $(STAMP)
	@missed=0; for script in benchmarks/[!_]*.py; do \
		echo "== $$script"; $(BIN)/python $$script || missed=1; \
	done; exit $$missed

# Creates an environment for each tool in .compare and writes docs/comparison.md; takes about 20 minutes.
compare: $(STAMP)
	$(BIN)/python benchmarks/compare

# With strace and iproute2 the fault tests make system calls fail and cut networks. The script installs them
# if that needs no password. Otherwise the tests that need them are skipped, with the reason.
system-tools:
	@sh tests/faults/install_tools.sh

clean:
	rm -rf $(VENV) .venv-* build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
