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
    UV_PYTHON_DOWNLOADS=never \
    UV_LINK_MODE=copy \
    UV_COMPILE_BYTECODE=1 \
    PATH="/app/.venv/bin:$PATH"

WORKDIR /app

# The uv that `make` uses.
RUN pip install --no-cache-dir uv==0.13.9

# What `make sync` installs, without the eSpeak (GPL-3) and development groups.
COPY pyproject.toml uv.lock ./
RUN uv sync --frozen --no-dev --extra chatterbox --no-cache

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

# The door that MODE names: RunPod's queue where it calls, else HTTP on PORT.
EXPOSE 80
CMD ["python", "start.py"]
