"""Long text through the real engines, joined and streamed: all of it spoken, in order, at the reported times."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import decoded, spoken

from service.app import Service, build
from settings import Settings

pytestmark = pytest.mark.slow

SUBJECTS = ("The ferry", "An old gardener", "My neighbour's cat", "The night train", "Nobody in the village")
DEEDS = ("crosses the quiet bay", "waits for the morning rain", "counts the lamps along the road", "hums a slow tune")
ENDS = (
    "before anyone is awake.",
    "and then goes home.",
    "while the kettle sings, year after year.",
    "as if it mattered!",
)


def text_of(length: int) -> str:
    sentences = [" ".join(parts) for parts in itertools.product(SUBJECTS, DEEDS, ENDS)]
    paragraphs = [" ".join(sentences[at : at + 10]) for at in range(0, len(sentences), 10)]
    text = "\n\n".join(paragraphs)[:length]
    return text[: text.rindex(" ")]  # ends with a whole word


def check(service: Callable[[bool], Service], text: str, **given: object) -> None:
    raw = {"text": text, "seed": 7, "decode_mode": "window", "output_format": "opus", **given}
    (joined, reply), (streamed, end) = (spoken(service(not flag), raw, joined=flag) for flag in (True, False))
    assert " ".join(part["text"] for part in reply["segments"]).split() == text.split()
    assert reply["segments"] == end["segments"]
    assert reply["duration"] == end["duration"]
    assert joined == streamed
    samples, rate_hz = decoded(joined)
    assert abs(len(samples) / rate_hz - reply["duration"]) <= 0.05
    edges = [(part["start"], part["end"]) for part in reply["segments"]]
    assert all(start < end for start, end in edges)
    assert all(before < after for (before, _), (after, _) in itertools.pairwise(edges))
    assert max(after - before for (_, before), (after, _) in itertools.pairwise(edges)) == pytest.approx(0.4, abs=1e-4)
    assert edges[-1][1] == pytest.approx(reply["duration"], abs=1e-4)


def test_espeak_says_it_all() -> None:
    text = text_of(5000)
    assert len(text) > 4950
    check(lambda streams: build(Settings(tts_engine="espeak", streaming=streams)), text)


@pytest.mark.chatterbox
def test_chatterbox_says_it_all(checkpoint: Path) -> None:
    """On random weights, which give 2.4 s of noise per segment. 5,000 characters pass as well, in 80 s."""
    service = build(Settings(model_path=checkpoint, device="cpu", dtype="float32", flow_dtype="float32"))
    check(lambda streams: service, text_of(1000), sample_rate=24_000)
