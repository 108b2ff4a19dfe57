# Every target first sets up .venv, once; `make study` and `make test` need nothing else.
PYTHON ?= python3
ready := .venv/ready
run := . .venv/bin/activate &&

.PHONY: help check-data study grid test test-faults bench lint clean

help:
	@echo "make study   set up, run whatever is out of date, print the answer"
	@echo "make grid    set up, train and evaluate cells side by side; OPTIONS='--gpus 0.25'"
	@echo "make check-data   show how your photos are read and what would stop the study"
	@echo "make test    set up, run linters and tests"
	@echo "make test-faults   kill every stage many times, fuzz every parser: some 20 minutes"
	@echo "make bench   set up, measure Shotcount's speed against the recipe's: some 10 minutes"
	@echo "make lint    set up, check style and types"
	@echo "make clean   remove .venv and unfinished work (data and metrics stay)"

study: $(ready)
	$(run) dvc repro
	@cat metrics/study.md
	@echo "Chart: metrics/accuracy_vs_size.svg (and .png). All of it, as a page: metrics/report.html"

grid: $(ready)
	$(run) python -m shotcount grid $(OPTIONS)

check-data: $(ready)
	$(run) python -m shotcount check-data

test: lint
	$(run) pytest

test-faults: $(ready)
	$(run) pytest --no-cov -s -m slow
	$(run) pytest --no-cov -k any --hypothesis-profile=thorough --hypothesis-show-statistics tests/test_bad_input.py

bench: $(ready)
	@$(run) dvc repro prepare >&2
	@$(run) python benchmarks/bench.py

lint: $(ready)
	$(run) ruff check . && ruff format --check . && mypy

$(ready): requirements.txt requirements-dev.txt requirements-cluster.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(run) python -m pip install --quiet -r requirements.txt -r requirements-dev.txt
	$(run) python -m pip install --quiet --no-deps --editable .
	@touch $(ready)

clean:
	rm -rf .venv data/unfinished
