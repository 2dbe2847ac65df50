# syntax=docker/dockerfile:1
# The image RunPod runs (linux/amd64). CUDA comes with torch's wheels: the base needs only Python, and the host's
# driver must take CUDA 12.8 (570 or newer).
#
#   docker build --platform linux/amd64 -t chatterbox-worker:0.1.0 .
#   docker build --platform linux/amd64 --build-arg BAKE_WEIGHTS=true -t chatterbox-worker:0.1.0-baked .
FROM python:3.11-slim-bookworm

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    RUNPOD_LOG_LEVEL=INFO \
    NUMBA_CPU_NAME=generic \
    PATH="/app/.venv/bin:$PATH"

WORKDIR /app

# What `make sync` installs, without the eSpeak (GPL-3) and development groups, and with the uv that `make` uses, which
# does not stay. The base has no bytecode of the standard library, and would compile it at every start.
COPY pyproject.toml uv.lock ./
RUN pip install --no-cache-dir uv==0.13.9 \
    && uv sync --frozen --no-dev --extra chatterbox --no-cache --compile-bytecode --no-python-downloads \
    && pip uninstall --yes uv \
    && python -m compileall -q /usr/local/lib/python3.*

# Numba compiles librosa when it is first used: here, and not in every worker's first clone. For any CPU, since a
# worker's is not this one (NUMBA_CPU_NAME).
RUN python -c "from librosa import effects, filters, resample; from numpy import ones; \
effects.trim(resample(ones(8000), orig_sr=2, target_sr=1)); filters.mel(sr=16000, n_fft=400)"

# Before the code, and with no more of it than this needs, so that a change of code does not move 3 GB of weights.
ARG BAKE_WEIGHTS=false
COPY scripts/fetch-weights ./scripts/
COPY validation/__init__.py validation/errors.py ./validation/
COPY tts/__init__.py ./tts/
COPY tts/chatterbox/__init__.py tts/chatterbox/manifest.py tts/chatterbox/download.py ./tts/chatterbox/
RUN if [ "$BAKE_WEIGHTS" = "true" ]; then scripts/fetch-weights /opt/chatterbox; fi

COPY LICENSE README.md settings.py start.py handler.py server.py ./
COPY validation ./validation
COPY audio ./audio
COPY tts ./tts
COPY service ./service
COPY web ./web
# As the packages are above: PYTHONDONTWRITEBYTECODE keeps a start from writing any.
RUN python -m compileall -q ./*.py validation audio tts service web

# The door that MODE names: RunPod's queue where it calls, else HTTP on PORT.
EXPOSE 80
CMD ["python", "start.py"]
