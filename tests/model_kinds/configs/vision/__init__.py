"""The configurations of the tiny vision models, in tables by family."""
