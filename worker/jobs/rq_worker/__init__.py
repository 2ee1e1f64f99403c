"""An RQ worker that runs many jobs at once in one process.

Knows RQ, and nothing of what a job does.
"""
