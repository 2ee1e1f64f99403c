"""Generated requests against the API's OpenAPI schema: ``scripts/fuzz``."""
