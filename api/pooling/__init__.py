"""Vectors and scores of texts: what is asked for, and how results are told, whatever the API."""
