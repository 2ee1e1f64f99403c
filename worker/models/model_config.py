"""What a model folder's config.json says about a model: its context window, and whether it sees
images.

Names of settings differ between architectures, and what is left out has the default of the library
that defines the architecture. Reads files alone: no library is imported.
"""

from __future__ import annotations

import ast
import json
import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from worker.backends.libraries import code_of, package

Config = dict[str, Any]

DEFAULT_CONTEXT_WINDOW = 2048
"""For a model whose config and library don't say: small enough to be safe."""
UNLIMITED_CONTEXT_WINDOW = 1 << 20
"""For recurrent models, whose state doesn't grow and which number no positions: no limit of theirs,
but a prompt must have one."""
RECURRENT = {"mamba", "mamba2", "falcon_mamba", "recurrent_gemma", "rwkv", "rwkv6", "rwkv7"}
WINDOW_NAMES = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "model_max_length",
    "seq_length",
    "n_ctx",
    "max_sequence_length",
)
TEXT_SECTIONS = ("text_config", "llm_config", "language_config", "thinker_config")
VISION_NAMES = ("vision", "visual", "image", "img")
"""Parts of the names of a vision tower's weights."""
MOST_HEADER_BYTES = 64 << 20


def context_window(config: Config) -> int:
    """The longest conversation that a model takes, in tokens."""
    sections = list(_sections(config))
    for section in sections:
        if (window := _window_in(section)) is not None:
            return window
    types = [str(section["model_type"]) for section in sections if "model_type" in section]
    if any(name in RECURRENT for name in types):
        return UNLIMITED_CONTEXT_WINDOW
    # The text part's own type is the one that has the setting.
    for model_type in dict.fromkeys(
        name for own in reversed(types) for name in (f"{own}_text", own)
    ):
        if (window := _default_window(model_type)) is not None:
            return window
    return DEFAULT_CONTEXT_WINDOW


def sees_images(config: Config, folder: Path) -> bool:
    """Whether a model is served with its vision tower. Conversions for text alone often keep the
    ``vision_config`` and leave out its weights, or the files of the image processor."""
    model_type = str(config.get("model_type", ""))
    declared = any(part.get("vision_config") is not None for part in _sections(config))
    if not declared and ("vision_config" in config or code_of("mlx_lm", model_type) is not None):
        return False
    code = code_of("mlx_vlm", model_type)
    names = _weight_names(folder)
    if names is None:
        return declared or (code is not None and (code / "vision.py").is_file())
    if not any(part in name for name in names for part in VISION_NAMES):
        return False
    has_processor = any(folder.glob("*processor_config.json"))
    return has_processor or code_of("mlx_lm", model_type) is None


def _sections(config: Config) -> Iterator[Config]:
    """A config and the parts of it that describe its language model, from outside in."""
    yield config
    for name in TEXT_SECTIONS:
        if isinstance(section := config.get(name), dict):
            yield from _sections(section)


def _window_in(settings: Config) -> int | None:
    for name in WINDOW_NAMES:
        value = settings.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1 << 31:
            return max(1, int(value))
    return None


@cache
def _default_window(model_type: str) -> int | None:
    """The context window of a model type whose config leaves it out: transformers' default, which
    is what a config of its own leaves out, or else that of the library that runs it."""
    name = model_type.replace("-", "_")
    transformers = package("transformers")
    if transformers is not None and name.isidentifier():
        for part in (name, name.removesuffix("_text")):
            file = transformers / "models" / part / f"configuration_{part}.py"
            if (window := _window_of_class(file, model_type)) is not None:
                return window
    code = code_of("mlx_lm", model_type) or code_of("mlx_vlm", model_type)
    if code is None:
        return None
    return _window_of_class(code if code.suffix else code / "config.py")


def _window_of_class(file: Path, model_type: str | None = None) -> int | None:
    """The default of the first class in a file that has one; with ``model_type``, of that type's
    class."""
    try:
        module = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError):
        return None
    for node in module.body:
        if not isinstance(node, ast.ClassDef) or "Vision" in node.name or "Audio" in node.name:
            continue
        settings = dict(_constants(node))
        window = _window_in(settings)
        if window is not None and model_type in (None, settings.get("model_type")):
            return window
    return None


def _constants(node: ast.ClassDef) -> Iterator[tuple[str, Any]]:
    """The names that a class body gives constants to, and these."""
    for line in node.body:
        if isinstance(line, (ast.Assign, ast.AnnAssign)) and line.value is not None:
            targets = line.targets if isinstance(line, ast.Assign) else [line.target]
            value = _constant(line.value)
            yield from ((ast.unparse(target), value) for target in targets)


def _constant(node: ast.expr) -> Any:
    """A constant, or a product of two, such as ``4096 * 32``; None for any other expression."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        sides = _constant(node.left), _constant(node.right)
        if all(isinstance(side, int) for side in sides):
            return sides[0] * sides[1]
    return None


def _weight_names(folder: Path) -> set[str] | None:
    """The names of a folder's weights, from the files' headers; None if these can't be read."""
    names: set[str] = set()
    for file in folder.glob("*.safetensors"):
        try:
            with file.open("rb") as opened:
                (size,) = struct.unpack("<Q", opened.read(8))
                if size > MOST_HEADER_BYTES:
                    return None
                header = json.loads(opened.read(size))
            names.update(header)
        except (OSError, ValueError, struct.error, TypeError):
            return None
    return names or None
