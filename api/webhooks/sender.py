"""Sends one delivery: to a public address by https, to others only if the operator lists the host.

A name is resolved once for each try, every address is checked, and the connection goes to a checked
one: a name that changes gets nothing. No redirect is followed, no proxy asked, no answer read.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

from api.errors import ApiError
from api.http.host_names import HostNames
from api.http.public_addresses import Resolve, found, is_public, resolve

SEND_S = 10.0
"""From looking the name up to the first byte of the answer."""
MOST_URL = 2000


class NotSent(Exception):
    """Why a try came to nothing: a few words without the address."""


class Sender:
    """``private`` are hosts that may have addresses of any kind, and plain http.

    ``transport`` makes connections in tests.
    """

    def __init__(
        self, private: HostNames, resolve: Resolve = resolve, transport: Any = None
    ) -> None:
        self._private = private
        self._resolve = resolve
        self._connected: Any = None if transport is None else lambda: transport

    def check(self, url: str) -> None:
        """Raises ApiError for an address to which nothing will be sent."""
        try:
            parts = self._parts(url)
        except ValueError as error:
            raise ApiError("invalid_request", f"{error}", param="url") from None
        host = str(parts.hostname)
        if _is_address(host) and not is_public(host) and host not in self._private:
            raise ApiError("invalid_request", _NOT_PUBLIC, param="url")

    def _parts(self, url: str) -> SplitResult:
        """The parts of an address. Raises ValueError with a sentence."""
        if len(url) > MOST_URL or not (url.isascii() and url.isprintable() and " " not in url):
            raise ValueError(f"A url has at most {MOST_URL} ASCII characters and no blanks.")
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            host = None
        if not host or parts.username is not None or "#" in url or "\\" in url:
            raise ValueError("A url has a host, and neither a user nor a fragment.")
        if parts.scheme != "https" and not (parts.scheme == "http" and host in self._private):
            raise ValueError("A url begins with https://, but for hosts of MLXQ_WEBHOOK_HOSTS.")
        return parts

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """The status of the answer. Raises NotSent if there is none."""
        try:
            async with asyncio.timeout(SEND_S):
                return await self._post(self._parts(url), headers, body)
        except TimeoutError:
            raise NotSent("no answer in time") from None
        except ValueError:
            raise NotSent("its host is no longer allowed") from None

    async def _post(self, url: SplitResult, headers: Mapping[str, str], body: bytes) -> int:
        import httpx2

        from api.http.checked_request import NoAnswer, by_tls, from_first, sent

        connected = self._connected = self._connected or await by_tls()
        timeout = httpx2.Timeout(SEND_S)

        async def post(address: str) -> int:
            async with sent(
                "POST", url, address, headers, connected=connected, timeout=timeout, content=body
            ) as answer:
                return int(answer.status_code)

        try:
            return await from_first(await self._addresses(str(url.hostname)), post)
        except NoAnswer as reason:
            raise NotSent(str(reason)) from None

    async def _addresses(self, host: str) -> list[str]:
        addresses = [host] if _is_address(host) else await found(host, self._resolve)
        if not addresses:
            raise NotSent("its host could not be found")
        if host not in self._private and not all(map(is_public, addresses)):
            raise NotSent("its host has an address that is not public")
        return addresses


_NOT_PUBLIC = "Webhooks are sent to public addresses, but for hosts of MLXQ_WEBHOOK_HOSTS."


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
