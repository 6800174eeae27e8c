# `make demo` and `make test` are all a stranger needs: each sets up what it lacks in .venv, nothing outside it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SPHINX := $(VENV)/.sphinx
SITE := build/site

.PHONY: setup demo test test-slow lessons browser check docs gallery clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt hatch_build.py $(wildcard src/unroll/*/kernel/*)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "unroll needs Python 3.11 or newer: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[train,insight,serve,export,translate,parquet]' \
		'axe-playwright-python>=0.1.8' 'hypothesis>=6.100' 'httpx>=0.27' 'jupytext>=1.16' 'mypy>=1.11' 'openai>=1.40' 'playwright>=1.45' 'pytest>=8.2' 'pytest-xdist>=3.6' 'ruff>=0.6'
	touch $(STAMP)

demo: setup
	$(BIN)/unroll train --minutes 3 --out runs/demo --force
	$(BIN)/unroll evolution runs/demo
	$(BIN)/unroll sample runs/demo --length 600 --temperature 0.8

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal -m 'not slow'

test-slow: check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

# The practical sessions, executed and compared with their notebooks; UPDATE=1 writes those anew, ONLY=03 takes one.
lessons: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt 'ipykernel>=6.29' 'jupyterlab>=4.2' 'nbclient>=0.10'
	$(BIN)/python tools/lessons.py $(if $(UPDATE),--update) $(ONLY)

# The pages that are made from the code, and the site of all of them: a warning, as of a broken link, is an error.
docs: $(SPHINX)
	$(BIN)/python tools/reference.py
	$(BIN)/python -m sphinx --fail-on-warning --fresh-env --quiet -c docs . $(SITE)
	@echo "open $(SITE)/index.html"

$(SPHINX): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt 'furo>=2025.9' 'latex2mathml>=3.78' 'myst-nb>=1.3' 'sphinx>=8.2'
	touch $(SPHINX)

# A page of the gallery: make gallery NAME=tinyshakespeare, with TEXT=FILE for a text of your own place.
gallery: setup
	$(BIN)/python benchmarks/gallery.py $(NAME) $(if $(TEXT),--text '$(TEXT)') $(if $(MODEL),--model '$(MODEL)')

# What the tests of the page also need: a browser from the system's packages, Debian's or Ubuntu's. They are skipped without.
browser: setup
	command -v chromium || { apt-get update && apt-get install -y --no-install-recommends chromium; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt 'playwright>=1.45'

clean:
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache .hypothesis
