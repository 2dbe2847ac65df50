"""The HTTP server with a fake engine and the soak's probe inside. It prints its port, and serves until it is ended."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from pathlib import Path

from fakes import FakeEngine, by_letters, fake_service

from server import Server, bound
from tests.soak.worker import Probe

JOBS_AT_ONCE, QUEUE = 4, 24  # fewer than there are clients: some must be refused


async def main() -> int:
    service = fake_service(
        FakeEngine(words=by_letters),
        warmup=False,
        stream_aggregate=False,
        max_concurrency=JOBS_AT_ONCE,
        max_queue=QUEUE,
    )
    server, listener = Server(service, gc.freeze), bound("127.0.0.1", 0)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.end, "it was told to end")
    Probe(Path(os.environ["SOAK_PROBE"])).begin()
    print(listener.getsockname()[1], flush=True)
    return await server.serve(listener)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
