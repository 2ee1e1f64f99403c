"""Turns a requested chat into a queued job, whatever API the request came by.

Everything that can be refused is refused here, before a job exists and before a stream's headers
are sent. Knows no request's shape and no response's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from api.auth.caller import Caller
from api.chat.prompt_limit import PromptLimit
from api.chat.request import ChatSpec, WithoutTemplate, seed_of_choice
from api.errors import ApiError, no_worker
from api.http.data_urls import DataUrls
from api.http.json_limits import JsonReader
from api.images.intake import MANY_MESSAGES, ImageIntake
from api.jobs.idempotency import IdempotencyKey
from api.jobs.ids import new_job_id
from api.jobs.policy import Policy
from api.jobs.queue import JobQueue
from api.jobs.reader import Reader
from api.jobs.relay import Relay
from api.registry import RegistryReader, servable
from wire.messages import ChatJob
from wire.model_registry import ModelRecord, Task
from wire.versions import needs

MUCH_TEXT = 256 << 10
"""Characters beyond which a chat takes milliseconds to write down."""
_ID_LENGTH = 8
"""Characters of a token id that is written down, at most."""


@dataclass(frozen=True, slots=True)
class Chats:
    """What submitting a chat needs."""

    registry: RegistryReader
    jobs: JobQueue
    relay: Relay
    images: ImageIntake
    prompt_limit: PromptLimit
    json_reader: JsonReader
    without_template: WithoutTemplate = "generic"

    async def find_model(
        self, requested: str | None, owner: str, task: Task = "chat"
    ) -> ModelRecord:
        """The model with this id, name or repository name; the owner's default model if none is.

        Raises ApiError if it can't be served.
        """
        model, worker_seen = await self.registry.find_to_serve(requested, owner, task)
        if not worker_seen:
            raise no_worker()
        return servable(model, "model", task)

    async def fitting(self, spec: ChatSpec, model: ModelRecord) -> ChatSpec:
        """What is asked for as this model, and every living worker, can answer it.

        Raises ApiError for tools that the model can't be given, and for a pinned model that is not
        to stay.
        """
        keep_alive_s = spec.policy.keep_alive_s
        if keep_alive_s is not None and keep_alive_s >= 0:
            await self._check_unpinned(model)
        fit = partial(spec.fitting, model, without_template=self.without_template)
        fitting = fit()
        if needs(fitting.sampling) == needs(spec.sampling):
            return fitting
        return fit(await self.registry.oldest_version())

    async def _check_unpinned(self, model: ModelRecord) -> None:
        if {model.id, model.base_id} & (await self.registry.pinned()).keys():
            sentence = "This model is pinned and stays in memory: leave keep_alive out."
            raise ApiError("unsupported", sentence, param="keep_alive")

    async def submit(
        self,
        spec: ChatSpec,
        model: ModelRecord,
        urls: DataUrls,
        caller: Caller,
        key: IdempotencyKey | None,
    ) -> Reader | str:
        """Queue a chat with one answer.

        Returns a reader of it, or the id of the job that an earlier request with the same key made.

        Raises ApiError for whatever can be refused.
        """
        submitted = await self.submit_all([spec], model, urls, caller, key)
        return submitted if isinstance(submitted, str) else submitted[0]

    async def submit_all(
        self,
        specs: Sequence[ChatSpec],
        model: ModelRecord,
        urls: DataUrls,
        caller: Caller,
        key: IdempotencyKey | None,
    ) -> list[Reader] | str:
        """Queue the chats of one request, a job for each answer, all or none of them.

        Returns a reader for each answer: those to the first chat, those to the second, and so on.
        Or the id of the first job that an earlier request with the same key made.

        Raises ApiError for whatever can be refused.
        """
        jobs = await self._all_jobs(specs, model, urls, caller)
        return await self._queued(jobs, specs[0].policy, key)

    async def submit_again(self, job: ChatJob, policy: Policy) -> Reader:
        """Queue a chat that was taken in before, as a new job; returns a reader of it.

        Raises ApiError for whatever can be refused: ``request_not_kept`` if its images are gone.
        """
        again = job.model_copy(update={"job_id": new_job_id(), "group": None, "keep_alive_s": None})
        if not await self.images.share(again.messages, [again.job_id]):
            self._forget([again])
            sentence = "The images of this chat are no longer kept: send it as a new one."
            raise ApiError("request_not_kept", sentence)
        readers = await self._queued([again], policy, None)
        assert not isinstance(readers, str), "without a key it is nobody else's job"
        return readers[0]

    async def _queued(
        self, jobs: Sequence[ChatJob], policy: Policy, key: IdempotencyKey | None
    ) -> list[Reader] | str:
        # Attached before the jobs exist: no event can be missed, and there is nothing to replay.
        readers = [self.relay.attach(job.job_id, replay=False) for job in jobs]
        try:
            async with self.json_reader.turn if _are_long(jobs) else contextlib.nullcontext():
                first_id = await self.jobs.submit_chats(jobs, policy, key)
        except BaseException as error:
            _detach(readers)
            # After any other failure the jobs may exist, and need their images.
            if isinstance(error, ApiError):
                self._forget(jobs)
            raise
        if first_id == jobs[0].job_id:
            return readers
        _detach(readers)
        self._forget(jobs)
        return first_id

    async def _all_jobs(
        self, specs: Sequence[ChatSpec], model: ModelRecord, urls: DataUrls, caller: Caller
    ) -> list[ChatJob]:
        jobs: list[ChatJob] = []
        try:
            for spec in specs:
                first, *others = _choices(await self._job(spec, model, urls, caller), spec.choices)
                jobs += [first, *others]
                await self.images.share(first.messages, [job.job_id for job in others])
        except BaseException:
            self._forget(jobs)
            raise
        return jobs

    def _forget(self, jobs: Sequence[ChatJob]) -> None:
        for job in jobs:
            self.images.forget(job.job_id, job.messages)

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
        return spec.job(job_id, model, messages, caller.owner)


def _choices(job: ChatJob, number: int) -> list[ChatJob]:
    """A chat as so many, each with a seed of its own."""
    if number == 1:
        return [job]
    sampling = job.sampling
    return [
        job.model_copy(
            update={
                "job_id": new_job_id() if i else job.job_id,
                "sampling": sampling.model_copy(update={"seed": seed_of_choice(sampling.seed, i)}),
                "group": job.job_id,
            }
        )
        for i in range(number)
    ]


def _detach(readers: Sequence[Reader]) -> None:
    for reader in readers:
        reader.detach()


def _are_long(jobs: Sequence[ChatJob]) -> bool:
    """Whether serialising them takes milliseconds."""
    size = sum(len(message.text()) for job in jobs for message in job.messages)
    size += sum(len(job.form.prompt_ids) for job in jobs) * _ID_LENGTH
    return sum(len(job.messages) for job in jobs) > MANY_MESSAGES or size > MUCH_TEXT
