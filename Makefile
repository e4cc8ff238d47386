# The two commands of the README are `make demo` and `make test`; each sets up what it needs by itself.
.DEFAULT_GOAL := help
.PHONY: help demo test lint bench crash soak clean
PY := .venv/bin/python
DATA ?= ../shared/data
ARGS ?=

help: ## Say what can be made.
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## A broker, a cloud with its page and a small fleet on this machine (ARGS="--headless --seconds 20 --json").
	@scripts/setup demo
	@$(PY) -m trueline_sim demo $(ARGS)

lint: ## Style, types and import directions.
	@scripts/setup dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	.venv/bin/lint-imports

test: lint ## Everything CI runs: lint, all tests, a tenth of the crash campaign.
	TRUELINE_DATA=$(DATA) $(PY) -m pytest -m "not soak" -n 2 --dist loadscope $(ARGS)

crash: ## The whole crash campaign (about an hour), and docs/reliability.md: kills, full disks, bit rot, hostile peers.
	@scripts/setup dev
	TRUELINE_DATA=$(DATA) $(PY) benchmarks/crash.py --campaign full $(ARGS)

soak: ## Longer things: a million steps of the delivery model, and whatever is marked soak.
	@scripts/setup dev
	TRUELINE_DATA=$(DATA) TRUELINE_CAMPAIGN=full $(PY) -m pytest -m soak --timeout=14400 $(ARGS)

bench: ## Run all benchmarks beside their peers; writes docs/benchmarks.md, docs/accuracy.md, tables of docs/detection.md.
	@scripts/setup dev
	@failed=0; $(PY) benchmarks/report.py --data $(DATA) $(ARGS) || failed=1; \
	$(PY) benchmarks/accuracy_page.py --data $(DATA) || failed=1; \
	$(PY) benchmarks/detect.py --data $(DATA) --page docs/detection.md || failed=1; exit $$failed

clean: ## Remove what was made here.
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
