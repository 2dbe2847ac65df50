"""JSON objects from clients, bounded so that reading one, which Python does with its lock held, takes no time."""

from __future__ import annotations

import json
from typing import Any

from validation.errors import InvalidInput
from web.budget import Input

MAX_VALUES = 300_000  # Python reads JSON in one go, with its lock held: as many values take 0.1 s, ten million 4 s
MAX_ESCAPES = 2_000_000  # as many take as long; a recording in base64 has some 700,000 where a writer escapes / and +
MAX_DIGITS = 1000  # of a whole number, which takes time by their square


async def json_object(data: bytes | str, what: str, held: Input) -> dict[str, Any]:
    """`what` is what the client sent it as, `held` its share of the budget.

    Raises: InvalidInput, where it is no JSON object; Busy.
    """
    given, fault = None, ""
    try:
        given = await held.read(lambda: bounded_json(data))
    except json.JSONDecodeError as exc:
        fault = f": at character {exc.pos} it is no JSON ({exc.msg})"
    except (ValueError, RecursionError):
        fault = ": it is no JSON"
    if not isinstance(given, dict):  # raised here, because a JSONDecodeError holds the whole text
        raise InvalidInput(f"{what} must be a JSON object{fault}")
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


def _whole_number(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise InvalidInput(f"a number of more than {MAX_DIGITS} digits is too long")
    return int(digits)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
