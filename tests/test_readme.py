"""The quick start runs as the README has it, and so does every example of the documents."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import soundfile
from endpoints import endpoint
from fakes import FakeEngine, recording
from http_server import HttpServer, open_server
from test_docs import PAGES, ROOT, code_blocks, rows

pytestmark = pytest.mark.slow

NODE = shutil.which("node")
LANGUAGES = {
    "bash": ["bash", "-euo", "pipefail", "-c"],
    "python": [sys.executable, "-c"],
    "js": [NODE or "node", "--experimental-websocket", "--no-warnings", "--input-type=module", "--eval"],
}
LOCAL, RUNPOD = "localhost:8000", "https://api.runpod.ai/v2"


def examples(address: str) -> list[tuple[str, str, str]]:
    """Page, language and code of each that asks there and needs nothing that is not here."""
    found = [
        (page, language, re.sub(r"https://\$RUNPOD_ENDPOINT_ID\.api\.runpod\.ai", f"http://{LOCAL}", code))
        for page, text in PAGES.items()
        for language in LANGUAGES
        for code in code_blocks(text, language)
    ]
    left_out = re.compile(r'^make |from "openai"|YOUR_(?!VOICE)', re.M)
    return [each for each in found if address in each[2] and not left_out.search(each[2])]


def sh(*command: str, cwd: Path = ROOT, environ: Mapping[str, str] | None = None) -> str:
    ran = subprocess.run(
        command, cwd=cwd, env=os.environ | (environ or {}), capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def runs(language: str, code: str, folder: Path, **environ: str) -> None:
    """Without an error, and every sound it leaves can be read."""
    if language == "js" and not NODE:
        pytest.skip("there is no Node here")
    (folder / "YOUR_VOICE.wav").write_bytes(recording())
    sh(*LANGUAGES[language], code, cwd=folder, environ=environ)
    left = {path.suffix: path for path in folder.iterdir() if path.name != "YOUR_VOICE.wav"}
    assert left or "-o " not in code
    for suffix in left.keys() & {".wav", ".mp3", ".opus"}:
        assert soundfile.info(left[suffix]).frames > 0


@pytest.fixture(scope="module")
def worker() -> Iterator[HttpServer]:
    with open_server(FakeEngine()) as running:
        yield running


@pytest.mark.parametrize(("page", "language", "code"), examples(LOCAL))
def test_an_example_for_the_http_server_runs(
    worker: HttpServer, tmp_path: Path, page: str, language: str, code: str
) -> None:
    runs(language, code.replace(LOCAL, f"127.0.0.1:{worker.port}"), tmp_path, RUNPOD_API_KEY="any")


def test_the_examples_for_a_queue_endpoint_run(tmp_path: Path) -> None:
    with endpoint(tmp_path / "log", {"TTS_ENGINE": "espeak"}) as server:
        keys = {"RUNPOD_API_KEY": server.fake.api_key, "RUNPOD_ENDPOINT_ID": server.fake.endpoint}
        asked = [example for example in examples(RUNPOD) if NODE or example[1] != "js"]
        for number, (_, language, code) in enumerate(asked):
            (folder := tmp_path / str(number)).mkdir()
            runs(language, code.replace(RUNPOD, server.fake.base_url), folder, **keys)
        assert len(server.fake.jobs) == len(asked) >= 3
        server.assert_every_job_ended_once()


def test_every_metric_is_there(worker: HttpServer) -> None:
    listed = {name for row in rows("docs/DEPLOY.md", "metric") for name in re.findall(r"`(\w+)`", row[0])}
    told = re.findall(r"^# TYPE (tts_\w+)", worker.get("/metrics").text, re.M)
    assert listed == {name for name in told if not name.endswith("_created")}


def quick_start() -> list[str]:
    return re.findall(r"^(make run.*?)(?:\s+#.*)?$", code_blocks(PAGES["README.md"], "bash")[0], re.M)


def test_the_quick_start_speaks() -> None:
    """`make run`, as the README has it: from nothing but Python and make, through the SDK, to a file."""
    command, _ = quick_start()
    (ROOT / "output.wav").unlink(missing_ok=True)
    sh("sh", "-c", command)
    spoken = soundfile.info(ROOT / "output.wav")
    assert spoken.samplerate == 24000
    assert spoken.duration > 1.0


def test_the_quick_start_speaks_whatever_you_want() -> None:
    _, command = quick_start()
    said = sh("sh", "-c", f"{command} PY='printf %s,'")
    assert "scripts/speak.py,--engine=hibari,--text=Whatever you want to say.," in said
