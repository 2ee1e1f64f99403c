"""What is measured of the engine in one process: without Redis, API and clients."""
