# The commands that people and CI run. `make` alone lists them.

PYTHON ?= python3
VENV ?= .venv
RECIPE ?= recipes/lenet5_mnist5000.yaml
SEEDS ?=

DLTK = $(VENV)/bin/dltk
PY = $(VENV)/bin/python
# A process of tests for each core; those that share runs stay together (tests/conftest.py).
PARALLEL = -n logical --maxprocesses 8 --dist loadfile
READY = $(PYTHON) -I dltk/bootstrap.py --venv "$(VENV)"

.PHONY: help quickstart test test-cluster lint format bench soak claims readme clean

help:
	@echo "make quickstart   install what training needs into $(VENV), then train LeNet-5 on handwritten digits"
	@echo "make test         install what the tests need as well, then run them"
	@echo "make test-cluster install DeepSpeed and Ray too, then train under every strategy on several processes, on a"
	@echo "                  real Ray cluster, and as jobs of a real Slurm, which must be installed (Linux), as must"
	@echo "                  Chromium be, in which a page is opened"
	@echo "make lint         ruff, formatting, mypy, the floors of imports"
	@echo "make format       rewrite the files as ruff wants them"
	@echo "make bench        measure speed and print it"
	@echo "make soak         kill and preempt trainings at random moments, the latter on a real Slurm, which must be installed"
	@echo "make claims       train every recipe with the seeds that its claim needs and record the results; DLTK_DATA is the"
	@echo "                  folder of the sets bible, debian_descriptions, icons, prompts, pydoc_topics and rendered, which"
	@echo "                  dltk data prepare makes"
	@echo "make readme       write the README's tables from the catalogue and the results"
	@echo "make clean        remove what these commands made, but no run"

quickstart:
	@$(READY)
	@$(DLTK) train $(RECIPE)

test:
	@$(READY) test
	@$(PY) -m pytest $(PARALLEL) -m "not cluster and not gpu and not long"

# Most jobs wait, for a signal or for a node that is gone: two processes of tests take turns at the cores.
test-cluster:
	@$(READY) test deepspeed ray
	@$(PY) -m pytest -n 2 --dist loadfile -m "cluster and not gpu and not long"

lint:
	@$(READY) test
	@$(PY) -m ruff check
	@$(PY) -m ruff format --check
	@$(PY) -m mypy
	@$(VENV)/bin/lint-imports

format:
	@$(READY) test
	@$(PY) -m ruff check --fix-only
	@$(PY) -m ruff format

bench:
	@$(READY) test
	@$(PY) -m pytest -s -m long tests/benchmarks

soak:
	@$(READY) test
	@$(PY) -m pytest -s -m long tests/launch/test_soak.py

claims:
	@$(READY)
	@PYTHONPATH=. $(PY) tests/claims/record.py $(if $(SEEDS),--seeds $(SEEDS)) recipes/*.yaml

readme:
	@$(READY) test
	@PYTHONPATH=. $(PY) tests/test_project.py

clean:
	rm -rf "$(VENV)" dist build .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find dltk tests -name __pycache__ -type d -prune -exec rm -rf {} +
