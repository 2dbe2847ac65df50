"""What deploys the worker agrees with what it deploys."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()
WEIGHTS = (ROOT / "tts/chatterbox/weights.py").read_text()  # read, not imported: it needs torch


def test_the_image_bakes_the_pinned_revision_and_every_file():
    revision = re.search(r'^REVISION = "(\w+)"', WEIGHTS, re.M)
    assert revision
    assert f"WEIGHTS_REVISION={revision[1]}" in DOCKERFILE
    files = re.findall(r'"([\w.]+\.(?:safetensors|json|pt))"', WEIGHTS)
    assert len(files) == 5
    assert all(name in DOCKERFILE for name in files)
    assert '"/opt/chatterbox"' in WEIGHTS
    assert "--local-dir /opt/chatterbox" in DOCKERFILE


def test_the_image_and_make_use_the_same_uv():
    pinned = re.search(r"^UV_VERSION := (\S+)", (ROOT / "Makefile").read_text(), re.M)
    assert pinned
    assert f"uv=={pinned[1]}" in DOCKERFILE


def test_the_image_has_every_room_and_nothing_that_is_not_needed():
    copied = set(re.findall(r"^COPY (\w+) \./\w+$", DOCKERFILE, re.M))
    assert copied == {"validation", "audio", "tts", "service"}
    let_in = set(re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.M))
    assert copied <= let_in
    assert not let_in & {"tests", ".git", ".venv", "bench"}


def test_python_is_exec_ed_so_that_it_gets_the_signals():
    assert 'CMD ["python", "handler.py"]' in DOCKERFILE
