"""Images of a request: opened in another process, stored once, replaced by a reference.

Nothing here looks into an image, and nothing but a host that the operator lists is asked for one.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from anyio import CapacityLimiter, to_thread
from redis import Redis

from api.errors import ApiError
from api.http.data_urls import DataUrls
from api.images.decoder_pool import CHILDREN, ImagePool, ImageRefused
from api.images.draft import DraftMessage, ImageUrl, message_of, place_of
from api.images.fetch import ImageFetcher, is_address
from api.images.store import ImagesFull, ImageStore
from api.images.urls import payload, refused
from api.periodic import repeat
from wire.messages import ImagePart, Message

MOST_IMAGES = 16
RETRY_S = 10
SWEEP_S = 5.0
MANY_MESSAGES = 500
"""Beyond this many messages, which take a millisecond or two, they are assembled and serialised on
a thread."""
_MOST_KNOWN = 1000
_Location = str
"""The field that holds an image."""

_SENTENCES = {
    "unknown": "An image is not a PNG, JPEG, WebP or GIF.",
    "empty": "An image is empty.",
    "length": "An image's base64 has a wrong length: a part of it is missing.",
    "base64": "An image is not valid base64.",
    "unreadable": "An image's header could not be read.",
    "pixels": "An image must have at most 40 megapixels.",
    "aspect": "An image's longer side must be at most 200 times its shorter side.",
    "broken": "An image is cut short or broken.",
    "metadata": "An image's metadata is too large.",
    "memory": "An image takes too much memory to open.",
    "time": "An image takes too long to open.",
    "crash": "An image could not be opened.",
}


class ImageIntake:
    """Takes images in and looks after what is stored of them."""

    def __init__(self, redis: Redis, budget: int, fetcher: ImageFetcher) -> None:
        self.pool = ImagePool()
        self._fetcher = fetcher
        self._store = ImageStore(redis, budget)
        # A thread for each child, which waits for it and holds one image at a time.
        self._threads = CapacityLimiter(CHILDREN)
        self._sweeper = ThreadPoolExecutor(1, "images-sweep")
        self._known: OrderedDict[bytes, ImagePart] = OrderedDict()
        self._known_lock = threading.Lock()

    async def store(
        self, drafts: Sequence[DraftMessage], urls: DataUrls, job_id: str
    ) -> tuple[Message, ...]:
        """The messages of a job, each image stored in Redis under its SHA-256.

        Raises ApiError ``invalid_image`` and ``images_full``; nothing is held for the job then.
        """
        stored: dict[str, ImagePart] = {}
        take = partial(self._decode_and_store, job_id=job_id)
        try:
            return await self._taken(drafts, urls, take, stored)
        except BaseException:
            self._release(job_id, stored.values())
            raise

    async def opened(
        self, drafts: Sequence[DraftMessage], urls: DataUrls
    ) -> tuple[tuple[Message, ...], dict[str, bytes]]:
        """The messages of a request that no job comes of, and their images as PNG by SHA-256;
        nothing is stored.

        Raises ApiError ``invalid_image``.
        """
        pictures: dict[str, bytes] = {}

        def take(image: memoryview) -> ImagePart:
            part, data = self._decode(image)
            pictures[part.sha256] = data
            return part

        return await self._taken(drafts, urls, take, {}), pictures

    async def _taken(
        self,
        drafts: Sequence[DraftMessage],
        urls: DataUrls,
        take: Callable[[memoryview], ImagePart],
        taken: dict[str, ImagePart],
    ) -> tuple[Message, ...]:
        """The messages with what ``take`` makes of each image, on a thread; noted in ``taken``."""
        locations = _locations(drafts)
        if len(locations) > MOST_IMAGES:
            raise refused(f"A request may hold at most {MOST_IMAGES} images.")
        # All URLs are looked at before the first image is opened.
        encoded: dict[str, memoryview | None] = {}
        for url, location in locations:
            with _naming(location):
                encoded[url] = self._payload(url, urls)
        for url, location in locations:
            if url not in taken:
                with _naming(location):
                    taken[url] = await self._fetched(url, encoded[url], take)
        if len(drafts) > MANY_MESSAGES:
            return await asyncio.to_thread(_messages, drafts, taken)
        return _messages(drafts, taken)

    async def share(self, messages: Iterable[Message], job_ids: Sequence[str]) -> bool:
        """Note that further jobs need the images of messages that one has stored. Whether all are
        still there."""
        hashes = {part.sha256 for message in messages for part in message.images()}
        if not hashes or not job_ids:
            return True
        return await to_thread.run_sync(self._hold, hashes, job_ids, limiter=self._threads)

    def _hold(self, hashes: Iterable[str], job_ids: Iterable[str]) -> bool:
        return all(self._store.hold(sha256, job_id) for sha256 in hashes for job_id in job_ids)

    def _payload(self, url: str, urls: DataUrls) -> memoryview | None:
        """What a URL holds; None if that is elsewhere."""
        if is_address(url):
            self._fetcher.check(url)
            return None
        return payload(url, urls)

    async def _fetched(
        self, url: str, encoded: memoryview | None, take: Callable[[memoryview], ImagePart]
    ) -> ImagePart:
        if encoded is not None:
            return await self._on_thread(take, encoded)
        async with self._fetcher.fetched(url) as fetched:
            return await self._on_thread(take, fetched)

    async def _on_thread(
        self, take: Callable[[memoryview], ImagePart], image: memoryview
    ) -> ImagePart:
        return await to_thread.run_sync(take, image, limiter=self._threads, abandon_on_cancel=True)

    def forget(self, job_id: str, messages: Iterable[Message]) -> None:
        """Release the images of a job that was not created. Returns at once."""
        self._release(job_id, [part for message in messages for part in message.images()])

    async def run(self) -> None:
        """Drop what no job needs any more, until cancelled."""
        await repeat(SWEEP_S, self._sweep, "looking after stored images")

    async def _sweep(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._sweeper, self._store.sweep)

    def close(self) -> None:
        self.pool.close()
        self._sweeper.shutdown(wait=False, cancel_futures=True)

    def _release(self, job_id: str, parts: Iterable[ImagePart]) -> None:
        hashes = {part.sha256 for part in parts}
        with contextlib.suppress(RuntimeError):  # at shutdown; another process finds it out
            self._sweeper.submit(self._store.forget, job_id, hashes)

    def _decode_and_store(self, image: memoryview, job_id: str) -> ImagePart:
        """Open and store one image.

        The same one again, as each turn of a conversation sends it, is only looked up.
        """
        sent = hashlib.sha256(image).digest()
        with self._known_lock:
            known = self._known.get(sent)
        if known is not None and self._store.hold(known.sha256, job_id):
            return known
        part, data = self._decode(image)
        try:
            self._store.put(part.sha256, data, job_id)
        except ImagesFull:
            raise ApiError(
                "images_full", "Running chats hold too many images. Try again later.", RETRY_S
            ) from None
        self._remember(sent, part)
        return part

    def _decode(self, image: memoryview) -> tuple[ImagePart, bytes]:
        try:
            picture = self.pool.open(image)
        except ImageRefused as reason:
            raise refused(_SENTENCES.get(str(reason), _SENTENCES["crash"])) from None
        # Hashed here: a compromised child must not choose the name of a picture.
        sha256 = hashlib.sha256(picture.data).hexdigest()
        return ImagePart(sha256=sha256, width=picture.width, height=picture.height), picture.data

    def _remember(self, sent: bytes, part: ImagePart) -> None:
        with self._known_lock:
            self._known[sent] = part
            self._known.move_to_end(sent)
            while len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)


def _locations(drafts: Sequence[DraftMessage]) -> list[tuple[str, _Location]]:
    """The images in order, and the location of each."""
    return [
        (part.url, f"{place_of(part, message, number)}.{part.field}")
        for message, draft in enumerate(drafts)
        for number, part in enumerate(draft.parts)
        if isinstance(part, ImageUrl)
    ]


@contextlib.contextmanager
def _naming(location: _Location) -> Iterator[None]:
    """Refusals name the image's field."""
    try:
        yield
    except ApiError as error:
        if error.code not in ("invalid_image", "unsupported"):
            raise
        line = " -> ".join(["body", *re.findall(r"\w+", location)])
        raise ApiError(error.code, error.message, errors=[line], param=location) from None


def _messages(
    drafts: Sequence[DraftMessage], stored: Mapping[str, ImagePart]
) -> tuple[Message, ...]:
    return tuple(message_of(draft, stored) for draft in drafts)
