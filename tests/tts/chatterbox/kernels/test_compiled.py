"""The kernels as a GPU gets them, compiled without one: registers, spills, shared memory and the width of their loads.

All that is compiled here is what `ahead` compiles when the image is built.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton")

import torch
import triton
from triton.backends.nvidia import compiler
from triton.runtime import driver

from bench.checkpoint import originals, seeded
from bench.checkpoint.seeded import SIZES
from tts.chatterbox.kernels import fused
from tts.chatterbox.kernels.ahead import (
    CAPABILITIES,
    FRAME_INNER,
    FRAME_WIDTH,
    INNER,
    NANO_INNER,
    NANO_WIDTH,
    TURBO_VOCABULARY,
    VOCABULARY,
    WARP,
    WIDTH,
    aim,
    attention_launches,
    launches,
)
from tts.chatterbox.kernels.choice import TURBO_KERNELS, Draws, decode_trials, frame_trials
from tts.chatterbox.kernels.launch import Launch
from tts.chatterbox.rates import MEL_BANDS
from tts.chatterbox.s3gen.estimator import Estimator
from tts.chatterbox.weights.tensors import Tensors

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[4]
CPU = torch.device("cpu")
TOOLS = Path(compiler.__file__).parent / "bin"
REGISTERS = 65_536  # of a multiprocessor, on all of them
SHARED_BYTES = 99 * 1024  # of one program: sm_86, 89 and 120; others have more
# Warps that are to fit a multiprocessor at once: a single program that has all of it, or enough of them to hide what
# memory takes. Streams of weights hide it by their stages instead.
WARPS = {"skinny": 16, "frames_product": 16, "draw_tokens": 16, "attend_pieces": 24, "join_pieces": 24}
SMALL_WARPS = 32
SIXTEEN_BYTES = {  # of loads from memory: straight into shared memory, or into registers
    **dict.fromkeys(("skinny", "frames_product"), r"cp\.async\.c[ag]\.shared\.global .*, 0x10\b"),
    **dict.fromkeys(("attend_pieces", "join_pieces", "swiglu"), r"ld\.global\S*\.v4\.b32"),
}
WHOLE = 90  # for which all are compiled; for the others, those are left out that are much like another
LIKE_OTHERS = {name for name in launches() if "bfloat16" in name or name in ("draw, 1 rows", "norm_logits, 32 rows")}
LAUNCHERS = """
import os, sys
from tts.chatterbox.kernels import ahead
ahead.CAPABILITIES = (90,)
launches = dict(ahead.attention_launches())
ahead.launches = lambda: launches
ahead.main()
"""
NARROWER = r"cp\.async\.c[ag]\.shared\.global .*, 0x[48]\b"


@pytest.fixture(scope="module", autouse=True)
def _a_cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = driver._active
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.mktemp("triton")))
        yield
    driver._active = before


def faults(launch: Launch, tmp_path: Path) -> list[str]:
    """What is wrong with a kernel, compiled for the GPU that was aimed at."""
    compiled, name = launch.compile(), launch.kernel.__name__
    (tmp_path / "cubin").write_bytes(compiled.asm["cubin"])
    command = [TOOLS / "cuobjdump", "-res-usage", tmp_path / "cubin"]
    usage = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"REG:(\d+) STACK:(\d+)", usage.stdout + usage.stderr)
    assert found
    registers, spilled = map(int, found.groups())
    most = REGISTERS // (WARP * WARPS.get(name, SMALL_WARPS)) // 8 * 8  # allocated by eights
    wide, ptx = SIXTEEN_BYTES.get(name), compiled.asm["ptx"]
    return [
        *([f"{registers} registers, more than {most}"] if registers > most else []),
        *([f"{spilled} bytes of spills"] if spilled else []),
        *([f"{compiled.metadata.shared} bytes of shared memory"] if compiled.metadata.shared > SHARED_BYTES else []),
        *(["no load of 16 bytes"] if wide and not re.search(wide, ptx) else []),
        *(["narrow loads into shared memory"] if re.search(NARROWER, ptx) else []),
    ]


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_no_kernel_spills_or_takes_more_than_its_share(capability: int, tmp_path: Path) -> None:
    aim(capability)
    tried = {name: launch for name, launch in launches().items() if capability == WHOLE or name not in LIKE_OTHERS}
    found = {name: faults(launch, tmp_path) for name, launch in tried.items()}
    assert len(found) > 15
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


def changed(name: str, **options: int) -> Launch:
    launch = launches()[name]
    return replace(launch, options=launch.options | options)


def misaligned() -> Launch:
    """A cache whose heads are an odd number of positions and a half apart."""
    launch = dict(attention_launches())["attend_pieces"]
    steps = {index: value + 1 for index, value in enumerate(launch.args) if isinstance(value, int) and value > 1000}
    return replace(launch, args=tuple(steps.get(index, value) for index, value in enumerate(launch.args)))


@pytest.mark.parametrize(
    ("launch", "fault"),
    [
        pytest.param(lambda: changed("attend_pieces", PIECE=256), "registers, more than 80", id="registers"),
        pytest.param(lambda: changed("attend_pieces", PIECE=1024), "bytes of spills", id="spills"),
        pytest.param(lambda: changed("linear_add, attention", num_stages=8), "of shared memory", id="shared memory"),
        pytest.param(misaligned, "no load of 16 bytes", id="wide loads"),
        pytest.param(lambda: changed("linear_add, attention", num_stages=1), "no load of 16", id="asynchronous loads"),
    ],
)
def test_each_limit_can_be_broken(launch: Callable[[], Launch], fault: str, tmp_path: Path) -> None:
    aim(WHOLE)
    assert fault in " ".join(faults(launch(), tmp_path))


# --- compiled ahead ---------------------------------------------------------------------------------------


def test_what_a_worker_tries_at_load_was_compiled_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one slot and with sixteen: the same constants, alignments and options, or a worker would compile anew."""
    aim(WHOLE)
    for launch in launches().values():
        launch.compile()
    anew: list[str] = []
    monkeypatch.setattr(triton.knobs.compilation, "listener", lambda metadata, **_: anew.append(metadata["name"]))
    monkeypatch.setattr(Launch, "run", Launch.compile)
    half = Draws(CPU, torch.bfloat16)
    tried = [
        (fused.DECODE, decode_trials(half, (WIDTH, INNER, VOCABULARY), (1, 2, 32))),
        (fused.FRAMES, frame_trials(Draws(CPU, torch.float16), FRAME_WIDTH, FRAME_INNER)),
    ]
    for width, inner in ((WIDTH, INNER), (NANO_WIDTH, NANO_INNER)):
        trials = decode_trials(half, (width, inner, TURBO_VOCABULARY), (1, 17), guided=False)
        tried.append((fused.TURBO_DECODE, {name: trials[name] for name in TURBO_KERNELS}))
    for ops, each in tried:
        for trial in chain.from_iterable(each.values()):
            trial(ops)
    assert anew == []
    fused.DECODE.norm_swiglu(*(torch.zeros(shape) for shape in ((2, 128), (128,), (512, 128))))
    assert anew == ["skinny"]  # another size is


def constants(launch: Launch) -> tuple[str, dict[str, Any]]:
    return launch.kernel.__name__, {name: value for name, value in launch.options.items() if name.isupper()}


def test_what_a_step_of_the_flow_launches_was_compiled_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first block's shortcut, of 320 channels, was not: each worker compiled it as it started."""
    launched: list[Launch] = []
    monkeypatch.setattr(Launch, "run", lambda launch: launched.append(launch))
    sizes = replace(SIZES["full"], flow_layers=1, estimator_middles=1)
    state, half = originals.flow(seeded._shapes(sizes)).state_dict(), torch.float16
    tensors, times = Tensors("flow", state).at("decoder.estimator."), torch.linspace(0.0, 1.0, 3)
    network = Estimator(tensors, times, half, fused.FRAMES)
    x, fixed = torch.zeros(2, 4, MEL_BANDS), torch.zeros(2, 4, 3 * MEL_BANDS, dtype=half)
    network(x, fixed, torch.zeros(2, dtype=torch.int64))
    ahead = [constants(launch) for launch in launches().values()]
    assert len(launched) > 10
    assert [constants(launch) for launch in launched if constants(launch) not in ahead] == []


@pytest.mark.skipif(not shutil.which("gcc"), reason="there is no gcc")
def test_a_worker_needs_no_compiler_where_all_was_compiled_ahead(tmp_path: Path) -> None:
    """C is compiled to load and launch kernels. What links with a GPU's library here gets an empty one."""
    empty = ("gcc", "-shared", "-Wl,-soname,libcuda.so.1", "-o", tmp_path / "libcuda.so.1", "-x", "c", "/dev/null")
    subprocess.run(empty, check=True)
    paths = {"TRITON_LIBCUDA_PATH": str(tmp_path), "LD_LIBRARY_PATH": str(tmp_path)}
    environ = {**os.environ, **paths, "TRITON_CACHE_DIR": str(tmp_path / "cache")}

    def child(**changes: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", LAUNCHERS]
        return subprocess.run(command, cwd=ROOT, env=environ | changes, capture_output=True, text=True)

    no_compiler = {"CC": "/nonexistent"}
    assert "/nonexistent" in child(**no_compiler).stderr
    assert child().returncode == 0
    again = child(**no_compiler)
    assert again.returncode == 0, again.stderr
