# Needs Python 3.11 or newer, make and git; the first call makes .venv from requirements.lock, the next ones find it.
#
#   make demo                  fit, draw and check health spending (the table that ships with the package)
#   make test                  the tests;  make test ARGS="tests/test_store.py -x"  for some of them
#   make lint                  style, format, layers, types
#   make docs                  the documentation: out/docs/index.html; DOCS_RUN=0 make docs runs no code
#   make bench CASE=randhie    ours against peers; ARGS are handed on
#   make bench-environment     .venv-bench with the peers that bring torch; without it their rows say "not installed"
#   make lock                  requirements.lock anew from pyproject.toml
#   make clean                 all that was made, .venv too

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
READY := .venv/ready
BENCH := .venv-bench/bin
BENCH_READY := .venv-bench/ready
ARGS ?=

# A computer where this is set would compile every module of every package anew at each start.
export PYTHONDONTWRITEBYTECODE=
export PATH := $(CURDIR)/$(BIN):$(PATH)
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME

.PHONY: environment demo test lint docs bench bench-environment lock clean

environment: $(READY)

$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "ptilde needs Python 3.11 or newer; try: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip sync --python $(BIN)/python --require-hashes requirements.lock
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY)
	$(BIN)/ptilde demo $(ARGS)

# CI runs the slow tests too.
test: $(READY)
	$(BIN)/python -m pytest -q -n 2 --dist worksteal $(if $(CI),,-m "not slow") $(ARGS)

lint: $(READY)
	@.ci/run style format layers types

docs: $(READY)
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs out/docs
	@echo "out/docs/index.html"

bench: $(if $(wildcard $(BENCH_READY)),$(BENCH_READY),$(READY))
	$(if $(wildcard $(BENCH_READY)),$(BENCH),$(BIN))/python -m benchmarks $(CASE) $(ARGS)

bench-environment: $(BENCH_READY)

# pip, not uv, for the peers: uv asks one index for a package, and torch's CPU build often lies on another.
$(BENCH_READY): requirements.lock benchmarks/requirements.txt
	@test -n "$(PYTHON)" || { echo "ptilde needs Python 3.11 or newer; try: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@test -x $(BENCH)/python || $(PYTHON) -m venv .venv-bench
	@test -x $(BENCH)/uv || $(BENCH)/python -m pip install --quiet --disable-pip-version-check uv
	$(BENCH)/uv pip sync --python $(BENCH)/python --require-hashes requirements.lock
	$(BENCH)/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	$(BENCH)/uv pip install --python $(BENCH)/python --no-deps --no-build-isolation --editable .
	@touch $@

lock: $(READY)
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --python-version 3.11 \
		--group build --group test --group lint --group docs --custom-compile-command "make lock" pyproject.toml -o requirements.lock

clean:
	rm -rf .venv .venv-bench build dist out docs/gallery docs/_made ptilde-demo .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests benchmarks tools -name __pycache__ -type d -prune -exec rm -rf {} +
