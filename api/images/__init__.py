"""Images of requests: read, fetched, decoded in child processes, and kept in Redis for the
worker."""
