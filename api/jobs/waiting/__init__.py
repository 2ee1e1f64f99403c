"""Chats that wait: their class, where they stand, how long they may, and from when on."""
