"""Requests to an address that was looked up and judged before: a name that changes meanwhile gets
nothing. No proxy, which would look the name up once more, and no redirect.

Imported when it is needed: half of what the API would import, for what few installations use.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import TypeVar
from urllib.parse import SplitResult

import httpx2

T = TypeVar("T")


class NoAnswer(Exception):
    """Nothing came of it: why, in a few words without the address."""


async def from_first(addresses: Iterable[str], ask: Callable[[str], Awaitable[T]]) -> T:
    """What the first address says that can be connected to. Raises NoAnswer."""
    for address in addresses:
        try:
            return await ask(address)
        except httpx2.ConnectError:
            continue
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise NoAnswer(type(error).__name__) from None
    raise NoAnswer("no connection")


async def by_tls() -> Callable[[], httpx2.AsyncBaseTransport]:
    """Makes connections whose certificates are checked."""
    # Reading the certificates takes some time.
    context = await asyncio.to_thread(httpx2.create_ssl_context)
    return partial(httpx2.AsyncHTTPTransport, verify=context)


@contextlib.asynccontextmanager
async def sent(
    method: str,
    url: SplitResult,
    address: str,
    headers: Mapping[str, str],
    *,
    connected: Callable[[], httpx2.AsyncBaseTransport],
    timeout: httpx2.Timeout,
    content: bytes | None = None,
) -> AsyncIterator[httpx2.Response]:
    """The answer to a request for ``url`` at one of its host's addresses; its certificate must be
    the host's. ``connected`` makes connections."""
    literal = f"[{address}]" if ":" in address else address
    port = "" if url.port is None else f":{url.port}"
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    client = httpx2.AsyncClient(
        transport=connected(),
        timeout=timeout,
        trust_env=False,
        follow_redirects=False,
        headers={"Host": url.netloc, "User-Agent": "mlx-chat-queue", **headers},
    )
    async with (
        client,
        client.stream(
            method,
            f"{url.scheme}://{literal}{port}{path}",
            content=content,
            extensions={"sni_hostname": str(url.hostname)},
        ) as answer,
    ):
        yield answer
