# make demo   the whole loop on this machine: exporter, server, Prometheus if it is there, loadgen, and the table
# make test   the tests        make check   ruff, mypy, import-linter, generated files        make clean
# make bench  what the exporter costs, beside other programs (minutes; FLAGS=--quick for less)
# make bench-server  what the server costs, beside other servers (half an hour; FLAGS=--quick for less)
# make bench-loadgen  what the load generator's sending costs, beside locust and wrk (two minutes; FLAGS=--quick for less)
# make soak   a day of the exporter's life in half an hour, and 10,000 hostile bodies for each of the server's routes
#             (FLAGS='--scale 0.01' for a hundredth of it), then the server's crowds
# make dashboards-preview  pictures of the dashboards, drawn with Grafana's own panels (FLAGS=--demo: of the demo's data)
# Each sets itself up on the first call (a .venv in this folder) and does not reinstall on the next.

PYTHON ?= python3
METER ?= auto
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
QUIET := $(shell test -t 2 || echo --quiet --quiet)

.PHONY: demo test check bench bench-server bench-loadgen soak format generate dashboards-preview clean
.DEFAULT_GOAL := demo

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Perjoule needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "Setting up $(VENV) (torch and transformers are large: a few minutes, once) ..." >&2
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install $(QUIET) --disable-pip-version-check -c constraints.txt --group dev -e '.[all]'
	@touch $@

demo: $(STAMP)
	@$(BIN)/python deploy/demo.py --meter $(METER)

test: $(STAMP)
	@$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate_metrics.py --check
	$(BIN)/perjoule-grafana generate --check

bench: $(STAMP)
	@$(BIN)/python benchmarks/exporter.py $(FLAGS)

bench-server: $(STAMP)
	@$(BIN)/python benchmarks/server.py $(FLAGS)

bench-loadgen: $(STAMP)
	@$(BIN)/python benchmarks/loadgen.py $(FLAGS)

soak: $(STAMP)
	@$(BIN)/python benchmarks/soak.py $(FLAGS)
	@$(BIN)/python benchmarks/server_soak.py $(FLAGS)
	@CROWD=1 $(BIN)/python -m pytest -q tests/server/soak

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

generate: $(STAMP)
	$(BIN)/python docs/generate_metrics.py
	$(BIN)/perjoule-grafana generate

grafana/preview/node_modules: grafana/preview/package.json
	@echo "Installing Grafana's panel components into $@ (about 430 MB, once) ..." >&2
	@cd grafana/preview && npm install --ignore-scripts --legacy-peer-deps --no-audit --no-fund --loglevel=error
	@touch $@

dashboards-preview: $(STAMP) grafana/preview/node_modules
	@$(BIN)/python grafana/preview/draw.py $(FLAGS)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis runs
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
