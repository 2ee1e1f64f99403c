"""The bases of everything that is stored as JSON in Redis."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Base of everything stored as JSON in Redis: frozen, and a field it doesn't know is an error.

    Processes of two releases share a Redis while machines are updated: declare a new field with
    :func:`wire.versions.added`, never with a plain default.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")


class TolerantRecord(Record):
    """A record that only informs: what a later release adds to it is ignored by its readers."""

    model_config = ConfigDict(extra="ignore")
