"""The systems that are measured, and what starts and asks them: servers, the limit in one process,
models, prompts, a client."""
