"""A model's own defaults for sampling, from the ``generation_config.json`` of its folder.

As in vLLM the values count whatever ``do_sample`` says: in published files it is often missing,
which means false, beside a temperature that is meant. End-of-text ids are the backends' to read.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from wire.model_registry import NO_DEFAULTS, SamplingDefaults

FILE = "generation_config.json"
MOST_BYTES = 1 << 20
_RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0.0, 2.0),
    "top_p": (0.0, 1.0),
    "top_k": (-1, 1_000_000),
    "min_p": (0.0, 1.0),
    "repetition_penalty": (0.0, 5.0),
}
"""What requests may set these to."""
_WHOLE = ("top_k",)
log = logging.getLogger(__name__)


def sampling_defaults(folder: Path) -> SamplingDefaults:
    """What the file says of sampling. Values that can't be used are ignored, and logged."""
    config = _read(folder / FILE)
    values = {name: config[name] for name in _RANGES if config.get(name) is not None}
    usable = {name: value for name, value in values.items() if _is_usable(name, value)}
    if len(usable) < len(values):
        unusable = ", ".join(sorted(values.keys() - usable.keys()))
        log.warning("ignored in %s: %s", FILE, unusable, extra={"folder": str(folder)})
    if "top_k" in usable:
        usable["top_k"] = max(0, int(usable["top_k"]))
    return SamplingDefaults(**usable) if usable else NO_DEFAULTS


def _is_usable(name: str, value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    low, high = _RANGES[name]
    # Not true of a NaN, which Python's JSON has.
    return low <= value <= high and (name not in _WHOLE or value == int(value))


def _read(file: Path) -> dict[str, Any]:
    """The object in the file; an empty one if there is none that can be read."""
    try:
        with file.open("rb") as opened:
            text = opened.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            raise ValueError("too large")
        config = json.loads(text)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        log.warning(
            "%s can't be read (%s)", FILE, type(error).__name__, extra={"folder": str(file.parent)}
        )
        return {}
    return config if isinstance(config, dict) else {}
