"""Shared by the tests of images: a chat with images, and an API with a fake worker that opens
them."""

from __future__ import annotations

import io
import os
from contextlib import suppress
from typing import Any

import psutil
from PIL import Image
from redis import Redis
from starlette.testclient import TestClient

from tests.support import picture_files as files
from tests.support.api_support import FakeWorker, chat_body
from wire import keys
from wire.messages import ChatJob, ImagePart

CHAT = "/api/engine/chat"


def body(*urls: str, text: str = "see") -> dict[str, object]:
    parts: list[dict[str, object]] = [{"type": "text", "text": text}]
    parts += [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return chat_body(messages=[{"role": "user", "content": parts}])


def computed_s() -> float:
    """How long this process and its children have computed by now, seconds: unlike the time on the
    clock, it doesn't depend on what else the machine does."""
    children = 0.0
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # It has just ended.
            children += sum(child.cpu_times()[:2])
    return sum(os.times()[:4]) + children


class ImageApi:
    """A client, and the fake worker that receives accepted jobs."""

    def __init__(self, client: TestClient, worker: FakeWorker, redis: Redis) -> None:
        self.client, self.worker, self.redis = client, worker, redis

    def messages(self, request: dict[str, object]) -> Any:
        response = self.client.post(CHAT, json=request)
        assert response.status_code == 200, response.text
        job = self.worker.seen[-1]
        assert isinstance(job, ChatJob)
        return job.messages

    def kept(self, data: bytes, kind: str = "png") -> Image.Image:
        """The picture as a worker would open it."""
        [part] = self.messages(body(files.url(data, kind)))[0].images()
        return self.picture(part)

    def picture(self, part: ImagePart) -> Image.Image:
        stored = self.redis.get(keys.image(part.sha256))
        assert isinstance(stored, bytes)
        image = Image.open(io.BytesIO(stored), formats=["PNG"])
        image.load()
        assert (image.mode, image.size) == ("RGB", (part.width, part.height))
        assert set(files.chunks(stored)) == {b"IHDR", b"IDAT", b"IEND"}
        return image

    def refused(self, url: str) -> str:
        response = self.client.post(CHAT, json=body(url))
        assert response.status_code == 422, response.text
        assert len(response.content) <= 1024
        assert response.json()["code"] == "invalid_image"
        assert not self.worker.seen
        detail: str = response.json()["detail"]
        return detail
