"""Anthropic's Messages API, on the same jobs as the native one."""
