"""The Dockerfile agrees with the code that it packs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tts.chatterbox.models import MODELS, ModelSpec

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()
WEIGHTS = (ROOT / "tts/chatterbox/weights/find.py").read_text()  # not imported, because it needs torch


def test_the_image_bakes_into_the_place_that_is_looked_in():
    assert '"/opt/chatterbox"' in WEIGHTS
    assert "scripts/fetch-weights /opt/chatterbox" in DOCKERFILE


def test_an_image_speaks_with_the_model_that_it_was_built_for():
    assert "ARG MODEL=original\nENV TTS_MODEL=$MODEL\n" in DOCKERFILE
    assert 'scripts/fetch-weights /opt/chatterbox --model "$MODEL"' in DOCKERFILE


@pytest.mark.parametrize("spec", MODELS.values(), ids=MODELS)
def test_the_guide_names_each_models_repository_and_counts_its_files(spec: ModelSpec):
    (row,) = re.findall(
        rf"^\| .*`{spec.name}`.* \| `(\S+)` \| (\d+), .*\|$", (ROOT / "docs/DEPLOY.md").read_text(), re.M
    )
    assert row == (spec.repository, str(len(spec.files)))


def test_what_is_copied_for_the_baking_is_enough_for_it(tmp_path):
    """The layer of weights comes before the code, with these files alone."""
    before = DOCKERFILE[: DOCKERFILE.index("RUN if")].split("\nFROM ")[-1].replace("\\\n", " ")
    lines = [line for line in before.splitlines() if line.startswith("COPY") and "--from" not in line]
    copied = [line.split()[1:] for line in lines if "uv.lock" not in line]
    for *files, target in copied:
        (tmp_path / target).mkdir(parents=True)
        for name in files:
            shutil.copy(ROOT / name, tmp_path / target)
    command = [sys.executable, "-I", "scripts/fetch-weights", "--help"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 0
    shutil.rmtree(tmp_path / "validation")
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 1  # so those files are used


def test_the_image_and_make_use_the_same_uv():
    pinned = re.search(r"^UV_VERSION := (\S+)", (ROOT / "Makefile").read_text(), re.M)
    assert pinned
    assert f"uv=={pinned[1]}" in DOCKERFILE


def test_the_image_has_every_room_and_nothing_that_is_not_needed():
    copied = set(re.findall(r"^COPY (\w+) \./\w+$", DOCKERFILE, re.M))
    assert copied == {"validation", "audio", "tts", "service", "web"}
    let_in = set(re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.M))
    assert copied <= let_in
    assert not let_in & {"tests", ".git", ".venv", "bench", "scripts", "scripts/page"}


def test_python_is_exec_ed_so_that_it_gets_the_signals():
    assert 'CMD ["python", "start.py"]' in DOCKERFILE


def test_every_entry_point_is_in_the_image():
    files = re.search(r"^COPY (.*settings\.py.*) \./$", DOCKERFILE, re.M)
    assert files
    copied = set(files[1].split())
    assert copied >= {"settings.py", "start.py", "handler.py", "server.py"}
    assert copied <= set(re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.M))


def test_what_a_start_or_a_first_clone_would_compile_is_compiled_in_the_image():
    """It would cost every worker seconds, because files written at run time are lost."""
    steps = DOCKERFILE.split("\nRUN ")
    after_code = DOCKERFILE[DOCKERFILE.index("COPY web ./web") :]
    assert "NUMBA_CPU_NAME=generic" in steps[0]  # else the cache is for the builder's processor alone
    assert any("--compile-bytecode" in step for step in steps)
    assert any("compileall -q /usr/local/lib" in step for step in steps)
    assert any(step.startswith('python -c "from librosa import') for step in steps)
    assert "COPY --from=packages /app/.numba ./.numba" in DOCKERFILE
    assert any("python -m tts.chatterbox.kernels.ahead" in step for step in steps)
    assert "TRITON_CACHE_DIR=/app/.triton" in steps[0]  # Triton's index of it has absolute paths
    assert "COPY --from=kernels /app/.triton ./.triton" in after_code
    assert "RUN python -m compileall" in after_code


def test_no_process_of_the_image_is_roots_and_what_it_must_write_it_may():
    """Numba needs a directory that it may write to, or every clone fails."""
    *_, last = DOCKERFILE.split("\nFROM ")
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.M) == ["10001:10001"]
    assert last.index("\nUSER 10001:10001") > last.index("\nRUN python -m compileall -q ./*.py")
    assert "useradd --create-home --uid 10001 worker" in last
    assert "ENV HOME=/home/worker" in last
    assert "NUMBA_CACHE_DIR=/app/.numba" in DOCKERFILE
    assert "chmod -R a+rwX .numba" in DOCKERFILE


def test_the_labels_are_ocis_and_name_this_version():
    block = DOCKERFILE.split("\nLABEL ")[1].split("\n\n")[0]
    labels = dict(re.findall(r'([\w.]+)="([^"]*)"', block))
    assert all(name.startswith("org.opencontainers.image.") for name in labels)
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in labels.items()}
    assert labels["version"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert labels["licenses"] == "MIT"
    assert f"ARG BASE={labels['base.name'].removeprefix('docker.io/library/')}\n" in DOCKERFILE


def test_the_base_may_be_pinned_by_digest_and_every_stage_is_built_on_it():
    assert re.findall(r"^FROM (.+)$", DOCKERFILE, re.M) == [
        "${BASE} AS base",
        "base AS packages",
        "packages AS kernels",
        "base",
    ]
    assert not re.search(r"sha256:[0-9a-f]{8}", DOCKERFILE)  # none has been looked up


def test_the_codecs_under_the_gpl_leave_in_the_layer_that_brings_them():
    (step,) = [step for step in DOCKERFILE.split("\nRUN ") if "uv sync" in step]
    assert "scripts/stub_video_codecs.py .venv/lib/python3.11/site-packages" in step
    assert "FROM base AS packages" in DOCKERFILE[: DOCKERFILE.index("uv sync")]
