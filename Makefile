# The two commands are `make demo` and `make test`. Each prepares all it needs: uv, the locked environment, the package.
# Nothing is written outside this folder but the package caches.

UV_VERSION := 0.13.9
PYTHON ?= python3
VENV := .venv
UV := .tools/bin/uv
BIN := $(VENV)/bin
BENCH ?= all
# A run is a process of its own: without stored bytecode each would compile Prefect and all of this again.
unexport PYTHONDONTWRITEBYTECODE
# uv trusts what the machine trusts, as pip does.
export UV_SYSTEM_CERTS := 1

.PHONY: help environment demo test test-slow lint bench faults lock clean

help:  ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Freshet needs Python 3.11 or newer; set PYTHON=/path/to/python3.11" >&2; exit 2; }
	@$(PYTHON) -m venv .tools \
	  || { echo "python3 -m venv failed; on Debian: apt-get install python3-venv" >&2; exit 2; }
	@.tools/bin/python -m pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)"

$(VENV)/.synced: $(UV) requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) $(VENV)
	@$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

environment: $(VENV)/.synced  ## the locked environment in .venv

demo: environment  ## three real requests from the queue to the reported result (KEEP=1 leaves it running)
	@$(BIN)/freshet demo $(if $(KEEP),--keep)

test: environment lint  ## everything but the long matrices
	@$(BIN)/python -m pytest -m "not slow and not longhaul" -n 2 --dist loadfile

test-slow: environment  ## the long matrices: minutes each
	@$(BIN)/python -m pytest -m "slow and not longhaul"

lint: environment  ## ruff, mypy, import-linter, ansible-lint
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/mypy tests benchmarks
	@$(BIN)/lint-imports
	@cd playbooks && PATH="$(CURDIR)/$(BIN):$$PATH" ansible-lint --offline --profile production --strict -q

bench: environment  ## benchmarks (BENCH=refresh, upgrade, planner or all)
	@$(BIN)/python -m benchmarks $(BENCH)

faults: environment  ## everything that is tried to break it: kills, cuts, fuzzing, the long set test, the queue
	@$(BIN)/python -m benchmarks faults

lock: $(UV)  ## rewrite requirements.lock from pyproject.toml
	@$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	  --group dev pyproject.toml --output-file requirements.lock

clean:  ## stop the embedded stack and remove everything made here
	@test ! -x $(BIN)/freshet || $(BIN)/freshet down
	@rm -rf $(VENV) .tools .freshet .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
