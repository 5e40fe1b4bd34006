# Everything that people and continuous integration type. Needs make and Python 3.11+; brings the rest itself, by pip.
#
#   make demo      the page, live, with a real model training on real data
#   make test      everything that continuous integration runs
#   make nightly   the long campaigns as well
#   make bench     one table of measured costs

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh
PY := .venv/bin/python
WEB := $(shell find web -path web/node_modules -prune -o -type f -print 2>/dev/null)
SRC := $(shell find src -path src/farwatch/server/web -prune -o -name '*.py' -print 2>/dev/null)
INDEX := src/farwatch/server/web/index.html
WORKERS ?= 3  # tests wait more than they compute: one more than cores
# What failed beside others has one more chance by itself, where no neighbour takes its time; it is named, and wants mending.
AGAIN = { printf 'farwatch: again, by themselves:\n'; $(PY) -m pytest -q -rA --last-failed --last-failed-no-failures none -m 'not nightly' $(TESTS); }
say = @printf 'farwatch: %s\n'

.PHONY: help demo test nightly bench lint types web web-test wheel docs clean

help:
	@sed -n '2,7s/^# \{0,1\}//p' Makefile

# Two environments in one folder: the demo needs little, development needs more; each once per change of its lists.
.venv/.demo: pyproject.toml constraints.txt
	@.ci/environment .venv demo
	@touch $@

.venv/.dev: pyproject.toml constraints.txt
	@.ci/environment .venv demo,dev,frameworks
	@touch $@ .venv/.demo

$(INDEX): hatch_build.py $(WEB) | .venv/.demo
	$(say) 'building the dashboard'
	@$(PY) hatch_build.py
	@touch $@

web: $(INDEX)

demo: .venv/.demo $(INDEX)
	@exec $(PY) -m farwatch.cli demo --data demo-data

# The wheel that users get is the one that the tests run.
build/wheel/.made: .venv/.dev $(INDEX) $(SRC) hatch_build.py pyproject.toml
	$(say) 'building the wheel'
	@rm -rf build/wheel && mkdir -p build/wheel
	@FARWATCH_WEB=prebuilt $(PY) -m build --wheel --no-isolation --outdir build/wheel . >build/wheel/log 2>&1 || { tail -n 40 build/wheel/log; exit 1; }
	@touch $@

wheel: build/wheel/.made
	@ls build/wheel/*.whl

lint: .venv/.dev
	$(say) 'checking style'
	@$(PY) -m ruff check -q .

types: .venv/.dev
	$(say) 'checking types'
	@$(PY) -m mypy --no-error-summary

web-test: .venv/.dev $(INDEX)
	$(say) 'testing the dashboard'
	@$(PY) hatch_build.py run --silent test

test: .venv/.dev lint types web-test build/wheel/.made
	$(say) 'testing'
	@CHROMIUM="$$(.ci/chromium)" && export CHROMIUM && \
	{ $(PY) -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m 'not nightly' $(TESTS) || $(AGAIN); }

nightly: .venv/.dev build/wheel/.made
	@CHROMIUM="$$(.ci/chromium)" && export CHROMIUM && exec $(PY) -m pytest -q -m 'nightly or not nightly' $(TESTS)

bench: .venv/.dev
	@exec $(PY) -m bench

docs: .venv/.dev
	@$(PY) -m farwatch.testing.reference docs/reference tests/snapshots web/src/api

clean:
	rm -rf .venv build dist web/node_modules src/farwatch/server/web
