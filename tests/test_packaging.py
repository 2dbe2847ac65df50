"""Places that repeat one another agree: dependencies, versions, the example job."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from service import __version__
from validation.request import parse
from validation.rules import Capabilities, FormatCapabilities

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LEFT_TO_THE_LOCK = {"torch", "torchvision", "torchaudio", "transformers", "numpy"}


def requirements() -> list[str]:
    lines = (line.split("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines())
    return [line for line in lines if line]


def test_requirements_are_the_projects_dependencies_and_chatterbox() -> None:
    declared = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["chatterbox"]]
    assert sorted(requirements()) == sorted(declared)


@pytest.mark.parametrize("package", sorted(LEFT_TO_THE_LOCK))
def test_what_upstream_manages_is_never_pinned(package: str) -> None:
    """A second pin of torch beside the lock's is how such images stop starting."""
    pinned = {line for line in requirements() if re.split(r"[^\w.-]", line)[0].lower() == package}
    assert pinned <= {package}


def test_the_lock_decides_about_torch() -> None:
    locked = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    versions = {package["name"]: package.get("version", "") for package in locked}
    assert versions["torch"].startswith("2.10.0")
    assert versions["torchaudio"].startswith("2.10.0")
    assert versions["chatterbox-tts"] == "0.1.7"


def test_typescript_is_pinned_and_comes_from_npms_own_registry() -> None:
    folder = ROOT / "scripts/page"
    wanted = json.loads((folder / "package.json").read_text())["devDependencies"]
    project, *packages = json.loads((folder / "package-lock.json").read_text())["packages"].values()
    assert project["devDependencies"] == wanted == {"typescript": packages[0]["version"]}
    assert all(package["resolved"].startswith("https://registry.npmjs.org/") for package in packages)


def test_the_worker_and_the_project_have_one_version() -> None:
    assert PROJECT["version"] == __version__


def test_the_example_job_is_a_job() -> None:
    job = json.loads((ROOT / "test_input.json").read_text())
    capabilities = Capabilities(
        voices={"default": "en"},
        default_voice="default",
        clone_languages=("en",),
        decode_modes=("full", "window"),
        formats={"wav": FormatCapabilities(24_000, {})},
        streamed_normalizations=("lufs",),
        max_text_chars=5000,
        max_reference_bytes=15_000_000,
        streaming=False,
    )
    request = parse(job["input"], capabilities)
    assert request.text.startswith("Hello!")
    assert set(job) == {"id", "input"}
