"""The vocoder compared to upstream's, and its stream to one shot: in float64, where they hardly differ.

In float32 no tight bound holds on every processor: the phase sums up 72,000 steps, each with the pitch's rounding.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate

import pytest
import torch
from rounding import doubles, exact_vocoder, vocoder_bound

from tts.chatterbox.rates import MEL_BANDS, SAMPLES_PER_FRAME, SPEECH_CODES
from tts.chatterbox.runtime.cuda_graph import GraphPool
from tts.chatterbox.runtime.host import NoiseTape
from tts.chatterbox.s3gen.stream import window_noise
from tts.chatterbox.vocoder import stream as module
from tts.chatterbox.vocoder.stream import Hift, HiftStream, rendered_frames
from tts.chatterbox.weights.tensors import Tensors

pytestmark = pytest.mark.usefixtures("inference")


@pytest.fixture
def network(oracle):
    """Upstream's vocoder in float64, and that the default dtype."""
    with doubles():
        yield exact_vocoder(oracle)


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
    for size in sizes:
        pieces.append(stream.push(mel[:, :, at : at + size]))
        at += size
    pieces += [stream.push(mel[:, :, at:]), stream.flush()]
    return torch.cat(pieces)


def error(a: torch.Tensor, b: torch.Tensor) -> float:
    assert (a.dtype, b.dtype) == (torch.float64, torch.float64)
    return float((a - b).abs().max() / b.abs().max())


def test_one_shot_is_upstreams_for_the_same_phase_and_noise(network, exact, mel):
    """Upstream draws the phases, then the noise, from the global generator."""
    mel = mel.double()
    samples = mel.shape[2] * SAMPLES_PER_FRAME
    torch.manual_seed(11)
    theirs, _ = network.inference(speech_feat=mel)
    torch.manual_seed(11)
    phase = torch.distributions.Uniform(-math.pi, math.pi).sample((1, 9, 1))[0]
    phase[0] = 0.0
    noise = torch.randn(9, mel.shape[2], SAMPLES_PER_FRAME).transpose(0, 1)
    nothing = torch.empty(1, 1, 0)
    ours, _, _ = exact.render(mel, nothing, phase / (2 * math.pi), noise.flatten(1), ahead=0)
    assert ours.shape == (samples,)
    assert error(ours, theirs[0]) < vocoder_bound(network, mel)


def test_the_constants_of_the_source_are_upstreams(model, oracle):
    network, sine = oracle.s3gen.mel2wav, oracle.s3gen.mel2wav.m_source.l_sin_gen
    theirs = (network.nb_harmonics + 1, sine.voiced_threshold, sine.sine_amp, sine.noise_std)
    assert (model.hift.harmonics, module.VOICED_ABOVE_HZ, module.WAVES, module.NOISE) == theirs


def test_the_mel_has_voiced_and_unvoiced_frames(model, mel):
    """Otherwise these tests would not cover harmonics."""
    voiced = model.hift.pitch_hz(mel) > 10
    assert voiced.any()


@pytest.mark.parametrize(
    ("frames", "sizes"),
    [
        *((150, sizes) for sizes in ([32, 50, 50], [16, 1, 0, 40, 3, 77], [149])),
        *((frames, [1] * frames) for frames in (1, 2, 5, 17, 18, 34, 150)),
    ],
)
def test_a_stream_in_any_pieces_is_the_one_shot(network, exact, mel, frames, sizes):
    clip = mel[:, :, :frames].double()
    whole = render(exact, clip, [])
    assert whole.shape == (frames * SAMPLES_PER_FRAME,)
    assert error(render(exact, clip, sizes), whole) < vocoder_bound(network, clip)


@pytest.mark.parametrize("sizes", [[1] * 150, [32, 50, 50], [149]])
def test_the_source_in_any_pieces_is_the_one_shots_in_float32_too(model, mel, sizes):
    """The phase is float64 there: only the last bit of the angle may differ, 2⁻²² below 2π, in every harmonic."""
    hift, numbers = model.hift, torch.Generator().manual_seed(3)
    noise = torch.randn(mel.shape[2], hift.harmonics * SAMPLES_PER_FRAME, generator=numbers)
    phase, at, pieces = torch.zeros(hift.harmonics, 1, dtype=torch.float64), 0, []
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
    assert error(render(exact, mel, [32, 50, 50]), whole) > 1000 * vocoder_bound(network, mel)


def test_the_negative_control_a_restarted_phase_is_heard(network, exact, mel):
    mel = mel.double()
    whole = render(exact, mel, [])
    stream, pieces = HiftStream(exact, 5), []
    for at in (0, 50, 100):
        pieces.append(stream.push(mel[:, :, at : at + 50]))
        stream._phase = torch.zeros_like(stream._phase)
    pieces.append(stream.flush())
    assert error(torch.cat(pieces), whole) > 1000 * vocoder_bound(network, mel)


def test_samples_leave_as_soon_as_they_are_certain(model, mel):
    stream = HiftStream(model.hift, 5)
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
    assert error(ours, plain) < vocoder_bound(network, clip) + 2**-24


def test_where_only_small_windows_were_captured_what_is_longer_is_plain(network, exact, by_windows, mel):
    """A stream keeps more frames than the smallest window has: it waited for ever for room."""
    by_windows.windows = [window for window in by_windows.windows if window.frames <= 33]
    clip = mel[:, :, :132].double()
    plain, ours = (render(hift, clip, [32, 50, 50]) for hift in (exact, by_windows))
    assert error(ours, plain) < vocoder_bound(network, clip) + 2**-24


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
        window(mel, torch.empty(1, 1, 0), phase, noise)
    assert not window._mel[:, :, 20 + window.ahead :].any()
    assert not window._source[:, :, 20 * SAMPLES_PER_FRAME :].any()
