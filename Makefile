# Everything needs only Python ≥ 3.11, make and git: uv goes into a venv of its own, and installs from uv.lock.
PYTHON ?= python3
UV_VERSION := 0.13.9
UV := UV_PYTHON_DOWNLOADS=never .uv/bin/uv
PY := .venv/bin/python
TEXT ?= Hello! This speech went through the very path that a deployed endpoint runs.
export TEXT

.PHONY: run test test-fast test-full lint bench race format sync requirements clean

run: .uv/ready  ## speak TEXT through a local worker on the eSpeak engine; writes output.wav
	@$(UV) sync --quiet --frozen --inexact --no-dev --group espeak --python $(PYTHON)
	@$(PY) scripts/speak.py --text "$$TEXT"

test: sync  ## everything that needs no GPU, no weights and no network
	$(PY) -m pytest -q -n 3

test-fast: sync  ## the tests that need neither torch nor a worker in the SDK
	$(PY) -m pytest -q -n 2 -m "not chatterbox and not sdk" --ignore=tests/tts/chatterbox

test-full: sync  ## full-size networks: minutes and gigabytes
	$(PY) -m pytest -q -m full

lint: sync
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	$(UV) lock --check --quiet
	if [ -x .venv/bin/hadolint ]; then .venv/bin/hadolint Dockerfile; fi

race: sync  ## against the peer, side by side, in its own environment; minutes; the last line is JSON
	@cd bench/peer && UV_PROJECT_ENVIRONMENT=../../.bench/peer UV_PYTHON_DOWNLOADS=never ../../.uv/bin/uv sync --quiet --frozen --python ../../.venv/bin/python
	$(PY) -m bench.race $(RACE)

bench: sync  ## what the service costs outside the engine; the last line is JSON
	$(PY) -m bench.service

format: sync
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

sync: .uv/ready
	@$(UV) sync --quiet --frozen --all-extras --all-groups --python $(PYTHON)

requirements: .uv/ready  ## the lock for pip: `pip install --no-deps -r requirements.lock`
	@$(UV) export --quiet --frozen --no-dev --extra chatterbox --no-hashes --output-file requirements.lock

.uv/ready:
	@$(PYTHON) -m venv .uv
	@.uv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@touch $@

clean:
	rm -rf .uv .venv
