"""The number of kernels per part of one chunk: operations that a GPU would run, without views.

    python -m bench.launches CHECKPOINT --model turbo

Ours are counted on fake CUDA tensors, so that what CUDA fuses counts as one; nothing is computed. Upstream reads values
on the host, so it is counted on the processor. The last line is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from tts.chatterbox.models import MODELS, ORIGINAL, ModelSpec
from tts.chatterbox.rates import MEL_BANDS, SAMPLES_PER_FRAME
from tts.chatterbox.runtime.cuda_graph import GraphPool
from tts.chatterbox.s3gen.flow import Flow
from tts.chatterbox.s3gen.network import DISTILLED_STEPS, FlowPrompt
from tts.chatterbox.t3.bodies import token_model
from tts.chatterbox.t3.decoding import CACHE_BUCKET
from tts.chatterbox.t3.slots import SlotState
from tts.chatterbox.vocoder.stream import Hift
from tts.chatterbox.weights.tensors import Tensors

# As upstream and we use these, they move no memory.
VIEWS = {
    *("view", "_unsafe_view", "slice", "select", "permute", "transpose", "t", "numpy_T", "expand", "expand_as"),
    *("unsqueeze", "squeeze", "split", "unbind", "chunk", "as_strided", "detach", "_reshape_alias", "flatten"),
    *("unflatten", "reshape", "empty", "new_empty", "empty_like", "lift_fresh", "contiguous", "alias", "swapaxes"),
}
FRAMES = 83  # of a chunk in the vocoder: 50 new, 16 before, 17 after
LOOKS = ("_local_scalar_dense", "item", "is_nonzero", "equal", "nonzero")  # the host waits for a value


class Launches(TorchDispatchMode):
    """Counts by operation; views and empty memory are no launches."""

    def __init__(self) -> None:
        super().__init__()
        self.by_name: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        space, name, *_ = str(func).split(".")
        if space == "aten" and name not in VIEWS:
            self.by_name[name] += 1
        return func(*args, **(kwargs or {}))


def count(run: Callable[[], object]) -> dict[str, int]:
    with Launches() as launches, torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run()
    looks = sum(launches.by_name.pop(name, 0) for name in LOOKS)
    return {"launches": launches.by_name.total(), "looks": looks}


def ours(directory: Path, spec: ModelSpec, tokens: int) -> dict[str, dict[str, int]]:
    """A T3 step with sampling, a solution of the flow and a chunk of the vocoder, on fake CUDA tensors."""
    cuda = torch.device("cuda")
    files = {file: load_file(directory / file) for file in (spec.t3, spec.s3gen)}
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:

        def fake(file: str) -> Tensors:
            state = {name: mode.from_tensor(tensor) for name, tensor in files[file].items()}
            return Tensors(file, state, cuda, check_values=False)

        t3, s3gen = token_model(fake(spec.t3), torch.bfloat16), fake(spec.s3gen)
        slots = SlotState.empty(1, t3.vocabulary, 1000, cuda)
        cache = t3.new_cache(t3.rows, 10 * CACHE_BUCKET)

        def step() -> None:
            embed = t3.embed_speech(slots.token, slots.step).repeat(t3.rows, 1)
            logits = t3.decode_one_token(embed, cache, slots.position.repeat(t3.rows), 2 * CACHE_BUCKET)
            slots.draw(logits.view(t3.rows, 1, -1), t3.plain.sample)

        found = {"T3 step": count(step)}
        flow = Flow(s3gen.at("flow."), graphs=GraphPool(torch.device("cpu"), "flow"))
        ids, none = torch.zeros(1, tokens, dtype=torch.int64, device=cuda), torch.zeros(1, 0, MEL_BANDS, device=cuda)
        prompt = FlowPrompt(ids, none, torch.zeros(1, 192, device=cuda))
        noise = torch.zeros(1, MEL_BANDS, 2 * tokens, device=cuda)
        found["flow"] = count(lambda: flow.solve(prompt, ids[:, :0], none, noise))
        hift = Hift(s3gen.at("mel2wav."))
        mel = torch.zeros(1, MEL_BANDS, FRAMES, device=cuda)
        nothing = torch.zeros(1, 1, 0, device=cuda)
        phase = torch.zeros(hift.harmonics, 1, dtype=torch.float64, device=cuda)
        noise = torch.zeros(FRAMES, hift.harmonics * SAMPLES_PER_FRAME, device=cuda)
        found["vocoder"] = count(lambda: hift.render(mel, nothing, phase, noise, ahead=0))
    return found


def upstreams(directory: Path, spec: ModelSpec, tokens: int) -> dict[str, dict[str, int]]:
    """The same for upstream's own objects, on the processor."""
    from bench.contenders.upstream import engine

    tts = engine(spec, directory, "cpu")
    prompt = tts.conds.gen
    text = torch.zeros(1 if spec.is_gpt2 else 2, 40, dtype=torch.int64)
    if not spec.is_gpt2:
        text[:, 0], text[:, -1] = tts.t3.hp.start_text_token, tts.t3.hp.stop_text_token

    def draw(steps: int) -> dict[str, int]:
        if spec.is_gpt2:
            return count(lambda: tts.t3.inference_turbo(tts.conds.t3, text, max_gen_len=steps))
        return count(lambda: tts.t3.inference(t3_cond=tts.conds.t3, text_tokens=text, max_new_tokens=steps))

    short, longer = draw(2), draw(7)
    ids = torch.zeros(1, tokens - prompt["prompt_token"].shape[1], dtype=torch.int64)
    mel = torch.zeros(1, MEL_BANDS, FRAMES)
    if spec.is_gpt2:
        noise = torch.zeros(1, MEL_BANDS, 2 * ids.shape[1])
        prompt = prompt | {"n_timesteps": DISTILLED_STEPS, "meanflow": True, "noised_mels": noise}
    return {
        "T3 step": {name: (longer[name] - short[name]) // 5 for name in short},
        "flow": count(
            lambda: tts.s3gen.flow.inference(token=ids, token_len=torch.tensor([ids.shape[1]]), finalize=True, **prompt)
        ),
        "vocoder": count(lambda: tts.s3gen.mel2wav.inference(speech_feat=mel)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Count the launches of a chunk's parts.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--model", choices=MODELS, default=ORIGINAL.name)
    parser.add_argument("--tokens", type=int, default=178, help="of prompt, context, chunk and look-ahead")
    options = parser.parse_args()
    sides = {"upstream": upstreams, "ours": ours}
    found = {name: of(options.checkpoint, MODELS[options.model], options.tokens) for name, of in sides.items()}
    facts = {"bench": "launches", "torch": torch.__version__, "model": options.model, "tokens": options.tokens}
    for part in found["ours"]:
        theirs, own = found["upstream"][part], found["ours"][part]
        print(f"{part:10} upstream {theirs['launches']:6} launches {theirs['looks']:4} looks   ", end="")
        print(f"ours {own['launches']:6} launches {own['looks']:4} looks")
    print(json.dumps(facts | found))


if __name__ == "__main__":
    main()
