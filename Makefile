# make repro   everything, from pictures to the selected INT8 model
# make test    lint and tests
# make report  write report.html and docs/report.md from the metrics
# make bench   measure latency, throughput and memory again on this machine
# make test-browser  look at the pages in Chromium, which has to be installed
# make publish NAME=run COMMAND='dvc exp run ...'  keep the present run as docs/results/run
# make peers   compare with the INT8 models of other toolkits, in an environment of its own
# make help    this list

SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
PEERS := .venv-peers
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: help setup repro report test test-browser bench peers publish
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# make /make /p' Makefile

setup: $(VENV)/.installed

# torch and torchvision are installed first and together: alone, pip takes other builds of them.
$(VENV)/.installed: requirements.txt constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("$(PYTHON) is Python " \
		+ sys.version.split()[0] + ", needed is 3.11 or newer: make repro PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	pip install --quiet $(shell grep -E '^(torch|torchvision)==' requirements.txt) -c constraints.txt
	pip install --quiet -r requirements.txt
	touch $@

repro: setup
	dvc repro
	python -m stages.publish
	python -m stages.page

report: setup
	python -m stages.page

test: setup
	ruff check .
	python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test-browser: setup
	pip install --quiet -r tests/browser/requirements.txt
	python -m pytest -m browser

bench: setup
	dvc repro quantize
	dvc repro --force --single-item benchmark
	dvc repro
	python -m stages.publish
	python -m stages.page

$(PEERS)/.installed: requirements-peers.txt requirements.txt constraints.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/pip install --quiet $(shell grep -E '^(torch|torchvision)==' requirements.txt) \
		-c constraints.txt
	$(PEERS)/bin/pip install --quiet -r requirements-peers.txt
	touch $@

peers: $(PEERS)/.installed
	$(PEERS)/bin/python -m benchmarks.peers $(ARGS)

# The command as it was typed, whatever it quotes and whatever make would put in for $(...).
publish: export TOLD := $(value COMMAND)
publish: setup
	python -m stages.publish $(NAME) $(if $(TOLD),--command "$$TOLD")
