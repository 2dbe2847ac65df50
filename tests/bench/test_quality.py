"""The figures of `bench.quality` on planted defects: each goes over its limit, and a clean sound stays under it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import cache
from itertools import islice

import numpy as np
import pytest

from audio.encode import ENCODERS
from audio.pcm import Samples
from bench.quality import __main__ as quality
from bench.quality.checks import (
    CHUNK_TOKENS,
    LONG_CHARS,
    PAUSES_MS,
    PITCH_SHARE,
    SAME_SENTENCE_DB,
    disorder,
    joins_of,
    samples_apart,
    silences,
    text_of_length,
    wrong_silences,
)
from bench.quality.copies import LOSSY_FRAME_DB, OFFSET_ADDED, RATIO, SPEECH_SHARE, copy_rows, is_speech
from bench.quality.figures import (
    SEAM_FIGURES,
    SeamFigure,
    at_full_scale,
    drift_db,
    interior,
    low_share,
    not_silent,
    offset,
    pitch_hz,
    placed,
    seam_ratio,
    sixteen_bits_db,
    snr_db,
    steepest,
    worst_frame_db,
    worst_jump,
    worst_seam,
)
from bench.quality.replies import DecodedReply, Studio, decoded
from bench.quality.rows import Row, Scene
from settings import Settings

RATE = 24_000
EDGES = [24_000 + 7_777 * k for k in range(10)]


@cache
def _voice(rate_hz: int) -> Samples:
    t = np.arange(5 * rate_hz) / rate_hz
    phase = 2 * np.pi * 120 * (t - 0.03 * np.cos(2 * np.pi * 0.7 * t) / (2 * np.pi * 0.7))
    buzz = sum(np.sin(k * phase + k * k) / k for k in range(1, 26))
    hiss = np.random.default_rng(2).standard_normal(len(t)) * 0.02
    syllables = 0.3 + 0.7 * np.square(np.sin(2 * np.pi * 2.1 * t))
    return (0.15 * (buzz + hiss) * syllables).astype(np.float32)


def voice(rate_hz: int = RATE) -> Samples:
    """Five seconds of a buzz with a little hiss in it, in syllables; its pitch glides around 120 Hz."""
    return _voice(rate_hz).copy()


def seams(samples: Samples) -> dict[SeamFigure, float]:
    return {figure: seam_ratio(samples, RATE, EDGES, figure) for figure in SEAM_FIGURES}


# --- clicks and seams ---------------------------------------------------------------------------------------


def test_a_click_is_a_step_unlike_its_neighbourhood():
    clean, clicked = voice(), voice()
    clicked[60_000] += 0.2
    assert worst_jump(clicked, RATE) > RATIO * worst_jump(clean, RATE)
    assert steepest(clicked) > RATIO * steepest(clean)


def test_a_faint_click_in_silence_is_one_as_well():
    clean, clicked = voice(), voice()
    for samples in (clean, clicked):
        samples[50_000:60_000] = 0.0
    clicked[55_000] = 0.01
    assert worst_jump(clicked, RATE) > RATIO * worst_jump(clean, RATE)
    assert worst_jump(clicked, RATE) > 100  # it is no neighbour of its own


@pytest.mark.parametrize("gain", [0.1, 1.0])
def test_a_clean_copy_clicks_no_more_than_its_original_however_soft(gain):
    rounded = (np.rint(voice() * gain * 32_768) / 32_768).astype(np.float32)
    assert worst_jump(rounded, RATE) < RATIO * worst_jump(voice(), RATE)


def test_a_sound_without_seams_has_none():
    assert max(seams(voice()).values()) < RATIO
    assert worst_seam(voice(), RATE, EDGES) < RATIO


def test_a_step_at_the_edges_is_a_seam():
    samples = voice()
    for edge in EDGES:
        samples[edge:] += 0.1
    assert min(seams(samples).values()) > RATIO


def test_a_gap_of_a_millisecond_is_a_seam():
    samples = voice()
    for edge in EDGES:
        samples[edge : edge + 24] = 0.0
    assert max(seams(samples).values()) > RATIO


def test_pieces_that_do_not_belong_together_are_seams():
    pieces = [np.roll(piece, 97 * k) for k, piece in enumerate(np.split(voice(), EDGES))]
    assert max(seams(np.concatenate(pieces)).values()) > RATIO


def test_one_bad_seam_of_many_shows_among_the_worst():
    samples = voice()
    samples[EDGES[4]] += 0.3
    assert max(seams(samples).values()) < 2.0  # the mean over ten of them tells little
    assert worst_seam(samples, RATE, EDGES) > 2 * RATIO


def test_silence_has_no_seams_and_no_edges_are_none():
    silence = np.zeros(4 * RATE, dtype=np.float32)
    assert seams(silence) == dict.fromkeys(SEAM_FIGURES, 1.0)
    assert seam_ratio(voice(), RATE, [], 1) == 1.0
    assert worst_seam(voice()[:100], RATE, [50]) == 1.0


def test_interior_points_keep_away_from_edges_and_ends():
    points = interior(5 * RATE, RATE, EDGES)
    assert len(points) > 1000
    assert min(abs(at - edge) for at in points for edge in EDGES) >= 0.06 * RATE
    assert min(points) >= 0.1 * RATE
    assert max(points) <= 4.9 * RATE
    assert points == interior(5 * RATE, RATE, EDGES)


def test_joins_are_a_segments_ends_and_what_lies_between_two():
    assert joins_of([(0, 1000), (900, 2000)]) == [0, 900, 950, 1000, 2000]


# --- level --------------------------------------------------------------------------------------------------


def test_an_offset_is_one_whatever_its_sign():
    assert offset(voice()) < 0.005
    for added in (0.01, -0.01):
        assert offset(voice() + np.float32(added)) - offset(voice()) > OFFSET_ADDED


def test_full_scale_is_both_ends_of_16_bits():
    assert at_full_scale(voice()) == 0
    assert at_full_scale(np.array([1.0, -1.0, 32_767 / 32_768, 0.99], dtype=np.float32)) == 3


def test_a_drop_in_level_is_drift():
    second = [(k * RATE, (k + 1) * RATE) for k in range(4)]
    samples = np.tile(voice()[:RATE], 4)
    assert drift_db(samples, second) < SAME_SENTENCE_DB
    samples[2 * RATE : 3 * RATE] *= 0.9
    assert drift_db(samples, second) == pytest.approx(0.92, abs=0.01)


def test_speech_lies_low_and_hiss_does_not(studio):
    assert is_speech(studio)
    hiss = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    assert low_share(hiss, RATE) == pytest.approx(1 / 3, abs=0.02)
    assert low_share(voice(), RATE) > SPEECH_SHARE


def test_silence_is_zeros_and_all_of_them():
    samples = voice()
    samples[1000:2000] = 0.0
    assert not_silent(samples, (1000, 2000)) == 0
    samples[1500] = 1 / 32_768
    assert not_silent(samples, (1000, 2000)) == 1
    assert not_silent(samples[:1990], (1000, 2000)) == 11


# --- a copy -------------------------------------------------------------------------------------------------


def short(name: str, actual: Samples, meant: Samples, rate_hz: int = RATE) -> set[str]:
    """The figures of a copy that fall short."""
    return {row.group for row in copy_rows(name, "", actual, meant, rate_hz) if isinstance(row, Row) and not row.ok}


def copied(name: str, rate_hz: int = RATE) -> Samples:
    encoder = ENCODERS[name].encoder(rate_hz, joined=True)
    stream = encoder.push(voice(rate_hz)) + encoder.flush()
    samples, found_hz = decoded(encoder.seal(stream), name, rate_hz)
    assert found_hz == rate_hz
    return samples


SNR, LENGTH = "round trip, SNR in dB", "length, samples too many or too few"


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("rate_hz", [8_000, 24_000])
def test_what_a_format_makes_of_a_voice_is_good_enough(name, rate_hz):
    assert short(name, copied(name, rate_hz), voice(rate_hz), rate_hz) == set()


@pytest.mark.parametrize("name", ENCODERS)
def test_every_real_break_of_a_copy_shows(name):
    copy = copied(name)
    assert SNR in short(name, -copy, voice())
    assert SNR in short(name, np.roll(copy, 12), voice())  # half a millisecond late
    assert {SNR, LENGTH} <= short(
        name, np.interp(np.arange(0, len(copy), 24_000 / 22_050), range(len(copy)), copy), voice()
    )
    assert "level kept, dB" in short(name, copy * np.float32(0.9), voice())
    assert "offset" in short(name, copy + np.float32(0.01), voice())
    lost = copy.copy()
    lost[48_000:48_480] = 0.0
    assert "worst 20 ms, dB off" in short(name, lost, voice())
    clicked = copy.copy()
    clicked[60_000] += 0.5
    assert "clicks: worst step over the engine's" in short(name, clicked, voice())
    clipped = copy.copy()
    clipped[60_000] = 1.0
    assert "samples at full scale, added" in short(name, clipped, voice())
    assert LENGTH in short(name, copy[:-1], voice())


def test_fifteen_bits_are_not_sixteen():
    coarse = (np.rint(voice() * 16_384) / 16_384).astype(np.float32)
    assert {SNR} == short("wav", coarse, voice())
    assert snr_db(voice(), voice()) == 120.0
    rounded = (np.rint(voice() * 32_768) / 32_768).astype(np.float32)
    assert snr_db(rounded, voice()) == pytest.approx(sixteen_bits_db(voice()), abs=0.3)


def test_a_lost_frame_of_opus_is_more_than_opus_ever_is_off():
    copy = copied("opus")
    assert worst_frame_db(copy, voice(), RATE) < LOSSY_FRAME_DB
    copy[48_000:48_480] = 0.0
    assert worst_frame_db(copy, voice(), RATE) > 10.0


def test_a_part_is_found_in_the_whole():
    assert placed(voice()[4_321:90_000], voice()) == 4_321
    assert placed(voice(), voice()) == 0
    with pytest.raises(ValueError, match="longer"):
        placed(voice(), voice()[:-1])


def test_an_mp3_stream_is_the_file_after_the_codecs_delay():
    joined = copied("mp3")
    streamed = np.concatenate([np.zeros(1105, np.float32), joined, np.zeros(300, np.float32)])
    assert samples_apart("mp3", joined, streamed) == 0
    assert samples_apart("mp3", joined, streamed[1:]) > 1000
    assert samples_apart("wav", joined, joined[:-2]) == 2
    joined[77] += 0.001
    assert samples_apart("wav", copied("mp3"), joined) == 1


# --- pitch --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate_hz", [8_000, 24_000, 48_000])
@pytest.mark.parametrize("pitch", [75.0, 120.0, 235.0])
def test_the_pitch_of_a_buzz_is_found_and_not_a_multiple_of_its_period(pitch, rate_hz):
    t = np.arange(rate_hz) / rate_hz
    buzz = sum(np.sin(2 * np.pi * k * pitch * t + k * k) / k for k in range(1, 12))
    assert pitch_hz((0.1 * buzz).astype(np.float32), rate_hz) == pytest.approx(pitch, rel=PITCH_SHARE / 4)


def test_speech_played_faster_is_pitched_higher():
    faster = np.interp(np.arange(0, 5 * RATE, 1.03), np.arange(5 * RATE), voice()).astype(np.float32)
    assert pitch_hz(faster, RATE) / pitch_hz(voice(), RATE) - 1 == pytest.approx(0.03, abs=0.003)


def test_hiss_and_silence_have_no_pitch():
    hiss = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    assert math.isnan(pitch_hz(hiss, RATE))
    assert math.isnan(pitch_hz(np.zeros(RATE, np.float32), RATE))
    assert not Row("", "", "", math.nan, 1.0).ok
    assert not Row("", "", "", math.nan, 1.0, is_least=True).ok


# --- replies ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def studio() -> Studio:
    return Studio(Settings(tts_engine="espeak"))


def paused(scale: float = 1.0, spans: list[tuple[float, float]] | None = None) -> DecodedReply:
    """Four seconds with the three pauses in them; `spans` in seconds is what the reply tells."""
    samples, at, told = voice(), 0.5, [(0.0, 0.5)]
    for length_ms in PAUSES_MS.values():
        samples[round(at * RATE) : round((at + scale * length_ms / 1000) * RATE)] = 0.0
        at += length_ms / 1000
        told.append((at, at + 0.5))
        at += 0.5
    segments = [{"text": "", "start": start, "end": end} for start, end in spans or told]
    return DecodedReply(samples, RATE, {"sample_rate": RATE, "segments": segments}, b"", ())


def test_a_pause_is_as_long_as_it_was_asked_for():
    assert wrong_silences(paused()) == [0, 0, 0]
    assert min(wrong_silences(paused(0.99))) > 0
    late = paused(spans=[(0.0, 0.5), (1.2501, 1.75), (2.05, 2.55), (3.2, 3.7)])
    assert wrong_silences(late)[0] > 0
    early = paused(spans=[(0.0, 0.5), (1.2, 1.75), (2.05, 2.55), (3.2, 3.7)])  # less than is silent
    assert wrong_silences(early) == [round(0.05 * RATE), 0, 0]
    assert min(wrong_silences(paused(spans=[(0.0, 4.0)]))) == 5 * RATE


@pytest.mark.slow
def test_the_pauses_of_the_real_service_are_exact(studio):
    rows = list(
        islice(silences(Scene(studio, quick=True, is_speech=True)), 12)
    )  # WAV: both ways, two rates, three pauses
    assert {isinstance(row, Row) and row.ok for row in rows} == {True}


def test_a_long_text_is_as_long_as_it_says():
    assert len(text_of_length(LONG_CHARS)) == LONG_CHARS
    assert len(text_of_length(1200)) == 1200


def test_segments_that_cross_or_leave_the_clip_are_counted():
    clip = paused()
    assert disorder(clip) == 0
    assert disorder(paused(spans=[(0.0, 1.0), (0.9, 2.0), (1.9, 3.0)])) == 0  # a crossfade belongs to both
    assert disorder(paused(spans=[(0.0, 1.0), (2.0, 1.5)])) == 1
    assert disorder(paused(spans=[(1.0, 2.0), (0.0, 3.0)])) == 1
    assert disorder(replace(clip, samples=clip.samples[: 3 * RATE])) == 1


def test_a_reply_tells_its_edges_its_spans_and_its_length(studio):
    clip = studio.speak(joined=False, text="A short sentence, long enough for chunks.", chunk_size=CHUNK_TOKENS)
    assert len(clip.samples) == clip.reported_samples
    assert len(clip.edges) > 3
    assert sorted(set(clip.edges)) == list(clip.edges)
    assert clip.spans == [(0, len(clip.samples))]
    assert len(studio.raw()) * RATE / studio.rate_hz >= len(clip.samples) - 1
    assert len(studio.tap.lines) == 1


# --- the table ----------------------------------------------------------------------------------------------


def document(*rows: Row) -> dict[str, object]:
    return {"took_s": 1.0, "left_out": ["so much"], "short": sum(not row.ok for row in rows)} | {
        "rows": [quality.as_json(row) for row in rows]
    }


def test_the_table_shows_the_worst_of_a_kind_and_of_what_falls_short(capsys):
    """The document has all; a table of the first three is enough to see what is wrong."""
    rows = [Row("noise", "wav", f"{k} Hz", float(k), 7.0, is_least=True) for k in (8, 6, 5, 3, 2)]
    rows += [Row("noise", "mp3", f"{k} Hz", float(k), 7.0, is_least=True) for k in (8, 9)]
    rows += [Row("pitch", "wav", f"speed {speed:g}", speed, 0.01) for speed in (math.nan, 0.0)]
    quality.show(document(*rows))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-4:-2] for line in lines[1:4]] == [["2", "Hz"], ["3", "Hz"], ["5", "Hz"]]
    assert lines[4].endswith("and 1 more")
    assert ["none" in line for line in lines[5:7]] == [False, True]
    assert [line.endswith("FALLS SHORT") for line in lines[1:7]] == [True, True, True, False, False, True]
    assert lines[7:] == ["left out: so much", "9 rows, 5 fall short, in 1 s"]


def test_what_is_kept_is_json_of_a_line_per_row():
    rows = [Row("noise", "wav", f"{k} Hz", float(k), 4.0) for k in range(6)]
    text = quality.written(document(*rows))
    assert json.loads(text) == document(*rows)
    assert len(text.splitlines()) == len(rows) + 7
