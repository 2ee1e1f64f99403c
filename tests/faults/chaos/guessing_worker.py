"""The worker, but it feeds guesses in every step in which there are any, whether that pays or not."""

from __future__ import annotations

from scripts.benchmarks.parts.drafts import Always
from worker.__main__ import main
from worker.backends.batching import backend

if __name__ == "__main__":
    backend.DraftLength = Always  # type: ignore[attr-defined]
    main()
