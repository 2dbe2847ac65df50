"""No package of the image is under the GPL or AGPL, and THIRD_PARTY.md lists the licence of each."""

from __future__ import annotations

import email
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import PackageMetadata, distribution
from pathlib import Path
from typing import Any, cast

import pytest

ROOT = Path(__file__).resolve().parent.parent
THIRD_PARTY = runpy.run_path(str(ROOT / "scripts/third_party.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXCLUDED = PROJECT["tool"]["uv"]["exclude-dependencies"]

as_in_the_image = pytest.mark.skipif(
    sys.platform != "linux" or sys.version_info[:2] != (3, 11), reason="the lock has other packages for the image"
)


def package(metadata: str) -> Any:
    """A package whose METADATA file is this."""
    parsed = cast(PackageMetadata, email.message_from_string(metadata))
    return THIRD_PARTY["Package"]("it", "1", THIRD_PARTY["statements"](parsed))


@as_in_the_image
@pytest.mark.chatterbox
def test_nothing_in_the_image_is_gpl_and_everything_states_its_licence() -> None:
    found = THIRD_PARTY["packages"]()
    assert len(found) > 100
    assert [(one.name, one.statements) for one in found if one.is_refused] == []


@as_in_the_image
def test_what_an_extra_for_a_language_brings_is_not_in_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """chatterbox-tts asks for it in any case."""
    required = THIRD_PARTY["image_requirements"]
    assert not {"pykakasi", "jaconv", "spacy-pkuseg"} & {one.name for one in required()}
    monkeypatch.setitem(required.__globals__, "EXPORT", (*THIRD_PARTY["EXPORT"], "--extra", "ja"))
    assert "pykakasi" in {one.name for one in required()}


@as_in_the_image
@pytest.mark.chatterbox
def test_the_file_is_current() -> None:
    """`scripts/third_party.py` makes it."""
    assert (ROOT / "THIRD_PARTY.md").read_text() == THIRD_PARTY["document"](THIRD_PARTY["packages"]())


@pytest.mark.parametrize(
    "metadata",
    [
        "License: GPL-3.0-or-later",  # pykakasi 2.3.0, of the extra `ja`
        "Classifier: License :: OSI Approved :: GNU General Public License v3 or later (GPLv3+)",
        "License: MIT\nClassifier: License :: OSI Approved :: GNU General Public License v2 (GPLv2)",
        "License-Expression: MIT AND GPL-2.0-only",
        "License-Expression: AGPL-3.0-or-later",
        "Classifier: License :: OSI Approved :: GNU Affero General Public License v3",
        "Classifier: Programming Language :: Python",  # nothing is stated
        "License: " + "All of its text. " * 20,
    ],
)
def test_such_metadata_is_refused(metadata: str) -> None:
    assert package(metadata).is_refused


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        ("License-Expression: MIT\nLicense: no matter", "MIT"),
        ("License-Expression: LGPL-2.1-or-later", "LGPL-2.1-or-later"),
        (
            "License: LGPL\nClassifier: License :: OSI Approved :: GNU Library or Lesser General Public License (LGPL)",
            "LGPL",
        ),
        ("License-Expression: Apache-2.0 OR GPL-2.0-only", "Apache-2.0 OR GPL-2.0-only"),
        ("License: Copyright (c) 2001 Somebody\nClassifier: License :: OSI Approved :: BSD License", "BSD License"),
    ],
)
def test_such_metadata_is_accepted_and_named(metadata: str, licence: str) -> None:
    assert not package(metadata).is_refused
    assert package(metadata).licence == licence


def test_what_is_excluded_is_locked_nowhere_and_has_its_reason() -> None:
    locked = {one["name"] for one in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}
    assert not locked & set(EXCLUDED)
    listed = re.search(r"^exclude-dependencies = \[\n(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.M | re.S)
    assert listed
    assert all(re.fullmatch(r'    "[\w-]+", +# .{10,}', line) for line in listed[1].splitlines())


@pytest.mark.slow
@as_in_the_image
@pytest.mark.skipif(not shutil.which("gcc"), reason="there is no gcc")
def test_without_x264_and_x265_every_format_is_still_encoded_and_no_video(tmp_path: Path) -> None:
    installed = Path(str(distribution("av").locate_file("")))
    for folder in ("av", "av.libs"):
        shutil.copytree(installed / folder, tmp_path / folder)
    before = {path.name for path in (tmp_path / "av.libs").iterdir()}
    subprocess.run([sys.executable, ROOT / "scripts/stub_video_codecs.py", tmp_path], check=True)
    assert {path.name for path in (tmp_path / "av.libs").iterdir()} == before
    stubs = [path for codec in ("x264", "x265") for path in (tmp_path / "av.libs").glob(f"lib{codec}-*")]
    assert len(stubs) == 2
    assert all(path.stat().st_size < 50_000 for path in stubs)
    ran = subprocess.run(
        [sys.executable, "-c", ENCODING], env={"PYTHONPATH": f"{tmp_path}:{ROOT}"}, capture_output=True
    )
    assert ran.stdout.decode().split() == [str(tmp_path / "av"), "ExternalError"], ran.stderr.decode()


ENCODING = """
import io, av, numpy
from pathlib import Path
from audio.encode import ENCODERS
print(Path(av.__file__).parent)
for form in ENCODERS.values():
    encoder = form.encoder(form.coded_rate(24_000), joined=False)
    assert encoder.push(numpy.zeros(24_000, numpy.float32)) + encoder.flush()
video = av.open(io.BytesIO(), "w", format="mp4").add_stream("libx264", rate=24)
video.width = video.height = 64
try:
    video.encode(av.VideoFrame(64, 64, "yuv420p"))
except av.FFmpegError as error:
    print(type(error).__name__)
"""
