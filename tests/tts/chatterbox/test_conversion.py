"""A recording in another voice, compared to upstream's converter: tokens, mel, lengths, and what a job leaves."""

from __future__ import annotations

import threading
import warnings
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from small import RATE, WINDOW, buzz, joined

from tts.chatterbox import conversion
from tts.chatterbox.clip import FLOW_SEED
from tts.chatterbox.conversion import convert, source_codes, windows
from tts.chatterbox.engine import ChatterboxEngine
from tts.chatterbox.options import LoadOptions
from tts.chatterbox.rates import ENCODER_RATE_HZ, MEL_BANDS, SAMPLES_PER_TOKEN
from tts.chatterbox.rendering import Rendering
from tts.chatterbox.runtime.host import NoiseTape
from tts.chatterbox.runtime.loop import THREAD_NAME
from tts.chatterbox.vocoder.stream import HiftStream
from tts.chatterbox.voice.encoders import SpeechTokenizer

MODES = pytest.mark.parametrize("mode", ["full", "window", "block"])
ROUNDING = 1e-4  # of a mel


def take(seconds: float, rate_hz: int = ENCODER_RATE_HZ) -> np.ndarray:
    """A recording of a gliding buzz in syllables, with noise between them."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    pitch_hz = 120 + 60 * np.sin(2 * np.pi * 0.31 * t) + 30 * np.sin(2 * np.pi * 1.7 * t)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / rate_hz
    loudness = 0.1 * np.abs(np.sin(2 * np.pi * 2.3 * t)) * (1 + np.sin(0.05 * t))
    voice = sum(np.sin(k * phase) / k for k in range(1, 12)) * loudness
    noise = np.random.default_rng(0).standard_normal(len(t)) * (0.003 + 0.1 * (np.sin(2 * np.pi * 0.9 * t) > 0.8))
    return (voice + noise).astype(np.float32)


def codes(model, recording: np.ndarray) -> list[int]:
    return [code for read in source_codes(model, recording) for code in read]


def upstreams(oracle, recording: np.ndarray) -> list[int]:
    with torch.inference_mode():
        tokens, _ = oracle.s3gen.tokenizer(torch.from_numpy(recording)[None])
    return tokens[0].tolist()


def converted(model, source: np.ndarray, source_hz: int = RATE, voice=None, **changes) -> np.ndarray:
    return joined(convert(model, source, source_hz, voice or model.built_in, replace(WINDOW, **changes)))


# --- tokens -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.04, 3, 3.0071, 30, 30.01, 41, 600])
def test_a_recordings_tokens_are_upstreams(model, oracle, seconds):
    """Of 10 minutes s3tokenizer loses the last 2 s: see below."""
    recording = take(seconds)
    expected, found = upstreams(oracle, recording), codes(model, recording)
    assert len(set(expected)) > 5 or len(expected) < 5
    assert found[: len(expected)] == expected
    assert len(found) == -(-(len(recording) // 160) // 4)


@pytest.mark.parametrize(("seconds", "lost_tokens"), [(52.5, 50), (55, 25)])
def test_where_a_window_would_begin_in_the_last_four_seconds_none_are_lost(model, oracle, seconds, lost_tokens):
    recording = take(seconds)
    expected, found = upstreams(oracle, recording), codes(model, recording)
    assert len(found) == round(seconds * 25 + 0.1) == len(expected) + lost_tokens
    settled = len(found) - 50
    assert found[:settled] == expected[:settled]


def test_the_negative_control_windows_on_their_own_scale_are_seen(model, oracle):
    """Quieter than 80 dB below the recording's loudest is as loud as that, wherever the loudest is."""
    recording = take(41)
    recording[30 * ENCODER_RATE_HZ :] *= 1e-3
    expected = upstreams(oracle, recording)
    assert codes(model, recording) == expected
    tokenizer, wav = model.encoders.tokenizer, torch.from_numpy(recording)
    spectrum = tokenizer.log_spectrum(wav, *windows(4100)[1])
    assert tokenizer.read(spectrum, float(spectrum.max()))[200:] != expected[850:]


def test_the_negative_control_windows_that_do_not_overlap_are_seen(model, oracle):
    recording, tokenizer = take(41), model.encoders.tokenizer
    wav = torch.from_numpy(recording)
    spectra = [tokenizer.log_spectrum(wav, *span) for span in ((0, 2800), (2800, 4100))]
    loudest = max(float(spectrum.max()) for spectrum in spectra)
    apart = [code for spectrum in spectra for code in tokenizer.read(spectrum, loudest)]
    assert len(apart) == 1025
    assert apart != upstreams(oracle, recording)


def test_tokens_are_read_a_window_at_a_time_in_the_thread_of_the_device(model, monkeypatch):
    reads: list[tuple[str, int]] = []
    read = SpeechTokenizer.read

    def noted(tokenizer, spectrum, loudest):
        reads.append((threading.current_thread().name, spectrum.shape[1]))
        return read(tokenizer, spectrum, loudest)

    monkeypatch.setattr(SpeechTokenizer, "read", noted)
    codes(model, take(60))
    assert [frames for _, frames in reads] == [3000, 3000, 800]
    assert all(thread.startswith(THREAD_NAME) for thread, _ in reads)


# --- sound ------------------------------------------------------------------------------------------------


@pytest.fixture(params=["guided", "distilled"])
def pair(request, model, oracle, distilled_model, distilled_oracle):
    """Our model and upstream's, with a flow of either kind."""
    return (model, oracle) if request.param == "guided" else (distilled_model, distilled_oracle)


def upstream_mel(oracle, path, voice, noise, monkeypatch) -> torch.Tensor:
    """What upstream's own converter gives its vocoder, for this noise."""
    mels: list[torch.Tensor] = []
    vocode = oracle.s3gen.hift_inference

    def noted(mel, *rest):
        mels.append(mel)
        return vocode(mel, *rest)

    monkeypatch.setattr(oracle.s3gen, "hift_inference", noted, raising=False)
    with warnings.catch_warnings(), monkeypatch.context() as patch:
        warnings.simplefilter("ignore")
        from chatterbox.vc import ChatterboxVC

        prompt = {"prompt_token": voice.flow.tokens, "prompt_feat": voice.flow.mel, "embedding": voice.flow.speaker}
        lengths = {"prompt_token_len": torch.tensor([voice.flow.tokens.shape[1]]), "prompt_feat_len": None}
        converter = ChatterboxVC(oracle.s3gen, "cpu", prompt | lengths)
        prompted = voice.flow.mel.shape[1]  # frames, whose noise a distilled flow draws apart
        patch.setattr(torch, "randn", lambda *size, **_: noise[:, :, prompted:][:, :, : size[2]])
        patch.setattr(
            torch, "randn_like", lambda like, **_: noise[:, :, : like.shape[2]] if like.shape[1] == 80 else like
        )
        made = converter.generate(path)
    assert made.shape[1] == mels[0].shape[2] * SAMPLES_PER_TOKEN // 2
    return mels[0]


@pytest.fixture
def mels(monkeypatch) -> list[torch.Tensor]:
    """What our vocoder gets from now on."""
    received: list[torch.Tensor] = []
    push = HiftStream.push

    def noted(stream, mel):
        received.append(mel)
        return push(stream, mel)

    monkeypatch.setattr(HiftStream, "push", noted)
    return received


@pytest.mark.parametrize("cloned", [False, True])
def test_the_mel_of_full_is_that_of_upstreams_converter(pair, tmp_path, monkeypatch, mels, cloned):
    model, oracle = pair
    source, path = take(3.3, 44_100), tmp_path / "take.wav"
    soundfile.write(path, source, 44_100, "FLOAT")
    voice = model.condition("clone", buzz(3.0, 210.0)) if cloned else model.built_in
    noise = NoiseTape(7 ^ FLOW_SEED, MEL_BANDS).read(0, 400).T[None]
    expected = upstream_mel(oracle, path, voice, noise, monkeypatch)
    converted(model, source, 44_100, voice, decode_mode="full", seed=7)
    ours = torch.cat(mels, dim=2)
    assert ours.shape == expected.shape
    assert (ours - expected).abs().max() < ROUNDING
    mels.clear()
    converted(model, source, 44_100, voice, decode_mode="full", seed=8)  # the control
    assert (torch.cat(mels, dim=2) - expected).abs().max() > 100 * ROUNDING


@MODES
@pytest.mark.parametrize(
    ("samples", "source_hz"),
    [(12_345, 16_000), (30_001, 22_050), (24_000, RATE), (54_321, 44_100), (47_999, 48_000), (9_999, 8_000)],
)
def test_the_clip_is_as_long_as_its_source(pair, mode, samples, source_hz):
    model, _ = pair
    source = take(samples / source_hz, source_hz)
    assert len(source) == samples
    chunks = list(convert(model, source, source_hz, model.built_in, replace(WINDOW, decode_mode=mode)))
    clip = joined(chunks)
    assert len(clip) == round(samples * RATE / source_hz)
    assert np.isfinite(clip).all()
    assert np.abs(clip).max() > 0.01
    assert [chunk.finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert all(chunk.watermarked for chunk in chunks if np.abs(chunk.samples).max(initial=0.0) > 0.01)
    assert sum(chunk.speech_tokens for chunk in chunks) == -(-(len(source) * 16_000 // source_hz // 160) // 4)
    assert (len([chunk for chunk in chunks if len(chunk.samples)]) > 1) == (mode != "full")


@MODES
@pytest.mark.parametrize("samples", [0, 1, 200, 958])
def test_less_than_a_token_is_silence(model, mode, samples):
    chunks = list(convert(model, take(1)[:samples], RATE, model.built_in, replace(WINDOW, decode_mode=mode)))
    assert np.array_equal(joined(chunks), np.zeros(samples, np.float32))
    assert not any(chunk.watermarked for chunk in chunks)
    assert chunks[-1].finish_reason == "stop"


@MODES
def test_silence_is_converted_like_any_other_sound(model, mode):
    assert len(converted(model, np.zeros(30_000, np.float32), decode_mode=mode)) == 30_000


@MODES
def test_the_same_request_is_the_same_clip_and_what_is_asked_for_acts(model, mode):
    source = take(1.5, RATE)
    usual = converted(model, source, decode_mode=mode)
    assert np.array_equal(converted(model, source, decode_mode=mode), usual)
    other_voice = converted(model, source, voice=model.condition("clone", buzz()), decode_mode=mode)
    others = [converted(model, source, decode_mode=mode, seed=8), converted(model, source[::-1], decode_mode=mode)]
    assert not any(np.array_equal(other, usual) for other in (other_voice, *others))


def test_a_long_recording_in_full_is_decoded_in_windows_and_says_so(model, monkeypatch):
    source, full = take(3, RATE), replace(WINDOW, decode_mode="full")
    monkeypatch.setattr(conversion, "LONG_CHUNK_TOKENS", 25)
    for limit, kinds in ((75, []), (74, ["windowed"])):
        monkeypatch.setattr(conversion, "WHOLE_TOKENS", limit)
        *_, last = chunks = list(convert(model, source, RATE, model.built_in, full))
        assert [remark.kind for remark in last.remarks] == kinds
    assert np.array_equal(joined(chunks), converted(model, source, chunk_size_tokens=25, context_window_tokens=100))


# --- what a job leaves ------------------------------------------------------------------------------------


@MODES
@pytest.mark.parametrize("sounds", [0, 1])
def test_a_conversion_that_is_cancelled_leaves_nothing(model, mode, sounds, monkeypatch):
    source, closed = take(2, RATE), []
    usual = converted(model, source, decode_mode=mode)
    monkeypatch.setattr(Rendering, "close", lambda rendering: closed.append(rendering))
    chunks = convert(model, source, RATE, model.built_in, replace(WINDOW, decode_mode=mode))
    for chunk in chunks:
        if not sounds or len(chunk.samples):
            break
    chunks.close()
    model.renders.call(lambda: None)  # what was posted is done
    assert model.renders._asks == []
    assert len(closed) == sounds  # before the first sound there is nothing to close
    assert np.array_equal(converted(model, source, decode_mode=mode), usual)


def test_noise_of_a_long_clip_is_freed_once_it_is_used(model, monkeypatch):
    """It is 0.9 MB a second, and was kept until the clip ended."""
    held: list[int] = []
    push = HiftStream.push

    def noted(stream, mel):
        samples = push(stream, mel)
        held.append(len(stream._noise._blocks))
        return samples

    monkeypatch.setattr(HiftStream, "push", noted)
    converted(model, take(6, RATE), chunk_size_tokens=25)
    assert len(held) > 5
    assert max(held) <= 3  # a block is 50 frames, a second; 6 without it


def test_the_engine_converts(checkpoint, model):
    engine = ChatterboxEngine(model_path=checkpoint, options=LoadOptions("cpu", "float32", "float32", max_tokens=1000))
    assert engine.spec.can_convert
    chunks = engine.convert(take(1, RATE), RATE, engine.condition("default", None), WINDOW)
    assert np.array_equal(joined(chunks), converted(model, take(1, RATE)))
