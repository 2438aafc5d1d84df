# make demo   install, train a small GPT on real text for a few minutes, print what it writes
# make test   install what the tests need, check style, run the tests
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
DEMO := runs/demo

.PHONY: demo test lint format bench clean

demo: $(VENV)/installed
	$(BIN)/python train.py --config=configs/gpt/gpt_tiny.py --workdir=$(DEMO)
	$(BIN)/python sample.py --workdir=$(DEMO) --prompt=$$'import os\n\n\ndef' --max_new_tokens=200 --temperature=0.8

test: $(VENV)/installed-test lint
	$(BIN)/python -m pytest -n $(WORKERS) --dist=worksteal

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/installed-test: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $(VENV)/installed $@

clean:
	rm -rf $(VENV) .cache runs
