"""Real S3 servers on loopback: moto's, which keeps buckets and checks keys, and one with scripted answers.

moto runs as a program of its own, once per test process; it is ready after half a second.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests
from botocore.config import Config
from botocore.session import Session

from scripts.speak import free_port, local_worker
from service.bucket import Bucket

SECRET = "5EC2E7-is-never-told"  # of no key that moto knows
NAME = "voices"
WORDS = "disk full at /srv/internal"  # of the server


@dataclass(frozen=True, slots=True)
class Moto:
    """The server at `url`, with the bucket `voices`, and the keys of a user who may do anything with it."""

    url: str
    access_key_id: str
    secret_access_key: str

    def bucket(self, **others: Any) -> Bucket:
        keys = {"access_key_id": self.access_key_id, "secret_access_key": self.secret_access_key}
        return Bucket(**{"endpoint_url": self.url, "name": NAME, "region": "us-east-1"} | keys | others)

    def s3_config(self, **others: Any) -> dict[str, Any]:
        keys = {"accessId": self.access_key_id, "accessSecret": self.secret_access_key}
        return keys | {"bucketName": NAME, "endpointUrl": self.url} | others

    def keys_of_objects(self) -> list[str]:
        listed = client(self.url, "s3").list_objects_v2(Bucket=NAME)
        return [item["Key"] for item in listed.get("Contents", [])]

    @contextmanager
    def checking_keys(self) -> Iterator[None]:
        """Meanwhile every request must be signed by a known key; presigned ones it can't check, and fails on."""
        reset = f"{self.url}/moto-api/reset-auth"
        requests.post(reset, data=b"0", timeout=5).raise_for_status()
        try:
            yield
        finally:
            requests.post(reset, data=b"inf", timeout=5).raise_for_status()


@pytest.fixture(scope="session")
def moto() -> Iterator[Moto]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with local_worker(["-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port):
        client(url, "s3").create_bucket(Bucket=NAME)
        iam = client(url, "iam")
        iam.create_user(UserName="anna")
        allowed = {"Effect": "Allow", "Action": "s3:*", "Resource": f"arn:aws:s3:::{NAME}/*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        iam.put_user_policy(UserName="anna", PolicyName="writes", PolicyDocument=policy)
        key = iam.create_access_key(UserName="anna")["AccessKey"]
        yield Moto(url, key["AccessKeyId"], key["SecretAccessKey"])


def client(url: str, service: str) -> Any:
    return Session().create_client(
        service,
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="anyone",
        aws_secret_access_key="anything",
        config=Config(s3={"addressing_style": "path"}),
    )


# --- a server that fails ----------------------------------------------------------------------------------


class Scripted(BaseHTTPRequestHandler):
    """Answers each PUT with the server's next answer, and with the last one from then on."""

    protocol_version = "HTTP/1.1"  # or it would not answer `Expect: 100-continue`
    server: Failing

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.put.append((self.path, dict(self.headers), body))
        answers = self.server.answers
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        with suppress(OSError):
            self.give(answer)
        self.close_connection = True

    def give(self, answer: Answer) -> None:
        if answer.silent:
            self.server.over.wait(10)
            return
        xml = f"<Error><Code>{answer.code}</Code><Message>{WORDS}</Message></Error>"
        body = answer.body if answer.body is not None else xml.encode() if answer.code else b""
        self.send_response(answer.status)
        if answer.region:
            self.send_header("x-amz-bucket-region", answer.region)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        for at in range(len(body)):  # a byte at a time, where it is slow
            if answer.drip_s and self.server.over.wait(answer.drip_s):
                return
            self.wfile.write(body[at : at + 1])

    def log_message(self, *_: object) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Answer:
    status: int = 200
    code: str = ""
    body: bytes | None = None
    silent: bool = False
    drip_s: float = 0.0
    region: str = ""


@dataclass
class Failing(ThreadingHTTPServer):
    answers: list[Answer]
    put: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    daemon_threads = True

    def __post_init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Scripted)

    def handle_error(self, *_: object) -> None:
        pass

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def bucket(self, **others: Any) -> Bucket:
        own = {"endpoint_url": self.url, "name": NAME, "region": "us-east-1", "access_key_id": "anna"}
        return Bucket(**own | {"secret_access_key": SECRET} | others)


@contextmanager
def failing(answers: Sequence[Answer]) -> Iterator[Failing]:
    with Failing(list(answers)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()
