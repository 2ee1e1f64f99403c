"""Variants of the service and its worker: ``python -m scripts.benchmarks.systems.variants NAME``.

``stock-service`` runs on the BLAS of MLX's wheel, ``stamped-service`` with tokens that are the
times of their generation, ``plain-service`` without a token log: events are published and kept
nowhere, to see what the log costs. Streams of the last one survive no restart.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

from wire import keys
from wire.log_entries import encode
from wire.messages import Progress, is_terminal
from wire.token_log import WRITTEN, Append, TokenLog

MODULE = "scripts.benchmarks.systems.variants"
PLAIN_WORKER, STAMPED_WORKER = "plain-worker", "stamped-worker"


def stock_service() -> None:
    """mlxq.service.launch preloads OpenBLAS where it is installed; this undoes it."""
    from mlxq.service.launch import main, part

    main(worker=["env", "-u", "LD_PRELOAD", *part("worker")])


def plain_service() -> None:
    from mlxq.service.launch import main, part

    main(worker=[*part(MODULE), PLAIN_WORKER])


def stamped_service() -> None:
    from mlxq.service.launch import main, part

    main(worker=[*part(MODULE), STAMPED_WORKER])


def plain_worker() -> None:
    from worker.__main__ import main

    TokenLog.append = publish_only  # type: ignore[method-assign]
    main()


def stamped_worker() -> None:
    """On the echo backend: a client on the same machine sees how long each token took."""
    import worker.backends.echo
    from worker.__main__ import main
    from worker.text_decoder import Output

    class StampingDecoder(worker.backends.echo.EchoDecoder):
        """The time in microseconds in place of a word."""

        def add(self, token: int) -> Output:
            text = f"{int(time.perf_counter() * 1e6)} "
            return Output(text) if super().add(token).text else Output()

    worker.backends.echo.EchoDecoder = StampingDecoder  # type: ignore[misc]
    main()


def publish_only(self: TokenLog, step: Sequence[Append]) -> list[int]:
    """In place of TokenLog.append: one PUBLISH a step, and the marks that a job has ended."""
    redis = self._redis
    numbered = [(item, 0 if isinstance(item.event, Progress) else item.sequence) for item in step]
    lines = "\n".join(encode(item.job_id, number, item.event) for item, number in numbered)
    redis.publish(keys.EVENTS_CHANNEL, lines)
    if ended := [item for item in step if is_terminal(item.event)]:
        with redis.pipeline(transaction=False) as pipe:
            for item in ended:
                pipe.set(
                    keys.attempt(item.job_id), f"ended:{item.attempt}", ex=keys.RECORD_LIFETIME_S
                )
                pipe.hset(keys.job(item.job_id), "state", "ended")
                pipe.zrem(keys.live(item.owner), item.job_id)
            pipe.execute()
    return [WRITTEN for _, number in numbered if number]


VARIANTS: dict[str, Callable[[], None]] = {
    "stock-service": stock_service,
    "plain-service": plain_service,
    "stamped-service": stamped_service,
    PLAIN_WORKER: plain_worker,
    STAMPED_WORKER: stamped_worker,
}

if __name__ == "__main__":
    VARIANTS[sys.argv.pop(1)]()
