"""The Responses routes over a fake worker that gives every chat the same answer."""

from __future__ import annotations

from tests.unit.api.responses.conftest import api, running

__all__ = ["api", "running"]
