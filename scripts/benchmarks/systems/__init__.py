"""The measured systems, and code that starts and queries them: servers, the in-process limit,
models, prompts, a client."""
