"""Batches of rows and their KV caches."""
