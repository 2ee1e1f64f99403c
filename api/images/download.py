"""One image from a public address by https, uncompressed."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

import httpx2

from api.http.checked_request import NoAnswer, by_tls, from_first, sent
from api.images.urls import refused

CONNECT_S = 5.0
_HEADERS = {"Accept": "image/*", "Accept-Encoding": "identity"}


async def download(
    addresses: Iterable[str],
    host: str,
    path: str,
    most: int,
    transport: httpx2.AsyncBaseTransport | None,
) -> bytearray:
    """The file at the first address that can be connected to. Raises ApiError."""
    url = urlsplit(f"https://{host}{path}")
    connected = await by_tls() if transport is None else lambda: transport
    # The whole fetch has a time limit of its own.
    timeout = httpx2.Timeout(None, connect=CONNECT_S)

    async def get(address: str) -> bytearray:
        asked = sent("GET", url, address, _HEADERS, connected=connected, timeout=timeout)
        async with asked as answer:
            return await _read(answer, most)

    try:
        return await from_first(addresses, get)
    except NoAnswer:
        raise refused("An image could not be fetched from its address.") from None


async def _read(answer: httpx2.Response, most: int) -> bytearray:
    if answer.is_redirect:
        raise refused("An image's address leads to another one: redirects are not followed.")
    if answer.status_code != 200:
        raise refused(f"An image's host answered with status {answer.status_code}.")
    if answer.headers.get("content-encoding", "identity").lower() != "identity":
        raise refused("An image's host sends it compressed.")
    data = bytearray()
    async for piece in answer.aiter_raw():
        data += piece
        if len(data) >= most:
            raise refused("An image must be under 20 MB.")
    return data
