"""JSON schemas: what can be enforced, checked in a child process with limits on time and memory."""
