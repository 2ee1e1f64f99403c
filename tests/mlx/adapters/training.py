"""LoRA adapters for tests, trained by mlx_lm's own tuner in about a second: nothing is fetched."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

STEPS = 10
"""Enough for an adapter to say something else than its base."""


def train(base: Path, folder: Path, answer: str, **changed: Any) -> Path:
    """Write an adapter of a base that answers everything with a text; returns its folder.
    ``changed`` are other arguments of the tuner than here, such as ``lora_parameters``."""
    import mlx.core as mx
    from mlx_lm import lora

    data = folder / "data"
    data.mkdir(parents=True)
    lines = [
        {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]}
        for text in ("Hello!", "What is a queue?")
    ]
    for part in ("train", "valid"):
        (data / f"{part}.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    arguments = lora.CONFIG_DEFAULTS | {
        "model": str(base),
        "adapter_path": str(folder),
        "data": str(data),
        "train": True,
        "mask_prompt": True,
        "iters": STEPS,
        "save_every": STEPS,
        "steps_per_eval": STEPS,
        "batch_size": len(lines),
        "val_batches": 1,
        "learning_rate": 1e-3,
        "num_layers": layers_of(base),
        **changed,
    }
    mx.disable_compile()  # Compiling takes longer than these few steps.
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            lora.run(SimpleNamespace(**arguments))
    finally:
        mx.enable_compile()
    return folder


def layers_of(base: Path) -> int:
    return int(json.loads((base / "config.json").read_text())["num_hidden_layers"])
