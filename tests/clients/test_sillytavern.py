"""SillyTavern's own request code, from its package on npm, in Node."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import recipes
from conftest import ROOT, Worker, worker
from speech import MP3_PADDING_S, decoded, is_spoken

VERSION = "1.19.0"
SHA512 = "RNu7duRWf/YJUBLA7UKNzTy4R0KJXu+e9K+s6WHBOK+GSV51JQ6ifcSdIqFTxHV4kJfUkgBqJ2PbrSLlhTl2+Q=="
FILES = (
    "src/endpoints/openai.js",
    *(f"public/scripts/extensions/tts/{name}.js" for name in ("chatterbox", "openai-compatible")),
)
TEXT = "Hello there. This sentence costs $5, and it ends here."

pytestmark = pytest.mark.skipif(not (shutil.which("node") and shutil.which("npm")), reason="there is no Node here")


@pytest.fixture(scope="module")
def package() -> Path:
    """Its unpacked files; 38 MB are downloaded once."""
    folder = ROOT / ".clients/sillytavern"
    archive = folder / f"sillytavern-{VERSION}.tgz"
    if not archive.exists():
        folder.mkdir(exist_ok=True)
        subprocess.run(["npm", "pack", "--silent", f"sillytavern@{VERSION}"], cwd=folder, check=True)
    assert base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode() == SHA512
    with tarfile.open(archive) as packed:
        packed.extractall(folder, [packed.getmember(f"package/{name}") for name in FILES], filter="data")
    return folder / "package"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """One that lets SillyTavern's page ask, as the recipe says."""
    origin = recipes.box("SillyTavern", "`CORS_ORIGINS`")
    with worker(tmp_path_factory.mktemp("server") / "log", CORS_ORIGINS=origin) as running:
        yield running


@pytest.mark.parametrize(
    ("kind", "box"), [("openai-compatible", "Provider Endpoint"), ("chatterbox", "Server Endpoint")]
)
def test_a_provider_speaks(server: Worker, package: Path, tmp_path: Path, kind: str, box: str) -> None:
    endpoint = recipes.box("SillyTavern", box).replace("http://YOUR_SERVER:8001", server.url)
    command = ["node", Path(__file__).with_name("sillytavern.mjs"), package, endpoint, TEXT, kind, tmp_path / "heard"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    padding_s = MP3_PADDING_S if kind == "openai-compatible" else 0
    is_spoken(decoded((tmp_path / "heard").read_bytes()), server.reference(TEXT), padding_s)
