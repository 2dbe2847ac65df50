"""One side of `bench.same`: jobs as JSON on standard input, what `handler` and `stream_handler` reply on the output."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import sys
from typing import Any

import handler

TIMES = {"metrics", "worker_version", "uptime"}  # differ from run to run, or by design


async def both(number: int, given: dict[str, Any]) -> list[Any]:
    """The joined reply, and the stream's events with their audio joined."""
    seeded = given if given.get("operation") or not given else {"seed": 17} | given
    joined = plain(await handler.handler({"id": f"j{number}", "input": seeded}))
    events = [plain(event) async for event in handler.stream_handler({"id": f"s{number}", "input": seeded})]
    return [joined, events]


def plain(reply: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in reply.items() if key not in TIMES}
    if isinstance(audio := kept.get("audio"), str):
        data = base64.b64decode(audio)
        kept["audio"] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    return kept


async def main() -> None:
    print(json.dumps([await both(number, job) for number, job in enumerate(json.load(sys.stdin))]))


if __name__ == "__main__":
    asyncio.run(main())
