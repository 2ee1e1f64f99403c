"""The configurations of the tiny models, in tables by family."""
