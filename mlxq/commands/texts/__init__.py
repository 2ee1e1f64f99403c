"""Commands on texts that are no chats."""
