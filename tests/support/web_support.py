"""A fake Internet for tests of images by URL: DNS answers and HTTP responses, without any
connection."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest

from api.errors import ApiError
from api.http.host_names import HostNames
from api.images.fetch import ImageFetcher
from api.images.urls import TOO_LARGE
from tests.support import picture_files as files

PUBLIC, PUBLIC_6 = "93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"
PICTURE = files.plain()


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    yield data[:10]
    yield data[10:]


def found(data: bytes, headers: dict[str, str] | None = None) -> httpx2.Response:
    return httpx2.Response(200, content=_pieces(data), headers=headers)


class Web:
    """The addresses of a name, the requests that were made, and the responses to them."""

    def __init__(self) -> None:
        self.addresses: list[str] = [PUBLIC]
        self.resolved: list[str] = []
        self.requested: list[httpx2.Request] = []
        self.answer: Callable[[httpx2.Request], Any] = lambda _: found(PICTURE)

    async def resolve(self, host: str) -> list[str]:
        self.resolved.append(host)
        return self.addresses

    async def handle(self, request: httpx2.Request) -> httpx2.Response:
        self.requested.append(request)
        found = self.answer(request)
        response: httpx2.Response = await found if asyncio.iscoroutine(found) else found
        return response

    def fetcher(self, *hosts: str) -> ImageFetcher:
        return ImageFetcher(
            HostNames(hosts), TOO_LARGE, self.resolve, httpx2.MockTransport(self.handle)
        )

    def fetch(self, url: str, *hosts: str) -> bytes:
        async def fetched() -> bytes:
            async with self.fetcher(*hosts or ("images.example", "*.cdn.example")).fetched(
                url
            ) as payload:
                return base64.b64decode(payload)

        return asyncio.run(fetched())

    def refused(self, url: str, *hosts: str) -> ApiError:
        with pytest.raises(ApiError) as caught:
            self.fetch(url, *hosts)
        assert len(caught.value.message) < 200
        return caught.value
