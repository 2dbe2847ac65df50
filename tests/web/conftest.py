"""A server with FakeEngine and default settings, shared by a file's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from http_server import HttpServer, open_server


@pytest.fixture(scope="module")
def server() -> Iterator[HttpServer]:
    with open_server() as running:
        yield running
