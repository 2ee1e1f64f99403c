"""This service with the worker that stamps its tokens."""

from __future__ import annotations

from api.local import main, part

if __name__ == "__main__":
    main(worker=part("scripts.bench_parts.stamped_worker"))
