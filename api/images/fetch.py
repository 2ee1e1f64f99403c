"""Images by an https address, from hosts that the operator lists, never from a private address.

Off unless ``MLXQ_IMAGE_HOSTS`` names a host. A name is resolved once, every address is checked, and
the connection goes to a checked address: a later change of the DNS record has no effect.
Certificates are verified against the name.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any

from api.errors import ApiError
from api.http.host_names import HostNames
from api.http.public_addresses import Resolve, found, is_public, resolve
from api.images.urls import refused

FETCH_S = 15.0
"""From looking the name up to the last byte, the wait for others included."""
AT_ONCE = 4
"""Images that are held here, each under 20 MB and its base64."""
_ADDRESS = re.compile(r"https://([a-z0-9_.-]{1,253})(?::443)?([/?][!-~]{0,2000})?", re.IGNORECASE)


def is_address(url: str) -> bool:
    """Whether a URL asks for an image to be fetched."""
    return url[:8].lower().startswith(("http://", "https://"))


class ImageFetcher:
    """Fetches from ``hosts``.

    ``transport`` makes connections to an address that has been judged.
    """

    def __init__(
        self,
        hosts: HostNames,
        most: int,
        resolve: Resolve = resolve,
        transport: Any = None,
    ) -> None:
        """``most``: an image must be under so many bytes."""
        self._hosts, self._most = hosts, most
        self._resolve, self._transport = resolve, transport
        self._turns = asyncio.Semaphore(AT_ONCE)

    def check(self, url: str) -> None:
        """Raises ApiError for an address that nothing will be fetched from."""
        self._parts(url)

    def _parts(self, url: str) -> tuple[str, str]:
        """Host and path."""
        if not self._hosts:
            message = (
                "Images are not fetched by their address here: send a data: URL. See "
                "MLXQ_IMAGE_HOSTS."
            )
            raise ApiError("unsupported", message)
        match = _ADDRESS.fullmatch(url.partition("#")[0])
        if match is None:
            message = (
                "Images are fetched by https:// addresses of plain ASCII, without a user "
                "and on port 443 alone."
            )
            raise ApiError("unsupported", message)
        host, path = match[1].lower(), match[2] or "/"
        if host not in self._hosts:
            raise ApiError(
                "unsupported", "Images are not fetched from this host. See MLXQ_IMAGE_HOSTS."
            )
        return host, path if path.startswith("/") else f"/{path}"

    @contextlib.asynccontextmanager
    async def fetched(self, url: str) -> AsyncIterator[memoryview]:
        """The image at an address, in base64; few are there at once. Raises ApiError."""
        host, path = self._parts(url)
        async with contextlib.AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(FETCH_S):
                    await stack.enter_async_context(self._turns)
                    data = await self._fetch(host, path)
            except TimeoutError:
                raise refused("An image took too long to be fetched.") from None
            yield memoryview(await asyncio.to_thread(base64.b64encode, data))

    async def _fetch(self, host: str, path: str) -> bytearray:
        addresses = await found(host, self._resolve)
        if not addresses:
            raise refused("An image's host could not be found.")
        if not all(map(is_public, addresses)):
            raise refused(
                "An image's host has an address that is not public: nothing is fetched from it."
            )
        # Not at the start: see api.http.checked_request.
        from api.images.download import download

        return await download(addresses, host, path, self._most, self._transport)
