"""The two Redis clients of an API process: one for the event loop, one synchronous for RQ.

Both respond or fail within two seconds, without retries: clients of the API are asked to retry
instead.
"""

from __future__ import annotations

from dataclasses import dataclass

from redis import Redis
from redis.asyncio import BlockingConnectionPool
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

_SOCKET_S = 0.9
_POOL_WAIT_S = 0.7
_CONNECTIONS = 8
"""Commands of all requests share these; a thousand streams must not be a thousand connections."""


@dataclass(frozen=True, slots=True)
class Clients:
    """``waiting`` belongs to the event loop, ``blocking`` to threads."""

    waiting: AsyncRedis
    blocking: Redis

    async def close(self) -> None:
        await self.waiting.aclose()
        self.blocking.close()


def connect(url: str) -> Clients:
    """Clients for ``redis://``, ``rediss://`` and ``unix://`` addresses.

    Opens no connection yet.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=_CONNECTIONS,
        timeout=_POOL_WAIT_S,
        socket_timeout=_SOCKET_S,
        socket_connect_timeout=_SOCKET_S,
        retry=AsyncRetry(NoBackoff(), 0),
    )
    blocking = Redis.from_url(
        url, socket_timeout=_SOCKET_S, socket_connect_timeout=_SOCKET_S, retry=Retry(NoBackoff(), 0)
    )
    return Clients(AsyncRedis.from_pool(pool), blocking)
