# `make` lists the targets.

PYTHON ?= python3
# "=" and not "?=": a variable of the shell with such a common name is not meant for this file.
ENV = CartPole-v1
SUBMISSIONS = submitted
ARGS =
JOBS = 2

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BOOK := .venv-book
BOOK_STAMP := $(BOOK)/.installed
PIP := $(BIN)/python -m pip install --disable-pip-version-check
BOOK_PIP := $(BOOK)/bin/python -m pip install --disable-pip-version-check
# What an extra of pyproject.toml asks for. ".[extra]" would build the package once more.
extra = $$($(BIN)/python tools/extra.py $(1))

.DEFAULT_GOAL := help
.PHONY: help train check test hooks mutants heldout lab notebooks student solutions grade nbgrader otter graders engines \
    report slides book book-two links pdf browser results bench lock chromium locked locked-book clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  ARGS="..." goes to the command behind a target:'
	@echo '    make train ARGS="--help"'
	@echo '    make train ENV=Acrobot-v1'
	@echo '    make test ARGS="tests/test_returns.py -k bootstrap"'
	@echo '    make notebooks ARGS="02 05"'
	@echo '    make notebooks ARGS=--check (runs them and compares what they show, without nbval; writes nothing)'
	@echo '    make mutants ARGS=--mathematics (changes the mathematics, too: three minutes more)'
	@echo '  JOBS=4 runs the tests in four processes instead of two.'
	@echo '  PYTHON=python3.13 chooses the Python of a new virtual environment.'
	@echo 'In a hurry? `make check` runs the tests of what you changed, in less than a minute.'

train: $(STAMP) ## Train an agent, on ENV=CartPole-v1 unless told otherwise
	$(BIN)/wm-tutorial train $(ENV) $(ARGS)

check: $(STAMP) ## Lint, check the types and run the tests of what changed: less than a minute
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python tools/changed.py $(ARGS)

# One thread for each of the JOBS test processes: with more, they compete for the cores.
test: $(STAMP) ## Lint, check the types, run every test and every notebook: about 20 minutes
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS) --dist loadfile $(ARGS)

hooks: $(STAMP) ## Tidy and check what you commit, from now on, before each commit
	$(PIP) -q -c constraints.txt $(call extra,dev)
	$(BIN)/pre-commit install

mutants: $(STAMP) ## Make every mistake of the bug zoo and see whether the tests notice
	$(PIP) -q -c constraints.txt $(call extra,mutation)
	OMP_NUM_THREADS=1 $(BIN)/python tests/mutants.py $(ARGS)

heldout: $(STAMP) ## Make mistakes that nobody here chose, ARGS=1 for the first batch, and count what the tests notice
	$(BIN)/python tests/heldout.py $(ARGS)

lab: $(STAMP) ## Open the notebooks in JupyterLab
	$(BIN)/jupyter lab notebooks --config=tools/jupyter_config.py $(ARGS)

notebooks: $(STAMP) ## Run the notebooks and keep their outputs, two at a time, all or ARGS="02 05"
	OMP_NUM_THREADS=1 $(BIN)/python tools/run_notebooks.py $(ARGS)

student: $(STAMP) ## Write build/student: the course with exercises to solve, to be handed out
	$(BIN)/python tools/student.py

solutions: $(STAMP) ## Write build/solutions: the same with solutions
	$(BIN)/python tools/student.py --solutions

grade: $(STAMP) ## Grade what was handed in, SUBMISSIONS=submitted unless told otherwise: build/grade
	$(BIN)/wm-tutorial grade $(SUBMISSIONS) --out build/grade $(ARGS)

nbgrader: $(STAMP) ## Write build/nbgrader: the chapters as assignments for nbgrader, all or ARGS="06 --seed 7"
	$(BIN)/python tools/assignments.py nbgrader $(ARGS)

otter: $(STAMP) ## Write build/otter: the same for `otter assign`
	$(BIN)/python tools/assignments.py otter $(ARGS)

# torch once more for each: the checks of the course run in these environments, too.
graders: ## Install nbgrader and otter, each into an environment of its own, for the tests of what they are given
	$(call environment,.venv-nbgrader)
	.venv-nbgrader/bin/python -m pip install --disable-pip-version-check -q -c constraints.txt -e ".[notebooks,nbgrader]"
	$(call environment,.venv-otter)
	.venv-otter/bin/python -m pip install --disable-pip-version-check -q -c constraints.txt -e ".[notebooks,otter]"

# torch once more for each; pufferlib-core asks for an older one, so it comes without what it asks for, psutil aside.
engines: ## Install Ray, EnvPool and PufferLib, each into an environment of its own, for the tests that use them
	$(call environment,.venv-ray)
	.venv-ray/bin/python -m pip install --disable-pip-version-check -q -c constraints.txt -e ".[ray]"
	$(call environment,.venv-envpool)
	.venv-envpool/bin/python -m pip install --disable-pip-version-check -q -c constraints.txt -e ".[envpool]"
	$(call environment,.venv-puffer)
	.venv-puffer/bin/python -m pip install --disable-pip-version-check -q -c constraints.txt -e . psutil
	.venv-puffer/bin/python -m pip install --disable-pip-version-check -q --no-deps -c constraints.txt pufferlib-core

report: $(STAMP) ## Put the cell that tells the score below the quiz of every chapter
	$(BIN)/python tools/report_cells.py $(ARGS)

slides: $(BOOK_STAMP) ## Write build/slides: a deck for each chapter, from its notebook, all or ARGS="06"
	$(BOOK)/bin/python tools/slides.py $(ARGS)

book: $(BOOK_STAMP) ## Build the website from the notebooks as they are: book/_build/html/index.html
	$(BOOK)/bin/python tools/book.py

# The theme is fetched from the network; an environment of its own, since each version wants other libraries.
book-two: $(BOOK_STAMP) ## Build the same pages with Jupyter Book 2, to see whether they still can be: book/_build/two
	$(call environment,$(BOOK)-two)
	$(BOOK)-two/bin/python -m pip install --disable-pip-version-check -q jupyter-book==2.1.7
	$(BOOK)/bin/python tools/book_two.py
	cd book/_build/two && ../../../$(BOOK)-two/bin/jupyter-book build --html --strict

links: book ## Ask every external address of the website whether it answers
	$(BOOK)/bin/python tools/book.py --links

pdf: $(STAMP) ## Print the website that `make book` built as one PDF: book/_build/course.pdf
	$(PIP) -q -c constraints.txt $(call extra,browser)
	$(BIN)/python tools/book_pdf.py $(ARGS)

browser: $(STAMP) ## Try what `make book` and `make slides` built in Chromium, which `make chromium` installs
	$(PIP) -q -c constraints.txt $(call extra,browser)
	$(BIN)/pytest -rs -n $(JOBS) --dist loadfile --ignore=book/tests/test_paint_browser.py book/tests $(ARGS)
	$(if $(ARGS),,$(BIN)/pytest -rs book/tests/test_paint_browser.py)

chromium: ## Install Chromium for `make browser`: on Debian, as root; elsewhere it says what is missing
	@command -v chromium >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && { \
	    echo "Installing Debian's package chromium ..."; \
	    apt-get install -qq -y chromium >/dev/null || { apt-get -qq update && apt-get install -qq -y chromium >/dev/null; }; \
	    }; } || echo "Chromium cannot be installed here without you: 'make browser' needs one."

results: $(STAMP) ## Measure what is missing of the committed learning results (hours), and write their table
	$(BIN)/python benchmarks/results.py $(ARGS)

bench: $(STAMP) ## Measure what a gradient update costs
	OMP_NUM_THREADS=1 $(BIN)/wm-tutorial bench --preset dreamer_v3 --size size1m $(ARGS)

clean: ## Remove the virtual environment, caches and built packages (runs/ stays)
	rm -rf $(VENV) $(BOOK) $(BOOK)-two book/_build build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is newer than both files as long as the environment holds what they ask for.
$(STAMP): pyproject.toml constraints.txt
	$(call environment,$(VENV))
	@$(BIN)/python -m pip show -q torch 2>/dev/null || { \
	    echo "Installing into $(VENV), 1 of 4: PyTorch, about 0.2 GB. On Linux it is more than 5 GB, with libraries for"; \
	    echo "NVIDIA GPUs, unless you install the build for CPUs first (README.md has the line) ..."; }
	@$(PIP) -c constraints.txt torch || $(failed)
	@echo "Installing into $(VENV), 2 of 4: wm_tutorial and its libraries ..."
	@$(PIP) -q -c constraints.txt -e . || $(failed)
	@echo "Installing into $(VENV), 3 of 4: JupyterLab ..."
	@$(PIP) -q -c constraints.txt $(call extra,notebooks) || $(failed)
	@echo "Installing into $(VENV), 4 of 4: the tools of the tests ..."
	@$(PIP) -q -c constraints.txt $(call extra,test) || $(failed)
	@touch $@

# Jupyter Book pins old versions of Sphinx: it has an environment of its own, without the package and torch.
$(BOOK_STAMP): pyproject.toml constraints.txt
	$(call environment,$(BOOK))
	@echo "Installing Jupyter Book into $(BOOK) ..."
	@$(BOOK_PIP) -q -c constraints.txt $$($(BOOK)/bin/python tools/extra.py book)
	@touch $@

lock: $(STAMP) ## Write down the hash of each file that is installed, for the versions in constraints.txt: locks/
	$(PIP) -q -c constraints.txt $(call extra,lock)
	$(BIN)/python tools/lock.py

# torch is the exception: people choose its build. A test compares the locks with constraints.txt.
locked: locked-book ## Install as the other targets do, but only files whose hashes are in locks/ (torch aside)
	$(call environment,$(VENV))
	$(PIP) -q --no-deps --require-hashes -r locks/course.txt
	$(PIP) -c constraints.txt torch
	$(PIP) -q --no-deps --no-build-isolation -e .
	$(BIN)/python -m pip check
	@touch $(STAMP)

locked-book:
	$(call environment,$(BOOK))
	$(BOOK_PIP) -q --no-deps --require-hashes -r locks/book.txt
	$(BOOK)/bin/python -m pip check
	@touch $(BOOK_STAMP)

# A new virtual environment, unless there is one, or one sentence about what is missing.
define environment
@test -x $(1)/bin/python || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
    echo "wm_tutorial needs Python 3.11 or newer, but '$(PYTHON)' is: $$($(PYTHON) --version 2>&1)"; \
    echo "Name another one:  make $(MAKECMDGOALS) PYTHON=python3.13"; exit 1; } >&2
@test -x $(1)/bin/pip || $(PYTHON) -m venv $(1) || { \
    echo "'$(PYTHON) -m venv' failed. On Debian and Ubuntu the package python3-venv provides it."; \
    exit 1; } >&2
endef

failed = { echo "The installation failed; the lines above say why. 'make $(MAKECMDGOALS)' tries again."; exit 1; } >&2
