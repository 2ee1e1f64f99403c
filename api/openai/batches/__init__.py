"""OpenAI's files and batches: routes, and the lines of their files."""
