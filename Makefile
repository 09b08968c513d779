# `make` alone lists the targets. Both `make book` and `make test` set up their own environment in .venv first.

PYTHON  ?= python3
PROFILE ?= miniature
PORT    ?= 8000
# A process a core. The paper's models want a GPU each: one process, unless WORKERS says how many GPUs there are.
WORKERS ?= $(if $(filter paper,$(PROFILE)),0,$(shell nproc))
LOCK    ?=

VENV  := .venv
BIN   := $(VENV)/bin
READY := $(VENV)/ready
TESTS  = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS)

# glibc gives large blocks back to the kernel after each step; the page faults then cost about a third of a training
# step on a CPU.
export MALLOC_TRIM_THRESHOLD_ := 10000000000
export MALLOC_MMAP_THRESHOLD_ := 10000000000
export MALLOC_TOP_PAD_        := 100000000
# Threads that wait for each other sleep instead of spinning: that costs 5 % on a quiet machine, and saves three
# quarters of the time that drawing pictures takes beside two busy processes.
export OMP_WAIT_POLICY        ?= PASSIVE
# The kernel "python3" is this environment's, not one that the user has installed elsewhere.
export JUPYTER_PREFER_ENV_PATH := 1

.DEFAULT_GOAL := help
.PHONY: help book check-book links test test-full serve study release bench lock pretrain quality clean
.DELETE_ON_ERROR:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo 'Settings: PROFILE=smoke|miniature|paper (now $(PROFILE)), PYTHON=python3.12 for another Python,'
	@echo 'PORT=8000 for serve, WORKERS=2 processes for study and test,'
	@echo 'LOCK=versions.lock to install what this edition was made with.'

book: $(READY) ## execute the chapters that changed and build the book into _build/html
	$(BIN)/vwlib book --profile $(PROFILE)

check-book: $(READY) ## after `make book`: is it of the present sources and, with chromium, fit to be seen?
	$(BIN)/vwlib book --check --profile $(PROFILE)
	VWLIB_PROFILE=$(PROFILE) $(BIN)/python -m pytest -m browser tests/browser

links: $(READY) ## ask every address that the book links to whether it is still there (needs a network)
	$(BIN)/vwlib links --profile $(PROFILE)

test: $(READY) ## lint, type check, unit tests, every chapter by nbmake and by papermill
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy & types=$$!; $(TESTS) --dist loadfile --no-loadscope-reorder --ignore tests/test_notebooks.py; \
	tests=$$?; wait $$types && exit $$tests
	VWLIB_PROFILE=smoke $(TESTS) --dist worksteal --nbmake --nbmake-timeout=1200 book/ tests/test_notebooks.py

# Needs 20 GB of memory and 6 GB of disk; the times and memory measured go to data/results/paper/full_size.json.
test-full: $(READY) ## the paper's models at full size with random weights (ten minutes on two cores)
	$(BIN)/python -m pytest -m full --durations=0 tests/full

serve: book ## build the book and show it on http://localhost:8000
	$(BIN)/python -m http.server $(PORT) --bind localhost --directory _build/html

study: $(READY) ## learn and score every word of the study (hours; goes on where it was stopped)
	$(BIN)/vwlib study --profile $(PROFILE) --workers $(WORKERS)

release: ## pack the committed tables and learned words into dist/, as releases carry them
	mkdir -p dist
	git archive --prefix=visual-words-data/ --output=dist/visual-words-data.tar.gz HEAD \
	  LICENSE CITATION.cff data/paper data/results data/words

bench: $(READY) ## words per second beside a plain loop, into benchmarks/ (twenty minutes on a quiet machine)
	$(BIN)/python benchmarks/bench.py --profile $(PROFILE)

NAMES := tr 'A-Z_' 'a-z-'
lock: $(READY) ## write what the pinned packages brought along to versions.lock (for maintainers)
	@echo '# What the packages pinned in pyproject.toml bring along, as `make lock` found them installed' > versions.lock
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+.*//' | $(NAMES) \
	  | grep -vE '^(cuda|nvidia|setuptools|triton|wheel)' \
	  | grep -vxF "$$(grep -oE '[A-Za-z0-9_-]+==[^"]+' pyproject.toml | $(NAMES))" >> versions.lock

pretrain: $(READY) ## train the miniature's models from the drawings (hours; goes on where it was stopped)
	$(BIN)/vwlib pretrain

quality: $(READY) ## measure the miniature's models and write data/miniature/quality.json
	$(BIN)/vwlib quality

clean: ## remove what was built; the environment and the checkpoints in .cache stay
	rm -rf _build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
	find vwlib tests book -type d \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

# Installed again whenever the pinned versions change. Without a lock pip chooses what the pinned packages bring along,
# which suits every platform and Python.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; " \
	  "name one with `make PYTHON=python3.12 ...`.")'
	@echo 'Installing the pinned packages into $(VENV): several minutes and about 6 GB the first time.'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(LOCK),--constraint $(LOCK)) \
	  --editable '.[test]'
	@touch $@
