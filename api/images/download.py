"""One image from a public address by https: no proxy, no redirect, no compression."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import httpx2

from api.images.urls import refused

CONNECT_S = 5.0


async def download(
    addresses: Iterable[str],
    host: str,
    path: str,
    most: int,
    transport: httpx2.AsyncBaseTransport | None,
) -> bytearray:
    """The file at the first address that can be connected to. Raises ApiError."""
    for address in addresses:
        try:
            return await _get(address, host, path, most, transport)
        except httpx2.ConnectError:
            continue
        except (httpx2.HTTPError, httpx2.InvalidURL):
            break
    raise refused("An image could not be fetched from its address.")


async def _get(
    address: str, host: str, path: str, most: int, transport: httpx2.AsyncBaseTransport | None
) -> bytearray:
    transport = transport or httpx2.AsyncHTTPTransport(
        verify=await asyncio.to_thread(httpx2.create_ssl_context)
    )
    literal = f"[{address}]" if ":" in address else address
    # No proxy of the environment: it would look the name up once more. The whole fetch has a time
    # limit of its own.
    client = httpx2.AsyncClient(
        transport=transport,
        timeout=httpx2.Timeout(None, connect=CONNECT_S),
        trust_env=False,
        follow_redirects=False,
        headers={
            "Host": host,
            "Accept": "image/*",
            "Accept-Encoding": "identity",
            "User-Agent": "mlx-chat-queue",
        },
    )
    async with (
        client,
        client.stream(
            "GET", f"https://{literal}{path}", extensions={"sni_hostname": host}
        ) as answer,
    ):
        return await _read(answer, most)


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
