"""Responses that are kept: their records, their chains, and the routes that find them again."""
