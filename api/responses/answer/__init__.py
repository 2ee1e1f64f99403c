"""The answers of Responses: their items, their events and what surrounds them. Pure."""
