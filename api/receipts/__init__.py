"""How chats that have ended were answered, and whether they are answered alike again."""
