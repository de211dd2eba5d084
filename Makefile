# `make run` needs only make and Python 3.11 or newer. `make` without a target lists the commands.

PYTHON ?=
export PYTHON

# To use a second environment: make test VENV=.venv-3.13 PYTHON=python3.13
VENV := .venv
RUN := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
ASSETS := webhooks/static/vendor/icons.svg

# In a second run on PostgreSQL, the suite repeats the tests marked `both_databases`.
HOOKLINE_TEST_POSTGRES_URL ?= postgres://postgres@127.0.0.1:5432/postgres
export HOOKLINE_TEST_POSTGRES_URL

# Signatures, matching, and how a job's state changes: every branch of these modules is tested.
WHOLLY_COVERED := webhooks/github/signature.py,webhooks/subscriptions/matching.py,webhooks/inbox/outcomes.py,webhooks/inbox/transitions.py

# Which sample `make send` sends, and further options of `manage.py send_webhook`.
EVENT ?= all
ARGS ?=

# Your own apps: their names, separated by commas, and the folder that holds them (else ../<this folder>-apps).
APPS ?=
DIR ?=

.DEFAULT_GOAL := help
.PHONY: help run app app-test send pull inbox test runtime-test faults drain fuzz bench bench-growth bench-console lint format types contracts check lock clean screenshots

help: ## List these commands
	@grep -hE '^[a-z-]+:.*## ' Makefile | awk -F ':.*## ' '{ printf "  make %-12s %s\n", $$1, $$2 }'

run: $(RUN) $(ASSETS) ## Start everything on the embedded default, send samples, say where to look; APPS=acme is yours
	@$(VENV)/bin/python -m deploy.quickstart "$(APPS)" "$(DIR)"

app: $(RUN) ## Lay out an app of your own with a handler and its tests, NAME=acme; DIR=folder to put it into
	@$(VENV)/bin/python -m deploy.new_app "$(NAME)" "$(DIR)"

app-test: $(DEV) ## Run the tests of your own apps, APPS=acme; DIR=folder that holds them
	@$(VENV)/bin/python -m deploy.app_tests "$(APPS)" "$(DIR)" $(ARGS)

send: $(RUN) ## Send signed samples to what `make run` started; EVENT=push, ARGS="--count 100"
	@$(VENV)/bin/python manage.py send_webhook $(EVENT) $(ARGS)

pull: $(RUN) ## Pull a delivery from an installation and run it here; ARGS="GUID --from https://hooks.example.com"
	@$(VENV)/bin/python manage.py pull $(ARGS)

inbox: $(RUN) ## Print what is in the inbox: jobs by state, queue and handler
	@$(VENV)/bin/python manage.py inbox $(ARGS)

# --- Engineering -----------------------------------------------------------------------------------------------------

test: export HOOKLINE_TEST_WHOLE = $(WHOLE)
SIDE_BY_SIDE := -n auto --dist loadfile --no-loadscope-reorder
ON_POSTGRES := HOOKLINE_TEST_DATABASE_URL="$$HOOKLINE_TEST_POSTGRES_URL"
HAS_POSTGRES := $(VENV)/bin/python -m tests.support.services postgres || [ "$$HOOKLINE_REQUIRE_SERVICES" = 1 ]
COVERED := $(VENV)/bin/coverage run
ONCE_MORE := -m tests.support.once_more
NO_POSTGRES := echo "not run for want of a service: postgres (the tests marked both_databases, a second time)"

test: $(DEV) $(ASSETS) ## Run the suite; ARGS="-k signature" runs a part, WHOLE=1 the slow tests too, with coverage
ifneq ($(strip $(ARGS)),)
	@$(VENV)/bin/python -m pytest $(ARGS)
else ifneq ($(WHOLE),1)
	@$(VENV)/bin/python -m pytest $(SIDE_BY_SIDE) -m "not slow"
	@if $(HAS_POSTGRES); then \
		echo "Once more on PostgreSQL, the tests marked both_databases:"; \
		$(ON_POSTGRES) $(VENV)/bin/python -m pytest $(SIDE_BY_SIDE) -m "both_databases and not slow"; \
	else $(NO_POSTGRES); fi
else
	@$(VENV)/bin/coverage erase
	@$(COVERED) -m pytest --cache-clear $(SIDE_BY_SIDE) || $(COVERED) $(ONCE_MORE) $$?
	@if $(HAS_POSTGRES); then \
		echo "Once more on PostgreSQL, the tests marked both_databases:"; \
		$(ON_POSTGRES) $(COVERED) -m pytest --cache-clear $(SIDE_BY_SIDE) -m both_databases \
			|| $(ON_POSTGRES) $(COVERED) $(ONCE_MORE) $$?; \
	else $(NO_POSTGRES); fi
	@$(VENV)/bin/python -m tests.support.coverage_files
	@$(VENV)/bin/coverage combine --quiet
	@$(VENV)/bin/coverage report
	@$(VENV)/bin/coverage report --fail-under=100 --include=$(WHOLLY_COVERED) >/dev/null \
		|| { echo "Every branch of $(WHOLLY_COVERED) must be covered."; exit 1; }
endif

# A new environment with only requirements.lock: no package that only the tests need. setuptools is removed, since only
# Python 3.11's venv installs it. Time zones come only from the locked package: a small image has no others.
RUNTIME := .venv-runtime
runtime-test: $(RUNTIME)/.installed $(ASSETS) ## Import everything and drive every role without the tests' packages, about 3 minutes
	@PYTHONTZPATH= $(RUNTIME)/bin/python -m tests.runtime

$(RUNTIME)/.installed: requirements.lock
	@rm -rf $(RUNTIME)
	@deploy/install.sh requirements.lock $(RUNTIME)
	@$(RUNTIME)/bin/python -m pip uninstall --quiet --quiet --yes setuptools
	@touch $@

# It starts its own servers, on free ports. The load is 100 deliveries a second, or half of this machine's maximum if
# that is less.
faults: $(DEV) ## Kill, stop, freeze, empty and fill everything under load; ARGS="10 14 --broker redis" runs a part
	@$(VENV)/bin/python -m tests.faults $(ARGS)

# It starts its own servers, too. With ARGS=--containers it uses the image of `make image`, and the tests' servers.
drain: $(DEV) ## Stop workers as Kubernetes does while they work; ARGS="storm --broker redis --workers 10" runs a part
	@HOOKLINE_TEST_IMAGE=$(IMAGE) $(VENV)/bin/python -m tests.drain $(ARGS)

fuzz: $(DEV) ## Send the receiver 100,000 invalid inputs; ARGS="--seed 7 --count 5000"
	@$(VENV)/bin/python -m tests.fuzz $(ARGS)

# Both start their own servers. What they measure, and what to do about it: docs/performance.md.
bench: $(DEV) ## Measure speed, CPU and memory beside a plain Django with Celery, a quarter of an hour; ARGS="start idle"
	@$(VENV)/bin/python -m tests.benchmarks $(ARGS)

bench-growth: $(DEV) ## Measure the same beside ten million stored deliveries; ARGS="--deliveries 100000 --waiting 10000"
	@$(VENV)/bin/python -m tests.benchmarks.growth $(ARGS)

bench-console: $(DEV) $(ASSETS) ## Measure the database's time for each page of the console; ARGS="--deliveries 100000"
	@$(VENV)/bin/python -m tests.benchmarks.console $(ARGS)

# It needs Chromium; what else it needs it starts.
screenshots: $(DEV) $(ASSETS) ## Take each page's picture into docs/images/console
	@$(VENV)/bin/python -m tests.screenshots

# Neither belongs to `make test`: a fresh machine has no podman, and building takes minutes.
IMAGE ?= localhost/hookline:latest
.PHONY: image image-test
image: $(ASSETS) ## Build the container image, IMAGE=name; BASE_IMAGE=name of its base image
	@deploy/image/build.sh $(IMAGE)

image-test: image $(DEV) ## Run the image's roles in containers, and stop the worker's pod while it works
	@HOOKLINE_TEST_IMAGE=$(IMAGE) $(VENV)/bin/python -m pytest -s tests/deployment/test_image.py tests/deployment/test_pods.py $(ARGS)

# A real Kubernetes on this machine, as root: tests/cluster/__init__.py says how it is made. Its programs are built once.
CLUSTER_TOOLS ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/hookline/cluster-tools
.PHONY: cluster cluster-tools cluster-test
cluster-tools: ## Build a Kubernetes' own programs for the two below, into CLUSTER_TOOLS=folder; a quarter of an hour
	@tests/cluster/tools/build.sh $(CLUSTER_TOOLS)

cluster-test: image $(DEV) ## Try the manifests on a real Kubernetes; ARGS="-k apply" runs a part
	@KUBEBUILDER_ASSETS=$(CLUSTER_TOOLS) HOOKLINE_TEST_IMAGE=$(IMAGE) $(VENV)/bin/python -m pytest -s tests/cluster $(ARGS)

cluster: $(DEV) ## Start a Kubernetes to look at, until Ctrl-C
	@KUBEBUILDER_ASSETS=$(CLUSTER_TOOLS) $(VENV)/bin/python -m tests.cluster

lint: $(DEV) ## Check style and formatting with ruff
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check

format: $(DEV) ## Format the code and fix what ruff can
	@$(VENV)/bin/ruff check --fix
	@$(VENV)/bin/ruff format

types: $(DEV) ## Check types with mypy
	@$(VENV)/bin/mypy

contracts: $(DEV) ## Check which packages import which
	@$(VENV)/bin/lint-imports

check: lint types contracts ## Lint, types and contracts

lock: $(DEV) ## Compile every lock file
	@$(UV_COMPILE) requirements.in -o requirements.lock
	@$(UV_COMPILE) -c requirements.lock requirements-dev.in -o requirements-dev.lock
	@$(UV_COMPILE) -c requirements-dev.lock requirements-oidc.in -o requirements-oidc.lock
	@$(UV_COMPILE) -c requirements-dev.lock requirements-otel.in -o requirements-otel.lock
	@$(UV_COMPILE) requirements-assets.in -o requirements-assets.lock
	@cd assets && npm install --package-lock-only --ignore-scripts --no-audit --no-fund

# With the extras: pip, told to compare hashes, does not find a package that another one asks for with extras.
UV_COMPILE = $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	--no-emit-index-url --no-annotate --no-strip-extras

clean: ## Remove the environments and the tools' files; never the data directory
	@rm -rf $(VENV) .venv-* .coverage .coverage.* htmlcov .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache webhooks/static/vendor
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- The environment: a stamp for each lock file, so that an unchanged one costs nothing -----------------------------

$(RUN): requirements.lock
	@deploy/install.sh requirements.lock $(VENV)
	@touch $@

# What the console's pages are made of; the script gives its files the moment of its end.
$(ASSETS): assets/package-lock.json assets/icons.txt deploy/assets.sh
	@deploy/assets.sh

# The tests' lock file includes the packages of requirements.lock.
$(DEV): requirements-dev.lock requirements.lock
	@deploy/install.sh requirements-dev.lock $(VENV)
	@touch $(RUN) $@
