"""Public addresses: what RunPod's SDK refuses is refused too, and so are the ranges that it leaves out."""

from __future__ import annotations

import ipaddress

import pytest
from runpod.serverless.utils.rp_ssrf import is_safe_address

from service.addresses import ASSIGNED, NOT_PUBLIC, is_public
from service.fetch import recording_of
from settings import Settings
from validation.errors import ReferenceAudioError

LEFT_OUT = ["2002:7f00:1::1", "2002:a9fe:a9fe::", "2001:0:7f00:1::", "fec0::1", "3fff::1", "4000::1"]
LEFT_OUT += ["192.88.99.1", "168.63.129.16", "::ffff:168.63.129.16", "64:ff9b::7f00:1", "::ffff:0:7f00:1"]
REFUSED = ["::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b:1::a9fe:a9fe", "100::1", "::", "fe80::1%1", "no address", ""]
PUBLIC = ["8.8.8.8", "2606:4700:4700::1111", "2a00:1450:4001:800::200e", "::ffff:8.8.8.8"]
# IANA's registries of special addresses, multicast, and the private networks
RANGES = """
0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.0.0/29 192.0.0.8/32
192.0.0.9/32 192.0.0.10/32 192.0.0.170/31 192.0.2.0/24 192.31.196.0/24 192.52.193.0/24 192.88.99.0/24 192.168.0.0/16
192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 255.255.255.255/32
168.63.129.16/32 ::1/128 ::/128 ::/96 ::ffff:0:0/96 64:ff9b::/96 64:ff9b:1::/48 100::/64 100:0:0:1::/64 200::/7
2000::/3 2001::/23 2001::/32 2001:1::1/128 2001:1::2/128 2001:2::/48 2001:3::/32 2001:4:112::/48 2001:10::/28
2001:20::/28 2001:30::/28 2001:db8::/32 2002::/16 2620:4f:8000::/48 3ffe::/16 3fff::/20 5f00::/16 fc00::/7 fe80::/10
fec0::/10 ff00::/8
"""


def edges(network: str) -> list[str]:
    """The first and the last address of a network, and their neighbours outside."""
    found = ipaddress.ip_network(network)
    first, last = int(found[0]), int(found[-1])
    numbers = [n for n in (first - 1, first, last, last + 1) if 0 <= n < 2**found.max_prefixlen]
    return [str(type(found[0])(n)) for n in numbers]


@pytest.mark.parametrize("network", RANGES.split())
def test_the_sdks_judgement_is_ours_but_for_the_ranges_it_leaves_out(network: str) -> None:
    for address in edges(network):
        ip = ipaddress.ip_address(address)
        ip = getattr(ip, "ipv4_mapped", None) or ip
        is_left_out = any(ip in other for other in NOT_PUBLIC) or (ip.version == 6 and ip not in ASSIGNED)
        assert is_public(address) == (is_safe_address(address) and not is_left_out), address


@pytest.mark.parametrize("address", [*LEFT_OUT, *REFUSED, *PUBLIC])
def test_some_addresses_are_public_and_others_not(address: str) -> None:
    assert is_public(address) == (address in PUBLIC)
    assert not (address in REFUSED and is_safe_address(address))


@pytest.mark.parametrize("address", [address for address in LEFT_OUT if ":" in address])
def test_no_recording_is_fetched_from_an_address_that_carries_another(address: str) -> None:
    with pytest.raises(ReferenceAudioError, match="not public"):
        recording_of(None, f"http://[{address}]/a.wav", Settings(), lambda: None, timeout_s=5.0)
