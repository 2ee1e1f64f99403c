"""Images of requests: fetched, decoded in child processes, kept in Redis for the worker."""
