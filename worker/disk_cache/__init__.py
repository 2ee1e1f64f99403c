"""Cached prompts on disk: a conversation goes on where it was after a restart, a change of models
or a day.

Knows files, token rows and threads; knows neither MLX nor the engine. What an entry's arrays are
made of and become again is a codec's business (``worker/backends/batching/cache_codec.py``).
"""
