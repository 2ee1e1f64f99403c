"""Webhooks: endpoints, the deliveries to them, and the process that makes these."""
