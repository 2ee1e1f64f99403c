"""Tokens guessed ahead (speculative decoding): where they come from, how many are worth a step, and
which of them agree with what the model says. Knows no batch."""
