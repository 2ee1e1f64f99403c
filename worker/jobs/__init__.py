"""Jobs between Redis and the engine: RQ, leases, crashes, the token log, the worker's status."""
