"""Peak, RMS and loudness of clips and of streams."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from audio.levels import (
    MAX_GAIN_DB,
    NORMALIZERS,
    STREAMED_NORMALIZERS,
    TARGET_LUFS,
    LufsNormalizer,
    PeakNormalizer,
    RmsNormalizer,
    RunningLoudness,
)
from audio.limiter import true_peak_dbtp
from audio.loudness import integrated_lufs
from audio.pcm import EMPTY, Samples, from_dbfs, peak_dbfs, rms_dbfs
from tests.audio.spoken import SENTENCES, at_level, level, spoken, through

RATE_HZ = 22_050


def voice(crest: float) -> Samples:
    """A tone with one peak, `crest` times as high."""
    clip = 0.01 * np.sin(2 * np.pi * np.arange(2_400) / 24)
    clip[1_000] = 0.01 * crest
    return clip.astype(np.float32)


def error_lu(out: Samples, rate_hz: int = RATE_HZ) -> float:
    return integrated_lufs(out, rate_hz) - TARGET_LUFS


# --- peak and RMS ---------------------------------------------------------------------------------


@pytest.mark.parametrize("gain", [0.001, 0.1, 1.0, 90.0])
@pytest.mark.parametrize(
    ("make", "level_of", "target_dbfs"), [(PeakNormalizer, peak_dbfs, -1.0), (RmsNormalizer, rms_dbfs, -20.0)]
)
def test_the_level_is_reached_by_one_gain(make, level_of, target_dbfs: float, gain: float) -> None:
    stage, clip = make(RATE_HZ), gain * voice(2)
    out = through(stage, clip)
    assert level_of(out) == pytest.approx(target_dbfs, abs=0.01)
    assert np.allclose(out / out[1_000], clip / clip[1_000], atol=1e-6)
    assert stage.shortfall_db == 0.0
    assert not stage.warnings


def test_rms_gives_way_to_the_peak_limit_and_says_by_how_much() -> None:
    stage = RmsNormalizer(RATE_HZ)
    out = through(stage, clip := voice(30))
    assert peak_dbfs(out) == pytest.approx(-1.0, abs=0.01)
    assert np.allclose(out / out[1_000], clip / clip[1_000], atol=1e-6)
    assert stage.shortfall_db > 3.0
    assert rms_dbfs(out) == pytest.approx(-20.0 - stage.shortfall_db, abs=0.01)
    held = f"rms: a peak limit of -1 dBFS held the level {stage.shortfall_db:.1f} dB below -20 dBFS"
    assert stage.warnings == [held]


@pytest.mark.parametrize("table", [NORMALIZERS, STREAMED_NORMALIZERS], ids=["joined", "streamed"])
def test_silence_stays_silence(table: dict) -> None:
    """Also what 16 bits would round to nothing: 90 dB of gain would make it a roar."""
    for (name, make), clip in product(table.items(), (EMPTY, level(0.0, 500), level(0.4 / 32768, 50_000))):
        stage = make(24_000)
        assert np.array_equal(through(stage, clip, 100), clip), name
        assert not stage.warnings


def test_only_streams_promise_to_be_soon() -> None:
    assert all(make(24_000).hold_back_s == math.inf for make in NORMALIZERS.values())
    assert all(make(24_000).hold_back_s < 0.5 for make in STREAMED_NORMALIZERS.values())


# --- loudness of a whole clip ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate_hz", "level_dbfs"),
    [(8_000, -45.0), (8_000, -5.0), (16_000, -25.0), (24_000, -45.0), (24_000, -5.0), (48_000, -25.0)],
)
def test_lufs_is_exact(rate_hz: int, level_dbfs: float) -> None:
    stage, clip = LufsNormalizer(rate_hz), at_level(spoken(rate_hz=rate_hz), level_dbfs)
    out = through(stage, clip)
    assert len(out) == len(clip)
    assert abs(error_lu(out, rate_hz)) <= 0.1
    assert true_peak_dbtp(out, rate_hz) <= -1.0
    assert not stage.warnings


@pytest.mark.parametrize("length_s", [0.05, 0.3, 0.45])
def test_a_short_clip_is_measured_as_one_block(length_s: float) -> None:
    clip = at_level(spoken()[RATE_HZ : RATE_HZ + round(length_s * RATE_HZ)], -30.0)
    out, streamed = through(LufsNormalizer(RATE_HZ), clip, 100), through(RunningLoudness(RATE_HZ), clip, 100)
    assert len(out) == len(streamed) == len(clip)
    assert abs(error_lu(out)) <= 0.1
    assert -4.5 <= error_lu(streamed) <= 0.1  # what the limiter takes away nothing gives back
    assert max(true_peak_dbtp(out, RATE_HZ), true_peak_dbtp(streamed, RATE_HZ)) <= -1.0


def test_the_gain_has_a_bound_and_the_shortfall_is_reported() -> None:
    hiss = (1e-3 * np.random.default_rng(0).standard_normal(2 * RATE_HZ)).astype(np.float32)
    missing_db = TARGET_LUFS - integrated_lufs(hiss, RATE_HZ) - MAX_GAIN_DB
    assert missing_db > 2.0
    for stage in (LufsNormalizer(RATE_HZ), RunningLoudness(RATE_HZ)):
        out = through(stage, hiss)
        assert np.allclose(out, hiss * from_dbfs(MAX_GAIN_DB), rtol=1e-5)
        assert stage.shortfall_db == pytest.approx(missing_db, abs=0.1)
        assert stage.warnings == [
            f"lufs: the level stayed {stage.shortfall_db:.1f} dB below -16 LUFS, "
            "because no more than 36 dB are added and no peak passes -1 dBTP"
        ]


@pytest.mark.parametrize("seed", range(8))
def test_it_never_ends_too_loud_and_warns_when_it_ends_too_soft(seed: int) -> None:
    """Clicks and bursts of noise, at any level and length."""
    rng = np.random.default_rng(seed)
    clip = rng.standard_normal(round(rng.uniform(0.02, 3.0) * RATE_HZ)) * from_dbfs(rng.uniform(-60, -5))
    clip *= rng.random(len(clip)) < (1.0, 0.01)[seed % 2]
    clip += (rng.random(len(clip)) < 0.0005) * rng.uniform(0, 1)
    stage = LufsNormalizer(RATE_HZ)
    out = through(stage, clip.astype(np.float32))
    assert error_lu(out) <= 0.1
    assert error_lu(out) >= -0.1 or (stage.warnings and error_lu(out) == pytest.approx(-stage.shortfall_db, abs=0.01))
    assert true_peak_dbtp(out, RATE_HZ) <= -1.0


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("table", [NORMALIZERS, STREAMED_NORMALIZERS], ids=["joined", "streamed"])
def test_what_is_no_number_arrives_where_it_is_refused(table: dict, value: float) -> None:
    for make in table.values():
        clip = voice(2)
        clip[1_200] = value
        with np.errstate(invalid="ignore"):
            assert not np.isfinite(through(make(RATE_HZ), clip)).all()


# --- loudness of a stream -------------------------------------------------------------------------

UTTERANCES = [(SENTENCES[0], "en-us"), (SENTENCES[1], "de")]


@pytest.mark.parametrize(("text", "voice"), UTTERANCES, ids=["en", "de"])
@pytest.mark.parametrize(
    ("level_dbfs", "before_s"), [(-45.0, 0.0), (-45.0, 0.35), (-18.0, 1.0), (-5.0, 0.0), (-5.0, 0.35)]
)
def test_a_stream_ends_within_1_lu(text: str, voice: str, level_dbfs: float, before_s: float) -> None:
    """More than five seconds, at any level, at once or after silence that a block may share with the first word."""
    clip = np.concatenate([level(0.0, round(before_s * RATE_HZ)), at_level(spoken(text, voice), level_dbfs)])
    assert len(clip) > 5 * RATE_HZ
    out = through(RunningLoudness(RATE_HZ), clip)
    assert len(out) == len(clip)
    assert abs(error_lu(out)) <= 1.0
    assert true_peak_dbtp(out, RATE_HZ) <= -1.0


@pytest.mark.parametrize(("text", "voice"), UTTERANCES, ids=["en", "de"])
@pytest.mark.parametrize(("first_dbfs", "step_db", "bound_lu"), [(-30, 15, 1.0), (-25, 6, 1.0), (-19, -6, 3.0)])
def test_a_stream_whose_level_jumps(text: str, voice: str, first_dbfs: float, step_db: float, bound_lu: float) -> None:
    clip = at_level(spoken(text, voice), first_dbfs)
    clip[len(clip) // 2 :] *= from_dbfs(step_db)
    out = through(RunningLoudness(RATE_HZ), clip)
    assert abs(error_lu(out)) <= bound_lu
    assert true_peak_dbtp(out, RATE_HZ) <= -1.0


def test_a_streams_gain_moves_slowly() -> None:
    """A tone, 9 dB louder after 0.6 s: the measured loudness rises by 15 dB/s then, the gain falls by 12."""
    tone = (0.05 * np.sin(np.arange(3 * RATE_HZ) / 5)).astype(np.float32)
    tone[round(0.6 * RATE_HZ) :] *= 2.8
    out = through(RunningLoudness(RATE_HZ), tone)
    places = np.arange(105, len(tone), 441)  # never where the tone crosses zero
    gain_db = 20 * np.log10(np.abs(out[places] / tone[places]))
    fastest_db_per_s = np.max(-np.diff(gain_db)) / (441 / RATE_HZ)
    assert fastest_db_per_s == pytest.approx(12.0, abs=0.2)
    assert gain_db[0] - gain_db[-1] > 5.0
