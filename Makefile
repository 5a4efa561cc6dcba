# `make demo` and `make test` do all the set-up that they need, in .venv beside this file.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.wellposed-installed

.PHONY: help install demo test test-all explore lint types bench clean
help:  ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

install: $(INSTALLED)  ## make .venv with everything in it

# The editable install records this folder's place, so a copied or moved .venv is made again.
$(INSTALLED): pyproject.toml constraints.txt
	@$(BIN)/python -c '' 2>/dev/null || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(INSTALLED)  ## the main job on real data, about a minute
	@$(BIN)/python -m wellposed demo

lint: $(INSTALLED)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

types: $(INSTALLED)
	$(BIN)/python -m basedpyright --level error

test: lint types  ## everything that CI runs
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m 'not slow'

test-all: lint types  ## the slow tests too
	$(BIN)/python -m pytest -n 2 --dist loadgroup

explore: $(INSTALLED)  ## the tests of laws on random examples, other ones in every run
	HYPOTHESIS_PROFILE=explore $(BIN)/python -m pytest -n 2 tests/property

bench: $(INSTALLED)  ## the benchmarks' tables
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv build dist
