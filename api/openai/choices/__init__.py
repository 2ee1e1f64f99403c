"""Several answers to one request: a job each, one response."""
