"""The commands of ``mlxq``, one topic a file. They speak to the service over HTTP and know nothing
of its inside.

What is slow to import (the HTTP client, rich) is imported where it is used: help and completion
answer at once.
"""
