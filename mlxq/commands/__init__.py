"""The commands of ``mlxq``, one topic a file; they speak to the service over HTTP alone.

What is slow to import (the HTTP client, rich) is imported where it is used: help and completion
answer at once.
"""
