"""What crosses Redis between the API and the workers: messages, names, the token log, model
records, settings.

This package knows neither HTTP nor MLX; both sides import it and it imports neither.
"""
