# Every target makes .venv by itself, and again only when pyproject.toml or constraints.txt change.

READY := .venv/.ready
BIN := .venv/bin
PYTHONS := python3.11 python3.12 python3

.PHONY: help demo test lint bench clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    the whole path on the synthetic set: search, exam, promoted model (minutes)"
	@echo "make test    the whole test suite"
	@echo "make lint    ruff and mypy"
	@echo "make bench   speed against the usual way, and what the fingerprint finds: docs/*.md"
	@echo "make clean   remove .venv and caches; runs/ stays"

demo: $(READY)
	$(BIN)/escsearch demo

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	@set -e; for file in $$(grep -l __main__ benchmarks/*.py); do echo "$$file"; $(BIN)/python "$$file"; done

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A python counts only if it runs, is 3.11 or 3.12 and can make environments: shims of version managers often do not.
$(READY): pyproject.toml constraints.txt
	@set -e; \
	usable='import sys, venv, ensurepip; sys.exit(sys.version_info[:2] not in [(3, 11), (3, 12)])'; \
	if ! $(BIN)/python -c "$$usable" >/dev/null 2>&1; then \
	    for candidate in $(PYTHONS); do \
	        if $$candidate -c "$$usable" >/dev/null 2>&1; then python=$$candidate; break; fi; \
	    done; \
	    if [ -z "$$python" ]; then \
	        echo "make: no working Python 3.11 or 3.12 with venv among: $(PYTHONS). Install one (Debian, Ubuntu:" \
	            "python3.11 python3.11-venv), or name yours: make PYTHONS=/path/to/python3.11" >&2; \
	        exit 1; \
	    fi; \
	    echo "making .venv with $$($$python --version)"; \
	    $$python -m venv --clear .venv; \
	fi; \
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
