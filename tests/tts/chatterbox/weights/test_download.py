"""Downloads from a hub on loopback: complete, interrupted, altered; and a worker's start after each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_hub import FakeHub, served

from tts.chatterbox.models import MODELS, ORIGINAL, ModelSpec
from tts.chatterbox.weights import download
from tts.chatterbox.weights.find import Places, find_weights
from tts.chatterbox.weights.manifest import MANIFEST, Manifest, faults, sum_faults
from validation.errors import ModelUnavailable

ROOT = Path(__file__).parents[4]


def content(name: str) -> bytes:
    """Valid, different for each file, and large enough to be cut in two."""
    if not name.endswith(".safetensors"):
        return f"the content of {name}".encode() * 50
    header = json.dumps({"__metadata__": {"name": name * 50}}).encode()
    return len(header).to_bytes(8, "little") + header


def content_of(spec: ModelSpec) -> dict[str, bytes]:
    return {name: content(name) for name in spec.files}


def hub_of(spec: ModelSpec) -> FakeHub:
    return FakeHub(spec.repository, spec.revision, content_of(spec) | {"README.md": b"not of the model"})


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with served(hub_of(ORIGINAL)) as hub:
        yield hub


# --- scripts/fetch-weights ----------------------------------------------------------------------------------


def environment(tmp_path: Path, hub: FakeHub | None) -> dict[str, str]:
    told = {"HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    return {**os.environ, **told, **({"HF_ENDPOINT": hub.url} if hub else {"HF_HUB_OFFLINE": "1"})}


def fetch(tmp_path: Path, hub: FakeHub | None, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "fetch-weights"), str(tmp_path / "made" / "weights"), *options]
    return subprocess.run(command, env=environment(tmp_path, hub), capture_output=True, text=True, timeout=60)


def left(tmp_path: Path) -> list[str]:
    made = tmp_path / "made"
    return sorted(path.name for path in made.iterdir()) if made.exists() else []


def test_a_directory_is_made_whole_with_a_manifest_and_the_loader_takes_it(tmp_path, hub):
    done = fetch(tmp_path, hub)
    assert done.returncode == 0, done.stderr
    made = tmp_path / "made" / "weights"
    assert {name: (made / name).read_bytes() for name in ORIGINAL.files} == content_of(ORIGINAL)
    assert_told(made, ORIGINAL)
    assert faults(made, ORIGINAL) == sum_faults(made, ORIGINAL) == []
    assert find_weights(None, ORIGINAL, Places(made, tmp_path / "none", tmp_path / "none")) == made
    assert fetch(tmp_path, None, "--verify").returncode == 0
    again = fetch(tmp_path, hub)
    assert again.returncode == 1
    assert "is there already" in again.stderr
    (made / "conds.pt").write_bytes(hub.files["conds.pt"].replace(b"content", b"c0ntent"))
    assert faults(made, ORIGINAL) == []  # sizes agree
    wrong = fetch(tmp_path, None, "--verify")
    assert wrong.returncode == 1
    assert "holds a damaged conds.pt" in wrong.stderr


def assert_told(made: Path, spec: ModelSpec) -> None:
    assert sorted(path.name for path in made.iterdir()) == sorted((*spec.files, MANIFEST))
    told = Manifest.read(made)
    assert told
    assert (told.repository, told.revision, set(told.files)) == (spec.repository, spec.revision, set(spec.files))


@pytest.mark.parametrize("name", ["turbo", "multilingual-v2"])
def test_another_model_is_fetched_and_verified_by_its_name(tmp_path, name):
    spec, made = MODELS[name], tmp_path / "made" / "weights"
    with served(hub_of(spec)) as hub:
        done = fetch(tmp_path, hub, "--model", name)
    assert done.returncode == 0, done.stderr
    assert_told(made, spec)
    assert fetch(tmp_path, None, "--verify", "--model", name).returncode == 0
    other = fetch(tmp_path, None, "--verify")
    assert other.returncode == 1
    assert f"it holds the model {name}, not original" in other.stderr


@pytest.mark.parametrize(
    ("trouble", "name", "said"),
    [
        ("cut", "s3gen.safetensors", "the download failed"),
        ("altered", "t3_cfg.safetensors", "holds a damaged t3_cfg.safetensors"),
        ("altered", "tokenizer.json", "holds a damaged tokenizer.json"),  # no LFS file: git's own sum
        ("gone", "ve.safetensors", "the download failed"),
    ],
)
def test_a_download_that_goes_wrong_leaves_nothing(tmp_path, hub, trouble, name, said):
    getattr(hub, trouble).add(name)
    done = fetch(tmp_path, hub)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert left(tmp_path) == []


def test_offline_is_one_clear_line(tmp_path):
    done = fetch(tmp_path, None)
    assert (done.returncode, left(tmp_path)) == (1, [])
    assert done.stderr.splitlines()[-1] == "MODEL_UNAVAILABLE: the download failed"


def test_a_download_that_is_killed_leaves_no_directory_of_that_name(tmp_path, hub):
    hub.stalled.add("s3gen.safetensors")
    command = [sys.executable, str(ROOT / "scripts" / "fetch-weights"), str(tmp_path / "made" / "weights")]
    with subprocess.Popen(command, env=environment(tmp_path, hub)) as process:
        until = time.monotonic() + 30
        while not hub.stalling.is_set():
            assert time.monotonic() < until
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert [name.endswith(".part") for name in left(tmp_path)] == [True]
    hub.stalled.clear()
    assert fetch(tmp_path, hub).returncode == 0
    assert faults(tmp_path / "made" / "weights", ORIGINAL) == []


# --- the download of a start --------------------------------------------------------------------------------


@pytest.fixture
def nowhere(tmp_path: Path) -> Places:
    return Places(tmp_path / "baked", tmp_path / "hub", tmp_path / "volume")


@pytest.fixture
def reached(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    """The hub's library reads the environment once, when it is imported, into constants."""
    use(hub.url, tmp_path, monkeypatch)
    return hub


def use(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants as constants
    from huggingface_hub import hf_api

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + template[template.index("/{repo_id}") :])
    monkeypatch.setattr(hf_api.api, "endpoint", url)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)


def test_a_start_from_an_empty_cache_downloads_and_the_next_one_asks_nobody(reached, nowhere):
    found = find_weights(None, ORIGINAL, nowhere)
    assert {name: (found / name).read_bytes() for name in ORIGINAL.files} == content_of(ORIGINAL)
    assert found.name == ORIGINAL.revision
    assert "GET /ResembleAI/chatterbox/resolve/" + ORIGINAL.revision + "/conds.pt" in reached.asked
    reached.asked.clear()
    assert find_weights(None, ORIGINAL, nowhere) == found
    assert reached.asked == []


def test_what_is_altered_on_its_way_is_refused_and_fetched_anew(reached, nowhere):
    reached.altered.add("s3gen.safetensors")
    for _ in range(2):  # nor does the second start take it for complete
        with pytest.raises(ModelUnavailable, match=r"the download holds a damaged s3gen\.safetensors"):
            find_weights(None, ORIGINAL, nowhere)
    reached.altered.clear()
    reached.asked.clear()
    assert faults(find_weights(None, ORIGINAL, nowhere), ORIGINAL) == []
    assert [path.rsplit("/", 1)[1] for path in reached.asked if path.startswith("GET /Res")] == ["s3gen.safetensors"]


def test_a_broken_off_download_is_never_used_and_the_next_start_ends_it(reached, nowhere):
    reached.cut.add("s3gen.safetensors")
    with pytest.raises(ModelUnavailable, match="the download failed"):
        find_weights(None, ORIGINAL, nowhere)
    assert download.from_cache(ORIGINAL) is None
    reached.cut.clear()
    reached.down.clear()
    assert sum_faults(find_weights(None, ORIGINAL, nowhere), ORIGINAL) == []


def test_a_hub_that_can_not_be_reached_is_the_same_error(nowhere, tmp_path, monkeypatch):
    """A refused connection left huggingface_hub as a bare httpx error, and the worker called it INTERNAL."""
    use("http://127.0.0.1:9", tmp_path, monkeypatch)
    with pytest.raises(ModelUnavailable, match="the download failed"):
        find_weights(None, ORIGINAL, nowhere)
