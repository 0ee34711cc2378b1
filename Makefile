# make book    execute the notebooks, render the book          -> _build/html/index.html
# make test    style, import order, tests, notebooks at profile smoke
#
# Both make the virtual environment they need from requirements.lock. Settings, for example `make book JOBS=4`:
#   PYTHON   the interpreter to make the environment with (3.11 or newer)
#   VENV     where the environment lies
#   PROFILE  smoke, quick or paper         JOBS  notebooks, or groups of tests, at the same time
#   DSLSTUDY_MIRROR, DSLSTUDY_CACHE        where data are looked up first, and kept

PYTHON  ?= $(shell command -v python3.11 || command -v python3)
VENV    ?= .venv
PROFILE ?= quick
JOBS    ?= 2

BIN   := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: book test lint notebooks lock peers clean help

book: $(READY)
	$(BIN)/dslstudy book --profile $(PROFILE) --jobs $(JOBS)

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile
	OMP_NUM_THREADS=1 $(BIN)/python tests/run_notebooks.py --jobs $(JOBS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

# Only the notebooks' part of `make test`
notebooks: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python tests/run_notebooks.py --jobs $(JOBS)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check --requirement requirements.lock
	$(BIN)/pip install --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# The environment that `dslstudy bench` measures RecBole, Cornac and implicit in
peers: .venv-peers/.ready

.venv-peers/.ready: benchmarks/requirements-peers.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install --disable-pip-version-check --requirement benchmarks/requirements-peers.txt
	@touch $@

# Take the newest versions that pyproject.toml allows, in an environment of their own. Local labels such as +cpu are cut
# off: which build of a version fits a machine is for its package index to say. Triton must
# have the version that torch's CUDA build names: where pip chose a CPU build of torch, put that in by hand.
lock:
	rm -rf _build/lock
	$(PYTHON) -m venv _build/lock
	_build/lock/bin/pip install --disable-pip-version-check '.[book,test]' 'setuptools>=77'
	{ echo '# Every version that make book and make test install; `make lock` writes this file anew.'; \
	  _build/lock/bin/pip list --format=freeze --exclude pip --exclude dslstudy | \
	  sed -e 's/+.*//' -e "/^triton==/s/$$/; sys_platform == 'linux' and platform_machine == 'x86_64'/"; } > requirements.lock.new
	mv requirements.lock.new requirements.lock
	rm -rf _build/lock

# The environment and everything that was built; the data in the user's cache stay
clean:
	rm -rf $(VENV) .venv-peers _build build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache

help:
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile
