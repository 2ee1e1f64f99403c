"""Webhooks as they cross Redis: endpoints, and the outbox, which scripts fill as something ends."""
