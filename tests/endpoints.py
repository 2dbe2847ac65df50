"""handler.py as a deployed worker: its process behind a fake RunPod, and two clients, HTTP and sync_test.py."""

from __future__ import annotations

import io
import json
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from typing import Any

import requests
from fake_runpod import FINAL, FakeRunPod, Job, Json, WorkerProcess, wait_until, worker_process
from loopback import Handler, served

import sync_test
from scripts.speak import free_port

ROOT = Path(__file__).resolve().parent.parent
HANDLER = (sys.executable, "handler.py")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the client program printed, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def verdicts(self) -> list[str]:
        return re.findall(r"^(?:PASS|FAIL|SKIP)(?=  [1234] )", self.out, re.MULTILINE)


def ask(*argv: str, environ: Mapping[str, str] | None = None) -> Asked:
    """Run sync_test.py with these arguments, whatever the speed of this machine."""
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        status = sync_test.main([*argv, "--max-rtf", "1000"], environ or {})
    return Asked(status, out.getvalue(), err.getvalue())


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A worker process and the platform in front of it."""

    fake: FakeRunPod
    worker: WorkerProcess

    def wait_until_ready(self) -> None:
        """Until the worker asks for its first job, so everything is imported, loaded and warm."""

        def ready() -> bool:
            return bool(self.fake.batch_sizes) or self.worker.process.poll() is not None

        wait_until(ready, 120, self.worker.log_text)
        assert self.fake.batch_sizes, self.worker.log_text()

    def run(self, job_input: Any) -> Job:
        """The job at its end."""
        return self.fake.wait(self.fake.submit(job_input), timeout_s=60)

    def stream(self, job_input: Any) -> tuple[Job, list[Json]]:
        """The job at its end, and the events that a client read through /stream meanwhile."""
        job_id, read = self.http("POST", "run", {"input": job_input})["id"], []
        while True:
            answer = self.http("GET", f"stream/{job_id}")
            read += [item["output"] for item in answer["stream"]]
            if answer["status"] in FINAL and not answer["stream"]:
                return self.fake.jobs[job_id], read
            time.sleep(0.02)

    def http(self, method: str, path: str, body: Json | None = None) -> Json:
        """The JSON of one call of the production API."""
        answer: Json = self.call(method, path, body).json()
        return answer

    def call(
        self, method: str, path: str, body: Json | None = None, key: str = "", name: str = ""
    ) -> requests.Response:
        headers = {"Authorization": f"Bearer {key or self.fake.api_key}"}
        url = f"{self.fake.base_url}/{name or self.fake.endpoint}/{path}"
        return requests.request(method, url, headers=headers, json=body, timeout=30)

    def ask(self, *argv: str) -> Asked:
        """Run sync_test.py against this endpoint."""
        environ = {"RUNPOD_API_KEY": self.fake.api_key, "RUNPOD_ENDPOINT_ID": self.fake.endpoint}
        return ask("--api-base", self.fake.base_url, *argv, environ=environ)

    def assert_every_job_ended_once(self) -> None:
        """One job-done for each job but the cancelled ones, and no post was refused."""
        for job in self.fake.jobs.values():
            assert (len(job.posted), job.refused) == (job.status != "CANCELLED", []), job

    def wait_for_log(self, *words: str) -> None:
        """Until the worker has logged a line with all the words."""

        def logged() -> bool:
            return any(all(word in line for word in words) for line in self.worker.log_text().splitlines())

        wait_until(logged, state=self.worker.log_text)


@contextmanager
def endpoint(log: Path, env: Mapping[str, str], *command: str, real: bool = False) -> Iterator[Endpoint]:
    """A worker of `command`, handler.py if none; it starts while the caller does something else."""
    with FakeRunPod(poll_s=0.3) as fake:
        environ = {**fake.worker_env(), **env}
        with worker_process(command or HANDLER, log, environ, cwd=ROOT, real=real) as worker:
            yield Endpoint(fake, worker)


@contextmanager
def forwarding(endpoint: Endpoint) -> Iterator[str]:
    """The base URL for OpenAI's client: each request becomes a job that names its route, as RunPod forwards it. Text is
    joined, JSON as it is; a failed job is OpenAI's error with the job's text."""

    class Forwarding(Handler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            asked = {"openai_route": self.path.removeprefix("/openai"), "openai_input": json.loads(body or b"null")}
            job, pieces = endpoint.stream(asked)
            status = 400 if job.error else 200
            pieces = [{"error": {"message": job.error}}] if job.error else pieces or [job.output]
            kind, text = "application/json", json.dumps(pieces[0])
            if isinstance(pieces[0], str):
                kind, text = "text/event-stream", "".join(pieces)
            self.answer(status, text.encode(), Content_Type=kind)

        do_POST = do_GET

    with served(Forwarding) as address:
        yield f"{address}/openai/v1"


@contextmanager
def local_server(log: Path, env: Mapping[str, str], *command: str) -> Iterator[str]:
    """The SDK's API server before a worker of `command`, handler.py if none; its address, once it listens."""
    port = free_port()
    argv = ("--rp_serve_api", "--rp_api_host=127.0.0.1", f"--rp_api_port={port}")
    with worker_process([*(command or HANDLER), *argv], log, env, cwd=ROOT) as worker:

        def listens() -> bool:
            assert worker.process.poll() is None, worker.log_text()
            with socket() as client:
                return client.connect_ex(("127.0.0.1", port)) == 0

        wait_until(listens, 60, worker.log_text)
        yield f"http://127.0.0.1:{port}"


def chatterbox_env(checkpoint: Path) -> dict[str, str]:
    """Settings for a small checkpoint, the same on every machine."""
    numbers = {"DEVICE": "cpu", "DTYPE": "float32", "FLOW_DTYPE": "float32"}
    return {"TTS_ENGINE": "chatterbox", "MODEL_PATH": str(checkpoint), **numbers}
