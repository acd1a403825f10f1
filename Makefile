# `make` lists the targets.

PYTHON ?= python3
# "=" and not "?=": a variable of the shell with such a common name is not meant for this file.
ENV = CartPole-v1
ARGS =
JOBS = 2

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BOOK := .venv-book
BOOK_STAMP := $(BOOK)/.installed
INSTALL := --disable-pip-version-check -c constraints.txt -e ".[test,notebooks]"

.DEFAULT_GOAL := help
.PHONY: help train check test hooks mutants lab notebooks student solutions book links browser results bench clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  ARGS="..." goes to the command behind a target:'
	@echo '    make train ARGS="--help"'
	@echo '    make train ENV=Acrobot-v1'
	@echo '    make test ARGS="tests/test_returns.py -k bootstrap"'
	@echo '    make notebooks ARGS="02 05"'
	@echo '    make mutants ARGS=--mathematics (changes the mathematics, too: three minutes more)'
	@echo '  JOBS=4 runs the tests in four processes instead of two.'
	@echo '  PYTHON=python3.13 chooses the Python of a new virtual environment.'

train: $(STAMP) ## Train an agent, on ENV=CartPole-v1 unless told otherwise
	$(BIN)/wm-tutorial train $(ENV) $(ARGS)

check: $(STAMP) ## Lint, check the types and run the tests of what changed: less than a minute
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python tools/changed.py $(ARGS)

# One thread for each of the JOBS test processes: with more, they compete for the cores.
test: $(STAMP) ## Lint, check the types, run every test and every notebook: about 7 minutes
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS) --dist loadfile $(ARGS)

hooks: $(STAMP) ## Tidy and check what you commit, from now on, before each commit
	$(BIN)/pip install -qq --disable-pip-version-check -c constraints.txt -e ".[dev]"
	$(BIN)/pre-commit install

mutants: $(STAMP) ## Make every mistake of the bug zoo and see whether the tests notice
	$(BIN)/pip install -qq --disable-pip-version-check -c constraints.txt -e ".[mutation]"
	OMP_NUM_THREADS=1 $(BIN)/python tests/mutants.py $(ARGS)

lab: $(STAMP) ## Open the notebooks in JupyterLab
	$(BIN)/jupyter lab notebooks $(ARGS)

notebooks: $(STAMP) ## Run the notebooks and keep their outputs, two at a time, all or ARGS="02 05"
	OMP_NUM_THREADS=1 $(BIN)/python tools/run_notebooks.py $(ARGS)

student: $(STAMP) ## Write build/student: the course with exercises to solve, to be handed out
	$(BIN)/python tools/student.py

solutions: $(STAMP) ## Write build/solutions: the same with solutions
	$(BIN)/python tools/student.py --solutions

book: $(BOOK_STAMP) ## Build the website from the notebooks as they are: book/_build/html/index.html
	$(BOOK)/bin/python tools/book.py

links: book ## Ask every external address of the website whether it answers
	$(BOOK)/bin/python tools/book.py --links

browser: $(STAMP) ## Try the website that `make book` built in Chromium
	$(BIN)/pip install -qq --disable-pip-version-check -c constraints.txt -e ".[browser]"
	@command -v chromium >/dev/null || { test "$$(id -u)" = 0 && apt-get install -qq -y chromium >/dev/null; } || true
	$(BIN)/pytest -rs book/tests $(ARGS)

results: $(STAMP) ## Measure what is missing of the committed learning results (hours), and write their table
	$(BIN)/python benchmarks/results.py $(ARGS)

bench: $(STAMP) ## Measure what a gradient update costs
	OMP_NUM_THREADS=1 $(BIN)/wm-tutorial bench --preset dreamer_v3 --size size1m $(ARGS)

clean: ## Remove the virtual environment, caches and built packages (runs/ stays)
	rm -rf $(VENV) $(BOOK) book/_build build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is newer than both files as long as the environment holds what they ask for.
$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/pip || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "wm_tutorial needs Python 3.11 or newer, but '$(PYTHON)' is: $$($(PYTHON) --version 2>&1)"; \
	    echo "Name another one:  make $(MAKECMDGOALS) PYTHON=python3.13"; exit 1; } >&2
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || { \
	    echo "'$(PYTHON) -m venv' failed. On Debian and Ubuntu the package python3-venv provides it."; \
	    exit 1; } >&2
	@echo "Installing wm_tutorial and its tools into $(VENV) (about a minute, longer where downloads are slow) ..."
	@$(BIN)/pip install -qq $(INSTALL) || { \
	    echo 'The installation failed. For the details:  $(BIN)/pip install $(INSTALL)'; exit 1; } >&2
	@touch $@

# Jupyter Book pins old versions of Sphinx: it has an environment of its own, without the package and torch.
$(BOOK_STAMP): pyproject.toml constraints.txt
	@test -x $(BOOK)/bin/pip || $(PYTHON) -m venv $(BOOK)
	@echo "Installing Jupyter Book into $(BOOK) ..."
	@$(BOOK)/bin/pip install -qq --disable-pip-version-check -c constraints.txt $$($(PYTHON) -c 'import tomllib; \
	    print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["book"])')
	@touch $@
