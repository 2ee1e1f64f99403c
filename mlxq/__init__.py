"""The command line and the one-machine service.

The command line speaks to the API over HTTP alone.
"""
