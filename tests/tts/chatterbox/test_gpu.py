"""What only a GPU can show: `pytest -m gpu`. The small model; graphs against the same lines run plain."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tts.chatterbox import networks, weights
from tts.chatterbox.cuda_graph import GraphPool
from tts.chatterbox.decoding import GRAPH_REACH, Batch, Decoder, Generation
from tts.chatterbox.options import LoadOptions
from tts.chatterbox.s3gen import MEL_BANDS, Flow
from tts.chatterbox.sampling import TokenSampling
from tts.chatterbox.speaker import Speaker
from tts.chatterbox.t3 import T3
from tts.chatterbox.utterance import text_tokens
from tts.engine import SamplingParams

pytestmark = pytest.mark.gpu

CUDA = torch.device("cuda")
LIMIT = 60
TEXT = "Hello there, this is a test."
KNOBS = TokenSampling(0.5, 1.2, 0.95, 0.02, 1.2)
PARAMS = SamplingParams(0.5, 0.5, 0.8, 1.0, 0.05, 1.2, 7, 25, 50, "window")


@pytest.fixture(scope="module")
def on_gpu(checkpoint: Path) -> Speaker:
    return Speaker.load(checkpoint, LoadOptions("cuda", "float32", "float32", max_tokens=LIMIT, slots=3))


@contextmanager
def waits_forbidden() -> Iterator[None]:
    """CUDA calls that make the host wait raise in here."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def embeds(speaker: Speaker, text: str = TEXT) -> torch.Tensor:
    prefix = speaker.listeners.prefix(speaker.built_in, 0.5)
    with torch.inference_mode():
        return speaker.t3.embed_prefix(prefix, text_tokens(speaker.tokenizer, text).to(CUDA), guided=True)


def uniforms(seed: int) -> torch.Tensor:
    return torch.rand(LIMIT, generator=torch.Generator().manual_seed(seed), pin_memory=True)


def tokens(batch: Batch, slot: int, prefix: torch.Tensor, knobs: TokenSampling = KNOBS, seed: int = 0) -> list[int]:
    with torch.inference_mode():
        batch.admit(slot, prefix, knobs, uniforms(seed))
        return Generation(batch, slot, LIMIT).take(LIMIT)


def batch(t3: T3, slots: int, graphs: bool) -> Batch:
    made = Batch(t3, slots, 2, 4 * GRAPH_REACH, LIMIT, GraphPool(CUDA, enabled=graphs), GRAPH_REACH)
    made.warm_up()
    return made


# --- graphs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slots", [1, 3])
def test_a_graph_draws_the_tokens_that_the_plain_lines_draw(on_gpu, slots):
    prefix = embeds(on_gpu)
    plain, graphed = (tokens(batch(on_gpu.t3, slots, graphs), slots - 1, prefix) for graphs in (False, True))
    assert graphed == plain
    assert len(graphed) > 20


def test_the_tokens_are_those_of_the_processor(on_gpu, speaker):
    """float32 on both sides; greedy, so that the last bits do not matter."""
    greedy = replace(KNOBS, min_p=1.0)
    there = tokens(batch(on_gpu.t3, 1, graphs=True), 0, embeds(on_gpu), greedy)
    prefix, text = speaker.listeners.prefix(speaker.built_in, 0.5), text_tokens(speaker.tokenizer, TEXT)
    with torch.inference_mode(), Decoder(speaker.t3, LIMIT, slots=1).generate(prefix, text, greedy, 0) as generation:
        here = generation.take(LIMIT)
    assert there == here


@pytest.mark.parametrize("knob", ["cfg_weight", "temperature", "top_p", "min_p", "repetition_penalty"])
def test_a_parameter_that_changes_between_replays_acts(on_gpu, knob):
    changed = {"cfg_weight": 0.0, "temperature": 5.0, "top_p": 0.01, "min_p": 1.0, "repetition_penalty": 2.0}
    plain = TokenSampling(0.5, 2.0, 1.0, 0.0, 1.0)
    graphed, prefix = batch(on_gpu.t3, 1, graphs=True), embeds(on_gpu)
    usual = tokens(graphed, 0, prefix, plain)
    assert tokens(graphed, 0, prefix, replace(plain, **{knob: changed[knob]})) != usual
    assert tokens(graphed, 0, prefix, plain) == usual


def test_slots_are_each_as_if_alone(on_gpu):
    texts = [TEXT, "Short.", "A somewhat longer sentence than the others are."]
    prefixes = [embeds(on_gpu, text) for text in texts]
    alone = [tokens(batch(on_gpu.t3, 3, graphs=True), i, prefix, seed=i) for i, prefix in enumerate(prefixes)]
    shared = batch(on_gpu.t3, 3, graphs=True)
    with torch.inference_mode():
        generations = []
        for i, prefix in enumerate(prefixes):
            shared.admit(i, prefix, KNOBS, uniforms(i))
            generations.append(Generation(shared, i, LIMIT))
            generations[0].take(3, ahead=8)  # the first is under way when the others join
        heard = [generation.take(LIMIT) for generation in generations]
    assert heard[1:] == alone[1:]
    assert heard[0] == alone[0][9:]


def test_the_flows_graph_is_the_plain_flow(on_gpu, checkpoint):
    plain = Flow(networks.build_s3gen(weights.read_tensors(checkpoint, weights.S3GEN_WEIGHTS), CUDA).flow, CUDA)
    prompt = on_gpu.built_in.flow
    for count in (16, 78, 40):  # a long one before a short one
        ids = torch.randint(6561, (1, count), device=CUDA)
        noise = torch.randn(1, MEL_BANDS, 2 * (prompt.tokens.shape[1] + count), device=CUDA)
        with torch.inference_mode():
            expected = plain.solve(prompt, ids, prompt.mel[:, :0], noise)
            graphed = on_gpu.flow.solve(prompt, ids, prompt.mel[:, :0], noise)
        assert (graphed - expected).abs().max() < 1e-3


def test_mel_and_samples_are_those_of_the_processor(on_gpu, speaker):
    """Noise and phases are drawn on the host, so that both sides start from the same numbers."""
    ids = torch.randint(6561, (1, 30), generator=torch.Generator().manual_seed(0))
    noise = torch.randn(1, MEL_BANDS, 160, generator=torch.Generator().manual_seed(1))
    sides = [(speaker, torch.device("cpu")), (on_gpu, CUDA)]
    with torch.inference_mode():
        mels = [
            side.flow.solve(side.built_in.flow, ids.to(to), side.built_in.flow.mel[:, :0], noise.to(to)).cpu()
            for side, to in sides
        ]
    assert (mels[0] - mels[1]).abs().max() < 1e-2 * mels[0].abs().max()


def test_nothing_is_captured_inside_a_request(on_gpu, checkpoint):
    pools = (on_gpu.decoder.graphs, on_gpu.flow.graphs, on_gpu.hift.graphs)
    before = [pool.captured for pool in pools]
    assert min(before) > 0
    for params in (PARAMS, replace(PARAMS, cfg_weight=0.0), replace(PARAMS, decode_mode="full", seed=1)):
        list(on_gpu.stream(TEXT, on_gpu.built_in, params))
    assert [pool.captured for pool in pools] == before


# --- waiting ----------------------------------------------------------------------------------------------


def test_the_token_loop_never_waits(on_gpu):
    graphed, prefix = batch(on_gpu.t3, 1, graphs=True), embeds(on_gpu)
    graphed.warm_up()
    with torch.inference_mode():
        graphed.admit(0, prefix, KNOBS, uniforms(0))
        with waits_forbidden():
            graphed.queue(0, 30)
        assert len(graphed.read(0, 0, 30)) == 30


def test_flow_and_vocoder_never_wait(on_gpu):
    prompt, mel = on_gpu.built_in.flow, torch.randn(1, MEL_BANDS, 83, device=CUDA)
    ids = torch.randint(6561, (1, 78), device=CUDA)
    noise = torch.randn(1, MEL_BANDS, 2 * (prompt.tokens.shape[1] + 75), device=CUDA)
    source = torch.randn(1, 1, 83 * 480, device=CUDA)
    with torch.inference_mode():
        on_gpu.flow.solve(prompt, ids, prompt.mel[:, :0], noise)
        with waits_forbidden():
            on_gpu.flow.solve(prompt, ids, prompt.mel[:, :0], noise)
            on_gpu.hift.pitch_hz(mel)
            on_gpu.hift.render(mel, source)


# --- requests ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["full", "window", "block"])
def test_a_segment_is_960_samples_per_token_and_the_same_again(on_gpu, mode):
    def speak() -> tuple[np.ndarray, int]:
        chunks = list(on_gpu.stream(TEXT, on_gpu.built_in, replace(PARAMS, decode_mode=mode)))
        return np.concatenate([chunk.samples for chunk in chunks]), sum(chunk.speech_tokens for chunk in chunks)

    samples, drawn = speak()
    assert len(samples) == 960 * drawn
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() > 0.01
    assert np.array_equal(speak()[0], samples)


def test_memory_is_flat_over_two_hundred_requests(on_gpu):
    modes = ("window", "full", "block")

    def speak(i: int) -> None:
        params = replace(
            PARAMS, seed=i, cfg_weight=0.5 * (i % 2), decode_mode=modes[i % 3], chunk_size_tokens=10 + i % 30
        )
        stream = on_gpu.stream(TEXT[: 5 + i % 20], on_gpu.built_in, params)
        for number, _ in enumerate(stream):
            if i % 7 == 0 and number == 2:
                stream.close()  # a client that leaves

    for i in range(30):
        speak(i)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    for i in range(30, 230):
        speak(i)
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() <= before + 1_000_000
