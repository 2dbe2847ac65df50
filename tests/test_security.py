"""Promises of docs/SECURITY.md that have no other test: code in data, names and links in the library, secrets."""

from __future__ import annotations

import ast
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import as_base64, fake_service, recording, refused, spoken

from service.bucket import bucket_of_settings
from service.telemetry import JobClock
from settings import Settings

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]

# --- no code in data --------------------------------------------------------------------------------------------

OURS = ("validation", "audio", "tts", "service", "web", "scripts", "bench")
FORBIDDEN_MODULES = {"marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml", "jsonpickle"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "subprocess.getoutput"}
FORBIDDEN_CALLS |= {"pickle.load", "pickle.loads", "pickle.Unpickler"}
FORBIDDEN_CALLS |= {"torch.jit.load", "torch.package.PackageImporter"}


def sources() -> list[Path]:
    inside = [path for room in OURS for path in (ROOT / room).rglob("*.py")]
    return [*inside, *ROOT.glob("*.py"), *(path for path in (ROOT / "scripts").iterdir() if is_python(path))]


def is_python(path: Path) -> bool:
    return path.is_file() and not path.suffix and path.read_bytes().startswith(b"#!/usr/bin/env python")


def dangers(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"imports {name}" for name in names if name.split(".")[0] in FORBIDDEN_MODULES)
            if isinstance(node, ast.ImportFrom) and node.module in ("pickle", "torch", "os", "subprocess"):
                taken = {f"{node.module}.{alias.name}" for alias in node.names}
                yield from (f"imports {name}" for name in taken & (FORBIDDEN_CALLS | {"torch.load"}))
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            given = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if name in FORBIDDEN_CALLS:
                yield f"calls {name}"
            if name == "torch.load" and given.get("weights_only") != "True":
                yield "calls torch.load without weights_only=True"
            for word in ("shell", "allow_pickle", "trust_remote_code"):
                if given.get(word, "False") != "False":
                    yield f"calls {name} with {word}"


def test_nothing_of_ours_runs_code_that_comes_as_data() -> None:
    found = [f"{path.relative_to(ROOT)} {what}" for path in sources() for what in dangers(ast.parse(path.read_text()))]
    assert found == []
    assert len(sources()) > 80


@pytest.mark.parametrize(
    "source",
    [
        *("import torch\ntorch.load(p)", "torch.load(p, weights_only=False)", "torch.load(p, weights_only=safe)"),
        *("from torch import load", "import pickle\npickle.loads(b)", "from pickle import loads", "import yaml"),
        *("eval(text)", "exec(text)", "os.system(text)", "subprocess.run(text, shell=True)", "import marshal"),
        *("np.load(p, allow_pickle=True)", "f(trust_remote_code=True)", "pickle.Unpickler(f)"),
    ],
)
def test_a_planted_danger_is_found(source: str) -> None:
    assert list(dangers(ast.parse(source)))


# --- files ------------------------------------------------------------------------------------------------------

NAMES = [
    *("../x", "..", ".", "/etc/x", "a/b", "a\\b", ".hidden", "-x", "a\0b", "\uff41", "x" * 65, "a\n", "é", "", "a.wav"),
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_name_that_could_be_a_path_is_never_looked_for(tmp_path: Path, name: str) -> None:
    (tmp_path / "library").mkdir()
    service = fake_service(voices_dir=tmp_path / "library", allow_voice_writes=True)
    added = {"operation": "voice_add", "voice": name, "reference_audio": as_base64(recording())}
    assert refused(service, added)["error_code"] == "INVALID_INPUT"
    assert refused(service, {"operation": "voice_delete", "voice": name})["error_code"] == "UNKNOWN_VOICE"
    assert refused(service, {"text": "Hello.", "voice": name})["error_code"] == "UNKNOWN_VOICE"
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "library"]


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_nothing_is_written_or_deleted_through_a_link(tmp_path: Path, suffix: str) -> None:
    outside, library = tmp_path / f"outside{suffix}", tmp_path / "library"
    outside.write_bytes(recording(container=suffix[1:].upper()))
    before = outside.read_bytes()
    library.mkdir()
    (library / f"mia{suffix}").symlink_to(outside)
    service = fake_service(voices_dir=library, allow_voice_writes=True)
    added = {"operation": "voice_add", "voice": "mia", "replace": True, "reference_audio": as_base64(recording(500.0))}
    assert spoken(service, added)[1]["replaced"]
    assert not any(path.is_symlink() for path in library.iterdir())
    (library / f"eve{suffix}").symlink_to(outside)
    spoken(service, {"operation": "voice_delete", "voice": "eve"})
    assert outside.read_bytes() == before


def test_what_is_no_file_is_never_opened(tmp_path: Path) -> None:
    """Opening a pipe would block, and a device has no end."""
    (tmp_path / "zero.wav").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "mia.wav").write_bytes(recording())
    (tmp_path / "mia.json").symlink_to("/dev/zero")
    _, reply = spoken(fake_service(voices_dir=tmp_path), {"operation": "voices"})
    assert [voice["name"] for voice in reply["voices"] if voice["source"] == "library"] == ["mia"]


# --- secrets ----------------------------------------------------------------------------------------------------

SECRET_SETTINGS = [item.name for item in Settings.public_fields() if not item.repr]


def test_what_sounds_like_a_secret_is_marked_as_one() -> None:
    named = {item.name for item in Settings.public_fields() if set(item.name.split("_")) & {"key", "keys", "secret"}}
    assert named <= set(SECRET_SETTINGS)


def test_no_secret_is_in_what_the_worker_says_of_itself(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    environ = {name.upper(): f"5EC2E7{n}" for n, name in enumerate(SECRET_SETTINGS)}
    environ |= {"BUCKET_ENDPOINT_URL": "https://s3.example.com/voices"}
    settings = Settings.from_env(environ)
    values = {name: getattr(settings, name) for name in SECRET_SETTINGS}
    assert all("5EC2E7" in str(value) for value in values.values())
    service = fake_service(**values, bucket_endpoint_url=settings.bucket_endpoint_url)
    shown = [repr(settings), repr(bucket_of_settings(settings)), json.dumps(spoken(service, {"operation": "info"})[1])]
    shown += [json.dumps(refused(service, {"text": "Hello.", "BUCKET_SECRET_ACCESS_KEY": 1})), caplog.text]
    assert not [text for text in shown if "5EC2E7" in text]


def test_a_jobs_own_keys_are_in_no_refusal_and_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    config = {"accessId": "5EC2E7", "accessSecret": "5EC2E7 x", "bucketName": "5EC2E7/"}
    config |= {"endpointUrl": "ftp://5EC2E7@h"}
    events = list(fake_service().run("job-1", {"text": "Hello."}, joined=True, clock=JobClock(), s3_config=config))
    assert "s3Config.accessSecret" in str(events)
    assert "5EC2E7" not in str(events) + caplog.text
