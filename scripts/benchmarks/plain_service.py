"""This service with a worker that keeps no token log."""

from __future__ import annotations

from mlxq.service.launch import main, part

if __name__ == "__main__":
    main(worker=part("scripts.benchmarks.plain_worker"))
