"""The figures of `bench.listen` without its listeners: error rates, what is chance, the rows, and what is compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.listen.cases import TEXTS, by_atempo, cases, said, whole
from bench.listen.figures import bound, error_rate
from bench.listen.rows import MEASURES, WORDS, rows_of
from bench.quality.figures import pitch_hz
from bench.quality.replies import Studio
from settings import Settings


@pytest.mark.parametrize(
    ("heard", "rate"),
    [("a b c d", 0), ("", 1), ("a b d", 1 / 4), ("a b x c d", 1 / 4), ("a x c d", 1 / 4), ("b a c d", 2 / 4)],
)
def test_an_error_is_a_word_put_in_left_out_or_changed(heard, rate):
    assert error_rate(heard.split(), "a b c d".split()) == rate


def test_a_repeated_text_has_more_errors_than_it_has_words():
    assert error_rate(["a"] * 5, ["a"]) == 4.0


def chance_takes(rng: np.random.Generator, takes: int, sd: float = 0.1) -> list[list[float]]:
    """Four texts, of which each has its own level, as easy and hard ones have."""
    return [[float(level + sd * rng.standard_normal()) for _ in range(takes)] for level in (0.1, 0.3, 0.2, 0.7)]


def test_what_chance_does_stays_under_the_bound_and_twice_as_much_does_not():
    rng = np.random.default_rng(0)
    limit = bound(chance_takes(rng, 4000), 0.0)
    assert limit == pytest.approx(3.6 * 0.1 * (2 / 4) ** 0.5, rel=0.02)  # whatever the texts' own levels
    means = [np.mean(np.diff(chance_takes(rng, 2), axis=1)) for _ in range(2000)]
    assert max(means) < limit
    assert np.mean(np.array(means) + 2 * limit > limit) == 1.0


def test_one_error_is_within_the_bound_of_takes_without_any():
    assert bound([[0.0] * 5] * 4, 0.01) == 0.01


def rows(after: dict[str, float], speaker: tuple[float, float] = (1.0, 0.15)) -> dict[str, bool]:
    """Which rows of one case are within their bounds: takes vary by 0.01, each text has a voice a little apart."""
    takes = [[f"{text} {k}" for k in range(5)] for text in range(4)]
    heard = {name: {m: 0.3 + 0.01 * (int(name[-1]) % 2) for m in MEASURES} for names in takes for name in names}
    speakers = {name: unit(1.0, 0.1 * int(name[0])) for names in takes for name in names}
    heard |= {"after": after}
    speakers |= {"after": unit(*speaker)}
    case = next(cases())
    found = rows_of("espeak", takes, [(case, [(names[0], "after") for names in takes])], speakers, heard)
    return {row.group.split(",")[0]: row.ok for row, _ in found}


def unit(x: float, y: float) -> np.ndarray:
    return np.array([x, y]) / np.hypot(x, y)


def test_each_measure_falls_short_of_its_own_accord():
    same = dict.fromkeys(MEASURES, 0.3)
    assert rows(same) == dict.fromkeys([*MEASURES, "identity"], True)
    assert not rows(same | {"words": 0.4})["words"]
    assert not rows(same | {"phonemes": 0.4})["phonemes"]
    assert not rows(same | {"quality": 0.2})["quality"]
    assert all(rows({"words": 0.0, "phonemes": 0.0, "quality": 5.0}).values())  # better is never too much
    assert not rows(same, (0.0, 1.0))["identity"]


def test_every_case_has_a_name_of_its_own_and_every_text_words():
    names = [(case.group, case.name) for case in cases()]
    assert len(set(names)) == len(names)
    assert {len(words) for words in WORDS} <= set(range(25, 45))
    assert not {letter for words in WORDS for word in words for letter in word} - set("abcdefghijklmnopqrstuvwxyz'")


@pytest.mark.parametrize("speed", [0.5, 2.0])
def test_the_tempo_to_compare_with_keeps_the_pitch(speed):
    rate_hz = 24_000
    t = np.arange(2 * rate_hz) / rate_hz
    buzz = (0.1 * sum(np.sin(2 * np.pi * 150 * k * t) / k for k in range(1, 9))).astype(np.float32)
    paced = by_atempo(buzz, rate_hz, speed)
    assert len(paced) == pytest.approx(len(buzz) / speed, rel=0.02)
    assert pitch_hz(paced, rate_hz) == pytest.approx(150, rel=0.02)


def test_what_a_reply_is_compared_with_is_in_its_band_and_not_cut_into_segments():
    studio = Studio(Settings(tts_engine="espeak"))
    clip = studio.speak(text=TEXTS[0], sample_rate=8000)
    assert len(studio.tap.lines) == 4
    narrow, rate_hz = said(studio, clip, TEXTS[0])
    assert rate_hz == 8000
    assert len(narrow) == pytest.approx(len(studio.raw()) * 8000 / studio.rate_hz, abs=1)
    all_at_once, rate_hz = whole(studio, clip, TEXTS[0])
    assert len(all_at_once) / rate_hz == pytest.approx(len(narrow) / 8000, rel=0.2)
    assert len(studio.tap.lines) == 4  # not through the path


@pytest.mark.chatterbox
def test_a_seeded_checkpoint_hears_with_the_weights_of_a_verifier(checkpoint: Path, tmp_path: Path) -> None:
    import torch

    from bench.checkpoint.seeded import write_checkpoint
    from tts.chatterbox.models import VOICE_ENCODER
    from tts.chatterbox.voice.encoders import VoiceEncoder
    from tts.chatterbox.weights.tensors import Tensors

    network = VoiceEncoder(Tensors.read(checkpoint, VOICE_ENCODER)).tensors
    theirs = {name.replace("proj.", "linear."): 0.5 * tensor for name, tensor in network.items()}
    torch.save({"step": 1, "model_state": theirs}, tmp_path / "pretrained.pt")
    written = write_checkpoint(tmp_path / "real", voice_encoder=tmp_path / "pretrained.pt")
    real = VoiceEncoder(Tensors.read(written, VOICE_ENCODER)).tensors
    assert set(real) == set(network)
    assert all(torch.equal(real[name], 0.5 * tensor) for name, tensor in network.items())
