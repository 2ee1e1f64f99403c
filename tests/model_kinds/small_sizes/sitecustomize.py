"""Gives the service's processes the small sizes that libraries fix in their code, and that
``kinds.py`` sets in the tests' own process. Python imports this when it starts, from PYTHONPATH."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

from tests.model_kinds.kinds import OF_MLX_VLM, fix_sizes, fixing_modules

_KINDS: dict[str, set[str]] = defaultdict(set)
"""By the modules whose code fixes sizes of theirs."""
for _kind in OF_MLX_VLM:
    for _module in fixing_modules(_kind):
        _KINDS[_module].add(_kind)


class SmallSizes(MetaPathFinder):
    """Sets the sizes of a module right after it has been imported."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        kinds = _KINDS.get(name)
        spec = PathFinder.find_spec(name, path, target) if kinds else None
        if kinds is None or spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_fix(module: ModuleType) -> None:
            execute(module)
            for kind in kinds:
                fix_sizes(kind, name)

        spec.loader.exec_module = execute_and_fix  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, SmallSizes())
