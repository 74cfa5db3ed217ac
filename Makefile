# The README's commands. PYTHON, TASK, PROFILE and SEED can be given.
PYTHON ?= python3
TASK ?= person
PROFILE ?= tiny
SEED ?= 0
JOBS ?= 2

BIN := .venv/bin
NASDA := $(BIN)/nasda
OUT := runs/$(TASK)-$(PROFILE)-seed$(SEED)
SAME := --task $(TASK) --profile $(PROFILE) --seed $(SEED) --out $(OUT)

.PHONY: course notebooks assignments test lint unit test-browser bench lab env clean

# The whole chain on the built-in data.
course: env
	$(NASDA) data make $(SAME)
	$(NASDA) doctor $(SAME)
	$(NASDA) data show $(SAME)
	$(NASDA) search $(SAME)
	$(NASDA) derive $(SAME)
	$(NASDA) train $(SAME)
	$(NASDA) train $(SAME) --norm ibn
	$(NASDA) evaluate $(SAME)
	$(NASDA) draw $(SAME)
	@echo
	@echo "The table above is the result; its pictures lie in $(OUT)/pictures"

# Every notebook, executed from its source: the copies in notebooks/, or for another TASK or PROFILE in runs/notebooks.
notebooks: env
	OMP_NUM_THREADS=1 $(BIN)/python notebooks/build.py --task $(TASK) --profile $(PROFILE)

# Problem sets: what is handed out, and the solutions, in notebooks/assignments/release and solution.
assignments: env
	$(BIN)/python notebooks/assignments/build.py

test: lint unit

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/vulture

# One thread a process: two OpenMP threads on a busy machine are slower than one.
unit: env
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS) --dist worksteal

# The notebooks' widgets, moved by keyboard and mouse in a real browser: needs the program chromium.
test-browser: env
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/browser -m browser -n $(JOBS) --dist worksteal

# How fast things are, and how much memory they take; on a machine with nothing else to do and 3 GB free in /tmp.
bench: env
	@mkdir -p runs
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/benchmarks --benchmark-enable --benchmark-only --benchmark-json=runs/bench.json
	$(BIN)/python -m tests.benchmarks.table runs/bench.json

lab: env
	$(BIN)/jupyter lab

# Makes .venv once. The stamp is touched last, so that an installation that was cut off is gone on with.
env: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "nasda needs Python 3.11 or newer: give one with  make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv || { echo "Python's venv is missing: on Debian,  apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	@touch $@

# What the commands above have made. Real data sets in data/ stay: nobody can draw those again.
clean:
	rm -rf .venv runs data/toy
