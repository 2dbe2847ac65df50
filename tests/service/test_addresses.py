"""Addresses that Python takes for public and that lead elsewhere: refused, wherever RunPod's module asks."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from runpod.serverless.utils import rp_ssrf

from service.addresses import may_be_public, narrowed
from service.fetch import fetch_reference
from validation.errors import ReferenceAudioError

CARRYING = [
    "2002:7f00:1::1",
    "2002:a9fe:a9fe::",
    "2001:0:7f00:1::",
    "fec0::1",
    "3fff::1",
    "192.88.99.1",
    "168.63.129.16",
]
EMBEDDED = ["::ffff:127.0.0.1", "::ffff:168.63.129.16", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::a9fe:a9fe"]
EMBEDDED += ["::ffff:0:7f00:1", "100::1", "4000::1", "::", "fe80::1%1", "no address", ""]
PUBLIC = ["8.8.8.8", "2606:4700:4700::1111", "2a00:1450:4001:800::200e", "::ffff:8.8.8.8"]


@pytest.mark.parametrize("address", [*CARRYING, *EMBEDDED])
def test_an_address_that_carries_another_is_not_public(address: str) -> None:
    assert not (may_be_public(address) and rp_ssrf.is_safe_address(address))


@pytest.mark.parametrize("address", CARRYING)
def test_runpods_own_judgement_is_narrowed_wherever_it_asks(address: str) -> None:
    """At each hop of each redirect it is this function that judges."""
    assert narrowed(rp_ssrf) is rp_ssrf
    with pytest.raises(rp_ssrf.SSRFError, match="non-public"):
        rp_ssrf.resolve_and_validate(address, 80)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_stays_one(address: str) -> None:
    assert may_be_public(address)
    assert narrowed(rp_ssrf).is_safe_address(address)


def test_narrowing_twice_is_narrowing_once() -> None:
    sdk = SimpleNamespace(is_safe_address=lambda ip: True)
    once = narrowed(sdk).is_safe_address
    assert narrowed(sdk).is_safe_address is once
    assert (once("8.8.8.8"), once("2002::1")) == (True, False)


@pytest.mark.parametrize("address", [address for address in CARRYING if ":" in address])
def test_no_recording_is_fetched_from_an_address_that_carries_another(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(rp_ssrf, "is_safe_address", lambda ip: True)  # so that RunPod alone would let it pass
    with pytest.raises(ReferenceAudioError, match="not public"):
        fetch_reference(f"http://[{address}]/a.wav", max_bytes=1000, timeout_s=5.0, allow_private=False)
