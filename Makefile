# `make demo` and `make test` do all the set-up; both can be repeated.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CONSTRAINTS := $(if $(wildcard constraints.txt),-c constraints.txt,)
# torchattacks pins a `requests` version that it never imports, hence --no-deps (see README).
ZOO := torchattacks==3.5.1

.PHONY: demo test lint type unit clean oracle ci-submission

demo: $(VENV)/.ready
	$(BIN)/trustad run --track demo --out runs/demo
	$(BIN)/trustad leaderboard build --submissions submissions --submissions runs/demo --out site

test: $(VENV)/.ready-dev lint type unit

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	test ! -d .github || $(BIN)/zizmor --offline --quiet .github

type:
	$(BIN)/mypy

unit:
	$(BIN)/python -m pytest

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.ready: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(CONSTRAINTS) -e .
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(ZOO)
	touch $@

$(VENV)/.ready-dev: pyproject.toml | $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(CONSTRAINTS) -e '.[dev]'
	touch $@

# The metrics against other people's packages, in an environment of their own: they are many and large.
oracle: $(VENV)-oracle/.ready
	$(VENV)-oracle/bin/python -m pytest tests/oracle

$(VENV)-oracle/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)-oracle
	$(VENV)-oracle/bin/python -m pip install --quiet --disable-pip-version-check -e . \
		'anomalib>=2.3' mapie netcal torch-uncertainty pytest hypothesis
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-oracle runs site build *.egg-info

# Every workflow's steps on this machine, from clones like a fork's: make ci-submission SLUG=my-detector
ci-submission: $(VENV)/.ready
	PATH="$(CURDIR)/$(BIN):$$PATH" .github/scripts/dry_run.sh submissions/$(SLUG)
