"""The jobs that the API queues for workers: a chat, and a command on models."""

from __future__ import annotations

from typing import Literal

from wire.messages.chats import PLAIN_TEXT, Message, OutputFormat, Sampling
from wire.messages.records import Record
from wire.versions import added


class ChatJob(Record):
    """One chat request as a worker reads it.

    ``submitted_ms`` is Redis time, in milliseconds since the epoch. ``group`` is the same for the
    chats that answer one prompt several times, the id of the first: a worker reads it once.
    ``keep_alive_s`` is how long the model stays in memory once it is idle; less than 0: without
    limit; None: as before.
    """

    job_id: str
    owner: str
    model_id: str
    model_revision: str
    messages: tuple[Message, ...]
    sampling: Sampling
    form: OutputFormat = PLAIN_TEXT
    submitted_ms: int
    group: str | None = added(None, since=4, refines=True)
    keep_alive_s: float | None = added(None, since=4, refines=False)


class ModelCommand(Record):
    """Something to do with models, run by a worker as a job whose end carries the answer.

    ``cancel_download`` names the model by its id, name or repository, and keeps what was fetched.
    ``draft_model`` is the id of the one that guesses for a model that is loaded.
    """

    job_id: str
    action: Literal["load", "unload", "register", "scan", "download", "cancel_download", "delete"]
    model_id: str | None = None
    kv_quantization: Literal[4, 8] | None = None
    name: str | None = None
    path: str | None = None
    draft_model: str | None = added(None, since=4, refines=False)
