"""``mlxq`` and ``python -m mlxq``: the command line, with the packages of this installation first.

A project that is worked in may have packages named ``api``, ``worker`` or ``wire``, and reach them
by ``PYTHONPATH=.`` or as the current folder; the service's own must win.
"""

from __future__ import annotations

import os
import sys


def prefer_own_packages() -> None:
    """Move entries of ``sys.path`` that PYTHONPATH or the current folder added to its end."""
    ours = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    foreign = {os.path.realpath(entry) for entry in (os.curdir, *named)} - {ours}
    first = [entry for entry in sys.path if os.path.realpath(entry) not in foreign]
    last = [entry for entry in sys.path if os.path.realpath(entry) in foreign]
    if ours not in map(os.path.realpath, first):  # installed in place: an import hook finds it
        first.append(ours)
    sys.path[:] = [*first, *last]


def main() -> None:
    """The entry point of the installed command."""
    prefer_own_packages()
    from mlxq.cli import main

    main()


if __name__ == "__main__":
    main()
