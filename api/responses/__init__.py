"""OpenAI's Responses API, on the same jobs."""
