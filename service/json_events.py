"""Events in JSON: audio as base64, and a reply in events small enough for RunPod.

RunPod drops an event of a megabyte, and with it the job's end. A list or a text that is too large is sent before the
reply in pieces: events of type `part`, each with one field. The pieces of a field joined in order are its value; the
last event, the reply itself, names these fields in `in_parts`. A field of an object in a list is named by its place,
such as `replies.3.audio`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

from service.events import AudioEvent, WordTime

MAX_EVENT_JSON_BYTES = 680_000
FIELD_BYTES = 1_000  # of a part, for all but its piece


def audio_fields(event: AudioEvent) -> dict[str, Any]:
    """A piece of audio as the queue and the HTTP server send it; times in seconds."""
    words = {} if event.words is None else {"words": [*map(word_fields, event.words)]}
    return {
        "index": event.index,
        "audio": base64_text(event.data),
        "format": event.format,
        "sample_rate": event.sample_rate_hz,
        "start": round(event.start_s, 6),
        "duration": round(event.duration_s, 6),
        **words,
    }


def word_fields(word: WordTime) -> dict[str, Any]:
    return {"text": word.text, "start": round(word.start_s, 6), "end": round(word.end_s, 6)}


def base64_text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def base64_bytes(size_bytes: int) -> int:
    """The length of so many bytes in base64, padding included."""
    return 4 * -(-size_bytes // 3)


def events_of(reply: dict[str, Any], max_bytes: int = MAX_EVENT_JSON_BYTES) -> list[dict[str, Any]]:
    """The events of a reply, each of at most `max_bytes` of JSON unless other values than lists and texts are large."""
    parts, rest = _in_parts(reply, max_bytes)
    return [*({"type": "part"} | part for part in parts), {"type": "end"} | rest]


def _in_parts(reply: dict[str, Any], max_bytes: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Pieces of the reply's fields, and what is left of it."""
    parts: list[dict[str, Any]] = []
    moved: list[str] = []
    if json_bytes(reply) > max_bytes - FIELD_BYTES:
        lists = {name: own for name, own in reply.items() if isinstance(own, list)}
        reply = reply | {name: _slimmed(name, own, max_bytes, parts) for name, own in lists.items()}
        moved += dict.fromkeys(name for part in parts for name in part)
    sizes = {name: json_bytes(value) for name, value in reply.items() if isinstance(value, list | str)}
    too_large = json_bytes(reply) - (max_bytes - FIELD_BYTES)
    for name in sorted(sizes, key=sizes.__getitem__, reverse=True):
        if too_large <= 0:
            break
        parts += [{name: piece} for piece in _pieces(reply[name], max_bytes - FIELD_BYTES)]
        moved.append(name)
        too_large -= sizes[name]
    rest = {name: value for name, value in reply.items() if name not in moved}
    return parts, rest | ({"in_parts": moved} if moved else {})


def _slimmed(name: str, items: list[Any], max_bytes: int, parts: list[dict[str, Any]]) -> list[Any]:
    """The list without the fields of objects that are too large for one event: their pieces are added to `parts`, each
    under its place, such as "replies.3.audio"."""
    slim = list(items)
    for index, item in enumerate(items):
        if isinstance(item, dict) and json_bytes(item) > max_bytes - FIELD_BYTES:
            own, slim[index] = _in_parts(item, max_bytes)
            slim[index].pop("in_parts", None)
            parts += [{f"{name}.{index}.{key}": piece for key, piece in part.items()} for part in own]
    return slim


def _pieces(value: list[Any] | str, max_bytes: int) -> Iterator[Sequence[Any]]:
    """At least one item each, whatever its size."""
    if isinstance(value, str) and json_bytes(value) == len(value) + 4:  # base64, say, may have millions of characters
        yield from (value[at : at + max_bytes] for at in range(0, len(value), max_bytes))
        return
    around = 4 if isinstance(value, str) else 0  # quotes, comma and space, which a character has not
    ends = list(accumulate((json_bytes(item) - around for item in value), initial=0))
    first = 0
    for last in range(1, len(ends)):
        if last == len(value) or ends[last + 1] - ends[first] > max_bytes:
            yield value[first:last]
            first = last


def json_bytes(value: object) -> int:
    """Of JSON in ASCII, which is never shorter than in UTF-8; with a comma and a space."""
    return len(json.dumps(value)) + 2
