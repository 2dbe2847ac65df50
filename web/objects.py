"""What clients send, read: JSON objects here, anything else by `aside`; never such that it holds up the event loop."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from validation.errors import InvalidInput

T = TypeVar("T")

LONG_BYTES = 65_536  # to read more takes a while: not in the event loop
MAX_VALUES = 300_000  # Python reads JSON in one go, with its lock held: as many values take 0.1 s, ten million 4 s
MAX_ESCAPES = 2_000_000  # as many take as long; a recording in base64 has some 700,000 where a writer escapes / and +
MAX_DIGITS = 1000  # of a whole number, which takes time by their square
# One at a time: to read one can take ten times its size, where a single character makes four bytes of every other.
_READING = ThreadPoolExecutor(1, "read")


async def aside(read: Callable[[], T], size: int) -> T:
    """What `read` gives; in a thread where it reads much. Raises what it raises."""
    if size <= LONG_BYTES:
        return read()
    return await asyncio.get_running_loop().run_in_executor(_READING, read)


async def json_object(data: bytes | str, what: str) -> dict[str, Any]:
    """`what` is what the client sent it as. Raises: InvalidInput, where it is no JSON object."""
    try:
        given = await aside(lambda: bounded_json(data), len(data))
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
    return json.loads(data, parse_constant=_no_constant, parse_int=_whole_number)


def memory_bytes(value: object) -> int:
    """What an object that was read takes."""
    total, rest = 0, [value]
    while rest:
        part = rest.pop()
        total += sys.getsizeof(part)
        if isinstance(part, dict):
            rest += [*part, *part.values()]
        elif isinstance(part, list):
            rest += part
    return total


def _whole_number(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise InvalidInput(f"a number of more than {MAX_DIGITS} digits is too long")
    return int(digits)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
