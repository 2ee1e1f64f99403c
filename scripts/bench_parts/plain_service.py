"""This service with a worker that keeps no token log."""

from __future__ import annotations

from api.local import main, part

if __name__ == "__main__":
    main(worker=part("scripts.bench_parts.plain_worker"))
