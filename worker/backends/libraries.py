"""Which model types the installed model libraries have, read from their files without importing
them."""

from __future__ import annotations

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

Library = Literal["mlx_lm", "mlx_vlm"]


def library_of(model_type: str, sees_images: bool) -> Library:
    """The library that runs a model. mlx_lm also gets types that neither has: its error names
    them."""
    if sees_images or (not code_of("mlx_lm", model_type) and code_of("mlx_vlm", model_type)):
        return "mlx_vlm"
    return "mlx_lm"


def code_of(library: Library, model_type: str) -> Path | None:
    """The file or folder with a library's code for a model type; None if it has none."""
    root = package(library)
    if root is None:
        return None
    name = model_type if library == "mlx_lm" else model_type.lower()
    return _models(root).get(_other_names(root).get(name, name))


@cache
def package(name: str) -> Path | None:
    """The folder of an installed package; None if it isn't installed."""
    spec = find_spec(name)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


@cache
def _models(package: Path) -> dict[str, Path]:
    """Modules below a package's ``models``, by name: mlx_lm has files, mlx_vlm has folders."""
    folder = package / "models"
    files = {file.stem: file for file in folder.glob("*.py") if file.stem != "__init__"}
    return files | {file.parent.name: file.parent for file in folder.glob("*/__init__.py")}


@cache
def _other_names(package: Path) -> dict[str, str]:
    """Model types that are served by another one's code: the library's MODEL_REMAPPING."""
    for node in ast.parse((package / "utils.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and "MODEL_REMAPPING" in map(ast.unparse, node.targets):
            return dict(ast.literal_eval(node.value))
    return {}
