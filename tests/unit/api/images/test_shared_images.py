"""The images of a request with several answers are each answer's."""

from __future__ import annotations

import asyncio

from redis import Redis

from api.http.host_names import HostNames
from api.images.fetch import ImageFetcher
from api.images.intake import ImageIntake
from api.images.urls import TOO_LARGE
from wire import keys
from wire.messages import ImagePart, Message

NAME = "a" * 64


def test_further_jobs_need_the_images_of_the_first(redis: Redis) -> None:
    images = ImageIntake(redis, 1 << 20, ImageFetcher(HostNames(), TOO_LARGE))
    images._store.put(NAME, b"a picture", "first")
    shown = Message(role="user", content=(ImagePart(sha256=NAME, width=1, height=1),))
    asyncio.run(images.share([shown, shown], ["second", "third"]))
    needing = redis.zrange(keys.image_jobs(NAME), 0, -1)
    assert set(needing) == {b"first", b"second", b"third"}
    images.close()
