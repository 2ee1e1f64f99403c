"""Trains the small vision model that ships with the service, on pictures that are drawn while it trains."""
