"""A queue's job that asks for a route of the HTTP server: JSON in, a frozen `RouteCall` out, or one error.

{"openai_route": "/v1/audio/speech", "openai_input": {…}}   as RunPod forwards OpenAI's clients
{"route": "/v1/models", "method": "GET", "body": {…}}       any other
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from validation.errors import Fault, InvalidInput
from validation.faults import present_fields, shown, unknown_fields

OPENAI, ANY = ("openai_route", "openai_input"), ("route", "method", "body")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
MAX_ROUTE_CHARS = 2048


@dataclass(frozen=True, slots=True)
class RouteCall:
    """`path` is decoded; `query` and `body` may be empty."""

    method: str
    path: str
    query: str
    body: bytes


def names_route(raw: object) -> bool:
    """Whether the input is for `parse_route`."""
    return isinstance(raw, Mapping) and any(raw.get(name) is not None for name in (*OPENAI, ANY[0]))


def parse_route(raw: object) -> RouteCall:
    """The method is POST for a body, else GET, unless it is named. Raises: InvalidInput."""
    given = present_fields(raw)
    known = ANY if ANY[0] in given else OPENAI
    route_name, *_, body_name = known
    route, body = given.get(route_name), given.get(body_name)
    if known is OPENAI and body == {}:
        body = None  # of a GET, such as that of the models
    method = given.get("method", "GET" if body is None else "POST")
    faults = [*unknown_fields([name for name in given if name not in known], known)]
    faults += _route_faults(route_name, route)
    if not isinstance(method, str) or (method := method.upper()) not in METHODS:
        faults.append(Fault("method", f"must be one of {', '.join(METHODS)}"))
    if body is not None and not isinstance(body, Mapping):
        faults.append(Fault(body_name, f"must be an object (got {shown(body)})"))
    if faults:
        raise InvalidInput.of(*faults)
    path, _, query = str(route).partition("?")
    return RouteCall(method, unquote(path), query, b"" if body is None else _json(body_name, body))


def _route_faults(name: str, route: object) -> Iterator[Fault]:
    if route is None:
        yield Fault(name, "is required")
    elif not isinstance(route, str) or not route.startswith("/") or route.startswith("//"):
        yield Fault(name, f"must be a path that begins with / (got {shown(route)})")
    elif len(route) > MAX_ROUTE_CHARS or not route.isprintable() or not route.isascii() or "#" in route:
        yield Fault(name, f"must be at most {MAX_ROUTE_CHARS} characters of an address, without a fragment")


def _json(name: str, body: Mapping[str, Any]) -> bytes:
    """Raises: InvalidInput, for values that a caller in Python may pass."""
    try:
        return json.dumps(body, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        raise InvalidInput.of(Fault(name, "is not JSON")) from None
