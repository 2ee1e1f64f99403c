"""How long models that are idle stay in memory, where an operator has said so for one of them.

The API writes these limits, workers read them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from wire.keys import PREFIX

MODEL_TTLS = PREFIX + "model-ttls"
"""Hash: model id -> seconds; less than 0: without limit. Also of models that are not there now."""


def worker_expiries(name: str) -> str:
    """JSON: model id -> seconds until a worker unloads it, of its idle models that have a limit;
    expires with its status."""
    return f"{PREFIX}worker-expiries:{name}"


def decode(stored: Mapping[bytes, bytes]) -> dict[str, float]:
    """The limits of a stored hash, by model id; one that can't be read doesn't count."""
    found = {}
    for model_id, seconds in stored.items():
        with contextlib.suppress(ValueError):
            found[model_id.decode()] = float(seconds)
    return found
