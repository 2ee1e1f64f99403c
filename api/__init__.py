"""The HTTP face: checks requests, enqueues jobs, relays their token logs as Server-Sent Events.

Imports wire, never mlx and never the worker.
"""
