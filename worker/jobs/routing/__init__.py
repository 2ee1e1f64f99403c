"""Which of several workers a chat runs on: the one that holds most of its prompt in its cache.

A worker that has taken a chat up decides once it has the prompt's tokens, and offers the chat to
another if that one holds more of them.
"""
