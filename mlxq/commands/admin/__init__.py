"""The commands of an operator: API keys, usage, webhooks."""
