"""Faults of all kinds at random against the whole service; processes, clients and judge are the
fault tests' own."""
