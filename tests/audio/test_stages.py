"""THE LAW of `audio.stages`, tested on every stage and every encoder."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise
from typing import Any, Protocol, cast

import av
import numpy as np
import pytest
from fakes import body_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audio.crossfade import Crossfade
from audio.encode import ENCODERS
from audio.levels import NORMALIZERS, STREAMED_NORMALIZERS
from audio.libav_encode import AAC_DELAY_SAMPLES, MP3_DELAY_SAMPLES
from audio.limiter import Limiter
from audio.pcm import EMPTY, Samples
from audio.resample import Resampler
from audio.stages import Chain, Stage
from audio.tempo import Tempo
from audio.trim import EdgeTrimmer
from tests.audio.encoded import G711
from validation.fields import SAMPLE_RATES_HZ

CLIP_S = 0.5
FADE_S = 0.02
JOINS_S = (0.12, 0.13, 0.3, 0.3, 0.35)  # a segment shorter than a fade, and an empty one, among them
CHAIN_HZ = 16_000
COMMENT = "Synthetic speech; engine: fake; model: tones; watermark: none"
FLAC_SYNC = b"\xff\xf8"
FROM_HZ = (8_000, 22_050, 24_000, 192_000)  # engines' rates, and references' extremes


class Streaming(Protocol):
    hold_back_s: float

    def push(self, samples: Samples) -> Any: ...
    def flush(self) -> Any: ...


@dataclass(frozen=True)
class Case:
    """`decoded_s`: the seconds in the output so far. `due_s`: where in it so much input should end."""

    name: str
    in_hz: int
    make: Callable[[], Streaming]
    decoded_s: Callable[[Any], float] | None
    due_s: Callable[[int], float] | None = None
    seal: bool = False

    def due(self, pushed: int) -> float:
        return self.due_s(pushed) if self.due_s else pushed / self.in_hz


class JoinedSeams(Crossfade):
    """A crossfade with joins at fixed sample counts, so that one test can cut the input anywhere."""

    def __init__(self, sample_rate: int) -> None:
        super().__init__(FADE_S, sample_rate)
        self._joins = [round(at_s * sample_rate) for at_s in JOINS_S]
        self._pushed = 0

    def push(self, samples: Samples) -> Samples:
        out = [EMPTY]
        while self._joins and self._joins[0] <= self._pushed + len(samples):
            cut = self._joins.pop(0) - self._pushed
            out.append(super().push(samples[:cut]))
            self.join()
            samples, self._pushed = samples[cut:], self._pushed + cut
        self._pushed += len(samples)
        return np.concatenate([*out, super().push(samples)])


@cache
def clip(rate_hz: int) -> Samples:
    """Tones and noise that end in silence: something for every codec to hold back."""
    t = np.arange(round(CLIP_S * rate_hz)) / rate_hz
    noise = np.random.default_rng(1).standard_normal(len(t))
    sound = 0.4 * np.sin(2 * np.pi * 300 * t) + 0.1 * noise + (t > 0.2) * 0.3 * np.sin(2 * np.pi * 1100 * t)
    made = (sound * (t < 0.4)).astype(np.float32)
    made.flags.writeable = False  # no stage may write to its input, which the engine may still need
    return made


def seams_due_s(rate_hz: int, pushed: int) -> float:
    """Crossfades shorten the clip: a sample is as far into its segment's span as into its segment."""
    seams = JoinedSeams(rate_hz)
    seams.push(clip(rate_hz))
    seams.flush()
    starts = [0, *(round(at_s * rate_hz) for at_s in JOINS_S)]
    current = max(i for i, start in enumerate(starts) if start <= pushed)
    return (seams.segment_spans()[current][0] + pushed - starts[current]) / rate_hz


def sped_due_s(rate_hz: int, speed: float, pushed: int) -> float:
    return pushed / rate_hz / speed


def samples_s(rate_hz: int, out: Samples) -> float:
    return len(out) / rate_hz


def pcm_s(bytes_per_sample: int, rate_hz: int, out: bytes) -> float:
    body = out[out.index(b"data") + 8 :] if out.startswith(b"RIFF") else out
    return len(body) / bytes_per_sample / rate_hz


def opus_s(rate_hz: int, out: bytes) -> float:
    """What a decoder makes of the bytes so far; Opus is always decoded to 48 kHz."""
    try:
        with av.open(io.BytesIO(out), "r", format="ogg") as opened:
            return sum(frame.samples for frame in opened.decode(audio=0)) / 48_000
    except av.FFmpegError:
        return 0.0  # not even a header yet


def mp3_s(rate_hz: int, out: bytes) -> float:
    """The same, by a bare decoder: libav's MP3 demuxer is not sure of a file of one frame."""
    return max(0, bare_samples("mp3float", body_of(out)) - MP3_DELAY_SAMPLES) / rate_hz


def aac_s(rate_hz: int, out: bytes) -> float:
    return max(0, bare_samples("aac", out) - AAC_DELAY_SAMPLES) / rate_hz


def bare_samples(codec: str, out: bytes) -> int:
    decoder = cast(av.AudioCodecContext, av.AudioCodecContext.create(codec, "r"))
    packets = [*decoder.parse(out), *decoder.parse(b"")]
    return sum(frame.samples for packet in packets for frame in decoder.decode(packet))


def flac_s(rate_hz: int, out: bytes) -> float:
    """By a bare decoder too: libav's parser is not sure of a frame before ten more have come, or the end."""
    if (start := out.find(FLAC_SYNC)) < 0:
        return 0.0
    decoder = cast(av.AudioCodecContext, av.AudioCodecContext.create("flac", "r"))
    decoder.extradata = out[8 : 8 + 34]  # STREAMINFO
    packets = list(decoder.parse(out[start:]))
    while rest := decoder.parse(b""):
        packets += rest
    return sum(frame.samples for packet in packets for frame in decoder.decode(packet)) / rate_hz


DECODED: dict[str, Callable[[int, bytes], float]] = {
    **{name: partial(pcm_s, 1) for name in G711},
    **{name: partial(pcm_s, 2) for name in ("wav", "pcm_s16le")},
    "pcm_f32le": partial(pcm_s, 4),
    "opus": opus_s,
    "mp3": mp3_s,
    "aac": aac_s,
    "flac": flac_s,
}


def shaping_chain(in_hz: int) -> Stage:
    return Chain([JoinedSeams(in_hz), Resampler(in_hz, CHAIN_HZ)])


def stage_cases() -> Iterator[Case]:
    for in_hz in FROM_HZ:
        for out_hz in SAMPLE_RATES_HZ:
            make = partial(Resampler, in_hz, out_hz)
            yield Case(f"resample-{in_hz}-{out_hz}", in_hz, make, partial(samples_s, out_hz))
    for rate_hz in (22_050, 24_000):
        seams, chain = partial(JoinedSeams, rate_hz), partial(shaping_chain, rate_hz)
        due = partial(seams_due_s, rate_hz)
        yield Case(f"seams-{rate_hz}", rate_hz, seams, partial(samples_s, rate_hz), due)
        yield Case(f"chain-{rate_hz}", rate_hz, chain, partial(samples_s, CHAIN_HZ), due)
    yield Case("no-fade", 24_000, partial(Crossfade, 0.0, 24_000), partial(samples_s, 24_000))
    for name, normalizer in NORMALIZERS.items():
        yield Case(name, 24_000, partial(normalizer, 24_000), None)
    yield from level_and_tempo_cases()


def level_and_tempo_cases() -> Iterator[Case]:
    for rate_hz in (8_000, 22_050, 48_000):
        decoded = partial(samples_s, rate_hz)
        yield Case(f"limiter-{rate_hz}", rate_hz, partial(Limiter, rate_hz, -12.0), decoded)
        yield Case(f"edges-{rate_hz}", rate_hz, partial(EdgeTrimmer, rate_hz, 0.01, 0.02, max_cut_s=0.06), decoded)
        for name, normalizer in STREAMED_NORMALIZERS.items():
            yield Case(f"streamed-{name}-{rate_hz}", rate_hz, partial(normalizer, rate_hz), decoded)
        for speed in (0.25, 0.5, 0.9, 1.0, 1.25, 2.0, 4.0):
            due = partial(sped_due_s, rate_hz, speed)
            yield Case(f"tempo-{speed:g}-{rate_hz}", rate_hz, partial(Tempo, speed, rate_hz), decoded, due)


def encoder_cases() -> Iterator[Case]:
    for name, audio_format in ENCODERS.items():
        for rate_hz in sorted({audio_format.coded_rate(rate) for rate in SAMPLE_RATES_HZ}):
            decoded, make = partial(DECODED[name], rate_hz), partial(audio_format.encoder, rate_hz)
            yield Case(f"{name}-{rate_hz}-streamed", rate_hz, partial(make, joined=False), decoded)
            yield Case(f"{name}-{rate_hz}-joined", rate_hz, partial(make, joined=True), None, seal=True)
        make = partial(audio_format.encoder, 24_000, comment=COMMENT)
        yield Case(f"{name}-streamed-comment", 24_000, partial(make, joined=False), partial(DECODED[name], 24_000))
        yield Case(f"{name}-joined-comment", 24_000, partial(make, joined=True), None, seal=True)
        for rate_hz in (8_000, 48_000) if audio_format.bit_rates else ():
            for kbps in (audio_format.bitrates_kbps(rate_hz)[0], audio_format.bitrates_kbps(rate_hz)[-1]):
                make = partial(audio_format.encoder, rate_hz, joined=False, bitrate_kbps=kbps)
                yield Case(f"{name}-{rate_hz}-{kbps}", rate_hz, make, partial(DECODED[name], rate_hz))


CASES = [*stage_cases(), *encoder_cases()]
FINITE = [case for case in CASES if case.decoded_s]


def joined(parts: list[Any]) -> Any:
    return b"".join(parts) if isinstance(parts[0], bytes) else np.concatenate(parts)


def run(case: Case, cuts: list[int], looks: int = 0) -> tuple[Any, float]:
    """The whole output for an input cut at these places, and the worst lag of about `looks` looks at it."""
    streaming, worst_s, parts = case.make(), 0.0, []
    edges = [0, *cuts, len(clip(case.in_hz))]
    for number, (start, end) in enumerate(pairwise(edges)):
        parts.append(streaming.push(clip(case.in_hz)[start:end]))
        if case.decoded_s and looks and number % -(-len(edges) // looks) == 0:
            worst_s = max(worst_s, case.due(end) - case.decoded_s(joined(parts)))
    out = joined([*parts, streaming.flush()])
    return (streaming.seal(out) if case.seal else out), worst_s  # type: ignore[attr-defined]


@cache
def whole(index: int) -> bytes:
    return bytes(run(CASES[index], [])[0])


def chunkings(length: int) -> st.SearchStrategy[list[int]]:
    """Cuts anywhere: pieces of any length, empty ones, and a run of single samples."""
    cuts = st.lists(st.integers(0, length), max_size=20)
    single_steps = st.integers(0, length - 30).map(lambda start: list(range(start, start + 30)))
    return st.tuples(cuts, st.just([]) | single_steps).map(lambda both: sorted(both[0] + both[1]))


@pytest.mark.parametrize("index", range(len(CASES)), ids=[case.name for case in CASES])
@settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_the_law(index: int, data: st.DataObject) -> None:
    case = CASES[index]
    out, worst_lag_s = run(case, data.draw(chunkings(len(clip(case.in_hz)))), looks=6)
    assert bytes(out) == whole(index)
    assert worst_lag_s <= case.make().hold_back_s


@pytest.mark.parametrize("case", FINITE, ids=[case.name for case in FINITE])
def test_the_stated_hold_back_is_the_real_one(case: Case) -> None:
    """Fed 5 ms at a time, the lag comes near what is stated: a generous bound would make the law empty."""
    step = case.in_hz // 200
    _, worst_lag_s = run(case, list(range(step, len(clip(case.in_hz)), step)), looks=10_000)
    hold_back_s = case.make().hold_back_s
    assert 0.5 * hold_back_s <= worst_lag_s <= hold_back_s


def test_what_needs_the_whole_clip_says_so_through_a_chain() -> None:
    for normalizer in NORMALIZERS.values():
        chain = Chain([Resampler(24_000, 48_000), normalizer(48_000)])
        assert chain.hold_back_s == math.inf
        assert not len(chain.push(clip(24_000)))


def test_a_chain_flushes_each_stage_through_the_rest() -> None:
    sound = clip(24_000)
    chain = Chain([Resampler(24_000, 48_000), Resampler(48_000, 16_000)])
    first, second = Resampler(24_000, 48_000), Resampler(48_000, 16_000)
    between = np.concatenate([first.push(sound), first.flush()])
    by_hand = np.concatenate([second.push(between), second.flush()])
    assert np.array_equal(np.concatenate([chain.push(sound), chain.flush()]), by_hand)


def test_an_empty_chain_changes_nothing() -> None:
    chain = Chain([])
    assert chain.hold_back_s == 0
    assert np.array_equal(chain.push(clip(24_000)), clip(24_000))
    assert not len(chain.flush())
