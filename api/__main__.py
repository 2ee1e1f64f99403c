"""``python -m api``: one API process, until it is asked to stop.

Open streams end cleanly then, and their clients resume with another process or the next one.
"""

from __future__ import annotations

import logging
import sys

from redis.exceptions import RedisError

from api.app import create_app
from api.server import Server, allow_descriptors, without_query
from wire import log_format
from wire.access.api_keys import any_stored
from wire.processes.malloc import return_large_blocks
from wire.processes.parent_process import exit_with_parent
from wire.redis_server import connect_once, unfit
from wire.settings import BadSetting, from_command_line


def _problem_with(url: str) -> str | None:
    """Why this Redis won't do. One that isn't there yet is no reason not to start."""
    try:
        with connect_once(url) as redis:
            return unfit(redis.info())
    except (RedisError, OSError):
        return None


def main() -> int:
    """Serve; the exit status is 0 after an orderly stop."""
    exit_with_parent()
    return_large_blocks()
    settings = from_command_line("python -m api", "The HTTP face of MLX chat queue.")
    if not settings.redis_url:
        print("python -m api: set MLXQ_REDIS_URL or REDIS_URL to the Redis to use", file=sys.stderr)
        return 2
    if problem := _problem_with(settings.redis_url):
        print(f"python -m api: {problem}", file=sys.stderr)
        return 2
    try:
        app = create_app(settings, stored_keys=any_stored(settings.redis_url))
    except BadSetting as bad:
        print(f"python -m api: {bad}", file=sys.stderr)
        return 2
    allow_descriptors()
    log_format.set_up(settings.log_level, settings.log_format)
    logging.getLogger("uvicorn.access").addFilter(without_query)
    Server(app, settings).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
