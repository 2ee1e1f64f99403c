"""Tiny random models of every kind that mlx_lm and mlx_vlm can load, and what the service does with
each."""
