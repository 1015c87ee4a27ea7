# Commands for a machine with nothing but Python >= 3.11 (and make):
#   make demo   ask about a shipped image, plainly and through LASER; writes evidence.png
#   make test   lint, types, tests
#   make test-portable   the tests that compute, as three kinds of CPU would, with 1 and 2 threads
#   make page   the demo's page, in a Chromium that is installed here
#               (make page-pictures takes the pictures of docs/demo.md there)
#   make docs   the site, into site/html; warnings are errors
#   make pictures   the concepts' pictures, drawn anew from pico
#   make sizes   what an installation takes, extra by extra
#   make frameworks   the tools in agents of other frameworks, each in an environment of its own
#   make soak   load and attack a worker on loopback for half an hour; writes runs/soak.json
# Each makes .venv first if it is not there. Without an NVIDIA GPU, torch's CPU build is enough:
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu

PYTHON ?= python3
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt

QUESTION := $(BIN)/python -c 'import json; print(json.load(open("laser_tools/pico/scene.json"))["question"])'

PAGE := .venv-page
SIZES := .venv-sizes

ONLY :=

.PHONY: demo test test-portable test-computing page page-pictures frameworks docs pictures sizes soak lint types clean
.DELETE_ON_ERROR:

demo: $(VENV)/.engine
	$(BIN)/laser-tools ask laser_tools/pico/scene.png "$$($(QUESTION))" --compare --save evidence.png

test: lint types
	$(BIN)/python -m pytest $(PARALLEL)

# A process per core, whole files each; more than four would want much memory.
PARALLEL := -n auto --maxprocesses 4 --dist loadfile
# What the model's numbers decide; the rest of the suite is the same on every CPU.
COMPUTING := tests/agents tests/evaluation tests/grounding tests/methods tests/oracle \
  tests/vlm tests/doctor tests/engine tests/test_cli.py tests/training tests/worker/test_pico.py
OLDEST := ATEN_CPU_CAPABILITY=default
OLDER := ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2
OWN := -u ATEN_CPU_CAPABILITY -u ONEDNN_MAX_CPU_ISA

test-computing: $(VENV)/.dev
	$(BIN)/python -m pytest $(PARALLEL) $(COMPUTING)

test-portable:
	@for threads in 1 2; do for cpu in "$(OLDEST)" "$(OLDER)" "$(OWN)"; do \
	  echo "== env $$cpu OMP_NUM_THREADS=$$threads"; \
	  env $$cpu OMP_NUM_THREADS=$$threads $(MAKE) --no-print-directory test-computing || exit 1; \
	done; done

page: $(PAGE)/.page
	$(PAGE)/bin/python -m pytest tests/demo tests/page

page-pictures: $(PAGE)/.page
	$(PAGE)/bin/python -m tests.page.pictures

docs: $(VENV)/.docs
	$(BIN)/python -m documentation

pictures: $(VENV)/.engine
	$(BIN)/python -m documentation.pictures

sizes:
	$(PYTHON) -m documentation.sizes --into $(SIZES)

# Some alone: make frameworks ONLY="haystack-ai crewai"
frameworks: $(VENV)/.dev
	$(BIN)/python -m tests.frameworks $(ONLY)

soak: $(VENV)/.dev
	mkdir -p runs
	$(BIN)/python -m tests.hardening --soak --json runs/soak.json > runs/soak.md; \
	  code=$$?; cat runs/soak.md; exit $$code

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

clean:
	rm -rf $(VENV) $(PAGE) $(SIZES) site .mypy_cache .pytest_cache .ruff_cache evidence.png

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "laser-tools needs Python >= 3.11: make PYTHON=/path/to/python3.11 ..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(PIP) --no-deps --index-url $(TORCH_INDEX) torch)

# One stamp per set of extras, so that the demo does not wait for the developers' tools.
$(VENV)/.engine: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing laser-tools with its engine into $(VENV) (torch is large; minutes)."
	$(PIP) -e '.[engine]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing laser-tools with its developers' tools into $(VENV) (torch is large; minutes)."
	$(PIP) -e '.[dev]'
	@touch $@

$(VENV)/.docs: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing laser-tools with what builds its site into $(VENV) (torch is large; minutes)."
	$(PIP) -e '.[docs]'
	@touch $@

# An environment of its own: gradio wants older ones of two packages than the rest is tested with.
$(PAGE)/.page: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(PAGE)
	grep -vE '^(pillow|tomlkit)==' constraints.txt > $(PAGE)/constraints.txt
	$(if $(TORCH_INDEX),$(PAGE)/bin/python -m pip install --quiet --no-deps --index-url $(TORCH_INDEX) -c constraints.txt torch)
	$(PAGE)/bin/python -m pip install --disable-pip-version-check --quiet -c $(PAGE)/constraints.txt -e '.[page]'
	@touch $@
