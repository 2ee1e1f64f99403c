"""Who asks: API keys, browser sessions, sign-in, and the middleware that lets a request in."""
