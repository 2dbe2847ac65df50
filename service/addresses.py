"""Which IP addresses are public: what the standard library calls global, less the ranges below.

`ipaddress` refuses the private, loopback, link-local (cloud metadata), shared (100.64.0.0/10), documentation,
benchmarking and reserved networks. It calls multicast global, and IPv6 that no registry has assigned (site-local).
"""

from __future__ import annotations

import ipaddress

ASSIGNED = ipaddress.IPv6Network("2000::/3")  # all that IANA has assigned of IPv6, RFC 4291
NOT_PUBLIC = (
    ipaddress.IPv6Network("2001::/32"),  # Teredo, RFC 4380: carries an IPv4 address to a relay, maybe in this network
    ipaddress.IPv6Network("2002::/16"),  # 6to4, RFC 3056: likewise
    ipaddress.IPv6Network("3fff::/20"),  # documentation, RFC 9637
    ipaddress.IPv4Network("192.88.99.0/24"),  # 6to4's relays, RFC 7526
    ipaddress.IPv4Network("168.63.129.16/32"),  # Azure's own services inside Azure
)


def is_public(address: str) -> bool:
    """Whether a URL from a request may lead to this IP address. False for what is no address."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ip
    if ip.version == 6 and ip not in ASSIGNED:
        return False
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in NOT_PUBLIC)
