"""The jobs of the soak, drawn from one seed."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

Json = dict[str, Any]
Kind = Literal["good", "cancelled", "bad", "fault", "memory"]

SHARES: dict[Kind, float] = {"cancelled": 0.10, "bad": 0.05, "fault": 0.02, "memory": 0.01}
SLOW_SHARE, SLOW_POST_S = 0.1, 0.15  # jobs with a slow reader, and how late it takes each event
CANCEL_SPAN = 1.3  # of the usual time of a job: some cancels come too late

SHORT = "Good morning. The kettle is on."
MIDDLE = (
    "The ferry leaves at nine, weather permitting. Passengers who are late wait for the next one, which is tomorrow."
)
LONG = "This sentence is one of several in a text that goes on for a while. " * 6
FAULT_WORDS = {"fault": "Breakdown, breakdown.", "memory": "Shortage, shortage."}


@dataclass(frozen=True, slots=True)
class Ask:
    """One job. `cancel_at`: share of the usual time of a job; `post_s`: how late each of its events is taken."""

    kind: Kind
    input: Json
    expected: str = "COMPLETED"  # or the error's code
    cancel_at: float | None = None
    post_s: float = 0.0

    def __str__(self) -> str:
        return f"{self.kind} {self.request[:160]}"

    @property
    def request(self) -> str:
        """Jobs with the same request must give the same bytes."""
        return json.dumps(self.input, sort_keys=True)


def _good(text: str, **fields: Any) -> Json:
    return {"text": text, "seed": 7, "print_metrics": False} | fields


ESPEAK = (
    _good(SHORT),
    _good(MIDDLE),
    _good(LONG, output_format="opus"),
    _good(LONG, output_format="mp3", bitrate_kbps=64),
    _good(MIDDLE, output_format="flac", sample_rate=48000),
    _good(MIDDLE, output_format="opus", speed=1.25),
    _good(SHORT, output_format="mulaw"),
    _good(SHORT, output_format="pcm_s16le", sample_rate=16000, speed=0.8),
    _good(MIDDLE, output_format="mp3", decode_mode="window", chunk_size=10),
    _good(MIDDLE, audio_normalization="lufs", sample_rate=44100),
    _good(SHORT, audio_normalization="peak", trim_silence=True),
    _good(SHORT + "[pause:300ms] " + MIDDLE, output_format="flac"),
    _good(MIDDLE, delivery="url"),
    _good(SHORT, delivery="url", output_format="opus"),
    _good(LONG, delivery="url", output_format="flac"),
)
CHATTERBOX = (
    _good(SHORT),
    _good(SHORT, seed=8, output_format="opus"),
    _good(MIDDLE, output_format="mp3", decode_mode="window"),
    _good(SHORT, decode_mode="block", chunk_size=10),
    _good(SHORT, decode_mode="full", output_format="flac"),
    _good(MIDDLE, sample_rate=48000, cfg_weight=0.0),
    _good(SHORT, output_format="pcm_s16le", sample_rate=16000, temperature=0.4),
    _good(SHORT, audio_normalization="lufs", speed=1.2),
    _good(LONG[:204], output_format="opus", top_p=0.9),
    _good(SHORT, output_format="mulaw", exaggeration=0.9),
)
BAD: tuple[tuple[Json, str], ...] = (
    ({}, "INVALID_INPUT"),
    ({"text": "Hello.", "temperature": 3.5, "sample_rate": 7}, "INVALID_INPUT"),
    ({"text": "Hello.", "txet": "Hello."}, "INVALID_INPUT"),
    ({"text": "?!"}, "INVALID_INPUT"),
    ({"operation": "sing"}, "UNKNOWN_OPERATION"),
    ({"text": "Hello.", "voice": "nobody"}, "UNKNOWN_VOICE"),
)
GOOD = {"espeak": ESPEAK, "chatterbox": CHATTERBOX}


def distinct(engine: str) -> list[Ask]:
    """Each good request of an engine once."""
    return [Ask("good", asked) for asked in GOOD[engine]]


def drawn(engine: str, jobs: int, seed: int) -> list[Ask]:
    """The jobs of one worker, in order."""
    rng = random.Random(f"{engine} {seed}")
    asks = [replace(rng.choice(distinct(engine)), post_s=_post_s(rng)) for _ in range(jobs)]
    for at, kind in _places(jobs, rng).items():
        asks[at] = _spoiled(asks[at], kind, rng)
    return asks


def _post_s(rng: random.Random) -> float:
    return SLOW_POST_S if rng.random() < SLOW_SHARE else 0.0


def _places(jobs: int, rng: random.Random) -> dict[int, Kind]:
    """The kinds of the jobs that are not good. Engine failures are far apart: three in a row replace the worker."""
    counts = {kind: round(share * jobs) for kind, share in SHARES.items()}
    places: dict[int, Kind] = dict.fromkeys(_apart(jobs, counts["fault"], rng), "fault")
    for kind in ("cancelled", "bad", "memory"):
        free = [at for at in range(jobs) if at not in places]
        places |= dict.fromkeys(rng.sample(free, counts[kind]), kind)
    return places


def _apart(jobs: int, count: int, rng: random.Random) -> Sequence[int]:
    stride = jobs // max(count, 1)
    return [at * stride + rng.randrange(stride // 2) for at in range(count)]


def _spoiled(ask: Ask, kind: Kind, rng: random.Random) -> Ask:
    match kind:
        case "cancelled":
            return replace(ask, kind=kind, cancel_at=rng.uniform(0.0, CANCEL_SPAN))
        case "bad":
            asked, code = rng.choice(BAD)
            return Ask(kind, asked, code)
        case "fault":
            return Ask(kind, _good(FAULT_WORDS[kind]), "INTERNAL")
        case _:
            return Ask(kind, _good(FAULT_WORDS[kind]), "OUT_OF_MEMORY")
