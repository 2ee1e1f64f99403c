"""Requests that may be sent twice: a key of the client's leads to the job that its first request
made.

Knows keys, fingerprints of bodies and what stands in Redis for them; the job and its key are
written in one transaction by api.jobs.queue.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from dataclasses import dataclass

from pydantic import BaseModel

from api.errors import ApiError
from api.http.data_urls import DataUrls
from wire import keys

LIFETIME_S = 24 * 3600
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A request that makes one job however often it is sent: its Redis name, and a fingerprint
    of its body."""

    name: str
    fingerprint: str

    def value(self, job_id: str) -> str:
        """What is stored under the name."""
        return f"{job_id} {self.fingerprint}"

    def job_in(self, stored: bytes | None) -> str | None:
        """The job that an earlier request made; None if there was none. Raises ApiError if that
        one was another."""
        if stored is None:
            return None
        job_id, fingerprint = stored.decode().split()
        if fingerprint != self.fingerprint:
            raise ApiError("conflict", "This Idempotency-Key was used for another request.")
        return job_id


async def idempotency_key_of(
    key: str | None, owner: str, body: BaseModel, urls: DataUrls
) -> IdempotencyKey | None:
    """What a request's key stands for; None without one. Raises ApiError for a key that is none."""
    if key is None:
        return None
    if _KEY.fullmatch(key) is None:
        raise ApiError("bad_request", "An Idempotency-Key has 1 to 255 visible ASCII characters.")
    images = urls.all()
    # Images are megabytes: hashed beside the event loop.
    body_fingerprint = (
        await asyncio.to_thread(_fingerprint, body, images)
        if images
        else _fingerprint(body, images)
    )
    return IdempotencyKey(
        keys.idempotency(owner, hashlib.sha256(key.encode()).hexdigest()), body_fingerprint
    )


def _fingerprint(body: BaseModel, images: list[memoryview]) -> str:
    digest = hashlib.sha256(body.model_dump_json().encode())
    for image in images:
        digest.update(len(image).to_bytes(8, "big"))
        digest.update(image)
    return digest.hexdigest()
