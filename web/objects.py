"""JSON objects from clients: read aside where they are long, and never such that reading one holds everything up."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from validation.errors import InvalidInput

LONG_BYTES = 65_536  # to read more takes a while: not in the event loop
MAX_VALUES = 300_000  # Python reads JSON in one go, with its lock held: as many values take 0.1 s, ten million 4 s
MAX_ESCAPES = 2_000_000  # as many take as long; a recording in base64 has some 700,000 where a writer escapes / and +


async def json_object(data: bytes | str, what: str) -> dict[str, Any]:
    """`what` is what the client sent it as. Raises: InvalidInput, where it is no JSON object."""
    try:
        given = await asyncio.to_thread(bounded_json, data) if len(data) > LONG_BYTES else bounded_json(data)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise InvalidInput(f"{what} must be a JSON object")
    return given


def bounded_json(data: bytes | str) -> object:
    """Raises: ValueError, RecursionError, for what is not JSON; InvalidInput for too much of it."""
    if isinstance(data, bytes):
        data = data.decode("utf-8-sig")
    if len(data) > MAX_VALUES:
        if sum(map(data.count, ",[{")) > MAX_VALUES:
            raise InvalidInput(f"more than {MAX_VALUES} values are too many")
        if data.count("\\") > MAX_ESCAPES:
            raise InvalidInput(f"more than {MAX_ESCAPES} escapes are too many")
    return json.loads(data, parse_constant=_no_constant)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
