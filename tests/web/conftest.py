"""A server shared by a file's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from http_server import HttpServer, open_server


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[HttpServer]:
    """With the file's `SERVER`, which are arguments of `open_server`, or else FakeEngine and default settings."""
    with open_server(**getattr(request.module, "SERVER", {})) as running:
        yield running
