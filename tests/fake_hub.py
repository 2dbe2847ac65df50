"""A Hugging Face hub on loopback with one repository, and the ways in which a download from it can fail."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LFS = (".safetensors", ".pt")
RESOLVE = re.compile(r"/(?P<repository>[\w.-]+/[\w.-]+)/resolve/(?P<revision>\w+)/(?P<name>[\w.]+)")
API = re.compile(r"/api/models/(?P<repository>[\w.-]+/[\w.-]+)/(?P<what>revision|tree)/(?P<revision>\w+)")


class FakeHub:
    """`files`: name → content. The other sets name files. `cut`: the connection breaks halfway, then answers are 500;
    `altered`: the same length, other bytes; `gone`: 404; `stalled`: nothing is sent after the first half."""

    def __init__(self, repository: str, commit: str, files: Mapping[str, bytes]) -> None:
        self.repository, self.commit, self.files = repository, commit, dict(files)
        self.cut, self.altered, self.gone, self.down, self.stalled = (set[str]() for _ in range(5))
        self.stalling, self.ended = threading.Event(), threading.Event()
        self.asked: list[str] = []
        self.url = ""

    def facts(self, name: str) -> dict[str, Any]:
        content = self.files[name]
        facts: dict[str, Any] = {"size": len(content), "blobId": git_name(content)}
        if name.endswith(LFS):
            facts["lfs"] = {"size": len(content), "sha256": sha256(content), "pointerSize": 130}
        return facts

    def etag(self, name: str) -> str:
        content = self.files[name]
        return sha256(content) if name.endswith(LFS) else git_name(content)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_name(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def served(hub: FakeHub) -> Iterator[FakeHub]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None: ...

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, body: bool) -> None:
            path = self.path.split("?")[0]
            hub.asked.append(f"{self.command} {path}")
            if (found := API.fullmatch(path)) and found["repository"] == hub.repository:
                self._api(found["what"])
            elif (found := RESOLVE.fullmatch(path)) and found["name"] in hub.files and found["name"] not in hub.gone:
                self._file(found["name"], body)
            else:
                self._send(404, b'{"error": "not found"}', {"X-Error-Code": "EntryNotFound"})

        def _api(self, what: str) -> None:
            if what == "tree":
                answer: Any = [
                    {"type": "file", "path": name, "oid": hub.facts(name)["blobId"], "size": len(content)}
                    for name, content in hub.files.items()
                ]
            else:
                siblings = [{"rfilename": name, **hub.facts(name)} for name in hub.files]
                answer = {"_id": "1", "id": hub.repository, "sha": hub.commit, "siblings": siblings}
            self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

        def _file(self, name: str, body: bool) -> None:
            if name in hub.down:
                return self._send(500, b"", {})
            content = hub.files[name]
            sent = content[:-1] + bytes([content[-1] ^ 1]) if name in hub.altered else content
            headers = {"X-Repo-Commit": hub.commit, "ETag": f'"{hub.etag(name)}"', "Accept-Ranges": "bytes"}
            if body and name in hub.cut:
                hub.down.add(name)
            return self._send(200, sent, headers, cut=name in hub.cut | hub.stalled, stall=name in hub.stalled)

        def _send(
            self, status: int, content: bytes, headers: dict[str, str], cut: bool = False, stall: bool = False
        ) -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(content)), "Connection": "close"}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content[: len(content) // 2] if cut else content)
                self.close_connection = self.close_connection or cut
                if stall:
                    hub.stalling.set()
                    hub.ended.wait()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        hub.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield hub
        finally:
            hub.ended.set()
            server.shutdown()
            thread.join()
