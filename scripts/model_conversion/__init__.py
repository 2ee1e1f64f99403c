"""Real language models for tests: GGUF files from Python packages, converted into folders that
mlx_lm loads."""
