"""What the APIs of others have in common: from a request to its jobs, and their answers."""
