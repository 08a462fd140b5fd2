# The two commands of the README: make run, make test. Everything else is for developers.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: run test check pycuda triton cluster lock clean

run: $(READY)
	$(BIN)/pipeline run all

# Two processes share the files, the longest first; a file stays whole, for its fixtures. What is
# compiled is kept, assertions that pytest rewrites as well: else each run spends seconds on it.
test: $(READY)
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in [(3, n) for n in range(10, 14)] and "Python 3.10 to 3.13 is needed, this is " + sys.version.split()[0] + ": make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $(READY)

# PyCUDA, compiled for the tests of GPU memory, which run without a GPU; takes about a minute.
pycuda: $(READY)
	bash tests/cuda/build_pycuda.sh $(BIN)/python

# The Triton server and its client, for the tests that serve an engine; 55 MB, no GPU needed.
triton: $(READY)
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes \
		--requirement tests/triton/requirements.lock

# Ray, for the test of a search on a cluster of two nodes; 79 MB, and installed 240 MB.
cluster: $(READY)
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes \
		--requirement tests/cluster/requirements.lock

# Writes requirements.lock anew, with the newest versions that fit (needs uv).
lock:
	uv pip compile --universal --python-version 3.10 --generate-hashes --upgrade \
		--custom-compile-command "make lock" --extra all --group dev pyproject.toml \
		-o requirements.lock
	uv pip compile --universal --python-version 3.10 --generate-hashes \
		--custom-compile-command "make lock" --constraint requirements.lock \
		tests/cuda/requirements.in -o tests/cuda/requirements.lock
	uv pip compile --universal --python-version 3.10 --generate-hashes --no-deps \
		--custom-compile-command "make lock" \
		tests/triton/requirements.in -o tests/triton/requirements.lock
	uv pip compile --universal --python-version 3.10 --generate-hashes --no-deps \
		--custom-compile-command "make lock" \
		tests/cluster/requirements.in -o tests/cluster/requirements.lock

clean:
	rm -rf $(VENV) artifacts/* .pytest_cache .mypy_cache .ruff_cache
