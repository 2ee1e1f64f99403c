"""Idempotent requests: a client's key leads to the job that its first request created.

Knows keys, fingerprints of bodies and their values in Redis; api.jobs.queue writes the job and its
key in one transaction.
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
    """A request's idempotency key: its Redis name, and a fingerprint of the body."""

    name: str
    fingerprint: str

    def value(self, job_id: str) -> str:
        """What is stored under the name."""
        return f"{job_id} {self.fingerprint}"

    def job_in(self, stored: bytes | None) -> str | None:
        """The job that an earlier request created, or None.

        Raises ApiError if that request had another body.
        """
        if stored is None:
            return None
        job_id, fingerprint = stored.decode().split()
        if fingerprint != self.fingerprint:
            raise ApiError("conflict", "This Idempotency-Key was used for another request.")
        return job_id


async def idempotency_key_of(
    key: str | None, owner: str, body: BaseModel, urls: DataUrls
) -> IdempotencyKey | None:
    """The key of a request; None if it has none. Raises ApiError for an invalid key."""
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
