"""The repository's Python files, and the functions in them."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

from tests.support.paths import ROOT

PACKAGES = ("api", "mlxq", "wire", "worker")
PYTHON = (*PACKAGES, "scripts", "tests")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def sources(*folders: str) -> list[Path]:
    """Every Python file of these folders, relative to the repository."""
    found = (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))
    return [path.relative_to(ROOT) for path in found if "node_modules" not in path.parts]


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def functions(*folders: str) -> Iterator[tuple[str, Function]]:
    for path in sources(*folders):
        for node in ast.walk(parsed(path)):
            if isinstance(node, Function):
                yield f"{path}:{node.name}", node


def module_of(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")
