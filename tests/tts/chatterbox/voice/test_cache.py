"""Voices on disk: the same voice to the bit, and no stale, damaged or planted file is used."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save
from small import RATE, WINDOW, buzz

from tts.chatterbox.engine import ChatterboxEngine
from tts.chatterbox.options import LoadOptions
from tts.chatterbox.segment import stream_segment
from tts.chatterbox.voice import cache as voice_cache
from tts.chatterbox.voice.cache import VoiceCache, _sum, fingerprint, prune
from tts.chatterbox.voice.conditioning import ChatterboxVoice

PLENTY = 10**9


@pytest.fixture(scope="module")
def made(model) -> ChatterboxVoice:
    return model.condition("clone", buzz())


@pytest.fixture
def open_cache(model) -> Callable[..., VoiceCache]:
    def open_cache(directory: Path, max_bytes: int = PLENTY, name: str = "model") -> VoiceCache:
        return VoiceCache(directory, max_bytes, name, model.built_in, model.encoders.prompt_lengths)

    return open_cache


@pytest.fixture
def cache(open_cache, tmp_path) -> VoiceCache:
    return open_cache(tmp_path / "voices")


class Maker:
    """Returns a voice and counts its calls."""

    def __init__(self, voice: ChatterboxVoice) -> None:
        self.voice, self.asked = voice, 0

    def __call__(self) -> ChatterboxVoice:
        self.asked += 1
        return self.voice


def files(cache: VoiceCache) -> list[Path]:
    return sorted(cache._directory.iterdir())


def is_equal(one: ChatterboxVoice, other: ChatterboxVoice) -> bool:
    """To the bit, with the same memory layout."""
    pairs = [(tensor, other.tensors()[name]) for name, tensor in one.tensors().items()]
    return all(torch.equal(a, b) and a.dtype == b.dtype and a.stride() == b.stride() for a, b in pairs)


def metadata_of(path: Path) -> dict[str, str]:
    data = path.read_bytes()
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]


# --- files -----------------------------------------------------------------------------------------


def test_a_voice_is_made_once_and_comes_back_to_the_bit(cache, made):
    make = Maker(made)
    first, again = (cache.get(name, buzz(), make) for name in ("clone", "anna"))
    assert make.asked == 1
    assert first is made
    assert again.voice == "anna"
    assert is_equal(again, made)


def test_a_kept_voice_speaks_as_the_one_that_was_made(model, cache, made):
    cache.get("clone", buzz(), Maker(made))
    kept = cache.get("clone", buzz(), Maker(model.built_in))
    one, other = (list(stream_segment(model, "Hello there.", voice, WINDOW)) for voice in (made, kept))
    assert len(one) > 1
    assert [chunk.samples.tobytes() for chunk in one] == [chunk.samples.tobytes() for chunk in other]


def test_the_file_tells_format_model_and_versions(cache, made):
    cache.get("clone", buzz(), Maker(made))
    (path,) = files(cache)
    facts = metadata_of(path)
    assert set(facts) == {"format", "model", "key", "sum", "chatterbox-tts"}
    assert (facts["format"], facts["model"], facts["key"]) == (voice_cache.FORMAT, "model", path.stem)
    assert set(load(path.read_bytes())) == set(made.tensors())


def test_another_recording_rate_or_model_is_another_voice_and_what_changes_none_is_not(open_cache, cache, made):
    make = Maker(made)
    cache.get("clone", buzz(), make)
    for other in (buzz(pitch_hz=111.0), buzz(3.001), dataclasses.replace(buzz(), sample_rate=RATE + 1)):
        cache.get("clone", other, make)
    open_cache(cache._directory, name="another model").get("clone", buzz(), make)
    assert make.asked == 5
    assert len(files(cache)) == 5
    cache.get("clone", dataclasses.replace(buzz(), truncated=True, source_duration_s=99.0), make)
    assert make.asked == 5


# --- files that are not used ---------------------------------------------------------------------------------


def rewritten(change: Callable[[dict[str, torch.Tensor], dict[str, str]], None]) -> Callable[[Path], bytes]:
    """The file with tensors or metadata changed; its checksum agrees unless it was changed, too."""

    def rewrite(path: Path) -> bytes:
        tensors, facts = load(path.read_bytes()), metadata_of(path)
        before = facts["sum"]
        change(tensors, facts)
        facts["sum"] = _sum(tensors) if facts["sum"] == before else facts["sum"]
        return save(tensors, facts)

    return rewrite


def flipped(at: int) -> Callable[[Path], bytes]:
    def flip(path: Path) -> bytes:
        data = bytearray(path.read_bytes())
        data[at] ^= 1
        return bytes(data)

    return flip


def set_to(name: str, make: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Path], bytes]:
    return rewritten(lambda tensors, _: tensors.update({name: make(tensors[name])}))


def told_as(**facts: str) -> Callable[[Path], bytes]:
    return rewritten(lambda _, before: before.update(facts))


def filled(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda tensor: torch.full_like(tensor, value)


DAMAGE: dict[str, Callable[[Path], bytes]] = {
    "empty": lambda _: b"",
    "cut": lambda path: path.read_bytes()[:-100],
    "cut in its head": lambda path: path.read_bytes()[:50],
    "longer": lambda path: path.read_bytes() + b"\0" * 8,
    "a bit of a value": flipped(-1),
    "a bit of its head": flipped(40),
    "a head of 16 EB": lambda path: b"\xff" * 8 + path.read_bytes()[8:],
    "no safetensors": lambda _: b"PK\x03\x04" + bytes(1000),
    "huge": lambda path: path.read_bytes() + bytes(voice_cache.MAX_FILE_BYTES),
    "no metadata": lambda path: save(load(path.read_bytes())),
    "another model": told_as(model="another"),
    "another format": told_as(format="chatterbox-worker voice 1"),
    "another version": rewritten(lambda _, facts: facts.update({"chatterbox-tts": "0.1.6"})),
    "another recording": told_as(key="0" * 64),
    "another sum": told_as(sum="0" * 64),
    "NaN": set_to("flow_mel", filled(float("nan"))),
    "infinity": set_to("speaker", filled(float("inf"))),
    "an id too large": set_to("flow_tokens", filled(6561)),
    "an id below zero": set_to("flow_tokens", filled(-1)),
    "another type": set_to("flow_speaker", lambda tensor: tensor.half()),
    "another shape": set_to("prompt", lambda tensor: tensor[:, 1:].clone()),
    "a scalar": set_to("flow_mel", lambda tensor: tensor.sum()),
    "frames without tokens": set_to("flow_tokens", lambda tensor: tensor[:, 1:].clone()),
    "no tokens": rewritten(
        lambda tensors, _: tensors.update(
            flow_tokens=tensors["flow_tokens"][:, :0], flow_mel=tensors["flow_mel"][:, :0]
        )
    ),
    "too many tokens": rewritten(
        lambda tensors, _: tensors.update(
            flow_tokens=tensors["flow_tokens"].repeat(1, 9), flow_mel=tensors["flow_mel"].repeat(1, 9, 1)
        )
    ),
    "one tensor more": rewritten(lambda tensors, _: tensors.update(more=torch.zeros(1))),
    "one tensor less": rewritten(lambda tensors, _: tensors.__delitem__("speaker")),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_not_as_it_was_written_is_made_anew_and_mended(cache, made, damage, caplog):
    make = Maker(made)
    cache.get("clone", buzz(), make)
    (path,) = files(cache)
    whole = path.read_bytes()
    path.write_bytes(DAMAGE[damage](path))
    assert path.read_bytes() != whole
    assert is_equal(cache.get("clone", buzz(), make), made)
    assert make.asked == 2
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "is computed again" in caplog.text
    assert load(path.read_bytes()).keys() == load(whole).keys()
    cache.get("clone", buzz(), make)
    assert make.asked == 2


PLANTED: dict[str, Callable[[Path, Path], None]] = {
    "a pipe": lambda path, _: os.mkfifo(path),
    "a link to /dev/zero": lambda path, _: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path, _: path.symlink_to(path),
    "a link to a kept voice": lambda path, whole: path.symlink_to(whole),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_what_is_no_file_is_neither_waited_for_nor_read(cache, made, planted, tmp_path, caplog):
    make = Maker(made)
    cache.get("clone", buzz(), make)
    (path,) = files(cache)
    path.rename(whole := tmp_path / "whole")
    PLANTED[planted](path, whole)
    assert is_equal(cache.get("clone", buzz(), make), made)
    assert make.asked == 2
    assert "is computed again" in caplog.text
    assert path.is_file()
    assert not path.is_symlink()
    assert is_equal(cache.get("clone", buzz(), make), made)
    assert make.asked == 2


def test_a_folder_in_the_place_of_a_voice_keeps_nothing_else_from_being_pruned(cache, made, tmp_path):
    make = Maker(made)
    cache.get("clone", buzz(), make)
    (path,) = files(cache)
    path.rename(tmp_path / "whole")
    path.mkdir()
    assert cache.get("clone", buzz(), make) is made
    (path.parent / f"{'0' * 64}.safetensors").write_bytes(bytes(1000))
    assert prune(path.parent, 999) == 0
    assert path.is_dir()


def test_a_voices_model_is_all_that_encodes_it(model):
    """A fine-tuned model has the names and shapes of its origin."""
    encoders = model.encoders
    parts = (encoders.voice_encoder, encoders.tokenizer, encoders.speaker_encoder, encoders.conditioner)
    weights = [list(part.tensors.values())[-1].view(-1)[-1:] for part in parts]
    weights += [encoders.t3._speech_emb[6560, -1:], encoders.t3._speech_pos[149, -1:]]
    before = fingerprint(encoders)
    seen = {before}
    for weight in weights:
        was = weight.clone()
        weight += 1
        seen.add(fingerprint(encoders))
        weight.copy_(was)
    assert len(seen) == 7
    assert fingerprint(encoders) == before


@pytest.mark.parametrize(("count", "kept"), [(1, True), (137, True), (375, True), (376, False), (0, False)])
def test_a_prompt_has_any_length_that_the_model_reads(model, made, tmp_path, count, kept, caplog):
    """Without a perceiver it is as long as the recording, up to the model's limit."""
    prompt = torch.randn(1, count, made.prompt.shape[2], generator=torch.Generator().manual_seed(0))
    cache = VoiceCache(tmp_path, PLENTY, "turbo", model.built_in, range(1, 376))
    make = Maker(dataclasses.replace(made, prompt=prompt))
    again = [cache.get("clone", buzz(), make) for _ in range(2)][1]
    assert is_equal(again, make.voice)
    assert make.asked == (1 if kept else 2)
    assert ("prompt has another shape" in caplog.text) is not kept


def test_models_that_read_prompts_of_other_lengths_share_no_voices(model):
    """A fine-tune may have the weights of its origin."""
    assert fingerprint(model.encoders) != fingerprint(dataclasses.replace(model.encoders, prompt_s=15))


# --- room -------------------------------------------------------------------------------------------------


def test_those_used_longest_ago_make_room(open_cache, tmp_path, made):
    cache, make = open_cache(tmp_path), Maker(made)
    for n in range(10):
        cache.get("clone", buzz(pitch_hz=100.0 + n), make)
        (newest,) = set(tmp_path.iterdir()) - {path for path in tmp_path.iterdir() if path.stat().st_mtime < 10**9}
        os.utime(newest, (n, n))
    (tmp_path / "mine.safetensors").write_bytes(bytes(10**6))
    size = newest.stat().st_size
    cache.get("clone", buzz(pitch_hz=100.0), make)  # the oldest is used
    assert prune(tmp_path, 10 * size) == 10 * size
    assert prune(tmp_path, 9 * size) == 8 * size
    cache.get("clone", buzz(pitch_hz=100.0), make)
    assert make.asked == 10
    cache.get("clone", buzz(pitch_hz=101.0), make)
    assert make.asked == 11
    assert (tmp_path / "mine.safetensors").exists()


def test_the_directory_keeps_within_its_size(open_cache, tmp_path, made):
    make = Maker(made)
    open_cache(tmp_path).get("clone", buzz(), make)
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    cache = open_cache(tmp_path, 10 * size)
    for n in range(60):
        cache.get("clone", buzz(1.0, pitch_hz=200.0 + n), make)
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 10 * size


# --- a disk that fails ------------------------------------------------------------------------------------


def test_a_full_disk_costs_the_keeping_and_nothing_else(cache, made, caplog):
    """A limit on file sizes in place of a full disk: a write fails halfway."""
    make, limits = Maker(made), resource.getrlimit(resource.RLIMIT_FSIZE)
    cache._directory.mkdir()
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        voices = [cache.get("clone", buzz(), make) for _ in range(3)]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert voices == [made] * 3
    assert files(cache) == []
    assert caplog.text.count("can't be written in VOICE_CACHE_DIR") == 1
    cache.get("clone", buzz(), make)
    assert len(files(cache)) == 1


@pytest.mark.parametrize("place", ["/proc/self/voices", "/dev/null", "/dev/null/voices"])
def test_a_directory_that_cannot_be_is_no_requests_fault(open_cache, made, place, caplog):
    cache, make = open_cache(Path(place)), Maker(made)
    assert [cache.get("clone", buzz(), make) for _ in range(3)] == [made] * 3
    assert caplog.text.count("can't be written in VOICE_CACHE_DIR") == 1
    assert len(caplog.records) <= 2


def test_a_directory_that_vanishes_is_made_again(cache, made):
    make = Maker(made)
    cache.get("clone", buzz(), make)
    cache._directory.rename(cache._directory.with_name("moved"))
    cache.get("clone", buzz(), make)
    cache.get("clone", buzz(), make)
    assert make.asked == 2


def test_many_threads_write_and_read_one_voice(cache, made):
    def work() -> None:
        for _ in range(20):
            results.append(is_equal(cache.get("clone", buzz(1.0), Maker(made)), made))
            for path in list(cache._directory.glob("*.safetensors"))[:1]:
                path.unlink(missing_ok=True)

    results: list[bool] = []
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == [True] * 80
    assert not list(cache._directory.glob(".*"))


# --- in the engine ----------------------------------------------------------------------------------------


def test_the_next_start_finds_the_voices_of_the_last(checkpoint, tmp_path):
    options = LoadOptions("cpu", "float32", "float32", voice_cache_dir=tmp_path)
    first, second = (ChatterboxEngine(model_path=checkpoint, options=options) for _ in range(2))
    received = first.condition("clone", buzz())
    (path,) = tmp_path.iterdir()
    at = path.stat().st_mtime_ns
    found = second.condition("anna", buzz())
    assert is_equal(found, received)
    assert found.voice == "anna"
    assert path.stat().st_mtime_ns > at  # used, not written
    assert len(list(tmp_path.iterdir())) == 1
    assert second.condition("default", None) is second._model.built_in


def test_a_voice_keeps_little_more_than_its_tensors(model):
    """Not the whole recording or the padded mel they are cut from."""
    voice = model.condition("clone", buzz(30.0))
    for tensor in voice.tensors().values():
        assert tensor.untyped_storage().nbytes() <= 1.1 * tensor.nbytes + 4096
