"""The worker on the echo backend, whose tokens are the times at which they were generated, in
microseconds.

Whoever reads them on the same machine knows how long each was on its way.
"""

from __future__ import annotations

import time

from worker.__main__ import main
from worker.backends.echo import EchoDecoder
from worker.sequence import Output


class StampingDecoder(EchoDecoder):
    """Tells the time in place of a word."""

    def add(self, token: int) -> Output:
        return Output(f"{int(time.perf_counter() * 1e6)} ") if super().add(token).text else Output()


if __name__ == "__main__":
    import worker.backends.echo

    worker.backends.echo.EchoDecoder = StampingDecoder  # type: ignore[misc]
    main()
