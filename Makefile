# Needs Python 3.11 or newer and nothing else; everything is installed into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CLIENTS := $(VENV)/clients

.PHONY: run test lint format lock fuzz soak bench clean

run: $(VENV)/run.stamp  ## serve with a sandbox, and show the examples going through
	$(BIN)/kochava-proxy run --sandbox --examples examples

test: lint $(CLIENTS)/python-1.4.stamp $(CLIENTS)/node.stamp  ## everything that must hold
	$(BIN)/pytest -n 2 --dist loadfile

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock:  ## resolve the dependencies anew; needs uv
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate \
	    --no-emit-index-url --no-header pyproject.toml --group build -o requirements.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate \
	    --no-emit-index-url --no-header --extra dev pyproject.toml -o requirements-dev.lock
	echo analytics-python==1.4.post1 | uv pip compile -q --universal --python-version 3.11 \
	    --generate-hashes --no-annotate --no-emit-index-url --no-header -c requirements-dev.lock \
	    - -o tests/clients/python-1.4.lock

fuzz: $(VENV)/dev.stamp  ## hostile requests by the hundred thousand; SEED=2 for others
	$(BIN)/python -m tests.hostile.fuzz --requests 100000 --seed $(or $(SEED),1)

soak: $(VENV)/dev.stamp  ## steady load, and nothing may grow; MINUTES=60 for longer. Linux only
	$(BIN)/python -m tests.proof.soak --minutes $(or $(MINUTES),5) --workers $(or $(WORKERS),1)

# QUICK=1: under a minute. ONLY="ingest backlog", ROUNDS=5, JSON=FILE.
bench: $(VENV)/run.stamp  ## how fast, and how near to what this machine can do
	$(BIN)/kochava-proxy bench $(if $(QUICK),--quick) $(patsubst %,--only %,$(ONLY)) \
	    $(if $(ROUNDS),--rounds $(ROUNDS)) --json $(or $(JSON),build/bench.json)

clean:
	rm -rf $(VENV) data build *.egg-info

# A stamp says which lock the environment was made from. The project itself is installed without
# build isolation, so that the lock pins everything that runs.
$(VENV)/dev.stamp: requirements-dev.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/run.stamp

$(VENV)/run.stamp: requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# The clients that tests/clients runs, each lot in a place of its own: the old Python client does
# not go together with the new one.
$(CLIENTS)/python-1.4.stamp: tests/clients/python-1.4.lock
	$(PYTHON) -m venv --clear $(@:.stamp=)
	$(@:.stamp=)/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r $<
	@touch $@

# Node's clients are extra. Where there is no node (18 or newer) or no npm, or npm's registry cannot
# be reached, the tests with them are skipped and say so; the next `make test` tries again, since
# there is then no stamp. Anything else that goes wrong fails here.
$(CLIENTS)/node.stamp: tests/clients/node/package.json tests/clients/node/package-lock.json
	@sh tests/clients/node/install.sh tests/clients/node $(@:.stamp=)
