"""The vocoder compared to upstream's, and its stream to one shot: in float64, where they hardly differ.

In float32 no tight bound holds on every processor: the phase sums up 72,000 steps, each with the pitch's rounding.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate

import pytest
import torch
from rounding import bound

from tts.chatterbox.rates import MEL_BANDS, SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, SPEECH_CODES
from tts.chatterbox.runtime.cuda_graph import GraphPool
from tts.chatterbox.runtime.host import NoiseTape
from tts.chatterbox.s3gen.stream import window_noise
from tts.chatterbox.vocoder import stream as module
from tts.chatterbox.vocoder.generator import N_FFT, PitchPredictor
from tts.chatterbox.vocoder.stream import Hift, HiftStream, rendered_frames
from tts.chatterbox.weights.tensors import Tensors

ROUNDING = 2**-53  # of one operation in float64, relative to its result


@pytest.fixture
def double():
    """The default dtype is float64 meanwhile."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def network(oracle, double):
    """Upstream's vocoder in float64. Its window is made in float32, whatever the network is."""
    network = copy.deepcopy(oracle.s3gen.mel2wav).double()
    network.stft_window = torch.hann_window(N_FFT, periodic=True)
    return network


@pytest.fixture
def exact(network) -> Hift:
    return Hift(Tensors("network", network.state_dict()))


@pytest.fixture(scope="module")
def mel(model) -> torch.Tensor:
    """A mel of the flow: smooth, with voiced and unvoiced stretches."""
    prompt = model.built_in.flow
    tokens = torch.randint(SPEECH_CODES, (1, 75), generator=torch.Generator().manual_seed(2))
    noise = window_noise(NoiseTape(4, MEL_BANDS), prompt, 0, 75, torch.device("cpu"))
    with torch.inference_mode():
        return model.flow.solve(prompt, tokens, prompt.mel[:, :0], noise)


def render(hift, mel, sizes, seed=5):
    stream, pieces, at = HiftStream(hift, seed), [], 0
    with torch.inference_mode():
        for size in sizes:
            pieces.append(stream.push(mel[:, :, at : at + size]))
            at += size
        pieces += [stream.push(mel[:, :, at:]), stream.flush()]
    return torch.cat(pieces)


def error(a: torch.Tensor, b: torch.Tensor) -> float:
    assert (a.dtype, b.dtype) == (torch.float64, torch.float64)
    return float((a - b).abs().max() / b.abs().max())


def rounding(network, mel) -> float:
    """The largest error of two renderings by rounding alone.

    A phase is a sum of a step per sample. It differs by a rounding of the sum's size in each addition, and by the
    pitch's own rounding in each step; a sine differs by no more than its phase. What follows is the network.
    """
    samples = mel.shape[2] * SAMPLES_PER_FRAME
    pitch_hz = float(PitchPredictor(Tensors("network", network.f0_predictor.state_dict()))(mel).max())
    turns = (network.nb_harmonics + 1) * pitch_hz / SAMPLE_RATE_HZ * samples
    phase = turns * (samples * ROUNDING + bound(network.f0_predictor, torch.float64))
    return 2 * math.pi * phase + bound(network, torch.float64)


def test_one_shot_is_upstreams_for_the_same_phase_and_noise(network, exact, mel):
    """Upstream draws the phases, then the noise, from the global generator."""
    mel = mel.double()
    samples = mel.shape[2] * SAMPLES_PER_FRAME
    torch.manual_seed(11)
    with torch.inference_mode():
        theirs, _ = network.inference(speech_feat=mel)
        torch.manual_seed(11)
        phase = torch.distributions.Uniform(-math.pi, math.pi).sample((1, 9, 1))[0]
        phase[0] = 0.0
        noise = torch.randn(9, mel.shape[2], SAMPLES_PER_FRAME).transpose(0, 1)
        nothing = torch.empty(1, 1, 0)
        ours, _, _ = exact.render(mel, nothing, phase / (2 * math.pi), noise.flatten(1), ahead=0)
        assert ours.shape == (samples,)
        assert error(ours, theirs[0]) < rounding(network, mel)


def test_the_constants_of_the_source_are_upstreams(model, oracle):
    network, sine = oracle.s3gen.mel2wav, oracle.s3gen.mel2wav.m_source.l_sin_gen
    theirs = (network.nb_harmonics + 1, sine.voiced_threshold, sine.sine_amp, sine.noise_std)
    assert (model.hift.harmonics, module.VOICED_ABOVE_HZ, module.WAVES, module.NOISE) == theirs


def test_the_mel_has_voiced_and_unvoiced_frames(model, mel):
    """Otherwise these tests would not cover harmonics."""
    with torch.inference_mode():
        voiced = model.hift.pitch_hz(mel) > 10
    assert voiced.any()


@pytest.mark.parametrize("sizes", [[1] * 150, [32, 50, 50], [16, 1, 0, 40, 3, 77], [149]])
def test_a_stream_in_any_pieces_is_the_one_shot(network, exact, mel, sizes):
    mel = mel.double()
    whole = render(exact, mel, [])
    assert whole.shape == (mel.shape[2] * SAMPLES_PER_FRAME,)
    assert error(render(exact, mel, sizes), whole) < rounding(network, mel)


@pytest.mark.parametrize("frames", [1, 2, 5, 17, 18, 34])
def test_short_clips(network, exact, mel, frames):
    clip = mel[:, :, :frames].double()
    assert error(render(exact, clip, [1] * frames), render(exact, clip, [])) < rounding(network, clip)


@pytest.mark.parametrize("sizes", [[1] * 150, [32, 50, 50], [149]])
def test_the_source_in_any_pieces_is_the_one_shots_in_float32_too(model, mel, sizes):
    """The phase is float64 there: only the last bit of the angle may differ, 2⁻²² below 2π, in every harmonic."""
    hift, numbers = model.hift, torch.Generator().manual_seed(3)
    noise = torch.randn(mel.shape[2], hift.harmonics * SAMPLES_PER_FRAME, generator=numbers)
    phase, at, pieces = torch.zeros(hift.harmonics, 1, dtype=torch.float64), 0, []
    with torch.inference_mode():
        pitch_hz = hift.pitch_hz(mel)
        whole, _ = hift.excite(pitch_hz, phase, noise)
        for size in [*sizes, mel.shape[2] - sum(sizes)]:
            part = slice(at, at + size)
            source, phase = hift.excite(pitch_hz[:, part], phase, noise[part])
            pieces.append(source)
            at += size
    assert phase.dtype == torch.float64
    assert (torch.cat(pieces, 2) - whole).abs().max() <= 2**-22 * module.WAVES * float(hift._merge[0].abs().sum())


def test_the_negative_control_without_hold_back_the_stream_differs(network, exact, mel, monkeypatch):
    mel = mel.double()
    whole = render(exact, mel, [])
    monkeypatch.setattr(module, "HELD_FRAMES", module.F0_FRAMES)
    assert error(render(exact, mel, [32, 50, 50]), whole) > 1000 * rounding(network, mel)


def test_the_negative_control_a_restarted_phase_is_heard(network, exact, mel):
    mel = mel.double()
    whole = render(exact, mel, [])
    stream, pieces = HiftStream(exact, 5), []
    with torch.inference_mode():
        for at in (0, 50, 100):
            pieces.append(stream.push(mel[:, :, at : at + 50]))
            stream._phase = torch.zeros_like(stream._phase)
        pieces.append(stream.flush())
    assert error(torch.cat(pieces), whole) > 1000 * rounding(network, mel)


def test_samples_leave_as_soon_as_they_are_certain(model, mel):
    stream = HiftStream(model.hift, 5)
    with torch.inference_mode():
        assert len(stream.push(mel[:, :, :32])) == (32 - module.HELD_FRAMES) * SAMPLES_PER_FRAME


# --- windows of fixed sizes -------------------------------------------------------------------------------


SIZES = rendered_frames(32, 50)


def windowed(tensors: Tensors, sizes: Sequence[int] = SIZES) -> Hift:
    """With the windows that a GPU captures."""
    return Hift(tensors, GraphPool(torch.device("cpu"), "vocoder"), sizes)


@pytest.fixture
def by_windows(network) -> Hift:
    return windowed(Tensors("network", network.state_dict()))


class Counting:
    """In place of a Hift's generator."""

    def __init__(self, hift: Hift, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes, self._generator = Counter[int](), hift.generator
        monkeypatch.setattr(hift, "generator", self)

    def __call__(self, mel: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        self.sizes[mel.shape[2]] += 1
        return self._generator(mel, source)


@pytest.mark.parametrize("frames", [1, 18, 33, 34, 84, 150])
@pytest.mark.parametrize("sizes", [[], [32, 50, 50], [16, 1, 0, 40, 3]])
def test_windows_render_what_the_plain_lines_render(network, exact, by_windows, mel, frames, sizes):
    """Beyond a window are frames of nothing, where the plain lines have the clip's end: neither reaches what leaves,
    but for far less than a rounding of float32."""
    clip = mel[:, :, :frames].double()
    sizes = [size for size, end in zip(sizes, accumulate(sizes), strict=True) if end <= frames]
    plain, ours = (render(hift, clip, sizes) for hift in (exact, by_windows))
    assert error(ours, plain) < rounding(network, clip) + 2**-24


def test_where_only_small_windows_were_captured_what_is_longer_is_plain(network, exact, by_windows, mel):
    """A stream keeps more frames than the smallest window has: it waited for ever for room."""
    by_windows.windows = [window for window in by_windows.windows if window.frames <= 33]
    clip = mel[:, :, :132].double()
    plain, ours = (render(hift, clip, [32, 50, 50]) for hift in (exact, by_windows))
    assert error(ours, plain) < rounding(network, clip) + 2**-24


@pytest.mark.parametrize(
    ("pushed", "rendered"),
    [
        pytest.param([32, 50, 50, 50], {27: 1, 78: 3, 33: 1}, id="the default plan"),
        pytest.param([32, 50, 50, 11], {27: 1, 78: 3, 33: 1}, id="its last chunk is short"),
        pytest.param([20, 20, 20], {27: 1, 78: 2, 33: 1}, id="smaller chunks"),
        pytest.param([200], {78: 4, 33: 1}, id="larger ones"),
        pytest.param([32], {27: 1, 32: 1}, id="a clip of less than its end's window, plain"),
    ],
)
def test_every_length_has_a_window(by_windows, monkeypatch, pushed, rendered):
    counting = Counting(by_windows, monkeypatch)
    render(by_windows, torch.zeros(1, MEL_BANDS, sum(pushed)), pushed)
    assert counting.sizes == rendered


def test_a_window_shows_nothing_of_an_earlier_request(s3gen, mel):
    """In float32, bit by bit, where the window is longer than what is rendered, and after values that spread."""
    used, unused = (windowed(s3gen.at("mel2wav.")) for _ in range(2))
    render(used, torch.full_like(mel, math.nan), [32, 50])
    assert torch.equal(render(used, mel, [20, 20]), render(unused, mel, [20, 20]))


def test_beyond_what_is_rendered_a_window_holds_nothing(s3gen):
    """Of frames that a convolution does not reach, an algorithm that works in tiles may mix in the rounding."""
    window = windowed(s3gen.at("mel2wav.")).windows[-1]
    phase = torch.zeros(9, 1, dtype=torch.float64)
    for frames in (window.frames, 20):
        mel, noise = torch.ones(1, MEL_BANDS, frames + window.ahead), torch.ones(frames, 9 * SAMPLES_PER_FRAME)
        with torch.inference_mode():
            window(mel, torch.empty(1, 1, 0), phase, noise)
    assert not window._mel[:, :, 20 + window.ahead :].any()
    assert not window._source[:, :, 20 * SAMPLES_PER_FRAME :].any()


def test_the_negative_control_without_wiping_it_does(s3gen, mel, monkeypatch):
    used, unused = (windowed(s3gen.at("mel2wav.")) for _ in range(2))
    render(used, torch.full_like(mel, math.nan), [32, 50])
    for window in used.windows:
        for memory in (window._mel, window._source):
            monkeypatch.setattr(memory, "zero_", lambda: None)
    assert not torch.equal(render(used, mel, [20, 20]), render(unused, mel, [20, 20]))
