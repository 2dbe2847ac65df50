"""A small …/v2/ENDPOINT/openai/v1 on loopback: each request becomes a job that names its route, as RunPod forwards it.

Text is joined, JSON as it is; a failed job is OpenAI's error with the job's text.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from endpoints import Endpoint
from fake_runpod import FINAL


def pieces_of(endpoint: Endpoint, job_input: dict[str, Any]) -> Iterator[Any]:
    """What the job puts out, as it comes; a failed job ends with its error as an exception."""
    job_id, is_streamed = endpoint.http("POST", "run", {"input": job_input})["id"], False
    while True:
        answer = endpoint.http("GET", f"stream/{job_id}")
        for item in answer["stream"]:
            is_streamed = True
            yield item["output"]
        if answer["status"] in FINAL and not answer["stream"]:
            break
        time.sleep(0.02)
    job = endpoint.fake.jobs[job_id]
    if job.error:
        raise RuntimeError(job.error)
    if not is_streamed:
        yield job.output


@contextmanager
def forwarding(endpoint: Endpoint) -> Iterator[str]:
    """The base URL for OpenAI's client."""

    class Forwarding(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            asked = {"openai_route": self.path.removeprefix("/openai"), "openai_input": json.loads(body or b"null")}
            try:
                pieces = list(pieces_of(endpoint, asked))
            except RuntimeError as error:
                return self._answer(400, "application/json", json.dumps({"error": {"message": str(error)}}))
            if isinstance(pieces[0], str):
                return self._answer(200, "text/event-stream", "".join(pieces))
            return self._answer(200, "application/json", json.dumps(pieces[0]))

        do_POST = do_GET

        def _answer(self, status: int, kind: str, text: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Forwarding) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/openai/v1"
        server.shutdown()
        thread.join()
