"""What happens to a request before a route sees it, and to a response behind it: limits,
headers, Server-Sent Events."""
