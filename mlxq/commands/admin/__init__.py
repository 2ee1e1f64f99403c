"""The commands of an operator: API keys and usage."""
