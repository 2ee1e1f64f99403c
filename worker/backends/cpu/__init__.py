"""What only helps MLX's CPU backend. Nothing in here runs on Apple silicon: callers ask ``on_cpu``
(``malloc``: its own test for glibc) first."""
