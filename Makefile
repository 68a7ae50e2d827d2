# make repro   everything, from pictures to the selected INT8 model
# make test    lint and tests
# make bench   measure latency and throughput again on this machine
# make help    this list

SHELL := /bin/bash
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: help setup repro test bench publish
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# make /make /p' Makefile

setup: $(VENV)/.installed

# torch and torchvision are installed first and together: alone, pip takes other builds of them.
$(VENV)/.installed: requirements.txt constraints.txt
	python3 -m venv $(VENV)
	pip install --quiet $(shell grep -E '^(torch|torchvision)==' requirements.txt) -c constraints.txt
	pip install --quiet -r requirements.txt
	touch $@

repro: setup
	dvc repro
	python -m stages.publish

test: setup
	ruff check .
	python -m pytest

bench: setup
	dvc repro --force --single-item benchmark
	dvc repro
	python -m stages.publish

publish: setup
	python -m stages.publish $(NAME)
