"""Where weights are looked for, and the errors of a broken checkpoint."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from fake_hub import git_name
from safetensors.torch import load_file, save_file

from tts.chatterbox.model import ChatterboxModel
from tts.chatterbox.models import MODELS, ORIGINAL, VOICE_ENCODER, ModelSpec
from tts.chatterbox.options import LoadOptions
from tts.chatterbox.weights import download
from tts.chatterbox.weights.find import Places, find_weights
from tts.chatterbox.weights.manifest import MANIFEST, Manifest, digest, faults, sum_faults
from tts.chatterbox.weights.tensors import Tensors
from validation.errors import ModelUnavailable

T3, S3GEN, VE = ORIGINAL.t3, ORIGINAL.s3gen, VOICE_ENCODER
EMPTY = (2).to_bytes(8, "little") + b"{}"  # a safetensors file without tensors


def fill(directory: Path, spec: ModelSpec = ORIGINAL) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name in (name for name in spec.files if not (directory / name).exists()):
        (directory / name).write_bytes(EMPTY if name.endswith(".safetensors") else b"something")
    return directory


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "baked", tmp_path / "hub", tmp_path / "volume")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The hub's library reads the environment once, when it is imported, into constants."""
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


def cached_model(hub: Path, revision: str = "abc123") -> Path:
    """The hub's cache layout: a snapshot of symlinks into blobs, named by refs/main."""
    repository = hub / "models--ResembleAI--chatterbox"
    fill(repository / "blobs")
    snapshot = repository / "snapshots" / revision
    fill(repository / "snapshots" / "0ther").joinpath("conds.pt").write_bytes(b"of another revision")
    snapshot.mkdir()
    for name in ORIGINAL.files:
        (snapshot / name).symlink_to(Path("..", "..", "blobs", name))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(f"{revision}\n")
    return snapshot


def test_model_path_is_looked_in_first_and_then_nowhere_else(tmp_path, places):
    fill(places.baked)
    own = fill(tmp_path / "own")
    assert find_weights(own, ORIGINAL, places) == own
    (own / "conds.pt").unlink()
    with pytest.raises(ModelUnavailable, match=r"MODEL_PATH lacks conds\.pt"):
        find_weights(own, ORIGINAL, places)


def test_the_order_is_image_cached_model_volume(places):
    volume = fill(places.volume / "chatterbox")
    assert find_weights(None, ORIGINAL, places) == volume
    snapshot = cached_model(places.cached_hub)
    assert find_weights(None, ORIGINAL, places) == snapshot
    assert find_weights(None, ORIGINAL, places) != volume
    assert find_weights(None, ORIGINAL, Places(fill(places.baked), places.cached_hub, places.volume)) == places.baked


def cut(path: Path) -> None:
    """Cut off the end, as an interrupted copy does."""
    path.write_bytes(path.read_bytes()[:-1])


def grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"!")


BROKEN = {
    "lacks ve.safetensors": lambda directory: (directory / "ve.safetensors").unlink(),
    "ve.safetensors (9 bytes, less than its header)": lambda directory: cut(directory / "ve.safetensors"),
    "ve.safetensors (11 bytes, not 10)": lambda directory: grow(directory / "ve.safetensors"),
    "ve.safetensors (0 bytes, less": lambda directory: (directory / "ve.safetensors").write_bytes(b""),
    "ve.safetensors (its header": lambda directory: (directory / "ve.safetensors").write_bytes(EMPTY[:8] + b"[}"),
    "conds.pt (0 bytes, not 1)": lambda directory: (directory / "conds.pt").write_bytes(b""),
    "unfinished download (t3_cfg.safetensors.incomplete)": lambda directory: (
        directory / "t3_cfg.safetensors.incomplete"
    ).touch(),
    "unfinished download (s3gen.part)": lambda directory: (directory / "s3gen.part").touch(),
    "damaged MANIFEST.json": lambda directory: (directory / MANIFEST).write_text('{"files": 3}'),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_place_where_something_is_wrong_is_skipped_and_named(places, fault):
    """The error names each place and what is wrong there."""
    BROKEN[fault](fill(places.baked))
    with pytest.raises(ModelUnavailable) as caught:
        find_weights(None, ORIGINAL, places)
    said = str(caught.value)
    assert f"the image {'lacks' if fault.startswith('lacks') else 'holds'}" in said
    assert fault in said
    volume = fill(places.volume / "chatterbox")
    assert find_weights(None, ORIGINAL, places) == volume
    with pytest.raises(ModelUnavailable) as caught:
        find_weights(places.baked, ORIGINAL, places)
    assert fault in str(caught.value)


def test_sizes_are_held_against_the_manifest_beside_them(places):
    """It also has those files that do not state their own length."""
    Manifest.of(fill(places.baked), ORIGINAL, "abc").write(places.baked)
    assert find_weights(None, ORIGINAL, places) == places.baked
    grow(places.baked / "conds.pt")
    with pytest.raises(ModelUnavailable, match=r"the image holds a damaged conds\.pt \(10 bytes, not 9\)"):
        find_weights(None, ORIGINAL, places)


def test_sums_are_held_against_the_manifest_or_the_names_in_the_hubs_cache(places, tmp_path):
    directory = fill(places.baked)
    assert sum_faults(directory, ORIGINAL) == [f"holds {name}, of which no sum is known" for name in ORIGINAL.files]
    manifest = Manifest.of(directory, ORIGINAL, "abc")
    manifest.write(directory)
    assert Manifest.read(directory) == manifest
    assert sum_faults(directory, ORIGINAL) == []
    (directory / "conds.pt").write_bytes(b"someth1ng")
    assert faults(directory, ORIGINAL) == []
    assert [fault.split(" (")[0] for fault in sum_faults(directory, ORIGINAL)] == ["holds a damaged conds.pt"]
    linked = tmp_path / "linked"
    linked.mkdir()
    for name in ORIGINAL.files:
        blob = tmp_path / (digest(directory / name) if name != "tokenizer.json" else git_name(b"something"))
        blob.write_bytes((directory / name).read_bytes())
        (linked / name).symlink_to(blob)
    assert sum_faults(linked, ORIGINAL) == []
    (linked / "tokenizer.json").resolve().write_bytes(b"someth1ng")
    assert [fault.split(" (")[0] for fault in sum_faults(linked, ORIGINAL)] == ["holds a damaged tokenizer.json"]


def test_each_model_is_looked_for_by_its_own_files_in_its_own_repositorys_place(places, tmp_path):
    for spec in MODELS.values():
        directory = fill(tmp_path / "volumes" / spec.name / spec.repository.removeprefix("ResembleAI/"), spec)
        assert find_weights(None, spec, Places(places.baked, places.cached_hub, directory.parent)) == directory
        assert find_weights(None, spec, Places(directory, places.cached_hub, places.volume)) == directory
    for name in ("original", "multilingual"):  # of one repository, side by side
        fill(places.volume / "chatterbox", MODELS[name])
        assert find_weights(None, MODELS[name], places) == places.volume / "chatterbox"


def test_a_directory_of_another_model_is_refused_and_both_are_named(tmp_path):
    own = fill(tmp_path / "own", MODELS["nano"])
    with pytest.raises(ModelUnavailable, match=r"lacks t3_turbo_v1\.safetensors; it holds the model nano, not turbo"):
        find_weights(own, MODELS["turbo"])
    fill(own, MODELS["turbo"])
    assert find_weights(own, MODELS["turbo"]) == own
    Manifest.of(own, MODELS["nano"], "abc").write(own)
    with pytest.raises(ModelUnavailable, match=r"holds files of \S+-nano, not of \S+-turbo"):
        find_weights(own, MODELS["turbo"])
    assert find_weights(own, MODELS["nano"]) == own


@pytest.mark.parametrize("damage", ["no refs", "no snapshot", "dangling", "not text"])
def test_a_broken_cached_model_is_passed_over(places, damage):
    snapshot = cached_model(places.cached_hub)
    refs = snapshot.parents[1] / "refs" / "main"
    if damage == "no refs":
        refs.unlink()
    elif damage == "no snapshot":
        refs.write_text("0123456789")
    elif damage == "not text":
        refs.write_bytes(b"\xff\xfe")
    else:
        (snapshot.parents[1] / "blobs" / "s3gen.safetensors").unlink()
    volume = fill(places.volume / "chatterbox")
    assert find_weights(None, ORIGINAL, places) == volume


def test_the_files_the_real_loader_wants_are_whole_by_their_headers(checkpoint):
    assert faults(checkpoint, ORIGINAL) == []


def test_offline_with_none_of_them_names_what_was_tried_and_no_path(places, tmp_path, caplog):
    """In the error; the log has the paths, in a few lines. It was a traceback of a hundred lines without them."""
    with pytest.raises(ModelUnavailable) as caught:
        find_weights(None, ORIGINAL, places)
    said = str(caught.value)
    assert all(place in said for place in ("the image", "cached model", "network volume", "download"))
    assert str(tmp_path) not in said
    assert caught.value.__cause__ is None  # or its traceback would be logged
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    looked_at = (places.baked, places.cached_hub, places.volume, download.cache())
    assert all(str(place) in line for place in (*looked_at, "MODEL_PATH", *ORIGINAL.files))
    assert len(caplog.text.splitlines()) <= 5


# --- broken checkpoints -------------------------------------------------------------------------------------


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "copy"))


def edit(directory: Path, name: str, change) -> None:
    state = load_file(directory / name)
    change(state)
    save_file(state, directory / name)


def load(directory: Path, name: str = "original") -> ChatterboxModel:
    options = LoadOptions("cpu", "float32", "float32", max_tokens=100, watermark=False, spec=MODELS[name])
    return ChatterboxModel.load(directory, options)


def remove(state, tensor) -> None:
    del state[tensor]


def misshape(state, tensor) -> None:
    state[tensor] = torch.zeros(3, 5)


def add(state, tensor) -> None:
    state[tensor] = torch.zeros(1)


def spoil(state, tensor) -> None:
    state[tensor].view(-1)[-1] = float("nan")


def overflow(state, tensor) -> None:
    state[tensor].view(-1)[-1] = float("inf")


@pytest.mark.parametrize(
    ("change", "name", "tensor"),
    [
        (remove, T3, "tfmr.layers.1.mlp.up_proj.weight"),
        (remove, T3, "speech_head.weight"),
        (remove, T3, "text_emb.weight"),
        (remove, T3, "cond_enc.perceiver.attn.norm.weight"),
        (remove, T3, "cond_enc.perceiver.pre_attention_query"),
        (remove, T3, "cond_enc.spkr_enc.weight"),
        (remove, S3GEN, "flow.encoder.after_norm.weight"),
        (remove, S3GEN, "flow.input_embedding.weight"),
        (remove, S3GEN, "mel2wav.conv_post.bias"),
        (remove, VE, "proj.bias"),
        (misshape, T3, "tfmr.norm.weight"),
        (misshape, T3, "cond_enc.spkr_enc.bias"),
        (misshape, S3GEN, "flow.encoder_proj.bias"),
        (misshape, VE, "proj.bias"),
        (add, T3, "surprise.weight"),  # upstream ignores these, and they mean another network
        (add, T3, "cond_enc.surprise.weight"),
        (add, T3, "tfmr.layers.0.self_attn.q_proj.bias"),
        (add, T3, "tfmr.layers.norm.weight"),
        (add, VE, "surprise.weight"),
        (add, S3GEN, "surprise.weight"),
        (add, S3GEN, "flow.encoder.embed.out.0.lora"),
        (add, S3GEN, "mel2wav.extra"),
        (add, S3GEN, "tokenizer.encoder.extra"),
        (add, S3GEN, "speaker_encoder.extra"),
    ],
)
def test_a_tensor_that_is_missing_misshapen_or_of_another_model_is_named(copy, change, name, tensor):
    edit(copy, name, partial(change, tensor=tensor))
    said = {
        remove: f"lacks the tensor {tensor}$",
        misshape: rf": {tensor} is \[3, 5\]",
        add: f"unknown tensor {tensor}$",
    }
    with pytest.raises(ModelUnavailable, match=f"{name}.*{said[change]}"):
        load(copy)


@pytest.mark.parametrize("change", [spoil, overflow])
@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        (T3, "text_emb.weight"),
        (T3, "cond_enc.spkr_enc.weight"),
        (S3GEN, "flow.encoder_proj.weight"),
        (S3GEN, "speaker_encoder.head.bn1.running_var"),
        (VE, "proj.bias"),
    ],
)
def test_a_weight_that_is_not_finite_stops_the_start(copy, name, tensor, change):
    """NaN in the voice encoder passed the warm-up, which encodes no recording; then every clone failed, and each new
    worker's as well."""
    edit(copy, name, partial(change, tensor=tensor))
    with pytest.raises(ModelUnavailable, match=rf"{name}.* is damaged: .*{tensor.split('.')[-1]} holds values"):
        load(copy)


def widen(state, ids: int = 2454) -> None:
    state["text_emb.weight"] = torch.zeros(ids, state["text_emb.weight"].shape[1])


mix = partial(add, tensor="flow.decoder.estimator.time_embed_mixer.weight")
rename = partial(add, tensor="tfmr.h.0.ln_1.weight")


@pytest.mark.parametrize(
    ("model", "changes", "file", "other"),
    [
        ("original", {S3GEN: mix}, S3GEN, "turbo or nano"),  # ten guided steps of it are noise
        ("original", {T3: rename}, T3, "turbo or nano"),
        ("original", {T3: widen}, T3, "multilingual or multilingual-v2"),
        ("multilingual", {}, MODELS["multilingual"].t3, "original"),
        ("multilingual-v2", {T3: widen, S3GEN: mix}, S3GEN, "turbo or nano"),
        ("turbo", {}, MODELS["turbo"].t3, "original"),
        ("nano", {T3: widen}, MODELS["nano"].t3, "multilingual or multilingual-v2"),
        ("turbo", {T3: rename}, MODELS["turbo"].s3gen, "original"),
    ],
)
def test_another_familys_networks_are_refused_and_both_models_are_named(copy, model, changes, file, other):
    """Whatever its files are called."""
    for name, change in changes.items():
        edit(copy, name, change)
    spec = MODELS[model]
    for name, own in {T3: spec.t3, S3GEN: spec.s3gen}.items():
        (copy / name).rename(copy / own)
    fill(copy, spec)
    with pytest.raises(ModelUnavailable, match=f"TTS_MODEL is {model}, but {file} is of {other}$"):
        load(copy, model)


def test_a_fine_tune_may_have_any_number_of_text_ids(copy):
    edit(copy, T3, partial(widen, ids=1000))
    assert load(copy).spec is ORIGINAL


@pytest.mark.parametrize(("tokens", "told"), [(1000, False), (1001, True)])
def test_longer_segments_than_the_model_is_known_for_are_told_at_start(checkpoint, tokens, told, caplog):
    ChatterboxModel.load(checkpoint, LoadOptions("cpu", "float32", "float32", max_tokens=tokens, watermark=False))
    assert ("segments may be 1001 tokens long: more than the 1000" in caplog.text) == told


def test_of_several_the_first_is_named_and_the_others_are_counted(copy):
    edit(copy, S3GEN, lambda state: state.update({f"surprise.{i}": torch.zeros(1) for i in range(5)}))
    with pytest.raises(ModelUnavailable, match=r"surprise\.0 and 4 more"):
        load(copy)


def test_buffers_that_upstream_computes_may_be_there(copy):
    """The published file has the tokenizer's mel filters."""
    computed = {"tokenizer._mel_filters": (128, 201), "tokenizer.window": (400,), "trim_fade": (960,)}
    edit(copy, S3GEN, lambda state: state.update({name: torch.zeros(shape) for name, shape in computed.items()}))
    load(copy)


@pytest.mark.parametrize("name", [T3, S3GEN, VE])
def test_a_half_written_file_is_named(copy, name):
    whole = (copy / name).read_bytes()
    (copy / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelUnavailable, match=rf"MODEL_PATH holds a damaged {name} \({len(whole) // 2} bytes, not"):
        load(copy)
    with pytest.raises(ModelUnavailable, match=rf"{name} can't be read"):
        Tensors.read(copy, name)


def test_tensors_are_mapped_and_not_read(copy):
    """A change of the file changes the tensor that was read before."""
    before = Tensors.read(copy, VE).take("proj.bias", -1)
    offset = (copy / VE).read_bytes().index(before.numpy().tobytes())
    with (copy / VE).open("r+b") as file:
        file.seek(offset)
        file.write(torch.full_like(before, 7.0).numpy().tobytes())
    assert torch.equal(before, torch.full_like(before, 7.0))


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


def test_a_built_in_voice_that_is_not_finite_stops_the_start(copy):
    stored = torch.load(copy / "conds.pt", weights_only=True)
    stored["gen"]["prompt_feat"][0, 0, 0] = float("nan")
    torch.save(stored, copy / "conds.pt")
    with pytest.raises(ModelUnavailable, match=r"conds\.pt is damaged: flow_mel holds values that are not finite"):
        load(copy)
