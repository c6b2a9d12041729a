# `make check` is what a change has to pass; `make test` is the default test run.
.PHONY: check test docs serve

check: docs
	ruff check .
	ruff format --check .
	lint-imports
	mypy

test:
	OMP_NUM_THREADS=1 python -m pytest

docs:
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet

serve:
	NO_MKDOCS_2_WARNING=1 mkdocs serve
