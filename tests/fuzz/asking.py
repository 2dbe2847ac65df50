"""A process that answers invalid inputs: `python -m tests.fuzz.asking COUNT`. Prints the cost of so many inputs of each
kind, as a line of JSON. An input that ends in anything but a reply is shrunk by Hypothesis and shown.
"""

from __future__ import annotations

import json
import logging
import resource
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fakes import POLYGLOT, FakeEngine, fake_service
from hypothesis import HealthCheck, Phase, given, settings

from service.events import EndEvent, ErrorEvent
from service.operations import FORMATS
from service.telemetry import JobClock
from tests.fuzz.asks import asked, routes, texts
from tests.fuzz.decoding import LAST_RESORT_BYTES
from tests.fuzz.gauge import Gauge
from validation.errors import WorkerError
from validation.markup import parts
from validation.request import parse
from validation.route import parse_route
from validation.rules import Capabilities
from validation.voices import LibraryCapabilities, parse_voice_add, parse_voice_delete

MAX_REPLY_BYTES = 50_000  # of a refusal: it quotes only a little of what was sent
CAPABILITIES = Capabilities(
    voices={"default": "en-US", "hans": "de"},
    default_voice="default",
    clone_languages=("en",),
    decode_modes=("full", "window"),
    formats=FORMATS,
    streamed_normalizations=("lufs",),
    max_text_chars=5000,
    max_reference_bytes=15_000_000,
    streaming=False,
)
LIBRARY = LibraryCapabilities(("default", "mia"), ("default",), "default", ("en",), 15_000_000)


class TooSlow(BaseException):
    """An input took longer than it may."""


def ask_markup(given: Any) -> None:
    assert "".join(part if isinstance(part, str) else part.mark for part in parts(given)) == given


def ask_service(given: Any) -> None:
    """The whole way, around an engine that speaks tones, with a library that may be changed."""
    last = list(SERVICE.run("job", given, joined=True, clock=JobClock()))[-1]
    if isinstance(last, ErrorEvent):
        assert last.error.code != "INTERNAL", last.error
        raise last.error
    assert isinstance(last, EndEvent)
    json.dumps(last.reply, allow_nan=False).encode()


def _fields(given: Any) -> dict[str, Any]:
    """As the table of operations passes them on: an object, names of strings, no null."""
    return {str(name): value for name, value in given.items() if value is not None} if isinstance(given, dict) else {}


def _end_of(ask: Callable[[Any], object], given: Any) -> str:
    refusal: dict[str, Any] = {}
    try:
        ask(given)
    except WorkerError as error:
        refusal = error.to_reply()
    assert len(json.dumps(refusal, allow_nan=False).encode()) <= MAX_REPLY_BYTES
    return "refused" if refusal else "read"


FOLDER = tempfile.TemporaryDirectory()
SERVICE = fake_service(
    FakeEngine(tokens_per_char=0.001, **POLYGLOT),
    Path(FOLDER.name),
    allow_voice_writes=True,
    max_reference_bytes=200_000,
)
TARGETS: dict[str, tuple[Callable[[Any], object], Any]] = {
    "tts": (lambda given: json.dumps(parse(given, CAPABILITIES).parameters, allow_nan=False), asked("tts")),
    "voice_add": (lambda given: parse_voice_add(_fields(given), LIBRARY), asked("voice_add")),
    "voice_delete": (lambda given: parse_voice_delete(_fields(given), LIBRARY), asked("voice_delete")),
    "markup": (ask_markup, texts),
    "service": (ask_service, asked()),
    "batch": (ask_service, asked("batch")),
    "route": (parse_route, routes),
}


def main(count: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (LAST_RESORT_BYTES, LAST_RESORT_BYTES))
    signal.signal(signal.SIGPROF, _too_slow)
    logging.disable()
    for target in TARGETS:
        print(json.dumps(_cost(count, target)), flush=True)


def _cost(count: int, target: str) -> dict[str, Any]:
    ask, inputs = TARGETS[target]
    gauge, ends = Gauge(), Counter[str]()

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs)
    def each(given: Any) -> None:
        shown = ascii([*given] if isinstance(given, dict) else given)[:120]
        with gauge.over(f"{target}: {shown}"):
            end = _end_of(ask, given)
        ends[end] += 1

    # What is imported at the first use is no input's cost.
    _end_of(ask, {"text": "Hello."} if target != "markup" else "a")
    each()
    return gauge.report() | {"kind": target, "ends": ends}


def _too_slow(*_: object) -> None:
    raise TooSlow


if __name__ == "__main__":
    main(int(sys.argv[1]))
