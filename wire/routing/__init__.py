"""Several workers on one Redis: how a chat gets to the one that has its prompt in the cache."""
