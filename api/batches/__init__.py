"""Batches of prompts: upload, slices, quotas, results, and the routes of the native API."""
