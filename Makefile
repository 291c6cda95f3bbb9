# make demo: environment and main job.  make test: environment and all tests.
# make test PYTHON=python3.13 remakes the environment with that interpreter; VENV=folder puts it elsewhere.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# The interpreter's name is part of the stamp, so another PYTHON remakes the environment.
STAMP := $(VENV)/made-with-$(subst /,-,$(PYTHON))

.PHONY: demo test hunt notebooks site examples lint types bench bench-mpi bench-costs bench-sorting bench-attention bench-training conformance figures

demo: $(STAMP)
	$(BIN)/python experiments/ring_allreduce.py

test: $(STAMP)
	$(BIN)/python -m pytest

# Look for new failing examples until Ctrl-C, or make hunt MINUTES=30; one file or expression: HUNT="-k attention".
hunt: $(STAMP)
	$(BIN)/python tests/hunt.py $(if $(MINUTES),--minutes $(MINUTES)) $(HUNT)

# Run all notebooks again and keep what they print and draw; `make test` runs them too and compares.
notebooks: $(STAMP)
	$(BIN)/jupyter nbconvert --log-level=WARN --to notebook --execute --inplace \
		--ExecutePreprocessor.record_timing=False notebooks/*.ipynb

# All pages and notebooks as a site, and a look at it in a browser: open build/site/index.html
site: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[site]"
	rm -rf build/site
	$(BIN)/python -m sphinx --quiet --fail-on-warning --fresh-env --conf-dir docs/site . build/site
	$(BIN)/python -m pytest --numprocesses=0 docs/site

# Every example of the help of every experiment, but those on real MPI; ten to twenty minutes.
examples: $(STAMP)
	$(BIN)/python -m pytest tests/experiments/examples_of_help.py

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(STAMP)
	$(BIN)/mypy

# make bench: against peers.  make bench AGAINST=HEAD (or a tag, a commit, a folder): against that state of the project.
# More options of the script: make bench AGAINST=HEAD OPTIONS="--quick --giants"
bench: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[bench]"
	$(BIN)/python benchmarks/$(if $(AGAINST),against.py --against "$(AGAINST)",simulated_ranks.py) $(OPTIONS)

bench-mpi: $(STAMP)
	$(BIN)/python benchmarks/real_allreduce.py --why
	$(BIN)/python benchmarks/real_predictions.py

# How long the cost model takes, by algorithm and number of ranks: make bench-costs OPTIONS="--ranks 1000 --network pcie"
bench-costs: $(STAMP)
	$(BIN)/python benchmarks/costs.py $(OPTIONS)

bench-sorting: $(STAMP)
	$(BIN)/python benchmarks/sorts.py

# mpi4py's own tests, fetched with pip, on simulated ranks and on MPICH: how many of each file pass. It may be stopped and
# started again. FILES="test_op test_win" for some.
conformance: $(STAMP)
	$(BIN)/python benchmarks/mpi4py_tests.py $(FILES)

# PyTorch, the peer, is used if it is there: .venv/bin/python -m pip install torch
bench-attention: $(STAMP)
	$(BIN)/python benchmarks/attention.py

bench-training: $(STAMP)
	$(BIN)/python benchmarks/training_step.py
	$(BIN)/python benchmarks/training_ranks.py

# All figures of time in README, docs/performance.md and the notebooks, measured in one session of a quiet machine; about
# twenty-five minutes.
figures: $(STAMP)
	$(BIN)/python benchmarks/together.py $(OPTIONS)
	$(MAKE) notebooks

$(STAMP): pyproject.toml
	@echo "Making the environment $(VENV) with all libraries, once: a minute or two"
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@
