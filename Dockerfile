# syntax=docker/dockerfile:1
# The image RunPod runs (linux/amd64). CUDA comes with torch's wheels: the base needs only Python, and the host's
# driver must take CUDA 12.8 (570 or newer).
#
#   docker build --platform linux/amd64 -t chatterbox-worker:0.1.0 .
#   docker build --platform linux/amd64 --build-arg BAKE_WEIGHTS=true -t chatterbox-worker:0.1.0-baked .
#   docker build --platform linux/amd64 --build-arg BAKE_WEIGHTS=true --build-arg MODEL=turbo -t … .
#
# To build on the very same base again, name it by the digest that this prints:
#
#   docker buildx imagetools inspect python:3.11-slim-bookworm --format '{{.Manifest.Digest}}'
#   docker build --build-arg BASE=python:3.11-slim-bookworm@sha256:… …
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS base
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    RUNPOD_LOG_LEVEL=INFO \
    NUMBA_CPU_NAME=generic \
    NUMBA_CACHE_DIR=/app/.numba \
    TRITON_CACHE_DIR=/app/.triton \
    PKUSEG_HOME=/app/pkuseg \
    PATH="/app/.venv/bin:$PATH"
WORKDIR /app

FROM base AS packages
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*

# What `make sync` installs, without the hibari, eSpeak (GPL-3) and development groups, with the uv that `make` uses.
# LANGUAGES="ja zh" adds what the multilingual model needs to read these; pykakasi, for ja, is GPL-3. PyAV's wheel brings
# x264 and x265 (GPL-2) along, which the worker has no use for; this stage is no part of the image.
COPY pyproject.toml uv.lock ./
COPY scripts/stub_video_codecs.py ./scripts/
ARG LANGUAGES=""
RUN set -- --extra chatterbox && for language in $LANGUAGES; do set -- "$@" --extra "$language"; done \
    && pip install --no-cache-dir uv==0.13.9 \
    && uv sync --frozen --no-dev "$@" --no-cache --compile-bytecode --no-python-downloads \
    && scripts/stub_video_codecs.py .venv/lib/python3.11/site-packages

# Chinese is cut into words by a model that its package fetches, with a sum to check it by.
RUN mkdir pkuseg && case " $LANGUAGES " in *" zh "*) python -c "from spacy_pkuseg import pkuseg; pkuseg()" ;; esac \
    && rm -f pkuseg/*.zip

# Numba compiles librosa when it is first used: here, and not in every worker's first clone. For any CPU, since a
# worker's is not this one (NUMBA_CPU_NAME). Numba keeps nothing, and fails, where it can't write: so any user may
# write there.
RUN python -c "from librosa import effects, filters, resample; from numpy import ones; \
effects.trim(resample(ones(8000), orig_sr=2, target_sr=1)); filters.mel(sr=16000, n_fft=400)" \
    && chmod -R a+rwX .numba

# Triton compiles a kernel when it is first launched, and C that launches it: here, for every GPU, and not in each
# worker, which has no compiler. The GPU's library, which that C is linked with, is the host's, and empty here.
FROM packages AS kernels
COPY validation ./validation
COPY tts ./tts
RUN mkdir /tmp/empty \
    && gcc -shared -Wl,-soname,libcuda.so.1 -o /tmp/empty/libcuda.so.1 -x c /dev/null \
    && TRITON_LIBCUDA_PATH=/tmp/empty LD_LIBRARY_PATH=/tmp/empty python -m tts.chatterbox.kernels.ahead \
    && chmod -R a+rwX .triton

FROM base
ARG REVISION=""
LABEL org.opencontainers.image.title="Chatterbox worker" \
      org.opencontainers.image.description="Chatterbox text-to-speech on RunPod Serverless" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.base.name="docker.io/library/python:3.11-slim-bookworm"

# The base has no bytecode of the standard library, and would compile it at every start.
RUN python -m compileall -q /usr/local/lib/python3.* \
    && useradd --create-home --uid 10001 worker
COPY --from=packages /app/.venv ./.venv
COPY --from=packages /app/.numba ./.numba
COPY --from=packages /app/pkuseg ./pkuseg

# Before the code, and with no more of it than this needs, so that a change of code does not move 3 GB of weights.
ARG BAKE_WEIGHTS=false
ARG MODEL=original
ENV TTS_MODEL=$MODEL
COPY scripts/fetch-weights ./scripts/
COPY validation/__init__.py validation/errors.py ./validation/
COPY tts/__init__.py ./tts/
COPY tts/chatterbox/__init__.py tts/chatterbox/models.py ./tts/chatterbox/
COPY tts/chatterbox/weights/__init__.py tts/chatterbox/weights/manifest.py tts/chatterbox/weights/download.py \
    ./tts/chatterbox/weights/
RUN if [ "$BAKE_WEIGHTS" = "true" ]; then scripts/fetch-weights /opt/chatterbox --model "$MODEL"; fi

COPY LICENSE THIRD_PARTY.md README.md settings.py start.py handler.py server.py ./
COPY validation ./validation
COPY audio ./audio
COPY tts ./tts
COPY service ./service
COPY web ./web
COPY --from=kernels /app/.triton ./.triton
# As the packages are above: PYTHONDONTWRITEBYTECODE keeps a start from writing any.
RUN python -m compileall -q ./*.py validation audio tts service web

# By number, as a volume's owner is given. It owns its home, where Hugging Face's cache is; all else it only reads.
USER 10001:10001
ENV HOME=/home/worker

# The server that MODE names: RunPod's queue where it calls, else HTTP on PORT.
EXPOSE 80
CMD ["python", "start.py"]
