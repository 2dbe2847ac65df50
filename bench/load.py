"""Many callers of one engine: the time to each one's first sound, and the sound per second of all together.

    python -m bench.load CHECKPOINT --clients 1 2 4 8 --arrivals 0.5

A closed loop of each number of clients, then requests that arrive at random at each rate per second (Poisson). The
last line is one JSON document. Every request has a seed of its own; how long one takes depends on the checkpoint.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch

from bench.document import keep, machine, report
from bench.speech import BUCKETS, PROMPTS_S, generate, prompted
from tts.chatterbox.model import ChatterboxModel
from tts.chatterbox.options import LoadOptions
from tts.chatterbox.voice.conditioning import ChatterboxVoice
from validation.fields import DecodeMode
from validation.request import DEFAULT_SAMPLING


@dataclass(frozen=True, slots=True)
class Request:
    """When it was submitted, had its first sound and was done, on one clock; seconds of sound."""

    asked_s: float
    first_s: float
    done_s: float
    sound_s: float


@dataclass(frozen=True, slots=True)
class Caller:
    """What every request of a run has in common."""

    model: ChatterboxModel
    voice: ChatterboxVoice
    mode: DecodeMode


def speak(caller: Caller, seed: int, asked_s: float) -> Request:
    params = replace(DEFAULT_SAMPLING, seed=seed, decode_mode=caller.mode)
    started_s = time.perf_counter()
    run, _ = generate(caller.model, caller.voice, params)
    return Request(asked_s, started_s + run.arrivals[0][0], started_s + run.total_s, run.audio_s)


def at_once(jobs: Sequence[Callable[[], None]]) -> None:
    """Raises the error of the first job that failed."""
    with ThreadPoolExecutor(len(jobs)) as pool:
        for running in [pool.submit(job) for job in jobs]:
            running.result()


def closed_loop(caller: Caller, clients: int, each: int) -> list[Request]:
    """Clients that each submit the next request as soon as the last is answered."""
    done: list[Request] = []

    def client(number: int) -> None:
        for turn in range(each):
            done.append(speak(caller, number * each + turn, time.perf_counter()))

    at_once([lambda n=number: client(n) for number in range(clients)])  # type: ignore[misc]
    return done


def open_loop(caller: Caller, per_s: float, requests: int) -> list[Request]:
    """Requests that arrive whether or not the ones before are answered."""
    done: list[Request] = []
    rng, at_s = random.Random(0), 0.0
    started_s = time.perf_counter()

    def request(seed: int, due_s: float) -> None:
        time.sleep(max(0.0, due_s - time.perf_counter()))
        done.append(speak(caller, seed, due_s))

    jobs: list[Callable[[], None]] = []
    for seed in range(requests):
        at_s += rng.expovariate(per_s)
        jobs.append(lambda seed=seed, due_s=started_s + at_s: request(seed, due_s))  # type: ignore[misc]
    at_once(jobs)
    return done


def summary(done: list[Request]) -> dict[str, float]:
    firsts = sorted(one.first_s - one.asked_s for one in done)
    span_s = max(one.done_s for one in done) - min(one.asked_s for one in done)
    return {
        "requests": len(done),
        "first_median_s": round(statistics.median(firsts), 4),
        "first_p95_s": round(firsts[min(len(firsts) - 1, int(0.95 * len(firsts)))], 4),
        "sound_s_per_s": round(sum(one.sound_s for one in done) / span_s, 3),
    }


def show(document: dict[str, Any]) -> None:
    for name, figures in document["figures"].items():
        print(f"{name:16}" + "".join(f"  {key} {value:8.3f}" for key, value in figures.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description="Load one engine with many callers.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--mode", choices=get_args(DecodeMode), default="window")
    parser.add_argument("--slots", type=int, default=16, help="requests that share T3's steps on a GPU")
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 2, 4, 8, 16])
    parser.add_argument("--each", type=int, default=4, help="requests of each client")
    parser.add_argument("--arrivals", type=float, nargs="*", default=[], help="requests per second")
    parser.add_argument("--prompt", type=int, default=PROMPTS_S[0], metavar="SECONDS", help="of the voice's recording")
    parser.add_argument("--output", type=Path, help="also write the document here")
    options = parser.parse_args()
    model = ChatterboxModel.load(options.checkpoint, LoadOptions(options.device, slots=options.slots, buckets=BUCKETS))
    caller = Caller(model, prompted(model.built_in, options.prompt), options.mode)
    closed_loop(caller, 1, 2)  # warm-up
    found: dict[str, Any] = {}
    device = torch.cuda.get_device_name() if model.device.type == "cuda" else "cpu"
    document = {"bench": "load", **machine(), "torch": torch.__version__, "device": device, "mode": options.mode}
    document |= {"prompt_s": options.prompt, "flow_dtype": str(model.flow.dtype), "slots": options.slots}
    document |= {"figures": found}
    for clients in options.clients:
        found[f"{clients} in a loop"] = summary(closed_loop(caller, clients, options.each))
        keep(document, options.output)
    for per_s in options.arrivals:
        count = max(8, options.each * 8)
        found[f"{per_s:g} a second"] = summary(open_loop(caller, per_s, count))
        keep(document, options.output)
    report(document, show, options.output)


if __name__ == "__main__":
    main()
