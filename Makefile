# Every command installs what it needs into .venv beside this file: `make demo` a little, the others all of it.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# An editable install records its folder. The names of the stamps tell that folder, so a copied or moved .venv is installed anew.
PLACE := $(shell cd -P .venv/.. 2>/dev/null; pwd -P | cksum | cut -d ' ' -f 1)
DEMO := .venv/.installed-demo-$(PLACE)
DEV := .venv/.installed-dev-$(PLACE)

.PHONY: help install demo test test-all explore lint types bench clean
help:  ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

install: $(DEV)  ## make .venv with everything in it

$(DEMO): pyproject.toml constraints.txt
	@$(BIN)/python -c '' 2>/dev/null || $(PYTHON) -m venv --clear .venv
	$(PIP) -e '.[demo]'
	@rm -f .venv/.installed-* && touch $@

$(DEV): $(DEMO)
	$(PIP) -e '.[dev]'
	@touch $@

demo: $(DEMO)  ## the main job on real data, about a minute
	@$(BIN)/python -m wellposed demo

lint: $(DEV)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

types: $(DEV)
	$(BIN)/python -m basedpyright --level error

test: lint types  ## everything that CI runs
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m 'not slow'

test-all: lint types  ## the slow tests too
	$(BIN)/python -m pytest -n 2 --dist loadgroup

explore: $(DEV)  ## the tests of laws on random examples, other ones in every run
	HYPOTHESIS_PROFILE=explore $(BIN)/python -m pytest -n 2 tests/property

bench: $(DEV)  ## the benchmarks' tables
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv build dist
