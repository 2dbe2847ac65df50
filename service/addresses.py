"""Which addresses are public: RunPod's judgement, and what it leaves out. It does not know what is fetched from one.

RunPod's `is_safe_address` refuses the private IPv4 networks and their IPv6 forms that Python knows. Python takes some
for public that are none: those that carry an IPv4 address to a relay, which may stand in this very network (6to4);
those of the documentation; and all of IPv6 that nobody was given, the old site-local ones among it.
"""

from __future__ import annotations

import ipaddress
from typing import Any

ASSIGNED = ipaddress.IPv6Network("2000::/3")  # all that IANA has given out of IPv6, RFC 4291
CARRIERS = (
    ipaddress.IPv6Network("2001::/32"),  # Teredo, RFC 4380
    ipaddress.IPv6Network("2002::/16"),  # 6to4, RFC 3056
    ipaddress.IPv6Network("3fff::/20"),  # documentation, RFC 9637
    ipaddress.IPv4Network("192.88.99.0/24"),  # 6to4's relays, RFC 7526
    ipaddress.IPv4Network("168.63.129.16/32"),  # a public number that is Azure's own services inside Azure
)


def may_be_public(address: str) -> bool:
    """False for what is refused besides RunPod's list; for what is no address at all, too."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ip
    if ip.version == 6 and ip not in ASSIGNED:
        return False
    return not any(ip in network for network in CARRIERS if network.version == ip.version)


def narrowed(sdk: Any) -> Any:
    """RunPod's module, which from now on asks `may_be_public` too, for each address of each hop.

    `safe_get` takes no judgement from its caller, and finds its own by name each time; to look at a name's addresses
    before calling it would be to ask the name's server twice, which may then say something else.
    """
    judge = sdk.is_safe_address
    if not hasattr(judge, "narrowed"):

        def is_public(address: str) -> bool:
            return may_be_public(address) and bool(judge(address))

        is_public.narrowed = True  # type: ignore[attr-defined]
        sdk.is_safe_address = is_public
    return sdk
