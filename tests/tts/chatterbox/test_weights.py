"""Where weights are looked for, and what a broken checkpoint says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tts.chatterbox import weights
from tts.chatterbox.options import LoadOptions
from tts.chatterbox.speaker import Speaker
from tts.chatterbox.weights import FILES, Places, find_weights
from validation.errors import ModelUnavailable


def fill(directory: Path) -> Path:
    directory.mkdir(parents=True)
    for name in FILES:
        (directory / name).touch()
    return directory


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "baked", tmp_path / "hub", tmp_path / "volume")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The hub's library reads these when it is imported; the constants are what it goes by afterwards."""
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


def cached_model(hub: Path, revision: str = "abc123") -> Path:
    """The hub's cache layout: a snapshot of symlinks into blobs, named by refs/main."""
    repository = hub / "models--ResembleAI--chatterbox"
    blobs, snapshot = fill(repository / "blobs"), repository / "snapshots" / revision
    snapshot.mkdir(parents=True)
    for name in FILES:
        (snapshot / name).symlink_to(blobs / name)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(f"{revision}\n")
    return snapshot


def test_model_path_is_looked_in_first_and_then_nowhere_else(tmp_path, places):
    fill(places.baked)
    own = fill(tmp_path / "own")
    assert find_weights(own, places) == own
    (own / "conds.pt").unlink()
    with pytest.raises(ModelUnavailable, match=r"MODEL_PATH lacks conds\.pt"):
        find_weights(own, places)


def test_the_order_is_image_cached_model_volume(places):
    volume = fill(places.volume)
    assert find_weights(None, places) == volume
    snapshot = cached_model(places.cached_hub)
    assert find_weights(None, places) == snapshot
    assert find_weights(None, places) != volume
    assert find_weights(None, Places(fill(places.baked), places.cached_hub, places.volume)) == places.baked


def test_a_place_that_lacks_a_file_is_passed_over(places):
    (fill(places.baked) / FILES[0]).unlink()
    volume = fill(places.volume)
    assert find_weights(None, places) == volume


def test_offline_with_none_of_them_names_what_was_tried_and_no_path(places, tmp_path):
    with pytest.raises(ModelUnavailable) as caught:
        find_weights(None, places)
    said = str(caught.value)
    assert all(place in said for place in ("the image", "cached model", "network volume", "download"))
    assert str(tmp_path) not in said


def test_a_hub_that_can_not_be_reached_is_the_same_error(places, monkeypatch):
    """A refused connection left huggingface_hub as a bare httpx error, and the worker called it INTERNAL."""
    import huggingface_hub.constants as constants
    from huggingface_hub import hf_api

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(hf_api.api, "endpoint", "http://127.0.0.1:9")
    with pytest.raises(ModelUnavailable, match="a download"):
        find_weights(None, places)


# --- broken checkpoints -------------------------------------------------------------------------------------


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "copy"))


def edit(directory: Path, name: str, change) -> None:
    state = load_file(directory / name)
    change(state)
    save_file(state, directory / name)


def load(directory: Path) -> Speaker:
    return Speaker.load(directory, LoadOptions("cpu", "float32", "float32", max_tokens=100, watermark=False))


T3, S3GEN, VE = weights.T3_WEIGHTS, weights.S3GEN_WEIGHTS, weights.VOICE_ENCODER


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        (T3, "tfmr.layers.1.mlp.up_proj.weight"),
        (T3, "speech_head.weight"),
        (T3, "text_emb.weight"),
        (T3, "cond_enc.perceiver.attn.norm.weight"),
        (T3, "cond_enc.perceiver.pre_attention_query"),
        (T3, "cond_enc.spkr_enc.weight"),
        (S3GEN, "flow.encoder.after_norm.weight"),
        (S3GEN, "flow.input_embedding.weight"),
        (S3GEN, "mel2wav.conv_post.bias"),
        (VE, "proj.bias"),
    ],
)
def test_a_missing_tensor_is_named(copy, name, tensor):
    edit(copy, name, lambda state: state.pop(tensor))
    with pytest.raises(ModelUnavailable, match=tensor.removeprefix("cond_enc.")) as caught:
        load(copy)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        (T3, "tfmr.norm.weight"),
        (T3, "cond_enc.spkr_enc.bias"),
        (S3GEN, "flow.encoder_proj.bias"),
        (VE, "proj.bias"),
    ],
)
def test_a_tensor_of_the_wrong_shape_is_named(copy, name, tensor):
    edit(copy, name, lambda state: state.update({tensor: torch.zeros(3, 5)}))
    with pytest.raises(ModelUnavailable, match=rf"{tensor.removeprefix('cond_enc.')} is \[3, 5\]"):
        load(copy)


@pytest.mark.parametrize("name", [T3, VE])
def test_a_tensor_nobody_knows_is_named(copy, name):
    edit(copy, name, lambda state: state.update({"surprise.weight": torch.zeros(1)}))
    with pytest.raises(ModelUnavailable, match=r"surprise\.weight"):
        load(copy)


def test_s3gen_tolerates_one_as_upstream_does_and_says_so(copy, caplog):
    edit(copy, S3GEN, lambda state: state.update({"surprise.weight": torch.zeros(1)}))
    load(copy)
    assert "surprise.weight" in caplog.text


@pytest.mark.parametrize("name", [T3, S3GEN, VE])
def test_a_half_written_file_is_named(copy, name):
    whole = (copy / name).read_bytes()
    (copy / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelUnavailable, match=rf"{name} can't be read"):
        load(copy)


@pytest.mark.parametrize("content", [b"", b"not a pickle", b"PK\x03\x04 nor a zip"])
def test_a_damaged_built_in_voice_is_named(copy, content):
    (copy / "conds.pt").write_bytes(content)
    with pytest.raises(ModelUnavailable, match=r"conds\.pt"):
        load(copy)


def test_a_built_in_voice_never_runs_code(copy, tmp_path):
    """`conds.pt` is a pickle; only plain tensors are let in."""

    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"t3": Trap(), "gen": {}}, copy / "conds.pt")
    with pytest.raises(ModelUnavailable, match=r"conds\.pt"):
        load(copy)
    assert not (tmp_path / "sprung").exists()


def test_a_damaged_tokenizer_is_named(copy):
    (copy / "tokenizer.json").write_text("{")
    with pytest.raises(ModelUnavailable, match=r"tokenizer\.json"):
        load(copy)
