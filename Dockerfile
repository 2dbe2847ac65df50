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

# Before the code, so that a change of code does not move 3 GB of weights.
ARG BAKE_WEIGHTS=false
ARG WEIGHTS_REVISION=5bb1f6ee58e50c3b8d408bc82a6d3740c2db6e18
RUN if [ "$BAKE_WEIGHTS" = "true" ]; then \
        hf download ResembleAI/chatterbox \
            ve.safetensors t3_cfg.safetensors s3gen.safetensors tokenizer.json conds.pt \
            --revision "$WEIGHTS_REVISION" --local-dir /opt/chatterbox; \
    fi

COPY LICENSE README.md settings.py handler.py ./
COPY validation ./validation
COPY audio ./audio
COPY tts ./tts
COPY service ./service

CMD ["python", "handler.py"]
