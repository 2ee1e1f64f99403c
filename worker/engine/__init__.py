"""The engine's thread: which sequences run, and what becomes of each step."""
