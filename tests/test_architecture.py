"""What code may import, beside the import contracts in pyproject.toml, and which private names of
libraries it may use."""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import grimp
import pytest

from tests.source_files import PACKAGES, Function, functions, module_of, parsed, sources
from tests.support.paths import ROOT

PRIVATE_NAMES = {
    "mlx_lm": {"_idx", "_offset", "_temporal_order", "_tokenizer"},
    "mlx_vlm": {"_idx", "_position_ids", "_rope_deltas"},
    "rq": {"_pubsub_exception_handler", "_shutdown", "_state", "_stop_requested"},
    "starlette": {"_body"},
}
"""Private names of libraries that the code relies on, by library. What they must do is held by
tests/unit/worker/jobs/rq_worker/test_rq_contract.py, tests/unit/api/test_library_contract.py and,
in tests/mlx, test_library_contract.py and test_private_names.py."""
WATCHED_LIBRARIES = ("rq", "mlx_lm", "mlx_vlm", "starlette", "fastapi", "uvicorn")


# --- imports --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(*PACKAGES, cache_dir=None)


def test_no_two_parts_of_a_package_import_each_other(graph: grimp.ImportGraph) -> None:
    for package in {
        module_of(path.parent / "x.py").rpartition(".")[0] for path in sources(*PACKAGES)
    }:
        assert graph.nominate_cycle_breakers(package) == set(), package


def test_no_router_imports_a_router(graph: grimp.ImportGraph) -> None:
    routers = {
        module_of(path)
        for path in sources("api")
        for node in parsed(path).body
        if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("APIRouter(")
    }
    assert len(routers) >= 10
    for router in routers:
        assert graph.find_modules_directly_imported_by(router) & routers == set(), router


@pytest.mark.parametrize(
    ("module", "never"),
    [
        ("api.app", {"mlx", "mlx_lm", "mlx_vlm", "worker", "mlxq"}),
        ("worker.__main__", {"mlx", "mlx_lm", "mlx_vlm", "fastapi", "starlette", "api", "mlxq"}),
        ("worker.assemble", {"mlx", "mlx_lm", "mlx_vlm", "fastapi", "starlette", "api", "mlxq"}),
        ("wire.messages", {"mlx", "fastapi", "starlette", "rq", "api", "worker", "mlxq"}),
        ("mlxq.cli", {"mlx", "fastapi", "starlette", "rq", "redis", "api", "worker"}),
    ],
)
def test_importing_one_part_loads_nothing_of_another(module: str, never: set[str]) -> None:
    code = f"import {module}, sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert never & set(run.stdout.split()) == set()


def third_party(*folders: str) -> set[str]:
    """Import names of other people's packages."""
    names: set[str] = set()
    for path in sources(*folders):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.split(".")[0])
    ours = {*PACKAGES, "scripts", "tests"}
    return names - set(sys.stdlib_module_names) - ours


def declared() -> tuple[set[str], set[str]]:
    """Names of the distributions that pyproject.toml asks for: to run, and beside that for tests."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    run = project["project"]["dependencies"]
    dev = [line for group in project["dependency-groups"].values() for line in group]
    return tuple({_distribution(line) for line in lines} for lines in (run, dev))  # type: ignore[return-value]


def _distribution(requirement: str) -> str:
    name = requirement.split(";")[0].strip()
    for mark in "[<>=~! ":
        name = name.split(mark)[0]
    return name.lower().replace("_", "-")


def test_every_imported_package_is_declared() -> None:
    run, dev = declared()
    providers = {
        name: {d.lower().replace("_", "-") for d in distributions}
        for name, distributions in packages_distributions().items()
    }
    product = third_party(*PACKAGES)
    for name in product:
        assert providers.get(name, {name}) & run, f"{name} is imported and not declared"
    for name in third_party("scripts", "tests") - product:
        assert providers.get(name, {name}) & (run | dev), f"{name} is imported and not declared"


# --- private names of libraries -------------------------------------------------------------------


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def defined(library: str, wanted: set[str]) -> set[str]:
    """Which of some private names a library defines or sets anywhere."""
    spec = importlib.util.find_spec(library)
    assert spec is not None, library
    names: set[str] = set()
    # Parsing a whole library takes long: most of its files name none of these.
    named = re.compile(rf"\b(?:{'|'.join(wanted)})\b")
    for folder in spec.submodule_search_locations or ():
        for path in Path(folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            for node in ast.walk(ast.parse(text)) if named.search(text) else ():
                if isinstance(node, Function):
                    names.add(node.name)
                elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                    names.add(node.attr)
                elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                    names.add(node.target.id)
    return names & wanted


def imported_names(path: Path) -> dict[str, str]:
    """What a file imports from where: its name here -> its full name there."""
    names: dict[str, str] = {}
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
        elif isinstance(node, ast.Import):
            names |= {a.asname or a.name.split(".")[0]: a.name for a in node.names}
    return names


@functools.cache
def bases() -> dict[str, list[str]]:
    """The classes of the product, each with the full names of those that it is made of."""
    found: dict[str, list[str]] = {}
    for path in sources(*PACKAGES):
        imports = imported_names(path)
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef):
                full = []
                for base in map(ast.unparse, node.bases):
                    first, *rest = base.split(".")
                    full.append(".".join([imports.get(first, f"{module_of(path)}.{first}"), *rest]))
                found[f"{module_of(path)}.{node.name}"] = full
    return found


def libraries_of(name: str) -> set[str]:
    """The libraries whose classes a class is made of. FastAPI's are Starlette's underneath."""
    first = name.split(".")[0]
    if first in WATCHED_LIBRARIES:
        return {first, "starlette"} if first == "fastapi" else {first}
    return {library for base in bases().get(name, []) for library in libraries_of(base)}


def touched() -> dict[str, set[str]]:
    """Private names of libraries that the product uses: inherited ones, and those of other objects."""
    ours = {node.name for _, node in functions(*PACKAGES)}
    used: dict[str, set[str]] = {library: set() for library in WATCHED_LIBRARIES}
    for path in sources(*PACKAGES):
        libraries = _libraries_imported_by(path)
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef):
                for library in libraries_of(f"{module_of(path)}.{node.name}"):
                    used[library] |= _inherited(node)
            others = set(_of_others(node)) - ours
            for library in libraries if others else ():
                used[library] |= others
    found = {library: defined(library, names) for library, names in used.items() if names}
    return {library: names for library, names in found.items() if names}


def _inherited(node: ast.ClassDef) -> set[str]:
    """Private names that a class uses of itself."""
    names = {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute) and _is_own(n.value)}
    names |= {n.name for n in node.body if isinstance(n, Function)}
    return {name for name in names if private(name)}


def _is_own(value: ast.expr) -> bool:
    return ast.unparse(value) in ("self", "cls", "super()")


def _of_others(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Attribute) and private(node.attr) and not _is_own(node.value):
        yield node.attr
    if isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr", "hasattr"):
        name = node.args[1] if len(node.args) > 1 else None
        if isinstance(name, ast.Constant) and isinstance(name.value, str) and private(name.value):
            yield name.value


def _libraries_imported_by(path: Path) -> set[str]:
    return {full.split(".")[0] for full in imported_names(path).values()} & set(WATCHED_LIBRARIES)


def test_every_private_name_of_a_library_that_is_used_is_under_contract() -> None:
    assert touched() == PRIVATE_NAMES
