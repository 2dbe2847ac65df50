"""A script spoken: its silences to the sample, its segments in order, and what is done when a line goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from fakes import WINDOW, FakeEngine, FakeVoice

from audio.pcm import EMPTY, Samples
from service.speech import Speech
from tts.engine import Conditioning, ImplausibleSpeech, SpeechChunk
from tts.text.script import Line, Script
from validation.errors import InternalError
from validation.options import SamplingParams, SoundOptions

RATE_HZ = 24_000
VOICE = FakeVoice("default", 300.0)
LINES = ("This is the first line of them.", "And this is the second one, a little longer.", "Last comes the third.")


def script(*lines: str | Line, lead_ms: float = 0.0) -> Script:
    return Script(lead_ms, tuple(Line(line, 0.0) if isinstance(line, str) else line for line in lines), "", ())


def speech(*lines: str | Line, engine: FakeEngine | None = None, lead_ms: float = 0.0, **changes: Any) -> Speech:
    params = replace(WINDOW, decode_mode=changes.pop("decode_mode", "window"))
    rate_hz = changes.pop("rate_hz", RATE_HZ)
    sound = SoundOptions(**{"fade_s": 0.02, "speed": 1.0, "trim_silence": False} | changes)
    return Speech(engine or FakeEngine(), VOICE, params, sound, rate_hz, script(*lines, lead_ms=lead_ms))


def clip(spoken: Speech) -> Samples:
    return np.concatenate([EMPTY, *spoken.samples()])


def failing(*reasons: str | None, excess: float = 1.0) -> Callable[[str, SamplingParams], ImplausibleSpeech | None]:
    """The first attempts go wrong in these ways, in order; what follows is fine. Unchecked ones count too."""
    left = list(reasons)

    def wrong(text: str, params: SamplingParams) -> ImplausibleSpeech | None:
        reason = left.pop(0) if left else None
        return ImplausibleSpeech(reason, f"it is {reason}", excess + len(left)) if reason else None  # type: ignore[arg-type]

    return wrong


# --- silence and time -------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 22_050, 24_000, 48_000])
@pytest.mark.parametrize("speed", [1.0, 1.3])
def test_a_pause_is_exact_zeros_of_its_length_at_any_rate(rate_hz: int, speed: float) -> None:
    spoken = speech(
        Line(LINES[0], 500.0), Line(LINES[1], 0.0), Line(LINES[2], 250.0), lead_ms=100.0, rate_hz=rate_hz, speed=speed
    )
    samples = clip(spoken)
    first, second, third = spoken.segments
    assert first.start == round(0.1 * rate_hz)
    assert second.start - first.end == round(0.5 * rate_hz)
    assert third.end + round(0.25 * rate_hz) == len(samples) == spoken.given
    for start, end in ((0, first.start), (first.end, second.start), (third.end, len(samples))):
        assert not samples[start:end].any()
    assert np.abs(samples[first.start : first.end]).max() > 0.05


def test_lines_without_a_pause_overlap_by_the_fade() -> None:
    spoken = speech(*LINES)
    clip(spoken)
    assert [segment.text for segment in spoken.segments] == list(LINES)
    assert [before.end - after.start for before, after in pairwise(spoken.segments)] == [480, 480]


@pytest.mark.parametrize("speed", [0.25, 0.5, 0.8, 1.25, 2.0, 4.0])
def test_speed_changes_each_segments_length_and_not_its_pause(speed: float) -> None:
    plain, quick = (speech(Line(LINES[0], 300.0), LINES[1], speed=value) for value in (1.0, speed))
    clip(plain)
    clip(quick)
    for before, after in zip(plain.segments, quick.segments, strict=True):
        assert after.end - after.start == pytest.approx((before.end - before.start) / speed, abs=1)
    assert quick.segments[1].start - quick.segments[0].end == round(0.3 * RATE_HZ)


def test_a_script_of_nothing_is_an_empty_clip() -> None:
    assert len(clip(speech())) == 0
    assert len(clip(speech(lead_ms=40.0))) == 960


def test_how_the_engine_cuts_its_chunks_does_not_move_a_sample() -> None:
    clips = []
    for size in (1, 7, 25, 200):
        spoken = speech(Line(LINES[0], 300.0), *LINES[1:], speed=1.2, rate_hz=16_000)
        spoken.params = replace(WINDOW, chunk_size_tokens=size)
        clips.append(clip(spoken))
    assert all(np.array_equal(clips[0], other) for other in clips[1:])


def test_trimming_takes_the_clips_own_edges_and_leaves_the_joins() -> None:
    def quiet_edges(tone: Samples) -> Samples:
        edge = np.zeros(RATE_HZ // 2, dtype=np.float32)
        return np.concatenate([edge, tone, edge])

    kept, trimmed = (
        speech(*LINES, engine=FakeEngine(shape=quiet_edges), trim_silence=flag, fade_s=0.0) for flag in (False, True)
    )
    long, short = clip(kept), clip(trimmed)
    assert np.flatnonzero(np.abs(long) > 0.01)[0] == pytest.approx(0.05 * RATE_HZ, abs=250)
    assert np.flatnonzero(np.abs(short) > 0.01)[0] == pytest.approx(0.01 * RATE_HZ, abs=250)
    assert len(long) - len(short) == pytest.approx((0.04 + 0.14) * RATE_HZ, abs=500)


@pytest.mark.parametrize(
    ("line", "lead_s", "tail_s"),
    [
        ("Well [laugh] then.", 0.5, 0.5),  # of two seconds no more than 1.5 are cut
        ("[sigh] Well then.", 1.5, 0.5),
        ("Well then [sigh].", 0.5, 1.5),
        ("“[laugh]”", 1.5, 1.5),
    ],
)
@pytest.mark.parametrize("trim_silence", [True, False])
def test_a_soft_sound_at_an_edge_stays(line: str, lead_s: float, tail_s: float, trim_silence: bool) -> None:
    def between_soft_edges(tone: Samples) -> Samples:
        edge = np.zeros(2 * RATE_HZ, dtype=np.float32)
        return np.concatenate([edge, tone, edge])

    found = clip(speech(line, engine=FakeEngine(shape=between_soft_edges), trim_silence=trim_silence, fade_s=0.0))
    (first, *_, last) = np.flatnonzero(np.abs(found) > 0.01) / RATE_HZ
    assert first == pytest.approx(lead_s, abs=0.011)
    assert len(found) / RATE_HZ - last == pytest.approx(tail_s, abs=0.011)


# --- what goes wrong ----------------------------------------------------------------------------------------


def test_a_stream_speaks_its_first_line_at_once_and_thinks_the_others_through() -> None:
    streamed, whole = FakeEngine(), FakeEngine()
    clip(speech(*LINES, engine=streamed))
    clip(speech(*LINES, engine=whole, decode_mode="full"))
    assert [params.checked for params in streamed.heard] == [False, True, True]
    assert [params.checked for params in whole.heard] == [True, True, True]


@pytest.mark.parametrize("reason", ["loop", "pace"])
def test_a_line_that_goes_wrong_is_spoken_again_with_another_seed(reason: str) -> None:
    engine = FakeEngine(wrong=failing(reason))
    spoken = speech(LINES[0], engine=engine, decode_mode="full")
    samples = clip(spoken)
    assert [segment.text for segment in spoken.segments] == [LINES[0]]
    assert len({params.seed for params in engine.heard}) == len(engine.heard) == 2
    assert (spoken.retries, spoken.warnings, spoken.cut) == (1, [], False)
    assert np.abs(samples).max() > 0.05


def test_of_two_wrong_attempts_the_better_one_is_spoken_with_a_warning() -> None:
    """The second one's excess is smaller, so it is said, and all say what is wrong with it."""
    engine = FakeEngine(wrong=failing("loop", "pace", "pace"))
    spoken = speech(LINES[0], engine=engine, decode_mode="full")
    clip(spoken)
    first, second, third = engine.heard
    assert (third.seed, third.checked) == (second.seed, False)
    assert first.seed != second.seed
    assert spoken.warnings == [f"segment 0 may be wrong, it is pace: {LINES[0][:40]!r}"]
    assert len(spoken.segments) == 1


def test_a_line_that_was_cut_is_spoken_in_parts() -> None:
    engine = FakeEngine(wrong=failing("length"))
    spoken = speech(LINES[1], engine=engine, decode_mode="full")
    samples = clip(spoken)
    parts = [segment.text for segment in spoken.segments]
    assert len(parts) > 1
    assert " ".join(parts) == LINES[1]
    assert [text for text in engine.texts if text != LINES[1]] == parts
    assert len({params.seed for params in engine.heard[1:]}) == len(parts)
    assert spoken.segments[-1].end == len(samples)
    assert (spoken.warnings, spoken.cut) == ([], False)


@pytest.mark.parametrize("text", ["[clear throat] Hi.", "“”“” é", "a" + "\u0301" * 40, "A — — — — — —"])
def test_neither_a_tag_nor_what_is_only_signs_is_a_part(text: str) -> None:
    engine = FakeEngine(wrong=failing("length"))
    clip(speech(text, engine=engine, decode_mode="full"))
    assert set(engine.texts) == {text}


def test_a_word_that_was_cut_is_tried_again_and_then_said_as_it_is() -> None:
    spoken = speech("Unsplittable", engine=FakeEngine(finish_reason="length"), decode_mode="full")
    clip(spoken)
    assert spoken.cut
    assert spoken.retries == 2
    assert len(spoken.warnings) == 1
    assert "token limit" in spoken.warnings[0]


def test_a_streams_first_line_is_not_taken_back_but_told() -> None:
    spoken = speech(*LINES, engine=FakeEngine(wrong=failing("loop")))
    clip(spoken)
    assert spoken.retries == 0
    assert spoken.warnings == [f"segment 0 may be wrong, it is loop: {LINES[0][:40]!r}"]


def test_what_failed_before_its_turn_is_mended_in_its_turn() -> None:
    """The third line is prepared while the second is spoken."""

    def wrong(text: str, params: SamplingParams) -> ImplausibleSpeech | None:
        return ImplausibleSpeech("loop", "it loops", 1.0) if text == LINES[2] and params.seed == seeds[2] else None

    plain = FakeEngine()
    clip(speech(*LINES, engine=plain))
    seeds = [params.seed for params in plain.heard]
    engine = FakeEngine(wrong=wrong)
    spoken = speech(*LINES, engine=engine)
    clip(spoken)
    assert [segment.text for segment in spoken.segments] == list(LINES)
    assert (spoken.retries, spoken.warnings) == (1, [])
    assert engine.texts == [*LINES, LINES[2]]


class OnePlace(FakeEngine):
    """Thinks ten steps about each segment, for which it has a single place."""

    is_taken = False

    def stream(self, text: str, voice: Conditioning, params: SamplingParams) -> Iterator[SpeechChunk]:
        assert not self.is_taken, "it would wait for ever"
        self.is_taken = True
        try:
            yield from [SpeechChunk(EMPTY, 0, watermarked=False)] * 10
        finally:
            self.is_taken = False
        yield from super().stream(text, voice, params)


@pytest.mark.parametrize("reason", ["length", "loop"])
def test_what_is_said_again_takes_no_second_place(reason: str) -> None:
    """The line that is prepared meanwhile has the first; jobs that hold one and wait for another stand still."""
    spoken = speech(*LINES, engine=OnePlace(wrong=failing(None, reason, reason)))
    clip(spoken)
    assert spoken.retries > 0
    assert " ".join(segment.text for segment in spoken.segments) == " ".join(LINES)


def test_a_line_whose_preparation_fails_does_not_end_the_line_before() -> None:
    def broken(text: str, params: SamplingParams) -> None:
        if text == LINES[2]:
            raise InternalError("the model gave no speech")

    spoken = speech(*LINES, engine=FakeEngine(wrong=broken))
    with pytest.raises(InternalError, match="no speech"):
        clip(spoken)
    assert spoken.lines_done == 2
    assert spoken.segments_done == 2


def test_preparing_a_line_changes_no_sample_of_it() -> None:
    """Two takes have the same lines as one, and nobody prepares a line alone."""
    together = speech(Line(LINES[0], 100.0), Line(LINES[1], 100.0), LINES[2])
    samples = clip(together)
    third = together.segments[2]
    alone = speech(LINES[2])
    alone.params = replace(WINDOW, seed=(7 + 2 * 0x9E3779B1) % 2**32)
    assert np.array_equal(samples[third.start : third.end], clip(alone))


@pytest.mark.parametrize("taken", [1, 4, 9])
def test_who_leaves_closes_what_is_spoken_and_what_is_prepared(taken: int) -> None:
    engine = FakeEngine()
    samples = speech(*LINES, engine=engine).samples()
    for _ in range(taken):
        next(samples)
    samples.close()
    assert len(engine.closed_in) == len(engine.heard)


def test_the_engines_own_fault_passes_through() -> None:
    engine = FakeEngine(before_chunk=lambda k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        clip(speech(*LINES, engine=engine))
    assert len(engine.closed_in) == len(engine.heard)
