"""Redis, worker and API on one machine, under one supervisor."""
