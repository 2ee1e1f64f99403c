"""The benchmark: this service over HTTP beside mlx_lm in one process and mlx_lm.server, which
take turns."""
