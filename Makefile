# Every target sets up .venv first, if it is not there. Nothing else is needed before `make study`.
PYTHON ?= python3
ready := .venv/ready
run := . .venv/bin/activate &&
style := ruff check . && ruff format --check .
pin := uv pip compile --quiet --no-deps --no-header --no-annotate pyproject.toml

# In a container: DVC asks for the user's name, Matplotlib for a folder that it can write.
ifeq ($(LOGNAME)$(USER),)
export USER := $(shell id -u)
endif
ifneq ($(shell test -w "$$HOME" || echo no),)
export MPLCONFIGDIR ?= $(CURDIR)/data/unfinished/matplotlib
endif

.PHONY: help check-data study cluster test coverage test-faults bench lint pictures requirements clean

help:
	@echo "make study          set up, run what is out of date, print the answer"
	@echo "make check-data     show how your photos are read and what would stop the study"
	@echo "make cluster        set up, train and evaluate cells side by side; OPTIONS='--gpus 0.25'"
	@echo "make test           set up, run linters and tests"
	@echo "make coverage       the same tests, and which lines of the code they reach"
	@echo "make test-faults    kill every stage many times, fuzz every parser: some 20 minutes"
	@echo "make bench          set up, compare Shotcount's speed with the recipe's: some 10 minutes"
	@echo "make lint           set up, check style and types"
	@echo "make pictures       draw the docs' pictures of the finished study; needs Chromium"
	@echo "make requirements   pin the packages of pyproject.toml"
	@echo "make clean          remove .venv and unfinished work (data and metrics stay)"

study: $(ready)
	$(run) dvc repro
	@cat metrics/study.md
	@echo "Chart: metrics/accuracy_vs_size.svg (and .png). Everything on one page: metrics/report.html"

cluster: $(ready)
	$(run) shotcount cluster $(OPTIONS)

check-data: $(ready)
	$(run) shotcount check-data $(OPTIONS)

# Freed memory is kept: to get it back from the system takes a third of a bootstrap's time.
test coverage: export MALLOC_TRIM_THRESHOLD_ = 1000000000
test coverage: export MALLOC_MMAP_THRESHOLD_ = 33554432
tests := OMP_NUM_THREADS=1 pytest --numprocesses auto --dist loadfile --no-loadscope-reorder
test: $(ready)
	$(run) $(style)
	$(run) $(tests)

# To record which lines the tests reach takes them half as long again.
coverage: $(ready)
	$(run) $(tests) --cov=shotcount --cov-report=term

test-faults: $(ready)
	$(run) pytest -s -m slow
	$(run) pytest -k any --hypothesis-profile=thorough --hypothesis-show-statistics tests/test_bad_input.py

bench: $(ready)
	@$(run) dvc repro prepare >&2
	@$(run) python benchmarks/bench.py

lint: $(ready)
	$(run) $(style) && mypy

pictures: $(ready)
	$(run) python docs/pictures.py

requirements: $(ready)
	$(run) $(pin) --extra demo -o requirements.txt
	$(run) $(pin) --extra demo --extra cluster -c requirements.txt -o requirements-cluster.txt
	$(run) $(pin) --all-extras -c requirements-cluster.txt -o requirements-dev.txt

$(ready): requirements-dev.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(run) python -m pip install --quiet -r requirements-dev.txt
	$(run) python -m pip install --quiet --no-deps --editable .
	@touch $(ready)

clean:
	rm -rf .venv data/unfinished
