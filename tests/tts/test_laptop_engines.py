"""What both engines of a laptop promise: eSpeak NG and hibari, with the real packages."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import PARAMS, WINDOW

from audio.pcm import Samples
from audio.reference import Reference
from tts.engine import SpeechChunk
from tts.espeak.engine import EspeakEngine
from tts.hibari.engine import HibariEngine
from validation.errors import ModelUnavailable, UnknownVoice, Unsupported
from validation.options import SamplingParams

pytestmark = pytest.mark.slow

SENTENCE = "The quick brown fox jumps over the lazy dog."
ENGINES = {"espeak": EspeakEngine(), "hibari": HibariEngine()}
each_engine = pytest.mark.parametrize("name", ENGINES)


def stream(name: str, text: str, params: SamplingParams = PARAMS) -> Iterator[SpeechChunk]:
    engine = ENGINES[name]
    return engine.stream(text, engine.condition(engine.spec.default_voice, None), params)


def speak(name: str, text: str) -> Samples:
    return np.concatenate([chunk.samples for chunk in stream(name, text)])


@pytest.mark.parametrize(("name", "packages"), [("espeak", {"espeakng_loader"}), ("hibari", {"hibari", "onnxruntime"})])
def test_importing_it_does_not_import_its_packages(name: str, packages: set[str]) -> None:
    program = f"import sys, tts.{name}.engine; sys.exit(not sys.modules.keys().isdisjoint({packages}))"
    subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2], check=True)


@pytest.mark.parametrize(
    ("make", "package", "named"),
    [
        (EspeakEngine, "espeakng_loader", r"espeakng-loader.*`espeak`"),
        (HibariEngine, "hibari", r"hibari-tts.*`hibari`"),
        (HibariEngine, "onnxruntime", r"hibari-tts.*`hibari`"),
    ],
)
def test_without_a_package_it_names_it(
    make: Callable[[], EspeakEngine | HibariEngine], package: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "tts.hibari.voice", raising=False)
    engine = make()
    with pytest.raises(ModelUnavailable, match=named):
        engine.condition(engine.spec.default_voice, None)


@pytest.mark.parametrize(
    ("name", "voices", "known"),
    [
        ("espeak", ("klingon", "EN-US", "", "gmw/en"), ".* en-gb, .*pt-br"),
        ("hibari", ("emma", "Heart", "", "en-us"), "; the voice is heart"),  # its package would download the first
    ],
)
def test_another_voice_is_refused_with_the_names_of_its_own(name: str, voices: tuple[str, ...], known: str) -> None:
    for voice in voices:
        with pytest.raises(UnknownVoice, match=f"{voice}' is not a voice{known}"):
            ENGINES[name].condition(voice, None)


@each_engine
def test_what_it_can_not_do_is_refused(name: str) -> None:
    class Stranger:
        voice = "en-us"

    engine, reference = ENGINES[name], Reference(np.zeros(24_000, np.float32), 24_000, 1.0, truncated=False)
    with pytest.raises(Unsupported, match="can't clone"):
        engine.condition(engine.spec.default_voice, reference)
    with pytest.raises(Unsupported, match="block"):
        list(stream(name, SENTENCE, replace(PARAMS, decode_mode="block")))
    with pytest.raises(TypeError, match="not conditioned"):
        next(engine.stream(SENTENCE, Stranger(), PARAMS))


@each_engine
@pytest.mark.parametrize("chunk_size_tokens", [1, 7, 25, 200])
def test_window_gives_exact_chunks_that_join_to_full(name: str, chunk_size_tokens: int) -> None:
    text = f"{SENTENCE} Really? Yes, over and over."
    chunks = list(stream(name, text, replace(WINDOW, seed=PARAMS.seed, chunk_size_tokens=chunk_size_tokens)))
    (full,) = stream(name, text)
    size = chunk_size_tokens * ENGINES[name].spec.sample_rate_hz // 25
    *others, last = (len(chunk.samples) for chunk in chunks)
    assert set(others) <= {size}
    assert 0 < last <= size
    assert np.concatenate([chunk.samples for chunk in chunks]).tobytes() == full.samples.tobytes()
    assert [chunk.finish_reason for chunk in chunks] == [None] * len(others) + ["stop"]
    assert full.finish_reason == "stop"
    assert not any(chunk.words for chunk in (*chunks, full))
    assert {(chunk.speech_tokens, chunk.watermarked) for chunk in chunks} == {(None, False)}


@each_engine
@pytest.mark.parametrize("mark", ["\0", "\x01", "\x01" * 3, "\x1b", "\x85", "\ud800"])
def test_a_control_character_is_a_space(name: str, mark: str) -> None:
    """For eSpeak NG, NUL ended the text unheard, and U+0001 made "20P" an order to speak lower."""
    said = f"hello {mark}20P world"
    assert np.array_equal(speak(name, said), speak(name, said.replace(mark, " " * len(mark))))
