"""Which addresses are public, and the addresses of a name: whatever connects to a place that
somebody else chose asks here first."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable

_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
_TUNNELS = [ipaddress.IPv6Network(net) for net in ("2001::/32", "2002::/16")]
"""Teredo and 6to4: addresses of IPv4 in the clothes of IPv6."""
Resolve = Callable[[str], Awaitable[list[str]]]


def is_public(address: str) -> bool:
    """Whether an address is public: not private, local, multicast, reserved, nor a tunnel."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and (
        parsed not in _GLOBAL_V6 or any(parsed in net for net in _TUNNELS)
    ):
        # IPv4 written as IPv6 (::ffff:0:0/96, 64:ff9b::/96, ::/96) is outside of 2000::/3.
        return False
    return parsed.is_global and not (parsed.is_multicast or parsed.is_reserved)


async def found(host: str, resolve: Resolve) -> list[str]:
    """The addresses of a name; none if it can't be looked up."""
    try:
        return await resolve(host)
    except (OSError, UnicodeError):
        return []


async def resolve(host: str) -> list[str]:
    """The addresses of a name, in the order in which to try them. Raises OSError."""
    parsed = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(row[4][0]) for row in parsed))
