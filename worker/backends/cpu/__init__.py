"""What only helps MLX's CPU backend. Nothing in here runs on Apple silicon."""
