"""Child processes: where they look for code, how they end with their parent, and the pool and the
children for dangerous work."""
