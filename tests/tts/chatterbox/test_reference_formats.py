"""A voice encoded from a recording in another format, or with a defect, is nearly that of the clean recording.

With random weights a rounding error can change a token, so continuous values are compared: both speaker embeddings, and
the mean mel frame of the flow's prompt. All sounds are similar to random weights, so beside the cosine the distance is
compared to that of another speaker: the same voice three tenths higher.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity

from audio.reference import decode_reference
from tests.audio.recordings import by_libav, by_libsndfile, voice
from tts.chatterbox.voice.conditioning import ChatterboxVoice


def spoken(rate_hz: int) -> np.ndarray:
    return voice(rate_hz, 3.0)


def stereo(rate_hz: int, left: float, right: float) -> np.ndarray:
    return np.stack([left * spoken(rate_hz), right * spoken(rate_hz)], axis=1)


def in_silence(rate_hz: int) -> np.ndarray:
    return np.pad(spoken(rate_hz), (2 * rate_hz, 3 * rate_hz))


# the least cosine, and the largest part of the distance to the other speaker
LOSSLESS, LOSSY = (0.99, 0.15), (0.95, 0.35)

RECORDINGS: dict[str, tuple[Callable[[], bytes], tuple[float, float]]] = {
    "wav 44 kHz stereo": (lambda: by_libsndfile(stereo(44_100, 1, 0.5), 44_100), LOSSLESS),
    "flac 192 kHz 24-bit": (lambda: by_libsndfile(spoken(192_000), 192_000, "FLAC", "PCM_24"), LOSSLESS),
    "opposite phases": (lambda: by_libsndfile(stereo(24_000, 0.7, -0.7), 24_000), LOSSLESS),
    "offset and beyond full scale": (lambda: by_libsndfile(6 * spoken(24_000) + 1, 24_000, "WAV", "FLOAT"), LOSSLESS),
    "quiet, in silence": (lambda: by_libsndfile(0.1 * in_silence(24_000), 24_000, "WAV", "PCM_24"), LOSSLESS),
    "µ-law 8 kHz": (lambda: by_libsndfile(spoken(8_000), 8_000, "WAV", "ULAW"), (0.95, 0.6)),
    "opus 48 kHz": (lambda: by_libsndfile(spoken(48_000), 48_000, "OGG", "OPUS"), LOSSY),
    "mp3 44 kHz": (lambda: by_libsndfile(stereo(44_100, 1, 1), 44_100, "MP3", "MPEG_LAYER_III"), LOSSY),
    "m4a 44 kHz": (lambda: by_libav(spoken(44_100), 44_100, "ipod", "aac"), LOSSY),
    "aac 32 kHz": (lambda: by_libav(spoken(32_000), 32_000, "adts", "aac"), LOSSY),
}


@pytest.fixture(scope="module")
def encode(model) -> Callable[[bytes], dict[str, torch.Tensor]]:
    def encode(data: bytes) -> dict[str, torch.Tensor]:
        made: ChatterboxVoice = model.condition("clone", decode_reference(data, 30.0))
        mel = made.flow.mel[0].mean(dim=0)
        return {"t3's speaker": made.speaker[0, 0], "the flow's speaker": made.flow.speaker[0], "mel": mel}

    return encode


@pytest.fixture(scope="module")
def clean(encode) -> dict[str, torch.Tensor]:
    return encode(by_libsndfile(spoken(24_000), 24_000, "WAV", "FLOAT"))


@pytest.fixture(scope="module")
def other(encode) -> dict[str, torch.Tensor]:
    return encode(by_libsndfile(spoken(24_000), 31_200, "WAV", "FLOAT"))


@pytest.mark.parametrize("name", RECORDINGS)
def test_the_conditioning_is_the_clean_recordings(encode, clean, other, name):
    make, (least_cosine, most_way) = RECORDINGS[name]
    received = encode(make())
    for part, tensor in clean.items():
        way = (received[part] - tensor).norm() / (other[part] - tensor).norm()
        assert cosine_similarity(received[part], tensor, dim=0) > least_cosine, part
        assert way < most_way, part
