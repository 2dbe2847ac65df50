"""Proxies, names and addresses as the tests of fetches and uploads need them."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from service import addresses


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def internet(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """127.0.0.1 counts as a public address, and no other of this machine. Each lookup of a name in this dict takes its
    next answer: one or more addresses, with blanks between."""
    names: dict[str, list[str]] = {}
    is_public, real = addresses.is_public, socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        answer = names[host].pop(0).split() if host in names else [host]
        return [found for address in answer for found in real(address, *args, **kwargs)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(addresses, "is_public", lambda ip: ip == "127.0.0.1" or is_public(ip))
    return names
