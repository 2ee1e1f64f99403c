"""Child processes for dangerous work: the pool in the parent, and what every child does."""
