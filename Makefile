# Lagrum. `make help` lists the targets; all but `help` and `clean` make the environment first.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules --no-print-directory

# Tests start the program dozens of times; compiled once, a start of the server costs 0.4 s less.
unexport PYTHONDONTWRITEBYTECODE

# A newer Python may be named: make PYTHON=python3.13 env
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
REQUIREMENTS := requirements/build.txt requirements/dev.txt
# Kernels are compiled and kept once, here, and not by the first delivery (docs/adr/0007, 0021).
define COMPILE
import pathlib
from store import native
for path in sorted(path for folder in ("schemas", "store", "ingest", "api") for path in pathlib.Path(folder).rglob("*kernels.py")):
    native.load(".".join(path.with_suffix("").parts))
endef
export COMPILE
# Root of the store that `make serve` serves.
LAGRUM_ROOT ?= demo-store/store

.PHONY: help env demo test check format generate bench bench-env bench-growth bench-micro serve torture lock clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | while IFS="$$(printf '\t')" read -r name text; do \
		printf '  make %-13s %s\n' "$$name" "$$text"; done

# The stamp is a digest, not a time: a checkout or a copy changes times, and a moved environment does not work. On a
# terminal pip shows how far it is.
env: ## make .venv from the pinned, hashed requirements; .venv/bin/lagrum then runs from anywhere
	@digest=$$( (pwd; cat $(REQUIREMENTS) pyproject.toml) | git hash-object --stdin) || exit 2; \
	if [ "$$(cat $(VENV)/stamp 2>/dev/null)" = "$$digest" ] && $(BIN)/python -c '' 2>/dev/null && [ -x $(BIN)/lagrum ]; \
	then exit 0; fi; \
	command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) is not installed; Lagrum needs Python 3.11 or newer" >&2; exit 2; }; \
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "error: $(PYTHON) is $$($(PYTHON) -V 2>&1); Lagrum needs Python 3.11 or newer (make PYTHON=python3.12 env)" >&2; exit 2; }; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "error: this Python has no ensurepip; install it (on Debian: apt-get install python3-venv)" >&2; exit 2; }; \
	echo "making the environment in $(VENV): once, some minutes, 1.2 GB" >&2; \
	[ -t 1 ] && quiet= || quiet=-qq; \
	rm -f $(VENV)/stamp; \
	$(BIN)/python -c '' 2>/dev/null || rm -rf $(VENV); \
	$(PYTHON) -m venv $(VENV) && \
	$(BIN)/python -m pip install $$quiet --disable-pip-version-check --no-input --require-hashes \
		$(foreach file,$(REQUIREMENTS),-r $(file)) && \
	$(BIN)/python -m pip install -qq --disable-pip-version-check --no-input --no-deps --no-build-isolation --no-index -e . && \
	$(BIN)/python -c "$$COMPILE" && \
	printf '%s\n' "$$digest" > $(VENV)/stamp || { \
		echo "error: the environment could not be made; what pip says stands above" >&2; exit 2; }

demo: env ## see it work: fixtures and 2 M records in, usage, a disclosure, the log verified (leaves ./demo-store)
	@$(BIN)/python -m bench.demo

# In the order of the folders: acceptance, with the longest files, begins, and no worker waits for it at the end.
test: env ## run the tests
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not torture" $(ARGS)

torture: env ## long campaigns: kills, failing calls, full disks, power loss, mutated input; CAMPAIGN=kill|strace|full|power|control|fuzz
	@$(BIN)/python -m tests.fault.torture $(CAMPAIGN) $(ARGS)
	@[ -n "$(CAMPAIGN)" ] || { $(BIN)/python -m pytest -m torture --hypothesis-profile torture --timeout 0 && \
		$(BIN)/python -m pytest -m "not torture" --hypothesis-profile torture --timeout 0 tests/ingest tests/store tests/schemas \
			tests/api/billing tests/api/handover tests/api/disclosure/test_package.py && \
		$(BIN)/python -m tests.fault.mutate_guards; }

check: env ## style, types, import layers, generated files fresh; runs them all and fails if one does
	@status=0; for step in "ruff check -q ." "ruff format -q --check ." "mypy --no-error-summary" "lint-imports" \
		"python -m bench.generated --check"; do $(BIN)/$$step || { echo "failed: $$step" >&2; status=1; }; done; exit $$status

format: env ## mend style and format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

generate: env ## write the generated files anew
	@$(BIN)/python -m bench.generated

# What only measurements need: the peers and the plotting. It shares every pin with the development environment.
bench-env: env
	@digest=$$(git hash-object requirements/bench.txt) || exit 2; \
	if [ "$$(cat $(VENV)/bench-stamp 2>/dev/null)" = "$$digest" ]; then exit 0; fi; \
	echo "adding the measured peers to $(VENV) (once)" >&2; \
	$(BIN)/python -m pip install -qq --disable-pip-version-check --no-input --require-hashes -r requirements/bench.txt && \
	printf '%s\n' "$$digest" > $(VENV)/bench-stamp || { \
		echo "error: the peers could not be installed; what pip says stands above" >&2; exit 2; }

bench: bench-env ## Lagrum beside its peers; BENCH_SCALE=0.1 for a tenth; writes bench/results, tables, figures
	@$(BIN)/python -m bench.run

bench-growth: bench-env ## how cost grows with what is stored, 26 GB as one stream; goes on where it was interrupted
	@$(BIN)/python -m bench.growth

bench-micro: env ## the single steps of taking in and looking up
	@$(BIN)/python -m pytest bench/micro.py --benchmark-disable-gc --benchmark-columns=min,median,stddev,rounds $(ARGS)

serve: env ## serve the store in LAGRUM_ROOT (default: the demo's)
	@$(BIN)/lagrum --root $(LAGRUM_ROOT) serve

# uv lives in a folder of its own: it is a tool for this one errand, no dependency.
lock: ## choose the newest allowed versions and write requirements/*.txt
	@tool=$$(mktemp -d) && trap 'rm -rf "$$tool"' EXIT && \
	$(PYTHON) -m venv "$$tool" && "$$tool/bin/python" -m pip install -qq --disable-pip-version-check uv && \
	for what in "build requirements/build.in" "runtime pyproject.toml" "dev pyproject.toml --group dev" \
		"bench pyproject.toml --group dev --group bench"; do \
		set -- $$what; out=requirements/$$1.txt; shift; \
		"$$tool/bin/uv" pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --upgrade \
			"$$@" -o "$$out" >/dev/null || exit 1; \
	done

clean: ## remove the environment, caches, the demo's store and measurements' leftovers
	@rm -rf $(VENV) demo-store bench/out .mypy_cache .ruff_cache .hypothesis .import_linter_cache .benchmarks
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
