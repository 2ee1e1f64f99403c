"""What happens before and after a route: limits, headers, Server-Sent Events."""
