# Two commands for a new machine: `make demo` and `make test`. Each makes what it needs in .venv.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test test-all test-versions lint format bench clean

demo: $(VENV)/demo.installed
	@$(BIN)/segue demo $(ARGS)

test: $(VENV)/test.installed
	$(BIN)/python -m pytest -n auto --maxprocesses 4 -m "not slow" $(ARGS)
	cd backend && ../$(BIN)/python manage.py test --verbosity 1

test-all: $(VENV)/test.installed
	$(BIN)/python -m pytest -n auto --maxprocesses 4 $(ARGS)
	cd backend && ../$(BIN)/python manage.py test --verbosity 1
	$(MAKE) test-versions ARGS=

test-versions: $(VENV)/versions.installed
	$(BIN)/tox run $(ARGS)

lint: $(VENV)/lint.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/lint.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/bench.installed
	$(BIN)/python -m bench $(ARGS)

$(VENV)/%.installed: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[$*]" >&2
	@touch $@

clean:
	rm -rf $(VENV) .tox build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
