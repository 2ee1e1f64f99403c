"""A worker without a token log: events are published and kept nowhere. The bench runs it, to see
what a log costs.

Everything else is as ever: leases, liveness, RQ's books. No stream of such a worker survives
anything.
"""

from __future__ import annotations

from collections.abc import Sequence

from wire import keys
from wire.log_entries import encode
from wire.messages import Progress, is_terminal
from wire.token_log import WRITTEN, Append, TokenLog
from worker.__main__ import main


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


if __name__ == "__main__":
    TokenLog.append = publish_only  # type: ignore[method-assign]
    main()
