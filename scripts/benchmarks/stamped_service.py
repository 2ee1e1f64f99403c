"""This service with the worker that stamps its tokens."""

from __future__ import annotations

from mlxq.service.launch import main, part

if __name__ == "__main__":
    main(worker=part("scripts.benchmarks.stamped_worker"))
