"""API keys that are added while the service runs, and quotas of tokens."""
