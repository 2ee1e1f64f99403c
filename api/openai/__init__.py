"""OpenAI's API below /v1, on the same jobs as the native one."""
