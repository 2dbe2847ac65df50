# Everything needs only Python ≥ 3.11, make and git: uv goes into a venv of its own, and installs from uv.lock.
PYTHON ?= python3
UV_VERSION := 0.13.9
UV := UV_PYTHON_DOWNLOADS=never .uv/bin/uv
# `$(INSTALL) OPTIONS`: `uv sync OPTIONS` from uv.lock, after one line about the size of what is missing.
INSTALL := $(PYTHON) scripts/install.py
PY := .venv/bin/python
# TypeScript, which checks the page's JavaScript; npm writes this file when it has installed it.
TYPESCRIPT := scripts/page/node_modules/.package-lock.json
PORT ?= 8000
# What `make run` and `make serve` speak with, and the option that installs it.
TTS_ENGINE ?= hibari
SPEAKER := $(if $(filter chatterbox,$(TTS_ENGINE)),--extra,--group) $(TTS_ENGINE)
COMMIT ?= HEAD~1
# Passive: OpenMP threads otherwise spin while they wait, and two processes share two cores here.
PROCESSORS := NATIVE=1 ATEN_CPU_CAPABILITY=avx2 ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=AVX2
TEXT ?= Hello! This speech went through the very path that a deployed endpoint runs.
# As it was written: make would take the $5 in "I paid $5" for a variable.
override TEXT := $(value TEXT)
export TEXT
# Where it is set, every process compiles all that it imports, which takes seconds.
export PYTHONDONTWRITEBYTECODE =

.PHONY: help run serve test test-fast test-portable test-full test-gpu test-browser test-clients fuzz audit lint types-page bench bench-cold costs quality listen peer race seams ladder soak doors same crowd wheelhouse format sync picture requirements clean

help:  ## these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile

run: .uv/ready  ## speak TEXT through a local worker on TTS_ENGINE; writes output.wav
	@$(INSTALL) --inexact --no-dev $(SPEAKER)
	@$(PY) scripts/speak.py --engine=$(TTS_ENGINE) --text="$$TEXT"

serve: .uv/ready  ## the HTTP server on PORT of this machine alone, on TTS_ENGINE
	@$(INSTALL) --inexact --no-dev $(SPEAKER)
	@exec env TTS_ENGINE=$(TTS_ENGINE) BIND_HOST=127.0.0.1 PORT=$(PORT) $(PY) server.py

test: sync  ## everything that needs no GPU, no weights and no network
	$(PY) -m pytest -q -n 3

test-fast: .uv/ready  ## without torch, servers, and what takes long: a minute, and 0.6 GB instead of 8
	@$(INSTALL) --inexact --no-dev --group test --group hibari --group espeak
	$(PY) -m pytest -q -n 2 -m "not chatterbox and not slow and not full and not gpu and not browser and not fuzz"

test-portable: sync  ## the Chatterbox tests on less of this processor than it has, with one thread and two: minutes
	@for threads in 1 2; do for setting in $(PROCESSORS); do \
	  echo "$$setting, threads: $$threads"; \
	  env $$setting OMP_NUM_THREADS=$$threads OMP_WAIT_POLICY=passive $(PY) -m pytest -q -n 2 tests/tts/chatterbox || exit 1; \
	done; done

test-full: sync  ## full-size networks: minutes and gigabytes
	$(PY) -m pytest -q -m full

test-gpu: sync  ## what only a CUDA GPU can show
	$(PY) -m pytest -q -m gpu tests/tts/chatterbox

test-browser: sync  ## the page in a real Chromium (apt-get install chromium); skipped where there is none
	$(PY) -m pytest -q -rs -m browser tests/browser

test-clients: .uv/ready  ## others' SDKs and programs against a server here, in an environment of their own: 2 minutes, 0.7 GB
	@$(INSTALL) --inexact --no-dev --group hibari
	@UV_PROJECT_ENVIRONMENT=../../.clients $(INSTALL) --project tests/clients
	cd tests/clients && OMP_NUM_THREADS=1 ../../.clients/bin/python -m pytest -q -rs

fuzz: sync  ## 22,000 wrong recordings and inputs: minutes; the counts are printed
	$(PY) -m pytest -q -m fuzz tests/fuzz

audit: .uv/ready  ## the locked packages against the published vulnerabilities; says so where none can be reached
	@$(PYTHON) scripts/audit.py --uv .uv/bin/uv

lint: sync  ## style, types (the page's where npm is installed), the lock, the Dockerfile
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	@if command -v npm > /dev/null; then $(MAKE) --no-print-directory types-page; \
	else echo "npm is not installed: the types of web/page are not checked"; fi
	$(UV) lock --check --quiet
	if [ -x .venv/bin/hadolint ]; then .venv/bin/hadolint Dockerfile; fi

types-page: $(TYPESCRIPT)  ## the types of the page's JavaScript; needs npm
	scripts/page/node_modules/.bin/tsc -p scripts/page

$(TYPESCRIPT): scripts/page/package-lock.json
	@npm ci --prefix scripts/page --ignore-scripts --no-audit --no-fund --loglevel=error

peer: sync  ## the peer's own environment
	@cd bench/peer && UV_PROJECT_ENVIRONMENT=../../.bench/peer UV_PYTHON_DOWNLOADS=never ../../.uv/bin/uv sync --quiet --frozen --python ../../.venv/bin/python

race: peer  ## against the peer, side by side; minutes; the last line is JSON
	$(PY) -m bench.race $(RACE)

seams: peer  ## the sound where chunks meet, ours and the peer's; minutes; the last line is JSON
	$(PY) -m bench.seams $(SEAMS)

ladder: sync  ## from upstream to this engine, one ratio per change; minutes; the last line is JSON
	$(PY) -m bench.ladder $(LADDER)

wheelhouse: sync  ## what a GPU machine without a network lacks, for scripts/gpu
	$(PY) scripts/wheelhouse

bench: sync  ## the cost of the service around the engine; the last line is JSON
	$(PY) -m bench.service

bench-cold: sync  ## a worker's start, stage by stage; the last line is JSON
	$(PY) -m bench.cold $(COLD)

costs: sync  ## what the original and Turbo cost on two GPUs, counted and predicted; minutes each; the last line is JSON
	OMP_NUM_THREADS=1 PYTHONWARNINGS=ignore $(PY) -m bench.costs --output bench/results/costs.json
	OMP_NUM_THREADS=1 PYTHONWARNINGS=ignore $(PY) -m bench.costs --model turbo --output bench/results/costs-turbo.json

quality: sync  ## figures of the sound against their limits; the last line is JSON
	$(PY) -m bench.quality $(QUALITY)

listen: sync  ## what recognisers and others hear of the path; 10 minutes; the last line is JSON
	@cd bench/listen && UV_PROJECT_ENVIRONMENT=../../.bench/listen UV_PYTHON_DOWNLOADS=never ../../.uv/bin/uv sync --quiet --frozen --python ../../.venv/bin/python
	OMP_NUM_THREADS=1 $(PY) -m bench.listen $(LISTEN)

doors: sync  ## the time to the first sound by HTTP and by the queue; the last line is JSON
	PYTHONPATH=.:tests PYTHONWARNINGS=ignore $(PY) -m doors $(DOORS)

same: sync  ## every reply against those of an earlier commit: COMMIT=…; the last line is JSON
	$(PY) -m bench.same $(COMMIT)

soak: sync  ## workers under 500 jobs, some cancelled, some faulty; minutes; the last line is JSON
	PYTHONPATH=.:tests OMP_NUM_THREADS=1 PYTHONWARNINGS=ignore $(PY) -m tests.soak $(SOAK)

crowd: sync  ## 64 clients of all dialects at one HTTP server, for a minute; the last line is JSON
	PYTHONPATH=.:tests OMP_NUM_THREADS=1 PYTHONWARNINGS=ignore $(PY) -m tests.crowd $(CROWD)

format: sync  ## put the code into its style
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

sync: .uv/ready  ## install all there is into .venv: 8 GB, mostly CUDA
	@$(INSTALL) --all-extras --all-groups

picture: sync  ## docs/page.png: the page in Chromium, for the README
	$(PY) scripts/picture.py

requirements: .uv/ready  ## the lock for pip: `pip install --no-deps -r requirements.lock`
	@$(UV) export --quiet --frozen --no-dev --extra chatterbox --no-hashes --output-file requirements.lock

.uv/ready:
	@echo "Installing uv $(UV_VERSION) (up to 20 MB to download) …" >&2
	@$(PYTHON) -m venv .uv
	@.uv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@touch $@

clean:  ## remove .uv, .venv, .clients and TypeScript
	rm -rf .uv .venv .clients scripts/page/node_modules
