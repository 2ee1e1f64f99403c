"""One chat: its request, its job, its stream, and what is asked of a job later."""
