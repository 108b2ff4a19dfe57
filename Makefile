# Every target first sets up .venv, once; `make study` and `make test` need nothing else.
PYTHON ?= python3
ready := .venv/ready
run := . .venv/bin/activate &&

.PHONY: help study test lint clean

help:
	@echo "make study   set up, run whatever is out of date, print the answer"
	@echo "make test    set up, run linters and tests"
	@echo "make lint    set up, check style and types"
	@echo "make clean   remove .venv (data and metrics stay)"

study: $(ready)
	$(run) dvc repro
	@cat metrics/study.md
	@echo "Chart: metrics/accuracy_vs_size.svg (and .png)"

test: lint
	$(run) pytest

lint: $(ready)
	$(run) ruff check . && ruff format --check . && mypy

$(ready): requirements.txt requirements-dev.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(run) python -m pip install --quiet -r requirements.txt -r requirements-dev.txt
	$(run) python -m pip install --quiet --no-deps --editable .
	@touch $(ready)

clean:
	rm -rf .venv
