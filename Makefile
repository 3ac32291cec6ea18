# make demo   compress the bundled model on the bundled data
# make test   run the tests
# make test-full   run them with the counts of a release (hours)
# make check  what a change has to pass: lint, types, fast tests
# Each installs what it needs into .venv first; nothing else on the machine is touched.

PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2
MODEL := models/digits_resnet.onnx
DATA := models/digits_calibration.npz
OUT := out/digits_resnet.slim.onnx

.PHONY: help demo test check lint test-full clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# //p' Makefile

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; name it with: make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.for-use: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) install --quiet -c constraints.txt -e '.[cpu]'
	@touch $@

$(VENV)/.for-development: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) install --quiet -c constraints.txt -e '.[cpu,dev,images,blocks,train]'
	@touch $@ $(VENV)/.for-use

demo: $(VENV)/.for-use
	@mkdir -p out
	$(BIN)/snacs-onnx compress $(MODEL) --data $(DATA) --target macs=0.5 --multiple-of 8 -o $(OUT) \
	  --plan-out out/plan.json --report out/report.json --html out/report.html --force
	$(BIN)/snacs-onnx verify $(MODEL) $(OUT) --plan out/plan.json
	$(BIN)/snacs-onnx bench $(MODEL) $(OUT) --data models/digits_test.npz

test: $(VENV)/.for-development
	$(PYTEST) -m 'not slow'

lint: $(VENV)/.for-development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint
	$(PYTEST) -m 'not slow and not shared'

test-full: $(VENV)/.for-development
	SNACS_PROPERTY_COUNT=release $(PYTEST)

clean:
	rm -rf $(VENV) out build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
