"""The real HTTP door in a thread of its own, around whatever service a test brings.

It does not know what the page does with the answers.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import uvicorn

from service.app import Service
from web.application import application
from web.jobs import Jobs
from web.metrics import Metrics
from web.readiness import Readiness


class Door:
    """Serves until closed, from the start as a worker that loads; `warm` ends that.

    `asked` holds the fields of every JSON body that the page sent to /tts; who drives the page fills it.
    """

    def __init__(self, service: Service) -> None:
        self.asked: list[dict[str, Any]] = []
        self.jobs: Jobs
        self.readiness = Readiness()
        self._loaded, self._serving = threading.Event(), threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(service)), name="door")
        self._thread.start()
        assert self._serving.wait(10)
        self._loading = self.readiness.load(lambda: self._loaded.wait() and None)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/"

    def warm(self) -> None:
        self._loaded.set()
        self._loading.join()

    def close(self) -> None:
        self.warm()
        self._server.should_exit = True
        self._thread.join()

    def drop_jobs(self) -> None:
        """What is under way ends unfinished, as when a worker must leave; not waited for."""
        asyncio.run_coroutine_threadsafe(self.jobs.stop(within_s=3.0), self._loop)

    async def _serve(self, service: Service) -> None:
        self._loop = asyncio.get_running_loop()
        self.jobs = Jobs(service, self.readiness, Metrics())
        how: dict[str, Any] = {"log_config": None, "access_log": False, "lifespan": "off"}
        config = uvicorn.Config(application(self.jobs), timeout_graceful_shutdown=2, ws="none", **how)
        self._server = uvicorn.Server(config)
        self._serving.set()
        try:
            await self._server.serve([self._listener])
        finally:
            await self.jobs.stop(within_s=3.0)
            self.jobs.close()
