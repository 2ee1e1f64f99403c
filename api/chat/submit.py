"""Turns a requested chat into a queued job, whatever API the request came by.

Everything that can be refused is refused here, before a job exists and before a stream's headers
are sent. Knows no request's shape and no response's.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from api.auth.caller import Caller
from api.chat.prompt_limit import PromptLimit
from api.chat.request import ChatSpec
from api.errors import ApiError, no_worker, unknown_model
from api.http.data_urls import DataUrls
from api.http.json_limits import JsonReader
from api.images.intake import MANY_MESSAGES, ImageIntake
from api.jobs.idempotency import IdempotencyKey
from api.jobs.ids import new_job_id
from api.jobs.queue import JobQueue
from api.jobs.reader import Reader
from api.jobs.relay import Relay
from api.registry import RegistryReader
from wire.messages import ChatJob
from wire.model_registry import ModelRecord

MUCH_TEXT = 256 << 10
"""Characters beyond which a chat takes milliseconds to write down."""


@dataclass(frozen=True, slots=True)
class Chats:
    """What submitting a chat needs."""

    registry: RegistryReader
    jobs: JobQueue
    relay: Relay
    images: ImageIntake
    prompt_limit: PromptLimit
    json_reader: JsonReader

    async def find_model(self, requested: str | None) -> ModelRecord:
        """The model with this id, name or repository name; the default model if none is named.

        Raises ApiError if it can't be served.
        """
        model, worker_seen = await self.registry.find_to_serve(requested)
        if not worker_seen:
            raise no_worker()
        if model is None:
            raise unknown_model(param="model")
        if not model.downloaded:
            raise ApiError(
                "model_not_found", "This model has not been downloaded yet.", param="model"
            )
        return model

    async def submit(
        self,
        spec: ChatSpec,
        model: ModelRecord,
        urls: DataUrls,
        caller: Caller,
        key: IdempotencyKey | None,
    ) -> Reader | str:
        """Queue a chat.

        Returns a reader of it, or the id of the job that an earlier request with the same key made.

        Raises ApiError for whatever can be refused.
        """
        job = await self._job(spec, model, urls, caller)
        # Attached before the job exists: no event can be missed, and there is nothing to replay.
        reader = self.relay.attach(job.job_id, replay=False)
        try:
            async with self.json_reader.turn if _is_long(job) else contextlib.nullcontext():
                job_id = await self.jobs.submit_chat(job, spec.policy, key)
        except BaseException as error:
            reader.detach()
            # After any other failure the job may exist, and need its images.
            if isinstance(error, ApiError):
                self.images.forget(job.job_id, job.messages)
            raise
        if job_id == job.job_id:
            return reader
        reader.detach()
        self.images.forget(job.job_id, job.messages)
        return job_id

    async def _job(
        self, spec: ChatSpec, model: ModelRecord, urls: DataUrls, caller: Caller
    ) -> ChatJob:
        job_id = new_job_id()
        messages = await self.images.store(spec.messages, urls, job_id)
        try:
            await self.prompt_limit.check(model, messages, spec.form)
        except BaseException:
            self.images.forget(job_id, messages)
            raise
        return ChatJob(
            job_id=job_id,
            owner=caller.owner,
            model_id=model.id,
            model_revision=model.revision,
            messages=messages,
            sampling=spec.sampling,
            form=spec.form,
            submitted_ms=0,  # Redis time, set when the job is queued
        )


def _is_long(job: ChatJob) -> bool:
    """Whether serialising it takes milliseconds."""
    return (
        len(job.messages) > MANY_MESSAGES
        or sum(len(message.text()) for message in job.messages) > MUCH_TEXT
    )
