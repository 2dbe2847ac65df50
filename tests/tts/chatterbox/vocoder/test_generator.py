"""Our forward of the vocoder's networks compared to upstream's, and that it can be captured."""

from __future__ import annotations

import copy

import pytest
import torch
from rounding import bound, exact_vocoder
from safetensors.torch import load_file
from small import Operations
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from bench.checkpoint import originals
from tts.chatterbox.models import ORIGINAL
from tts.chatterbox.rates import SAMPLES_PER_FRAME
from tts.chatterbox.vocoder.generator import FLATTEST, Generator, PitchPredictor
from tts.chatterbox.vocoder.stream import Hift
from tts.chatterbox.weights.tensors import Tensors

LEAST_SLOPE, GUARD = 0.1, 1e-9  # upstream adds this to a slope before it divides by it


@pytest.fixture(scope="module")
def network(oracle):
    """Upstream's in float64, with different slopes, as after training; initial ones are all 1, and fold to nothing."""
    trained, numbers = exact_vocoder(oracle), torch.Generator().manual_seed(1)
    for slopes in slopes_of(trained):
        slopes.uniform_(LEAST_SLOPE, 3.0, generator=numbers)
    return trained


def slopes_of(network) -> list[torch.Tensor]:
    return [parameter.detach() for name, parameter in network.named_parameters() if name.endswith("alpha")]


@pytest.fixture(scope="module")
def ours(network) -> Generator:
    return generator(network)


def generator(network: nn.Module) -> Generator:
    return Generator(Tensors("network", network.state_dict()))


def noise_of(frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A mel and a source of noise."""
    numbers = torch.Generator().manual_seed(frames)
    mel = torch.randn(1, 80, frames, generator=numbers, dtype=torch.float64) * 2 - 5
    return mel, torch.randn(1, 1, frames * SAMPLES_PER_FRAME, generator=numbers, dtype=torch.float64) / 10


def tolerance(network) -> float:
    """Of the peak: rounding, and GUARD, by which each Snake's second term differs."""
    return bound(network, torch.float64) + len(slopes_of(network)) * GUARD / LEAST_SLOPE


def error(a: torch.Tensor, b: torch.Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max() / b.abs().max())


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 2, 17, 83])
def test_the_generator_is_upstreams(network, ours, frames):
    mel, source = noise_of(frames)
    theirs = network.decode(x=mel, s=source)[0]
    assert theirs.abs().max() < network.audio_limit
    assert error(ours(mel, source), theirs) < tolerance(network)


@torch.no_grad()
def test_what_is_too_loud_is_cut_where_upstream_cuts_it(network):
    loud = copy.deepcopy(network)
    loud.conv_post.bias += 5  # magnitudes around e⁵, above the limit of 100
    mel, source = noise_of(5)
    theirs = loud.decode(x=mel, s=source)[0]
    assert theirs.abs().max() == loud.audio_limit
    assert (theirs.abs() < loud.audio_limit).any()
    before_the_cut = 30  # the largest sample, in full scales
    assert (generator(loud)(mel, source) - theirs).abs().max() < tolerance(loud) * before_the_cut


@torch.no_grad()
def test_a_slope_of_nought_is_no_division_by_it(network):
    flat = copy.deepcopy(network)
    for slopes in slopes_of(flat):
        slopes[::3] = 0.0
    mel, source = noise_of(5)
    ours, theirs = generator(flat)(mel, source), flat.decode(x=mel, s=source)[0]
    assert error(ours, theirs) < tolerance(network) + len(slopes_of(flat)) * FLATTEST  # x + FLATTEST · x², x about 1


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 2, 17, 83])
def test_the_pitch_is_upstreams(network, frames):
    mel, _ = noise_of(frames)
    ours = PitchPredictor(Tensors("network", network.f0_predictor.state_dict()))
    assert error(ours(mel), network.f0_predictor(mel)) < bound(network.f0_predictor, torch.float64)


@torch.no_grad()
def test_a_forward_leaves_what_it_reads_as_it_was(ours):
    mel, source = noise_of(3)
    before = mel.clone(), source.clone()
    once, again = ours(mel, source), ours(mel, source)
    assert torch.equal(once, again)
    assert torch.equal(mel, before[0])
    assert torch.equal(source, before[1])


# --- capture ----------------------------------------------------------------------------------


@pytest.fixture
def imagined(checkpoint):
    """Tensors on a GPU that need not exist: shapes and devices are real, values are not.

    Reading a value, or using a tensor on the host, raises.
    """
    state = load_file(checkpoint / ORIGINAL.s3gen)
    with torch.no_grad(), FakeTensorMode() as mode, torch.device("cuda"):
        yield {name: mode.from_tensor(tensor) for name, tensor in state.items()}


def test_no_part_looks_at_a_value_or_at_the_host(imagined):
    s3gen = Tensors("s3gen", imagined, torch.device("cuda"), check_values=False)
    frames, hift = 7, Hift(s3gen.at("mel2wav."))
    mel, noise = torch.empty(1, 80, frames), torch.empty(frames, hift.harmonics * SAMPLES_PER_FRAME)
    phase, nothing = torch.empty(hift.harmonics, 1, dtype=torch.float64), torch.empty(1, 1, 0)
    with torch.device("cpu"):  # a tensor that a part creates without a device would be on the host
        samples, _, phase = hift.render(mel, nothing, phase, noise, ahead=0)
    assert samples.shape == (frames * SAMPLES_PER_FRAME,)
    assert {samples.device.type, phase.device.type} == {"cuda"}


def test_the_negative_control_upstreams_forward_looks(imagined):
    with pytest.raises(DataDependentOutputException):
        originals.vocoder(imagined).decode(x=torch.empty(1, 80, 7), s=torch.empty(1, 1, 7 * SAMPLES_PER_FRAME))


@torch.no_grad()
def test_a_forward_is_few_operations_and_no_weight_norm(network, ours):
    mel, source = noise_of(3)
    with Operations() as theirs:
        network.decode(x=mel, s=source)
    with Operations() as operations:
        ours(mel, source)
    assert operations.launches < 310 < theirs.launches / 2
    assert "_weight_norm_interface" in theirs.names
    assert "_weight_norm_interface" not in operations.names
