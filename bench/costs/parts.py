"""The parts of a request in the real code, counted on pretended CUDA tensors, for each model, in any size."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from bench.checkpoint import gpt2, originals, seeded
from bench.costs import captures
from bench.costs.operations import Counts, NotedPool, count
from bench.parts import CHUNK, CONTEXT, FIRST
from tts.chatterbox.kernels.estimating import PLAIN
from tts.chatterbox.kernels.fused import DECODE, FRAMES, TURBO_DECODE
from tts.chatterbox.model import DEFAULT_FRAMES
from tts.chatterbox.models import ORIGINAL, ModelSpec
from tts.chatterbox.rates import (
    FRAMES_PER_S,
    FRAMES_PER_TOKEN,
    LOOKAHEAD_TOKENS,
    MEL_BANDS,
    TOKENS_PER_S,
    XVECTOR,
)
from tts.chatterbox.runtime.host import NoiseTape
from tts.chatterbox.runtime.memory import WATCH_NODES, ModelSize
from tts.chatterbox.s3gen.blocks import ROWS_OF_A_JOB, BlockRows, Blocks
from tts.chatterbox.s3gen.flow import BUCKETS, Flow
from tts.chatterbox.s3gen.network import FlowPrompt
from tts.chatterbox.s3gen.rows import COUNTS
from tts.chatterbox.s3gen.solve import Solve
from tts.chatterbox.s3gen.stream import STREAMS, ChunkPlan
from tts.chatterbox.t3.batch import Batch
from tts.chatterbox.t3.bodies import token_model
from tts.chatterbox.t3.decoding import CACHE_BUCKET, cache_positions
from tts.chatterbox.t3.model import TokenModel
from tts.chatterbox.t3.sampling import TokenSampling
from tts.chatterbox.vocoder.stream import Hift, HiftStream
from tts.chatterbox.voice.encoders import SkipInit
from tts.chatterbox.weights.family import Shapes
from tts.chatterbox.weights.tensors import Tensors
from validation.request import DEFAULT_SAMPLING

CUDA = torch.device("cuda")
OWN, PLAINLY = "kernels of our own", "plain lines"
KNOBS = TokenSampling.of(DEFAULT_SAMPLING)
PREFIX = 110  # positions: conditioning and a text of 70 letters
GPT2_PREFIX = 1 + gpt2.PROMPT_TOKENS + 20 + 1  # likewise: speaker, prompt, text and start
HALFWAY = 73  # of 146 tokens: where an average step is
SLOTS = (1, 4, 8, 16, 32)
PROMPTS_S = (4, 10)
MEMORY_SLOTS = (1, 4, 16)
KERNELS = (torch.float16, torch.bfloat16)  # the formats in which the networks run on kernels of our own
FORMATS = {"float16": (torch.float16, PROMPTS_S), "float32": (torch.float32, PROMPTS_S[-1:])}


@dataclass(frozen=True, slots=True)
class Counted:
    """A model, and what its parts do on a GPU, by the names of `bench.parts` and more.

    graphs: the nodes of each kind of graph that a start captures, with kernels of our own and without.
    """

    spec: ModelSpec
    size: ModelSize
    parts: Mapping[str, Counts]
    graphs: Mapping[str, Mapping[str, int]]


@contextmanager
def pretended() -> Iterator[None]:
    with warnings.catch_warnings(), FakeTensorMode(allow_non_fake_inputs=True):
        warnings.simplefilter("ignore")
        yield


def weights(sizes: seeded.Sizes, spec: ModelSpec = ORIGINAL) -> tuple[Tensors, Tensors]:
    """Of T3 and S3Gen, without values; inside `pretended`, as the following two."""
    return t3_weights(sizes, spec), s3gen_weights(sizes, spec)


def t3_weights(sizes: seeded.Sizes, spec: ModelSpec = ORIGINAL) -> Tensors:
    state = gpt2.drawn(sizes, gpt2.TEXT_IDS) if spec.is_gpt2 else seeded._t3(sizes, 60)
    return Tensors(spec.t3, state, CUDA, check_values=False)


def s3gen_weights(sizes: seeded.Sizes, spec: ModelSpec = ORIGINAL) -> Tensors:
    known = seeded._shapes(sizes)
    with SkipInit():
        nets = {"flow": originals.flow(known), "mel2wav": originals.vocoder(known)}
    state = {f"{name}.{key}": value for name, net in nets.items() for key, value in net.state_dict().items()}
    if spec.is_gpt2:
        seeded.plant_mixer(state)
    return Tensors(spec.s3gen, state, CUDA, check_values=False)


def t3_with(tensors: Tensors, spec: ModelSpec = ORIGINAL, kernels: bool = True) -> TokenModel:
    """In bfloat16. kernels: of our own."""
    t3 = token_model(tensors, torch.bfloat16)
    if kernels:
        t3.ops = TURBO_DECODE if spec.is_gpt2 else DECODE
    return t3


def count_t3(t3: TokenModel, slots: int = 1, spec: ModelSpec = ORIGINAL) -> dict[str, Counts]:
    """The admission of a request, and a step in the middle of it."""
    pool, limit, prefix = NotedPool("token model"), spec.max_tokens, GPT2_PREFIX if spec.is_gpt2 else PREFIX
    positions = cache_positions(limit, spec.prefix_positions)
    batch = Batch(t3, slots, t3.rows, positions, limit, pool, CACHE_BUCKET)
    batch.warm_up()

    def admit(positions: int) -> None:
        embeds = torch.zeros(t3.rows, positions, t3.width, dtype=t3.dtype, device=CUDA)
        batch.admit(0, embeds, KNOBS, torch.zeros(limit))

    admission = count(partial(admit, prefix), pool)
    with torch.inference_mode():
        admit(prefix + HALFWAY)
        batch.step()
    return {"T3, prefill": admission, step_name(slots): count(batch.step, pool)}


def step_name(slots: int) -> str:
    return "T3, a step" if slots == 1 else f"T3, a step of {slots} slots"


def flow_with(
    tensors: Tensors, dtype: torch.dtype, buckets: Sequence[int] = BUCKETS, kernels: bool = True
) -> tuple[Flow, NotedPool]:
    """kernels: of our own, in the formats that have them."""
    pool, rows = NotedPool("flow"), max(COUNTS)
    ops = FRAMES if kernels and dtype in KERNELS else PLAIN
    return Flow(tensors.at("flow."), None, dtype, pool, buckets, rows=rows, block_rows=rows, ops=ops), pool


def count_flow(flow: Flow, pool: NotedPool, prompt_s: int) -> dict[str, Counts]:
    """A first chunk and one in the steady state, by mode, of one stream and of several; and a new voice."""
    found = {
        f"flow, {mode}, {name}{of_streams(number)}": count_chunk(mode, prompt_s, flow, pool, is_first, number)
        for mode in STREAMS
        for name, is_first in (("first chunk", True), ("a chunk", False))
        for number in COUNTS
    }
    return found | {"flow, block, a new voice": count_new_voice(prompt_s, flow, pool)}


def of_streams(number: int) -> str:
    """Whose chunks are solved side by side."""
    return "" if number == 1 else f" of {number} streams"


def count_chunk(mode: str, prompt_s: int, flow: Flow, pool: NotedPool, first: bool, streams: int = 1) -> Counts:
    """The first chunk, or the second one after a first that fills the context; of so many streams of a known voice."""
    voice = prompt(prompt_s)
    running = [
        STREAMS[mode](flow, voice, NoiseTape(1, MEL_BANDS), ChunkPlan(FIRST, CHUNK, CONTEXT)) for _ in range(streams)
    ]

    def push(tokens: int) -> Counts:
        return count_solves(flow, pool, [stream.solving([0] * tokens) for stream in running])

    if mode == "block":
        count_new_voice(prompt_s, flow, pool, voice)
    counts = push(FIRST + LOOKAHEAD_TOKENS)
    if not first:
        for _ in range(CONTEXT // CHUNK + 1):
            counts = push(CHUNK)
    for stream in running:
        stream.close()
    return counts


def count_new_voice(prompt_s: int, flow: Flow, pool: NotedPool, voice: FlowPrompt | None = None) -> Counts:
    opened: list[Blocks] = []

    def opening() -> Generator[Solve, None, None]:
        sizes = (tokens * FRAMES_PER_TOKEN for tokens in (CONTEXT, CHUNK))
        opened.append((yield from flow.opening(voice or prompt(prompt_s), *sizes)))

    counts = count_solves(flow, pool, [opening()])
    opened[0].close()
    return counts


def count_solves(flow: Flow, pool: NotedPool, solvings: Sequence[Generator[Solve, None, object]]) -> Counts:
    """Generators of one solution each, which advance together. Euler's steps are alike from the second one on, so that
    is run for all the rest."""
    solves: list[Solve] = []
    begin = count(lambda: solves.extend(map(next, solvings)), pool)
    first, second = (count(lambda: flow.advance(solves), pool) for _ in range(2))
    for solve in solves:
        solve.steps_left = 0
    end = count(lambda: [next(solving, None) for solving in solvings], pool)
    return begin.then(first).then(second, len(flow.strides) - 1).then(end)


def prompt(seconds: int) -> FlowPrompt:
    tokens = seconds * TOKENS_PER_S
    mel = torch.zeros(1, tokens * FRAMES_PER_TOKEN, MEL_BANDS, device=CUDA)
    ids = torch.zeros(1, tokens, dtype=torch.int64, device=CUDA)
    return FlowPrompt(ids, mel, torch.zeros(1, XVECTOR, device=CUDA))


def count_step(flow: Flow, pool: NotedPool, prompt_s: int) -> dict[str, Counts]:
    """What a window of the steady state consists of: its encoder, and the network in each of its Euler steps."""
    wanted = prompt_s * TOKENS_PER_S + CONTEXT + CHUNK + LOOKAHEAD_TOKENS
    tokens = min(size for size in BUCKETS if size >= wanted)
    frames = tokens * FRAMES_PER_TOKEN
    ids, number = torch.zeros(1, tokens, dtype=torch.int64, device=CUDA), torch.tensor(tokens).to(CUDA)
    rows = flow.branches
    x = torch.zeros(rows, frames, MEL_BANDS, device=CUDA)
    fixed = torch.zeros(rows, frames, 3 * MEL_BANDS, dtype=flow.dtype, device=CUDA)
    mask, step = (
        torch.zeros(rows, frames, dtype=flow.dtype, device=CUDA),
        torch.zeros(1, dtype=torch.int64, device=CUDA),
    )
    return {
        "flow, window, encoder": count(pool.capture(lambda: flow._encoder(ids, number)), pool),
        "flow, window, a step": count(pool.capture(lambda: flow._estimator(x, fixed, step, mask)), pool),
    }


def count_vocoder(hift: Hift, pool: NotedPool) -> dict[str, Counts]:
    """A stream's first chunk, with the stream's setting up, and one in the steady state."""
    streams: list[HiftStream] = []

    def push(tokens: int) -> None:
        streams[0].push(torch.zeros(1, MEL_BANDS, tokens * FRAMES_PER_TOKEN, device=CUDA))

    def begin() -> None:
        streams.append(HiftStream(hift, 1))
        push(FIRST)

    first = count(begin, pool)
    for _ in range(2):
        count(lambda: push(CHUNK))
    return {"vocoder, first chunk": first, "vocoder, a chunk": count(lambda: push(CHUNK), pool)}


def count_longest(flow: Flow, pool: NotedPool, hift: Hift, hift_pool: NotedPool) -> dict[str, Counts]:
    """What takes the most memory: the flow's largest graphs, the vocoder's, and a segment of 19 s rendered at once."""
    frames = 280 * FRAMES_PER_S // 15  # 280 letters, 15 a second

    def render() -> None:
        HiftStream(hift, 1).push(torch.zeros(1, MEL_BANDS, frames, device=CUDA))

    largest = flow._buckets[-1]
    assert largest._run
    return {
        "flow, the largest preparation": count(largest._run, pool),
        "flow, the largest step": count(largest._replays[1][1], pool),
        "vocoder, the largest graph": count(hift.windows[-1].run, hift_pool),
        "vocoder, a segment at once": count(render, hift_pool),
    }


def count_block_rows(flow: Flow) -> dict[str, Counts]:
    """Nothing but the memory that they keep."""
    kept: list[BlockRows] = []
    return {
        f"flow, block, {slots} jobs": count(
            partial(lambda rows: kept.append(BlockRows(flow, rows)), ROWS_OF_A_JOB * slots)
        )
        for slots in MEMORY_SLOTS
    }


def count_graphs(t3_file: Tensors, s3gen: Tensors, spec: ModelSpec, kernels: bool) -> dict[str, int]:
    """The nodes of each kind of graph that a start captures: see `captures.graphs`."""
    t3 = count_t3(t3_with(t3_file, spec, kernels), spec=spec)
    flow, pool = flow_with(s3gen, torch.float16, BUCKETS[:1], kernels)
    hift_pool = NotedPool("vocoder")
    hift = Hift(s3gen.at("mel2wav."), hift_pool, DEFAULT_FRAMES)
    window, blocks = flow._buckets[0], flow._block_rows
    assert blocks
    assert window._run
    runs = {
        captures.PREPARATION: window._run,
        captures.WINDOW: window._replays[1][1],
        captures.BLOCK: blocks._replays[1][1],
    }
    return {
        captures.STEP: t3["T3, a step"].captured,
        captures.ATTENTION: 0 if spec.is_gpt2 else WATCH_NODES,
        captures.PREFILL: t3["T3, prefill"].captured,
        **{name: count(run, pool).kernels for name, run in runs.items()},
        captures.VOCODER: count(hift.windows[-1].run, hift_pool).kernels,
    }


def count_all(sizes: seeded.Sizes, spec: ModelSpec = ORIGINAL) -> Counted:
    with pretended():
        t3_file, s3gen = weights(sizes, spec)
        t3 = t3_with(t3_file, spec)
        found = {name: counts for slots in SLOTS for name, counts in count_t3(t3, slots, spec).items()}
        for dtype_name, (dtype, prompts_s) in FORMATS.items():
            flow, flow_pool = flow_with(s3gen, dtype)
            for prompt_s in prompts_s:
                counted = count_flow(flow, flow_pool, prompt_s) | count_step(flow, flow_pool, prompt_s)
                found |= {f"{name}, {dtype_name}, {prompt_s} s": counts for name, counts in counted.items()}
        pool = NotedPool("vocoder")
        hift = Hift(s3gen.at("mel2wav."), pool, DEFAULT_FRAMES)
        half = flow_with(s3gen, torch.float16)
        found |= count_vocoder(hift, pool) | count_longest(*half, hift, pool) | count_block_rows(half[0])
        graphs = {how: count_graphs(t3_file, s3gen, spec, how == OWN) for how in (OWN, PLAINLY)}
        return Counted(spec, ModelSize.of(shapes(t3_file), shapes(s3gen)), found, graphs)


def shapes(tensors: Tensors) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in tensors._state.items()}
